from __future__ import annotations

import numpy as np
import pytest
from pictures import assert_reads_well

from crop_core import ImageError
from crop_core.format import format_of
from crop_core.photo import open_photo


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"MM\0*" + bytes(8), "TIFF"),
        (b"II+\0" + bytes(8), "TIFF"),
        (b"MM\0+" + bytes(8), "TIFF"),
        (b"GIF87a", "GIF"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1avif", "AVIF"),
        (b"\0\0\0\x14ftypavis\0\0\0\0avis", "AVIF"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", "HEIF"),
        (b"\0\0\0\x14ftyphevc\0\0\0\0hevc", "HEIF"),
    ],
    ids=["big-endian", "BigTIFF", "BigTIFF-big-endian", "GIF87a", "AVIF-as-mif1", "AVIF-sequence", "HEIC-as-mif1",
         "HEIC-sequence"],
)  # fmt: skip
def test_rarer_signatures_are_known(data: bytes, name: str) -> None:
    assert format_of(data) == name


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (b"", "empty"),
        (b"hello, I am no picture\n", "text"),
        ("mit Umlaut: ä\n".encode(), "unknown kind"),
        (b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>", "SVG"),
        (b"\xef\xbb\xbf<?xml version='1.0'?>\n<!-- a -->\n<SVG width='9'/>", "SVG"),
        (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3", "PDF"),
        (b"\xff\x0a\xfa\x1f\x41\x91", "JPEG XL"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
        (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
        (b"\xff\x4f\xff\x51\0\x2f", "JPEG 2000"),
        (b"8BPS\0\1", "Photoshop"),
        (b"PK\x03\x04" + bytes(30), "archive"),
        (b"\0\0\0\x18ftypmp42\0\0\0\0isom", "unknown kind"),
        (np.random.default_rng(0).integers(0, 256, 5000, dtype=np.uint8).tobytes(), "unknown kind"),
        (b"\0", "unknown kind"),
    ],
    ids=["empty", "text", "utf-8", "svg", "svg-after-prolog", "pdf", "jxl-codestream", "jxl-container", "jp2",
         "j2k-codestream", "psd", "zip", "mp4", "random", "one-byte"],
)  # fmt: skip
def test_what_is_no_picture_is_refused_by_name(data: bytes, word: str) -> None:
    with pytest.raises(ImageError) as caught:
        open_photo(data)
    assert word in str(caught.value)
    assert_reads_well(caught.value)
