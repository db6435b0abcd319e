"""Encodes JPEGs on a CUDA device with nvJPEG."""

from __future__ import annotations

import torch
from torch import Tensor

from crop_core.device import answers, is_out_of_memory
from crop_core.photo.decode_on_gpu import stream_aside

_ICC_HEAD = b"ICC_PROFILE\0"  # ICC.1:2022, annex B.4: the profile in APP2 segments, numbered from 1
_ICC_PART = 65_519  # bytes of the profile in one segment: 65,535 less the length's 2, the head's 12 and two numbers


def encode_jpeg(pixels: Tensor, quality: int, icc_profile: bytes | None) -> bytes | None:
    """Return the picture as a JPEG that the device encoded (on CUDA with 4:4:4 chroma), with its colour profile.

    Args:
        pixels: uint8 tensor [3, H, W] on a CUDA device or the CPU.
        quality: 1 to 100.
        icc_profile: The profile to embed, or none.

    Returns:
        The file; none if the device has no encoder or cannot encode this picture.
    """
    try:
        encoded = _encoded(pixels.contiguous(), quality)
    except RuntimeError as error:
        if is_out_of_memory(error) or not answers(pixels.device):
            raise
        return None
    return with_profile(encoded.numpy().tobytes(), icc_profile)


def _encoded(pixels: Tensor, quality: int) -> Tensor:
    """Return the JPEG, uint8 tensor [bytes] on the CPU; the host waits for the device.

    Args:
        pixels: uint8 tensor [3, H, W], contiguous.
        quality: 1 to 100.
    """
    # Here, since its import is slow and a CPU does not need it.
    from torchvision.io import encode_jpeg as torchvision_encode_jpeg

    if pixels.device.type != "cuda":
        on_cpu: Tensor = torchvision_encode_jpeg(pixels, quality)
        return on_cpu
    torch.cuda.synchronize(pixels.device)  # or the encoder would read pixels that are not computed yet
    with torch.cuda.stream(stream_aside(pixels.device)):
        encoded: Tensor = torchvision_encode_jpeg(pixels, quality)
        torch.cuda.synchronize(pixels.device)  # releases differ in which stream makes the last copy
        return encoded.cpu()


def with_profile(jpeg: bytes, icc_profile: bytes | None) -> bytes:
    """Return the JPEG with the profile after its first segment: the device's encoder writes no profile.

    Args:
        jpeg: A JPEG without a profile.
        icc_profile: The profile, or none. One that needs more than the 255 allowed segments is left out.
    """
    parts = [icc_profile[at : at + _ICC_PART] for at in range(0, len(icc_profile), _ICC_PART)] if icc_profile else []
    if len(parts) > 255:
        return jpeg
    segments = b"".join(
        b"\xff\xe2" + (len(part) + len(_ICC_HEAD) + 4).to_bytes(2, "big") + _ICC_HEAD + bytes((n, len(parts))) + part
        for n, part in enumerate(parts, 1)
    )
    after = 2
    if jpeg[2:4] == b"\xff\xe0":  # JFIF's own segment must be the first
        after += 2 + int.from_bytes(jpeg[4:6], "big")
    return jpeg[:after] + segments + jpeg[after:]
