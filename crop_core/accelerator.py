"""JPEG in and out on a CUDA device, by nvJPEG: the pixels of one that becomes others never leave it.

Everything else that happens on a GPU is PyTorch that runs on any device.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.io import ImageReadMode, decode_jpeg
from torchvision.io import encode_jpeg as torchvision_encode_jpeg
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as T

from crop_core.attempts import answers, is_out_of_memory
from crop_core.box import Size, Window
from crop_core.photo import Photo, upright

# Beyond this a picture is decoded by the CPU, which does so at a fraction of its scale: the device's resize takes
# four bytes a value, 600 MB here.
MAX_PIXELS = 50_000_000
_ICC_HEAD = b"ICC_PROFILE\0"  # ICC.1:2022, annex B.4: the profile in APP2 segments, numbered from 1
_ICC_PART = 65_519  # bytes of it in one segment: a length of two bytes, less itself, the head and two numbers


class AcceleratedPhoto:
    """A photo whose pixels come on the device; a plain JPEG is decoded there, all others by the CPU.

    Attributes:
        size: As `Photo.size`.
        format: As `Photo.format`.
        icc_profile: As `Photo.icc_profile`.
    """

    def __init__(self, photo: Photo, device: torch.device) -> None:
        """Decode what the device can decode.

        Args:
            photo: Of which nothing is decoded yet.
            device: CUDA's; the CPU does the same with its own decoder.
        """
        self.size, self.format, self.icc_profile = photo.size, photo.format, photo.icc_profile
        self._photo = photo
        self._device = device
        self._whole = self._decoded()

    def pixels(self, reduction: int = 1) -> Tensor:
        """Return the whole picture, upright, on the device, at 1/`reduction` of its scale.

        As `Photo.pixels` in everything else: JPEG's own reduction is close to the mean of the pixels that become one.
        """
        if self._whole is None:
            return self._photo.pixels(reduction).to(self._device)
        if reduction == 1:
            return self._whole
        means = F.avg_pool2d(self._whole.float(), reduction, ceil_mode=True, count_include_pad=False)
        return means.round_().to(torch.uint8)

    def small(self, longest_side: int) -> Tensor:
        """Return the whole picture, upright, on the device, as `Photo.small` does."""
        if self._whole is None:
            return self._photo.small(longest_side).to(self._device)
        return self.pixels(self._photo.reduction_for(longest_side))

    def resampled(self, window: Window, size: Size) -> Tensor:
        """Return a part of the picture, upright, at a size of its own, on the device.

        As `Photo.resampled` in everything else.
        """
        if self._whole is None:
            return self._photo.resampled(window, size).to(self._device)
        part = self._whole[:, window.y1 : window.y2, window.x1 : window.x2]
        if (window.width, window.height) == (size.width, size.height):
            return part
        resized: Tensor = T.resize(part, [size.height, size.width], InterpolationMode.BICUBIC, antialias=True)
        return resized

    def _decoded(self) -> Tensor | None:
        """Return the whole picture, upright, or none where the device's decoder is not the one for it."""
        data = self._photo.plain_jpeg
        if data is None or self.size.width * self.size.height > MAX_PIXELS:
            return None
        buffer = torch.frombuffer(bytearray(data), dtype=torch.uint8)
        try:
            pixels: Tensor = decode_jpeg(buffer, ImageReadMode.RGB, device=self._device)
        except RuntimeError as error:
            if is_out_of_memory(error) or not answers(self._device):
                raise
            return None  # a kind that nvJPEG does not know, or a broken file, of which the CPU's decoder speaks
        pixels = upright(pixels, self._photo.orientation)
        return pixels if tuple(pixels.shape[-2:]) == (self.size.height, self.size.width) else None


def encode_jpeg(pixels: Tensor, quality: int, icc_profile: bytes | None) -> bytes:
    """Return the picture as a JPEG, made on the device (CUDA's encoder: 4:4:4 chroma), with its colour profile.

    Args:
        pixels: uint8 tensor [3, H, W] on a CUDA device or the CPU.
        quality: 1 to 100.
        icc_profile: The profile to embed, or none.
    """
    encoded: Tensor = torchvision_encode_jpeg(pixels.contiguous(), quality)
    return with_profile(encoded.cpu().numpy().tobytes(), icc_profile)


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
