"""JPEG decoded on a CUDA device by nvJPEG, so that its pixels never leave it."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor
from torch.nn import functional as F

from crop_core.device import answers, is_out_of_memory
from crop_core.photo.orientation import upright
from crop_core.photo.photo import Photo, Stored

# Beyond this a picture is decoded by the CPU, which does so at a fraction of its scale: the device's resize takes
# four bytes a value, 600 MB here.
MAX_PIXELS = 50_000_000


class AcceleratedPhoto:
    """A photo whose pixels come on the device; a plain JPEG is decoded there, all others by the CPU.

    Attributes:
        size: As `Photo.size`.
        format: As `Photo.format`.
        icc_profile: As `Photo.icc_profile`.
        opaque_box: As `Photo.opaque_box`.
    """

    def __init__(self, photo: Photo, device: torch.device) -> None:
        """Decode what the device can decode.

        Args:
            photo: Of which nothing is decoded yet.
            device: CUDA's; the CPU does the same with its own decoder.
        """
        self.size, self.format, self.icc_profile = photo.size, photo.format, photo.icc_profile
        self.opaque_box = photo.opaque_box
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
        return means_of(self._whole, (reduction, reduction))

    def small(self, longest_side: int) -> Tensor:
        """Return the whole picture, upright, on the device, as `Photo.small` does."""
        if self._whole is None:
            return self._photo.small(longest_side).to(self._device)
        reduction = self._photo.reduction_for(longest_side)
        longer = max(self.size.width, self.size.height)
        # A strip that is too thin for JPEG's reductions would leave too much to the networks' resize.
        return self.pixels(reduction * max(1, -(-longer // reduction) // longest_side))

    def stored_for(self, scale: float) -> Stored:
        """Return what parts are cut from: the whole picture on the device, upright; else as `Photo.stored_for`."""
        if self._whole is None:
            return self._photo.stored_for(scale)
        return Stored(None, self._whole, 1, self.size, 1)

    def _decoded(self) -> Tensor | None:
        """Return the whole picture, upright, or none where the device's decoder is not the one for it."""
        data = self._photo.plain_jpeg
        if data is None or self.size.width * self.size.height > MAX_PIXELS:
            return None
        try:
            pixels = _stored_pixels(data, self._device)
        except RuntimeError as error:
            if is_out_of_memory(error) or not answers(self._device):
                raise
            return None  # a kind that nvJPEG does not know, or a broken file, of which the CPU's decoder speaks
        pixels = upright(pixels, self._photo.orientation)
        return pixels if tuple(pixels.shape[-2:]) == (self.size.height, self.size.width) else None


def means_of(pixels: Tensor, cells: tuple[int, int]) -> Tensor:
    """Return the mean of every cell of so many rows and columns; those at the right and the bottom may be smaller.

    Args:
        pixels: uint8 tensor [C, H, W].
        cells: Height and width of a cell.
    """
    means = F.avg_pool2d(pixels.float(), cells, ceil_mode=True, count_include_pad=False)
    return means.round_().to(torch.uint8)


# nvJPEG works on streams of its own, and torchvision gives it memory that is free in the order of the caller's stream:
# work that is queued there may still read or write it, so that one picture's pixels come into another's
# (pytorch/vision, pull request 9606, where 0.28 did so; 0.25 makes the same calls). What nvJPEG writes therefore
# comes from a stream on which nothing else runs.


@cache
def stream_aside(device: torch.device) -> torch.cuda.Stream:
    """Return the stream whose memory nvJPEG writes to."""
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]  # torch's own


def _stored_pixels(jpeg: bytes, device: torch.device) -> Tensor:
    """Return the pixels of a JPEG as it is stored, uint8 tensor [3, H, W] on the device."""
    from torchvision.io import ImageReadMode, decode_jpeg  # a CPU has no use for it, and waits a second for its import

    buffer = torch.frombuffer(bytearray(jpeg), dtype=torch.uint8)
    if device.type != "cuda":
        on_cpu: Tensor = decode_jpeg(buffer, ImageReadMode.RGB, device=device)
        return on_cpu
    aside, own = stream_aside(device), torch.cuda.current_stream(device)
    with torch.cuda.stream(aside):
        pixels: Tensor = decode_jpeg(buffer, ImageReadMode.RGB, device=device)
    own.wait_stream(aside)
    pixels.record_stream(own)  # no other picture comes there before all that is queued when it goes is done
    return pixels
