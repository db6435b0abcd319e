from __future__ import annotations

import ast
import json
import subprocess
import sys
from io import BytesIO

import numpy as np
import pytest
from conftest import ROOT, ramp
from pictures import WRITERS, assert_reads_well
from PIL import Image

from crop_core import ImageError
from crop_core.photo.file_format import format_of
from crop_core.photo.photo import open_photo


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


# What Pillow can write and this package does not read, and how rarer kinds begin.
NOT_READ = ("BLP", "DDS", "DIB", "EPS", "ICNS", "ICO", "JPEG2000", "MSP", "PALM", "PCX", "PDF", "PPM", "SGI")
NOT_READ += ("SPIDER", "TGA", "XBM")
RARE = {
    "FITS": b"SIMPLE  =                    T" + b" " * 50 + b"BITPIX  =                    8",
    "EPS with a preview": b"\xc5\xd0\xd3\xc6" + bytes(60),
    "GRIB": b"GRIB\0\0\0\x01" + bytes(60),
    "BUFR": b"BUFR\0\0\0\x03" + bytes(60),
    "HDF5": b"\x89HDF\r\n\x1a\n" + bytes(60),
    "WMF": b"\xd7\xcd\xc6\x9a\0\0" + bytes(60),
    "EMF": b"\x01\0\0\0" + bytes(36) + b" EMF" + bytes(60),
    "PSD": b"8BPS\0\1" + bytes(60),
    "PCD": bytes(2048) + b"PCD_" + bytes(60),
    "FLI": bytes(4) + b"\x11\xaf" + bytes(120),
    "GIMP brush": b"\0\0\0\x1c\0\0\0\2" + bytes(12) + b"GIMP" + bytes(60),
    "IPTC": b"\x1c\x03\x3c\0\2" + bytes(60),
    "Sun raster": b"\x59\xa6\x6a\x95" + bytes(60),
    "MPEG": b"\0\0\1\xb3" + bytes(60),
    "XPM": b"/* XPM */\nstatic char *a[] = {};",
    "XVThumb": b"P7 332\n#END_OF_COMMENTS\n1 1 255\n\0",
    "OLE": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600),
    "a web page": b"<!DOCTYPE html><html></html>",
    "a playlist that names a file": b"#EXTM3U\nfile:///etc/hostname\n",
}


def written(format: str) -> bytes:
    buffer = BytesIO()
    mode = {"MSP": "1", "XBM": "1", "PALM": "P", "SPIDER": "F", "BLP": "P"}.get(format, "RGB")
    Image.new(mode, (16, 16)).save(buffer, format)
    return buffer.getvalue()


@pytest.mark.parametrize("format", NOT_READ)
def test_what_pillow_would_read_beside_the_list_is_refused(format: str) -> None:
    with pytest.raises(ImageError, match="Expected a JPEG, PNG") as caught:
        open_photo(written(format))
    assert_reads_well(caught.value)


@pytest.mark.parametrize("name", RARE)
def test_what_begins_like_a_rare_kind_is_refused(name: str) -> None:
    with pytest.raises(ImageError, match="Expected a JPEG, PNG") as caught:
        open_photo(RARE[name])
    assert_reads_well(caught.value)


@pytest.mark.parametrize("data", [b"", b"no picture"], ids=["empty", "text"])
@pytest.mark.parametrize("has_decoder", [True, False])
def test_a_message_names_heic_only_where_its_decoder_is(
    has_decoder: bool, data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not has_decoder:
        monkeypatch.setitem(sys.modules, "pillow_heif", None)  # what an absent package looks like to `import`
    with pytest.raises(ImageError) as caught:
        open_photo(data)
    assert ("AVIF, HEIC, TIFF" if has_decoder else "AVIF, TIFF") in str(caught.value)
    assert_reads_well(caught.value)


def test_no_reader_beside_the_list_is_ever_loaded() -> None:
    program = """
import json, sys
from crop_core import Cropper, CropRequest, ImageError
cropper = Cropper(device="cpu")
refused = 0
for text in json.load(sys.stdin):
    try:
        cropper.crop(bytes.fromhex(text), CropRequest(output_format="match_input", preview=True))
    except ImageError:
        refused += 1
plugins = sorted(name for name in sys.modules if name.startswith("PIL.") and name.endswith("ImagePlugin"))
print(json.dumps([refused, plugins]))
"""
    files = [*RARE.values(), written("EPS"), *(write(ramp(32, 24)) for write in WRITERS.values())]
    text = json.dumps([data.hex() for data in files])
    run = subprocess.run([sys.executable, "-c", program], input=text, capture_output=True, text=True, check=True)
    refused, plugins = json.loads(run.stdout)
    assert refused == len(RARE) + 1
    # Ppm comes with Pillow's writers, and Image.open, which alone would ask it to read, is never called.
    allowed = {"Avif", "Bmp", "Gif", "Jpeg", "Mpo", "Png", "Ppm", "Tiff", "WebP"}
    assert {name.removeprefix("PIL.").removesuffix("ImagePlugin") for name in plugins} <= allowed


def test_no_module_asks_pillow_to_guess_a_format() -> None:
    for path in (ROOT / "crop_core").glob("*.py"):
        calls = [node.func for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
        assert "Image.open" not in [ast.unparse(call) for call in calls], path
