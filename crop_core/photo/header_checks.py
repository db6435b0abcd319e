"""What a file is made of, counted before a decoder reads it.

Decoders trust these counts: for a tag of a TIFF Pillow makes an object of every number in it, for the
index of an AVIF libavif looks at all items for each of them, and a kilobyte of it can speak of a
million parts. Nothing here decodes a picture, and what it does not understand it leaves to the decoder.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

from PIL import JpegImagePlugin

from crop_core.errors import ImageError
from crop_core.photo.limits import check_exif, limits

# ---- PNG


def png_chunks(data: bytes) -> list[tuple[bytes, int, int]]:
    """Return each chunk's kind, and where its body starts and ends.

    Raises:
        ImageError: There are more than `max_chunks`.
    """
    chunks, at, most = [], 8, limits().max_chunks
    while at + 8 <= len(data):
        end = at + 8 + int.from_bytes(data[at : at + 4], "big")
        chunks.append((data[at + 4 : at + 8], at + 8, end))
        if len(chunks) > most:
            raise _too_many_chunks("PNG", "chunks")
        at = end + 4  # behind the checksum
    return chunks


def _too_many_chunks(kind: str, what: str) -> ImageError:
    return ImageError(f"The {kind} has more than {limits().max_chunks} {what}. Save it anew.")


# ---- JPEG

_MARKER = re.compile(rb"\xff([^\x00\xff])")
_SCAN, _APP1 = 0xDA, 0xE1


def check_segments(data: bytes) -> int:
    """Look at a JPEG's segments, as Pillow finds them, and return how many components its first scan has.

    Raises:
        ImageError: There are more than `max_chunks` before the picture, of each of which Pillow keeps a
            hundred bytes, or more EXIF than `max_exif_bytes`.
    """
    at, segments, exif, most = 2, 0, 0, limits().max_chunks
    while (found := _MARKER.search(data, at)) and found[1][0] != _SCAN:
        at = found.end()
        known = JpegImagePlugin.MARKER.get(0xFF00 + found[1][0])
        if known is None or known[2] is None:
            continue  # one without a body
        length = max(2, int.from_bytes(data[at : at + 2], "big"))
        if found[1][0] == _APP1 and data.startswith(b"Exif\0\0", at + 2):
            exif += length
        at += length
        segments += 1
        if segments > most:
            raise _too_many_chunks("JPEG", "segments")
    check_exif(exif)
    return data[found.end() + 2] if found and found.end() + 2 < len(data) else 0


# ---- TIFF

# Bytes of a number in a tag, and how many usual numbers its object takes the memory of. Texts and plain bytes, which
# Pillow keeps as they are, are not here.
_TIFF_NUMBERS = {
    3: (2, 1),
    4: (4, 1),
    5: (8, 8),
    6: (1, 1),
    8: (2, 1),
    9: (4, 1),
    10: (8, 8),
    11: (4, 1),
    12: (8, 1),
    13: (4, 1),
    16: (8, 1),
    17: (8, 1),
    18: (8, 1),
}


def check_tags(data: bytes) -> None:
    """Refuse a TIFF whose first directory is absurd.

    Raises:
        ImageError: It has more than `max_tags` tags, or more than `max_tag_values` numbers in them.
        struct.error: The directory is not in the file.
    """
    order, big = "<" if data[:2] == b"II" else ">", data[2:4] in (b"+\0", b"\0+")
    entry = struct.Struct(order + ("HHQ8x" if big else "HHI4x"))
    (at,) = struct.unpack_from(order + ("Q" if big else "I"), data, 8 if big else 4)
    (tags,) = struct.unpack_from(order + ("Q" if big else "H"), data, at)
    most = limits()
    at += 8 if big else 2
    values = 0
    for _ in range(min(tags, most.max_tags)):
        if at + entry.size > len(data):
            break
        _, kind, count = entry.unpack_from(data, at)
        size, weight = _TIFF_NUMBERS.get(kind, (1, 0))
        values += count * weight if count * size <= len(data) else 0
        at += entry.size
    if tags > most.max_tags or values > most.max_tag_values:
        what = f"{tags} tags" if tags > most.max_tags else f"{values} numbers in its tags"
        raise ImageError(
            f"The TIFF has {what}; at most {most.max_tags} tags with {most.max_tag_values} numbers are accepted. "
            "Save it anew."
        )


# ---- AVIF and HEIC: boxes of a length, a type and a body (ISO/IEC 14496-12), of which `meta` and `moov` are the index

_FULL = 4  # bytes of version and flags, with which the bodies of most boxes begin


def check_index(data: bytes, name: str) -> None:
    """Refuse an AVIF or a HEIC whose index is absurd.

    Raises:
        ImageError: The index has more than `max_index_bytes` beside profiles and data; it speaks of more
            parts than `max_chunks`, or of more bytes than the file has; or there is more EXIF than `max_exif_bytes`.
    """
    _Index(data, name).check()


class _Index:
    """The boxes of a file, counted as they are looked at."""

    def __init__(self, data: bytes, name: str) -> None:
        self._data = data
        self._name = name
        self._seen = 0
        self._most = limits()

    def check(self) -> None:
        most = self._most.max_index_bytes
        length = 0
        for box, start, end in self._boxes(0, len(self._data)):
            if box not in (b"meta", b"moov"):
                continue
            inner = list(self._boxes(start + _FULL, end)) if box == b"meta" else []
            length += end - start - self._payload(inner)
            if length > most:
                raise ImageError(
                    f"The index of the {self._name} has {length} bytes; at most {most} are accepted. Save it anew."
                )
            try:
                self._check_items({what: (first, last) for what, first, last in inner})
            except (struct.error, IndexError):
                continue  # of which the decoder speaks

    def _boxes(self, at: int, end: int) -> Iterator[tuple[bytes, int, int]]:
        """Yield the type of each box, and where its body starts and ends."""
        while at + 8 <= end:
            self._seen += 1
            if self._seen > self._most.max_chunks:
                raise _too_many_chunks(self._name, "boxes")
            length, kind = struct.unpack_from(">I4s", self._data, at)
            head = 8
            if length == 1 and at + 16 <= end:
                (length,) = struct.unpack_from(">Q", self._data, at + 8)
                head = 16
            last = end if length == 0 else min(end, at + length)
            if last < at + head:
                return
            yield kind, at + head, last
            at = last

    def _payload(self, meta: list[tuple[bytes, int, int]]) -> int:
        """Return how many bytes of a `meta` box are a colour profile or data, which may be large."""
        length = sum(end - start for kind, start, end in meta if kind == b"idat")
        for kind, start, end in meta:
            for inner, first, last in self._boxes(start, end) if kind == b"iprp" else ():
                if inner == b"ipco":
                    length += sum(e - s for kind, s, e in self._boxes(first, last) if kind == b"colr")
        return length

    def _check_items(self, meta: dict[bytes, tuple[int, int]]) -> None:
        """Look at where a `meta` box says that its items lie."""
        exif = self._items_of_exif(*meta.get(b"iinf", (0, 0)))
        lengths: dict[int, int] = {}
        parts = 0
        start, end = meta.get(b"iloc", (0, 0))
        if start == end:
            return
        version, sizes, more_sizes = self._data[start], self._data[start + 4], self._data[start + 5]
        offset, length, base = sizes >> 4, sizes & 15, more_sizes >> 4
        extent = offset + length + (more_sizes & 15 if version in (1, 2) else 0)
        number = struct.Struct(">I" if version == 2 else ">H")
        (items,) = number.unpack_from(self._data, start + 6)
        at = start + 6 + number.size
        for _ in range(items):
            if at >= end:
                break
            (item,) = number.unpack_from(self._data, at)
            at += number.size + (4 if version in (1, 2) else 2) + base
            (extents,) = struct.unpack_from(">H", self._data, at)
            at += 2
            parts += extents
            if parts > self._most.max_chunks:
                raise _too_many_chunks(self._name, "parts")
            for _ in range(extents if extent else 0):
                at += extent
                lengths[item] = lengths.get(item, 0) + int.from_bytes(self._data[at - length : at], "big")
        if sum(lengths.values()) > 2 * len(self._data):  # once for each of two items may be right
            raise ImageError(
                f"The {self._name} speaks of {sum(lengths.values())} bytes and has {len(self._data)}. Save it anew."
            )
        check_exif(sum(lengths.get(item, 0) for item in exif))

    def _items_of_exif(self, start: int, end: int) -> set[int]:
        """Return the numbers of the items that an `iinf` box says are EXIF."""
        if start == end:
            return set()
        found = set()
        for kind, first, _ in self._boxes(start + _FULL + (2 if self._data[start] == 0 else 4), end):
            version = self._data[first]
            number = struct.Struct(">IH4s" if version == 3 else ">HH4s")
            if kind == b"infe" and version >= 2:
                item, _, what = number.unpack_from(self._data, first + _FULL)
                if what == b"Exif":
                    found.add(item)
        return found
