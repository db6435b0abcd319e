"""JPEG encoded on a CUDA device by nvJPEG."""

from __future__ import annotations

import torch
from torch import Tensor

from crop_core.device import answers, is_out_of_memory
from crop_core.photo.decode_on_gpu import stream_aside

_ICC_HEAD = b"ICC_PROFILE\0"  # ICC.1:2022, annex B.4: the profile in APP2 segments, numbered from 1
_ICC_PART = 65_519  # bytes of it in one segment: a length of two bytes, less itself, the head and two numbers


def encode_jpeg(pixels: Tensor, quality: int, icc_profile: bytes | None) -> bytes | None:
    """Return the picture as a JPEG, made on the device (CUDA's encoder: 4:4:4 chroma), with its colour profile.

    Args:
        pixels: uint8 tensor [3, H, W] on a CUDA device or the CPU.
        quality: 1 to 100.
        icc_profile: The profile to embed, or none.

    Returns:
        The file, or none where the device's encoder is not there or not the one for it.
    """
    try:
        encoded = _encoded(pixels.contiguous(), quality)
    except RuntimeError as error:
        if is_out_of_memory(error) or not answers(pixels.device):
            raise
        return None
    return with_profile(encoded.numpy().tobytes(), icc_profile)


def _encoded(pixels: Tensor, quality: int) -> Tensor:
    """Return the JPEG, uint8 tensor [bytes] on the CPU; the host waits for the device, as it must for a file.

    Args:
        pixels: uint8 tensor [3, H, W], contiguous.
        quality: 1 to 100.
    """
    from torchvision.io import encode_jpeg as torchvision_encode_jpeg  # for a GPU alone

    if pixels.device.type != "cuda":
        on_cpu: Tensor = torchvision_encode_jpeg(pixels, quality)
        return on_cpu
    torch.cuda.synchronize(pixels.device)  # the encoder reads pixels that are made, not only queued to be
    with torch.cuda.stream(stream_aside(pixels.device)):
        encoded: Tensor = torchvision_encode_jpeg(pixels, quality)
        torch.cuda.synchronize(pixels.device)  # which stream its last copy is on differs between releases
        return encoded.cpu()


def with_profile(jpeg: bytes, icc_profile: bytes | None) -> bytes:
    """Return the JPEG with the profile in it, behind its first segment: the device's encoder writes none.

    Args:
        jpeg: A JPEG without a profile.
        icc_profile: None for none; what does not fit the 255 segments that there may be is left out.
    """
    parts = [icc_profile[at : at + _ICC_PART] for at in range(0, len(icc_profile), _ICC_PART)] if icc_profile else []
    if len(parts) > 255:
        return jpeg
    segments = b"".join(
        b"\xff\xe2" + (len(part) + len(_ICC_HEAD) + 4).to_bytes(2, "big") + _ICC_HEAD + bytes((n, len(parts))) + part
        for n, part in enumerate(parts, 1)
    )
    after = 2
    if jpeg[2:4] == b"\xff\xe0":  # JFIF wants its own segment to be the first
        after += 2 + int.from_bytes(jpeg[4:6], "big")
    return jpeg[:after] + segments + jpeg[after:]
