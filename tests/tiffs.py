"""A writer of TIFFs of any layout, uncompressed or without loss, for what Pillow does not write."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

KINDS = {"B": 1, "H": 3, "I": 4, "Q": 16}
COMPRESSIONS = {"none": 1, "LZW": 5, "deflate": 8, "PackBits": 32773}


@dataclass(frozen=True)
class Made:
    """How a TIFF is written; numbers are those of TIFF 6.0."""

    bits: int = 8
    photometric: int = 1
    order: str = "<"
    big: bool = False
    apart: bool = False
    compression: str = "none"
    tile: int = 0
    rows: int = 7  # of a strip
    predictor: int = 1
    extra: tuple[int, ...] = ()
    fill_order: int = 1
    tags: tuple[tuple[int, str, tuple[int, ...]], ...] = ()


def packed(rows: np.ndarray, bits: int, order: str) -> bytes:
    """Return rows of numbers, [rows, numbers], each row from a byte of its own on."""
    if bits == 16:
        return rows.astype(f"{order}u2").tobytes()
    places = np.arange(bits - 1, -1, -1)
    return np.packbits((rows[..., None] >> places & 1).reshape(len(rows), -1).astype(np.uint8), axis=1).tobytes()


def lzw(data: bytes) -> bytes:
    """Return data as LZW that never learns: it clears the table before a code takes ten bits."""
    clear, end, most = 256, 257, 250
    codes = [code for at in range(0, len(data), most) for code in (clear, *data[at : at + most])] + [end]
    return packed(np.array([codes]), 9, "<")


def pack_bits(data: bytes) -> bytes:
    return b"".join(bytes((len(data[at : at + 128]) - 1,)) + data[at : at + 128] for at in range(0, len(data), 128))


WRITE = {"none": bytes, "LZW": lzw, "deflate": zlib.compress, "PackBits": pack_bits}


def pieces_of(plane: np.ndarray, made: Made) -> Iterator[bytes]:
    """Yield the strips or tiles of a plane, [h, w, channels]."""
    height, width, _ = plane.shape
    tall, wide = (made.tile, made.tile) if made.tile else (made.rows, width)
    for top in range(0, height, tall):
        for left in range(0, width, wide):
            part = plane[top : top + tall, left : left + wide].astype(np.int64)
            if made.tile:
                part = np.pad(part, ((0, tall - part.shape[0]), (0, wide - part.shape[1]), (0, 0)))
            if made.predictor == 2:
                part = np.diff(part, axis=1, prepend=0) % (1 << made.bits)
            yield WRITE[made.compression](packed(part.reshape(len(part), -1), made.bits, made.order))


def tiff_of(array: np.ndarray, made: Made) -> bytes:
    """Return a TIFF of [h, w, channels]."""
    height, width, channels = array.shape
    planes = [array[..., one : one + 1] for one in range(channels)] if made.apart else [array]
    pieces = [piece for plane in planes for piece in pieces_of(plane, made)]
    start = 16 if made.big else 8
    places = [start + sum(len(one) + len(one) % 2 for one in pieces[:index]) for index in range(len(pieces))]
    lengths = [len(piece) for piece in pieces]
    tags = {
        256: ("I", (width,)),
        257: ("I", (height,)),
        258: ("H", (made.bits,) * channels),
        259: ("H", (COMPRESSIONS[made.compression],)),
        262: ("H", (made.photometric,)),
        277: ("H", (channels,)),
        284: ("H", (2 if made.apart else 1,)),
    }
    if made.fill_order == 2:
        tags[266] = ("H", (2,))
        pieces = [
            np.packbits(np.unpackbits(np.frombuffer(one, np.uint8)), bitorder="little").tobytes() for one in pieces
        ]
    if made.predictor != 1:
        tags[317] = ("H", (made.predictor,))
    if made.tile:
        tags |= {322: ("H", (made.tile,)), 323: ("H", (made.tile,)), 324: ("I", places), 325: ("I", lengths)}
    else:
        tags |= {273: ("I", places), 278: ("I", (made.rows,)), 279: ("I", lengths)}
    if made.extra:
        tags[338] = ("H", made.extra)
    tags |= {tag: (kind, values) for tag, kind, values in made.tags}
    body = b"".join(piece + bytes(len(piece) % 2) for piece in pieces)
    return head(start + len(body), made) + body + directory(tags, start + len(body), made)


def head(first: int, made: Made) -> bytes:
    mark = b"II" if made.order == "<" else b"MM"
    if made.big:
        return mark + struct.pack(made.order + "HHHQ", 43, 8, 0, first)
    return mark + struct.pack(made.order + "HI", 42, first)


def directory(
    tags: dict[int, tuple[str, tuple[int, ...] | list[int]]], at: int, made: Made, following: int = 0
) -> bytes:
    """Return a directory that lies at a place, and behind it the values that do not fit in it."""
    inline, count, place = (8, "Q", "Q") if made.big else (4, "H", "I")
    entry = 20 if made.big else 12
    behind = at + struct.calcsize("<" + count) + entry * len(tags) + inline
    written, values = struct.pack(made.order + count, len(tags)), b""
    for tag, (kind, numbers) in sorted(tags.items()):
        raw = struct.pack(f"{made.order}{len(numbers)}{kind}", *numbers)
        field = (
            raw.ljust(inline, b"\0") if len(raw) <= inline else struct.pack(made.order + place, behind + len(values))
        )
        values += b"" if len(raw) <= inline else raw + bytes(len(raw) % 2)
        written += struct.pack(made.order + "HH" + place, tag, KINDS[kind], len(numbers)) + field
    return written + struct.pack(made.order + place, following) + values
