"""Turns bytes into upright pixels, and keeps what the crops need: colour profile, alpha, format.

`open_photo` reads the header and checks the limits. Most formats are decoded only when their pixels
are asked for. This module knows nothing of detectors, windows or output files.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from crop_core.errors import ImageError
from crop_core.geometry import Box, Size
from crop_core.photo.color import as_rgb, converted_to_srgb, is_srgb
from crop_core.photo.decode import decoded
from crop_core.photo.decode_in_subprocess import DecodedApart, decoded_apart
from crop_core.photo.file_format import DECODED_APART, format_of, formats
from crop_core.photo.formats_here import opened
from crop_core.photo.header import TRANSPOSE, header_of
from crop_core.photo.jpeg import decoded_jpeg
from crop_core.photo.limits import check_bytes, check_picture
from crop_core.photo.transparency import OPAQUE

# How many pixels a reduced decode must have for each pixel of the result, by its reduction. With just enough of them
# the filter of JPEG's DCT shows; with these, crops look like those of the full decode.
_SPARE = {1: 1.0, 2: 4 / 3, 4: 4 / 3, 8: 3 / 2}


def open_photo(data: bytes) -> Photo:
    """Return the picture that the bytes hold, with its header read and within the limits.

    Raises:
        ImageError: The bytes are not a picture of a known format, or the picture is broken or
            beyond the limits of `limits.Limits`.
    """
    if not data:
        raise ImageError(f"The file is empty (0 bytes). Send a {formats()} picture.")
    check_bytes(len(data))
    kind = format_of(data)
    photo = Photo(data, kind)
    check_picture(kind, photo.size.width, photo.size.height, len(data), photo.frames, photo.profile_bytes)
    return photo


def reopened(data: bytes) -> Photo:
    """Return a picture that this package wrote, without checking the limits.

    Raises:
        ImageError: The bytes are not a picture of a known format, or the picture is broken.
    """
    return Photo(data, format_of(data), limited=False)


@dataclass(frozen=True, slots=True, eq=False)
class Stored:
    """A decoded picture, not yet turned upright, to cut parts from.

    Attributes:
        image: RGB or RGBA; none if the pixels lie on a device.
        pixels: The same pixels as a uint8 tensor [3 or 4, h, w]; none if there is no tensor yet.
        reduction: The picture is decoded at 1/`reduction` of its scale.
        size: Width and height as stored, at full scale.
        orientation: The EXIF orientation that the pixels still need, 1 to 8.
    """

    image: Image.Image | None
    pixels: Tensor | None
    reduction: int
    size: Size
    orientation: int


class Photo:
    """A picture whose header is read. Pixels are decoded when asked for, and kept.

    AVIF, HEIC, TIFF and WebP are decoded at once, in the process that reads their header. An error in their
    pixels is still raised only when the pixels are asked for.

    Attributes:
        size: Upright width and height, after the EXIF orientation is applied.
        frames: How many pictures the header counts; 1 if the whole file would have to be read to count them.
        profile_bytes: The length of the file's colour profile, of any kind.
        format: Pillow's name of the format: JPEG, MPO, PNG, WEBP, AVIF, HEIF, TIFF, BMP or GIF.
        has_alpha: Whether `pixels` has four channels.
        icc_profile: The RGB colour profile that the crops must carry, or none. CMYK, gray and Lab
            pictures are converted to sRGB instead, with their own profile if they have one.
        orientation: The EXIF orientation that stored pixels still need, 1 to 8.
        plain_jpeg: The file if any JPEG decoder returns the same colours as Pillow, else none.
    """

    def __init__(self, data: bytes, format: str, limited: bool = True) -> None:
        """Read the header; call `open_photo`, which knows the format."""
        self._data = data
        self._kind = format
        self._decoded: dict[int, Image.Image] = {}
        self._tensors: dict[int, Tensor] = {}  # the decoded pictures that were also needed as tensors
        self._first: Image.Image | None = None
        self._apart: DecodedApart | None = None
        self.format, self.plain_jpeg = format, None
        if format in DECODED_APART:
            self._apart = decoded_apart(data, format, limited)
            header = self._apart.header
        else:
            self._first = image = opened(data, format)
            header = header_of(image, format)
            self.format = "MPO" if format == "JPEG" and "mp" in image.info else format
            self.plain_jpeg = data if self.format == "JPEG" and _is_plain(image, data) else None
        self._raw_size = Size(header.width, header.height)
        self.orientation = header.orientation
        self.size = Size(header.height, header.width) if header.orientation >= 5 else self._raw_size
        self.frames = header.frames
        self.has_alpha = header.has_alpha
        self.profile_bytes = len(header.profile)
        is_rgb = header.is_rgb and len(header.profile) >= 128 and header.profile[16:20] == b"RGB "
        self.icc_profile = header.profile if is_rgb else None

    @cached_property
    def reductions(self) -> tuple[int, ...]:
        """Return the denominators of the scales that the decoder offers; JPEG's DCT gives 1, 2, 4 and 8."""
        if self._kind != "JPEG":
            return (1,)
        shorter = min(self._raw_size.width, self._raw_size.height)
        return tuple(n for n in (1, 2, 4, 8) if shorter >= n)

    @cached_property
    def opaque_box(self) -> Box | None:
        """Return the box of the opaque pixels, in upright pixels; none if that is the whole picture or nothing.

        Raises:
            ImageError: The picture is broken.
        """
        if not self.has_alpha:
            return None
        opaque = self._decode(1).getchannel("A").point([255 * (alpha >= OPAQUE) for alpha in range(256)])
        found = self._upright(opaque).getbbox()
        return Box(*found) if found and found != (0, 0, self.size.width, self.size.height) else None

    def reduction_for(self, longest_side: int) -> int:
        """Return the strongest reduction that leaves at least `longest_side` pixels on the longer side."""
        longer = max(self.size.width, self.size.height)
        return max((n for n in self.reductions if longer // n >= longest_side), default=1)

    def pixels(self, reduction: int = 1) -> Tensor:
        """Return the whole picture, upright, at 1/`reduction` of its scale.

        Args:
            reduction: One of `reductions`.

        Returns:
            uint8 tensor [3 or 4, h, w] on the CPU, RGB or RGBA (alpha not premultiplied), 0 to 255,
            in channels-last memory.

        Raises:
            ImageError: The picture is broken.
        """
        image = self._decode(reduction)
        if self.orientation not in TRANSPOSE and reduction in self._tensors:
            return self._tensors[reduction]
        return as_tensor(self._upright(image))

    def small(self, longest_side: int) -> Tensor:
        """Return the whole picture, upright, with at least `longest_side` pixels on the longer side if it has them.

        The longer side has less than twice as many, except that of a JPEG that was decoded at a fraction of its size.

        Returns:
            As `pixels`.

        Raises:
            ImageError: The picture is broken.
        """
        reduction = self.reduction_for(longest_side)
        image = self._decode(reduction)
        factor = max(image.size) // longest_side
        if factor > 1:
            return as_tensor(self._upright(image.reduce(factor)))
        if self.orientation in TRANSPOSE:
            return as_tensor(self._upright(image))
        if reduction not in self._tensors:
            self._tensors[reduction] = as_tensor(image)
        return self._tensors[reduction]

    def stored_for(self, scale: float) -> Stored:
        """Return the smallest decode that is large enough for a part that shrinks by `scale`.

        A decode that already exists is preferred.

        Args:
            scale: Pixels of the picture for each pixel of the result, along the axis that shrinks less.

        Raises:
            ImageError: The picture is broken.
        """
        serving = [n for n in self.reductions if scale >= n * _SPARE[n]]
        reduction = max((n for n in serving if n in self._decoded), default=max(serving, default=1))
        image = self._decode(reduction)
        return Stored(image, self._tensors.get(reduction), reduction, self._raw_size, self.orientation)

    def _upright(self, image: Image.Image) -> Image.Image:
        return image.transpose(TRANSPOSE[self.orientation]) if self.orientation in TRANSPOSE else image

    def _decode(self, reduction: int) -> Image.Image:
        """Return the picture at 1/`reduction`, RGB or RGBA, not yet turned upright."""
        if reduction in self._decoded:
            return self._decoded[reduction]
        if reduction not in self.reductions:
            raise ValueError(f"a {self._kind} picture is decoded at 1/{self.reductions}, not at 1/{reduction}")
        if self._apart is None:
            image = self._decoded_here(reduction)
        elif isinstance(self._apart.pixels, ImageError):
            raise ImageError(str(self._apart.pixels))
        else:
            image = self._apart.pixels
        self._decoded[reduction] = image
        return image

    def _decoded_here(self, reduction: int) -> Image.Image:
        image, self._first = self._first or opened(self._data, self._kind), None
        width, height = self._raw_size.width, self._raw_size.height
        size = (-(-width // reduction), -(-height // reduction))
        if self._kind == "JPEG":
            pixels = decoded_jpeg(self._data, image.mode, (width, height), size)
            if pixels is not None and image.mode == "RGB":
                self._tensors[reduction] = torch.from_numpy(pixels).permute(2, 0, 1)
                return Image.fromarray(pixels)
            if pixels is not None:
                profile = image.info.get("icc_profile")
                whole = Image.frombuffer(image.mode, size, pixels, "raw", image.mode, 0, 1)
                return as_rgb(whole, profile, has_alpha=False)
        if reduction > 1:
            image.draft(None, (width // reduction, height // reduction))
        return decoded(image, self._kind, size, "RGBA" if self.has_alpha else "RGB")


def _is_plain(image: Image.Image, data: bytes) -> bool:
    """Return whether the JPEG is whole, has one scan, and is YCbCr for every decoder."""
    components = [layer[0] for layer in getattr(image, "layer", [])]
    return (
        image.mode == "RGB"
        and components == [1, 2, 3]  # other ids may be the letters R, G and B
        and image.info.get("adobe_transform", 1) == 1
        and not getattr(image, "several_scans", False)
        and data.rstrip(b"\0").endswith(b"\xff\xd9")  # the end marker, which a file that is cut off lacks
    )


def in_srgb(pixels: Tensor, icc_profile: bytes | None) -> Tensor:
    """Return the pixels in sRGB, the colours that networks are trained on.

    Args:
        pixels: uint8 tensor [3 or 4, H, W] on any device, RGB or RGBA.
        icc_profile: Their colour profile, or none for sRGB.
    """
    if icc_profile is None or is_srgb(icc_profile):
        return pixels
    image = Image.fromarray(pixels.permute(1, 2, 0).contiguous().cpu().numpy())
    return as_tensor(converted_to_srgb(image, icc_profile)).to(pixels.device)


def as_tensor(image: Image.Image) -> Tensor:
    """Return the pixels, uint8 tensor [channels, height, width] in channels-last memory."""
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)
