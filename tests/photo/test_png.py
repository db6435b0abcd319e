"""PNG: damage beside the pixels is ignored, damage in them is refused."""

from __future__ import annotations

import zlib

import numpy as np
import pytest
from conftest import encoded, ramp
from pictures import array_of, assert_reads_well, chunk, exif_bytes, stored
from PIL import Image
from profiles import SRGB

from crop_core import ImageError, Size
from crop_core.photo.photo import open_photo

PICTURE = ramp(32, 24)
DATA = encoded(PICTURE)
PIXELS = DATA.index(b"IDAT") - 4  # where they begin


def with_chunk(whole: bytes, data: bytes = DATA) -> bytes:
    return data[:33] + whole + data[33:]  # behind the header


def wrong(kind: bytes, body: bytes) -> bytes:
    """Return a chunk whose checksum is not its own."""
    whole = chunk(kind, body)
    return whole[:-1] + bytes((whole[-1] ^ 1,))


SIDE = {
    "tEXt": b"Comment\0hello",
    "zTXt": b"Comment\0\0" + zlib.compress(b"hello"),
    "iTXt": b"Comment\0\0\0\0\0hello",
    "pHYs": b"\0\0\x0b\x13\0\0\x0b\x13\1",
    "cHRM": bytes(32),
    "gAMA": b"\0\0\xb1\x8f",
    "sRGB": b"\0",
    "iCCP": b"x\0\0" + zlib.compress(SRGB),
    "bKGD": bytes(6),
    "tIME": bytes(7),
    "acTL": bytes(8),
    "eXIf": exif_bytes(6)[6:],
    "sBIT": b"\x08\x08\x08",
    "aBCd": b"anything",
}


@pytest.mark.parametrize("name", SIDE)
class TestSideChunks:
    def test_a_wrong_checksum_costs_no_pixel(self, name: str) -> None:
        assert (array_of(with_chunk(wrong(name.encode(), SIDE[name]))) == np.asarray(PICTURE)).all()

    @pytest.mark.parametrize("length", [0, 1, 3])
    def test_a_value_that_is_too_short_costs_no_pixel(self, name: str, length: int) -> None:
        assert (array_of(with_chunk(chunk(name.encode(), SIDE[name][:length]))) == np.asarray(PICTURE)).all()

    def test_noise_in_it_costs_no_pixel(self, name: str) -> None:
        noise = bytes(range(256))
        if name == "acTL":  # which would speak of 66,051 frames
            noise = bytes(4) + noise
        assert (array_of(with_chunk(chunk(name.encode(), noise))) == np.asarray(PICTURE)).all()


class TestProfile:
    def test_a_sound_one_is_kept(self) -> None:
        assert open_photo(with_chunk(chunk(b"iCCP", SIDE["iCCP"]))).icc_profile == SRGB

    @pytest.mark.parametrize(
        "whole",
        [wrong(b"iCCP", SIDE["iCCP"]), chunk(b"iCCP", b"x\0\7" + SIDE["iCCP"][3:]), chunk(b"iCCP", SIDE["iCCP"][:300])],
        ids=["a wrong checksum", "an unknown method", "cut off"],
    )
    def test_a_damaged_one_is_none(self, whole: bytes) -> None:
        assert open_photo(with_chunk(whole)).icc_profile is None


class TestPixels:
    @pytest.mark.parametrize("kind", [b"IHDR", b"PLTE"])
    def test_a_wrong_checksum_of_what_the_pixels_need_is_refused(self, kind: bytes) -> None:
        data = bytearray(encoded(PICTURE.quantize(16)))
        at = data.index(kind)
        data[at + 4 + int.from_bytes(data[at - 4 : at], "big")] ^= 1
        with pytest.raises(ImageError, match="PNG but cannot be decoded") as caught:
            open_photo(bytes(data)).pixels()
        assert_reads_well(caught.value)

    def test_transparency_with_a_wrong_checksum_is_left_out(self) -> None:
        data = encoded(PICTURE.quantize(16), transparency=0)
        at = data.index(b"tRNS")
        length = int.from_bytes(data[at - 4 : at], "big")
        broken = data[: at + 4 + length] + bytes(4) + data[at + 8 + length :]
        assert open_photo(data).has_alpha
        assert not open_photo(broken).has_alpha

    def test_frames_and_what_else_lies_among_the_pixels_are_no_trap(self) -> None:
        frames = [Image.new("RGB", (32, 24), (index, 0, 0)) for index in (9, 99)]
        data = encoded(PICTURE, save_all=True, append_images=frames)
        assert open_photo(data).frames == 3
        assert (array_of(data) == np.asarray(PICTURE)).all()


class TestOrientation:
    TURNED = encoded(stored(PICTURE, 6))

    @pytest.mark.parametrize("kind", [b"zTXt", b"tEXt"])
    def test_exif_in_a_text_of_imagemagicks_counts(self, kind: bytes) -> None:
        exif = exif_bytes(6)
        digits = "\n".join(exif.hex()[at : at + 72] for at in range(0, 2 * len(exif), 72))
        text = f"\nexif\n{len(exif):8}\n{digits}\n".encode()
        body = b"Raw profile type exif\0" + (b"\0" + zlib.compress(text) if kind == b"zTXt" else text)
        assert open_photo(with_chunk(chunk(kind, body), self.TURNED)).size == Size(32, 24)

    def test_xmp_counts(self) -> None:
        text = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'><rdf:Description tiff:Orientation=\"6\"/></x:xmpmeta>"
        body = b"XML:com.adobe.xmp\0\0\0\0\0" + text
        assert open_photo(with_chunk(chunk(b"iTXt", body), self.TURNED)).size == Size(32, 24)
