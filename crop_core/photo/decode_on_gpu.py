"""Decodes JPEGs on a CUDA device with nvJPEG, so that the pixels never leave the device."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor
from torch.nn import functional as F

from crop_core.device import answers, is_out_of_memory
from crop_core.photo.orientation import upright
from crop_core.photo.photo import Photo, Stored

# The CPU decodes larger pictures, at a fraction of their scale: the device would resize the whole picture in float32.
MAX_PIXELS = 50_000_000


class AcceleratedPhoto:
    """A photo whose pixels lie on the device. A plain JPEG is decoded there, everything else by the CPU.

    Attributes:
        size: As `Photo.size`.
        format: As `Photo.format`.
        icc_profile: As `Photo.icc_profile`.
        opaque_box: As `Photo.opaque_box`.
    """

    def __init__(self, photo: Photo, device: torch.device) -> None:
        """Decode the photo if the device can.

        Args:
            photo: The photo, not decoded yet.
            device: A CUDA device. With the CPU, torchvision's own JPEG decoder is used.
        """
        self.size, self.format, self.icc_profile = photo.size, photo.format, photo.icc_profile
        self.opaque_box = photo.opaque_box
        self._photo = photo
        self._device = device
        self._whole = self._decoded()

    def pixels(self, reduction: int = 1) -> Tensor:
        """Return the whole picture, upright, on the device, at 1/`reduction` of its scale.

        Otherwise as `Photo.pixels`. JPEG's own reduction is close to the means that are taken here.
        """
        if self._whole is None:
            return self._photo.pixels(reduction).to(self._device)
        if reduction == 1:
            return self._whole
        return means_of(self._whole, (reduction, reduction))

    def small(self, longest_side: int) -> Tensor:
        """Return the whole picture, upright, on the device, as `Photo.small` does."""
        if self._whole is None:
            return self._photo.small(longest_side).to(self._device)
        reduction = self._photo.reduction_for(longest_side)
        longer = max(self.size.width, self.size.height)
        # A strip too thin for JPEG's reductions is reduced here, or the networks' resize would shrink it too far.
        return self.pixels(reduction * max(1, -(-longer // reduction) // longest_side))

    def stored_for(self, scale: float) -> Stored:
        """Return the whole picture on the device, upright, to cut parts from; else as `Photo.stored_for`."""
        if self._whole is None:
            return self._photo.stored_for(scale)
        return Stored(None, self._whole, 1, self.size, 1)

    def _decoded(self) -> Tensor | None:
        """Return the whole picture, upright; none if the device cannot decode it."""
        data = self._photo.plain_jpeg
        if data is None or self.size.width * self.size.height > MAX_PIXELS:
            return None
        try:
            pixels = _stored_pixels(data, self._device)
        except RuntimeError as error:
            if is_out_of_memory(error) or not answers(self._device):
                raise
            return None  # nvJPEG does not know this kind, or the file is broken; the CPU's decoder tells which
        pixels = upright(pixels, self._photo.orientation)
        return pixels if tuple(pixels.shape[-2:]) == (self.size.height, self.size.width) else None


def means_of(pixels: Tensor, cells: tuple[int, int]) -> Tensor:
    """Return the mean of each cell of pixels; cells at the right and bottom border may be smaller.

    Args:
        pixels: uint8 tensor [C, H, W].
        cells: Height and width of a cell.
    """
    means = F.avg_pool2d(pixels.float(), cells, ceil_mode=True, count_include_pad=False)
    return means.round_().to(torch.uint8)


# nvJPEG runs on streams of its own, but torchvision allocates its output in the caller's stream. Work queued there may
# still use that memory, and one picture's pixels get into another's (pytorch/vision, pull request 9606: seen in 0.28,
# and 0.25 makes the same calls). So the output is allocated in a stream on which nothing else runs.


@cache
def stream_aside(device: torch.device) -> torch.cuda.Stream:
    """Return the stream in which nvJPEG's output is allocated."""
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]  # torch's own


def _stored_pixels(jpeg: bytes, device: torch.device) -> Tensor:
    """Return the pixels of a JPEG, not turned upright: uint8 tensor [3, H, W] on the device."""
    from torchvision.io import ImageReadMode, decode_jpeg  # here: its import is slow, and a CPU does not need it

    buffer = torch.frombuffer(bytearray(jpeg), dtype=torch.uint8)
    if device.type != "cuda":
        on_cpu: Tensor = decode_jpeg(buffer, ImageReadMode.RGB, device=device)
        return on_cpu
    aside, own = stream_aside(device), torch.cuda.current_stream(device)
    with torch.cuda.stream(aside):
        pixels: Tensor = decode_jpeg(buffer, ImageReadMode.RGB, device=device)
    own.wait_stream(aside)
    pixels.record_stream(own)  # keeps this memory from being reused before the work queued on it is done
    return pixels
