"""Decodes TIFFs of the layouts that `tiff_layout` accepts but Pillow does not read.

libtiff only undoes the compression: each plane is given to it as a gray picture of its bytes, in a
directory made for that. This module turns the bytes into colours.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin

from crop_core.photo.header import TRANSPOSE
from crop_core.photo.tiff_layout import CMYK, LAB, NO_ALPHA, PALETTE, PREMULTIPLIED, RGB, WHITE_IS_0, Layout
from crop_core.photo.tiff_tags import Directory

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _FILL_ORDER = 256, 257, 258, 259, 262, 266
_STRIPS, _SAMPLES, _ROWS, _STRIP_LENGTHS, _PREDICTOR, _COLOR_MAP = 273, 277, 278, 279, 317, 320
_TILE_WIDTH, _TILE_HEIGHT, _TILES, _TILE_LENGTHS = 322, 323, 324, 325
_LONG = 4
_BLOCK = 2_000_000  # values that are unpacked at once


@dataclass(frozen=True, slots=True)
class SampledTiff:
    """A TIFF that is not decoded yet, with the attributes of an image of Pillow's.

    Attributes:
        data: The file.
        layout: How its pixels are stored.
        size: Width and height, upright.
        mode: L, LA, RGB, RGBA, CMYK or LAB.
        info: ``icc_profile``, if there is one.
    """

    data: bytes = field(repr=False)
    layout: Layout
    size: tuple[int, int]
    mode: str
    info: dict[str, Any]

    def pixels(self) -> Image.Image:
        """Return the picture, upright, in 8 bits; in mode La or RGBa if alpha is premultiplied.

        Raises:
            OSError, ValueError, struct.error: The picture is broken.
        """
        mode = self.mode.replace("A", "a") if self.layout.alpha == PREMULTIPLIED else self.mode
        pixels = _channels(self.data, self.layout, Image.getmodebands(self.mode))
        image = Image.frombuffer(mode, (self.layout.width, self.layout.height), pixels, "raw", mode, 0, 1)
        turn = TRANSPOSE.get(self.layout.orientation)
        return image if turn is None else image.transpose(turn)


def sampled(data: bytes, layout: Layout) -> SampledTiff:
    """Return a TIFF that this module decodes."""
    colors = {RGB: "RGB", PALETTE: "RGB", CMYK: "CMYK", LAB: "LAB"}.get(layout.photometric, "L")
    has_alpha = layout.alpha != NO_ALPHA and colors in ("L", "RGB")
    info = {} if layout.profile is None else {"icc_profile": layout.profile}
    return SampledTiff(data, layout, layout.upright_size, colors + "A" * has_alpha, info)


def _channels(data: bytes, layout: Layout, count: int) -> NDArray[np.uint8]:
    """Return the channels of the mode that the picture gets, uint8 [height, width, count]."""
    pixels = np.empty((layout.height, layout.width, count), np.uint8)
    colors = layout.colors
    wanted = [*range(colors), layout.alpha_at][: colors if layout.photometric in (CMYK, LAB) else None]
    if layout.alpha == NO_ALPHA:
        wanted = wanted[:colors]
    stored = layout.samples if not layout.apart else 1
    rows = max(1, _BLOCK // (layout.width * stored))
    table = _table(layout)
    for group in [[one] for one in wanted] if layout.apart else [wanted]:
        plane = _Plane(data, layout, group[0] if layout.apart else 0, stored)
        for top in range(0, layout.height, rows):
            values = plane.rows(top, min(top + rows, layout.height))
            block = pixels[top : top + rows]
            for index in group:
                channel = values[..., 0 if layout.apart else index]
                if index >= colors:
                    block[..., -1] = _in_8_bits(channel, layout.bits)
                elif layout.photometric == PALETTE:
                    block[..., :3] = table[channel]
                elif layout.photometric == LAB:
                    block[..., index] = channel >> (layout.bits - 8)
                else:
                    eight = _in_8_bits(channel, layout.bits)
                    block[..., index] = 255 - eight if layout.photometric == WHITE_IS_0 else eight
    return pixels


def _in_8_bits(values: NDArray[Any], bits: int) -> NDArray[np.uint8]:
    if bits == 8:
        return values
    most = (1 << bits) - 1
    return ((values.astype(np.uint32) * 255 + most // 2) // most).astype(np.uint8)


def _table(layout: Layout) -> NDArray[np.uint8]:
    """Return the palette's colours, [numbers, 3]; some old programs wrote 8 bits where TIFF has 16."""
    if layout.photometric != PALETTE:
        return np.empty((0, 3), np.uint8)
    numbers = np.array(layout.directory.numbers(_COLOR_MAP), np.uint16).reshape(3, -1)
    return (numbers >> 8 if numbers.max() > 255 else numbers).astype(np.uint8).T


class _Plane:
    """The numbers of one plane, unpacked a few rows at a time."""

    def __init__(self, data: bytes, layout: Layout, plane: int, channels: int) -> None:
        directory = layout.directory
        self._bits, self._channels, self._width = layout.bits, channels, layout.width
        self._order = directory.order
        self._differs = directory.number(_PREDICTOR, 1) == 2
        is_tiled = _TILES in directory.entries
        # A picture's row is made of one row of each tile; each of these begins at a whole byte.
        self._part = directory.number(_TILE_WIDTH, 0) if is_tiled else layout.width
        self._parts = -(-layout.width // self._part) if self._part > 0 else 0
        length = -(-self._part * channels * layout.bits // 8)
        file = _of_bytes(data, directory, layout, plane, length, self._parts)
        self._bytes = TiffImagePlugin.TiffImageFile(BytesIO(file))
        self._bytes.load()
        if self._bytes.mode != "L" or self._bytes.size != (length * self._parts, layout.height):
            raise ValueError("the strips or tiles do not make a picture")

    def rows(self, top: int, bottom: int) -> NDArray[Any]:
        """Return rows, unsigned [rows, width, channels]."""
        block = np.asarray(self._bytes.crop((0, top, self._bytes.width, bottom)))
        parts = block.reshape(bottom - top, self._parts, -1)
        shape = (bottom - top, self._parts, self._part, self._channels)
        if self._bits == 8:
            values = parts.reshape(shape)
        elif self._bits == 16:
            values = parts.view(f"{self._order}u2").astype(np.uint16).reshape(shape)
        else:
            values = _unpacked(parts, self._bits, self._part * self._channels).reshape(shape)
        if self._differs:
            values = np.cumsum(values, axis=2, dtype=values.dtype)
        return values.reshape(bottom - top, -1, self._channels)[:, : self._width]


def _unpacked(rows: NDArray[np.uint8], bits: int, count: int) -> NDArray[np.uint16]:
    """Return the numbers of `bits` bits each, the first in the highest bits: [..., bytes] becomes [..., count]."""
    single = np.unpackbits(rows, axis=-1)[..., : count * bits].reshape(*rows.shape[:-1], count, bits)
    values: NDArray[np.uint16] = np.zeros(single.shape[:-1], np.uint16)
    for place in range(bits):
        values = np.bitwise_or(values << 1, single[..., place], dtype=np.uint16)
    return values


def _of_bytes(data: bytes, directory: Directory, layout: Layout, plane: int, length: int, parts: int) -> bytes:
    """Return the file with a directory that describes one plane as a gray picture of its bytes, still compressed."""
    is_tiled = _TILES in directory.entries
    height = max(1, min(directory.number(_TILE_HEIGHT if is_tiled else _ROWS, layout.height), layout.height))
    if is_tiled:
        height = directory.number(_TILE_HEIGHT, 0)
    if height < 1 or parts < 1:
        raise ValueError("the strips or tiles have no height or no width")
    pieces = parts * -(-layout.height // height)
    entries = [(_WIDTH, length * parts), (_HEIGHT, layout.height), (_BITS, 8), (_PHOTOMETRIC, 1), (_SAMPLES, 1)]
    entries += [(tag, directory.number(tag, 1)) for tag in (_COMPRESSION, _FILL_ORDER)]
    entries += [(_TILE_WIDTH, length), (_TILE_HEIGHT, height)] if is_tiled else [(_ROWS, height)]
    lists: dict[int, tuple[int, ...]] = {tag: (value,) for tag, value in entries}
    for tag in (_TILES, _TILE_LENGTHS) if is_tiled else (_STRIPS, _STRIP_LENGTHS):
        if tag in directory.entries:
            lists[tag] = directory.part(tag, plane * pieces, pieces)
    return _with_directory(data, directory.order, lists)


def _with_directory(data: bytes, order: str, tags: dict[int, tuple[int, ...]]) -> bytes:
    """Return the file, TIFF or BigTIFF, as a TIFF with one directory, which is put at the end."""
    start = len(data) + len(data) % 2
    behind = start + 2 + 12 * len(tags) + 4
    directory, values = struct.pack(order + "H", len(tags)), b""
    for tag, numbers in sorted(tags.items()):
        raw = struct.pack(f"{order}{len(numbers)}I", *numbers)
        kept = raw if len(raw) == 4 else struct.pack(order + "I", behind + len(values))
        values += b"" if len(raw) == 4 else raw
        directory += struct.pack(order + "HHI", tag, _LONG, len(numbers)) + kept
    head = data[:2] + struct.pack(order + "HI", 42, start)
    return b"".join((head, data[len(head) :], bytes(len(data) % 2), directory, bytes(4), values))
