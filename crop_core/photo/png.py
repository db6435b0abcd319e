"""Opens PNGs with Pillow, giving it only the chunks that the pixels need.

Pillow refuses a whole PNG for one damaged chunk, such as a text with a wrong checksum. Like libpng in
browsers, this module leaves such a chunk out.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import NamedTuple

from PIL import Image, PngImagePlugin

from crop_core.errors import ImageError
from crop_core.photo.decode import Source
from crop_core.photo.limits import check_exif, limits

_SIGNATURE_LENGTH = 8
_END = b"\0\0\0\0IEND\xaeB`\x82"
_NEEDED = (b"IHDR", b"PLTE", b"tRNS")
_XMP, _RAW_EXIF = b"XML:com.adobe.xmp\0", b"Raw profile type exif\0"


class _Chunk(NamedTuple):
    """A chunk: its kind, where its body starts and ends, and the file."""

    kind: bytes
    start: int
    end: int
    data: bytes

    @property
    def body(self) -> bytes:
        return self.data[self.start : self.end]

    @property
    def whole(self) -> bytes:
        return self.data[self.start - 8 : self.end + 4]

    @property
    def is_sound(self) -> bool:
        """Return whether the checksum is right."""
        return zlib.crc32(self.data[self.start - 4 : self.end]) == int.from_bytes(self.data[self.end : self.end + 4])


def open_png(data: bytes) -> Image.Image:
    """Open a PNG from the chunks that its pixels need, and add its profile, EXIF, XMP and number of frames.

    Raises:
        ImageError: The PNG has more chunks or more EXIF than the limits allow.
    """
    chunks = list(_chunks(data))
    pixels = [chunk for chunk in chunks if chunk.kind == b"IDAT"]
    head = [one for one in chunks if one.kind in _NEEDED and (one.kind != b"tRNS" or one.is_sound)]
    begin, end = (pixels[0].start - 8, pixels[-1].end + 4) if pixels else (len(data), len(data))
    before = b"".join(chunk.whole for chunk in head if chunk.start < begin)
    source = data[:_SIGNATURE_LENGTH] + before + data[begin:end] + (_END if end <= len(data) else b"")
    image = PngImagePlugin.PngImageFile(Source(source))
    image.info.update(_facts(chunks))
    # Pillow scales the pixels to 8 bits but leaves the transparent colour of tRNS in the file's depth.
    depth, transparent = chunks[0].body[8], image.info.get("transparency")
    if image.mode == "L" and isinstance(transparent, int) and depth < 8:
        image.info["transparency"] = transparent * 255 // (2**depth - 1)
    elif isinstance(transparent, tuple) and depth == 16:
        image.info["transparency"] = tuple(value >> 8 for value in transparent)
    return image


def _chunks(data: bytes) -> Iterator[_Chunk]:
    at, most = _SIGNATURE_LENGTH, limits().max_chunks
    count = 0
    while at + 8 <= len(data):
        end = at + 8 + int.from_bytes(data[at : at + 4], "big")
        count += 1
        if count > most:
            raise ImageError(f"The PNG has more than {most} chunks. Save it again.")
        yield _Chunk(data[at + 4 : at + 8], at + 8, end, data)
        at = end + 4  # behind the checksum


def _facts(chunks: list[_Chunk]) -> dict[str, object]:
    """Return the profile, EXIF, XMP and number of frames from the undamaged chunks, under Pillow's names."""
    facts: dict[str, object] = {}
    check_exif(sum(len(chunk.body) for chunk in chunks if chunk.kind == b"eXIf"))
    for chunk in chunks:
        body = chunk.body if chunk.kind in _READ else b""
        if not body or not chunk.is_sound:
            continue
        if chunk.kind == b"eXIf":
            facts.setdefault("exif", body)
        elif chunk.kind == b"iCCP" and (profile := _profile(body)):
            facts.setdefault("icc_profile", profile)
        elif chunk.kind == b"acTL" and len(body) >= 8:
            facts["frames"] = int.from_bytes(body[:4], "big")
        elif chunk.kind == b"iTXt" and body.startswith(_XMP):
            facts.setdefault("xmp", body)
        elif body.startswith(_RAW_EXIF):
            text = body[len(_RAW_EXIF) :]
            text = _inflated(text[1:], 3 * limits().max_exif_bytes) if chunk.kind == b"zTXt" else text
            facts.setdefault("exif", _exif_in(text))
    return facts


_READ = (b"eXIf", b"iCCP", b"acTL", b"iTXt", b"tEXt", b"zTXt")


def _profile(body: bytes) -> bytes:
    """Return the profile of an iCCP chunk: a name, a 0, the method 0, and the profile deflated."""
    _, _, rest = body.partition(b"\0")
    return _inflated(rest[1:], limits().max_profile_bytes) if rest[:1] == b"\0" else b""


def _inflated(data: bytes, most: int) -> bytes:
    """Return the inflated data, cut off after `most` + 1 bytes; nothing if it is damaged."""
    inflater = zlib.decompressobj()
    try:
        found = inflater.decompress(data, most + 1)
    except zlib.error:
        return b""
    return found if inflater.eof or len(found) > most else b""


def _exif_in(text: bytes) -> bytes:
    """Return EXIF that ImageMagick wrote as hex digits, below a name and a length."""
    try:
        return bytes.fromhex("".join(text.decode("ascii").split("\n")[3:]))
    except ValueError:
        return b""
