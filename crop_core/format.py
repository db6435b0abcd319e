"""The formats: which one the bytes are, and the one decoder that opens it and no other.

Pillow's own `Image.open` would try every decoder there is; nothing here reaches Ghostscript, FITS or
another exotic reader.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from io import BytesIO

from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from crop_core.errors import ImageError
from crop_core.limits import too_large

FORMATS = "JPEG, PNG, WebP, AVIF, HEIC, TIFF, BMP or GIF"

# What Pillow's decoders raise on files that are broken; Image.open catches most of the same.
DECODE_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    AttributeError,
    EOFError,
    RuntimeError,
    MemoryError,
    struct.error,
    zlib.error,
)


def format_of(data: bytes) -> str:
    """Return the format's name, one of Pillow's, as the first bytes tell it: file names cannot be trusted.

    Raises:
        ImageError: No format on the list begins like this.
    """
    for name, signatures in _SIGNATURES.items():
        if data.startswith(signatures):
            return name
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    if data[4:8] == b"ftyp":
        length = min(int.from_bytes(data[:4], "big"), 256)
        brands = {data[8:12], *(data[i : i + 4] for i in range(16, length, 4))}
        if brands & {b"avif", b"avis"}:
            return "AVIF"
        if brands & {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}:
            return "HEIF"
    raise ImageError(f"Expected a {FORMATS} picture, but the file is {_described(data)}. Convert it first.")


_SIGNATURES: dict[str, bytes | tuple[bytes, ...]] = {
    "JPEG": b"\xff\xd8\xff",
    "PNG": b"\x89PNG\r\n\x1a\n",
    "GIF": (b"GIF87a", b"GIF89a"),
    "BMP": b"BM",
    "TIFF": (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),
}
_REFUSED_SIGNATURES: dict[str, bytes | tuple[bytes, ...]] = {
    "a JPEG XL picture": (b"\xff\x0a", b"\0\0\0\x0cJXL "),
    "a JPEG 2000 picture": (b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51"),
    "a PDF document": b"%PDF",
    "a PostScript document": b"%!PS",
    "a Photoshop document": b"8BPS",
    "an archive": (b"PK\x03\x04", b"\x1f\x8b", b"7z\xbc\xaf"),
}


def _described(data: bytes) -> str:
    for what, signatures in _REFUSED_SIGNATURES.items():
        if data.startswith(signatures):
            return what
    head = data[:512].lstrip(b"\xef\xbb\xbf \t\r\n")
    if b"<svg" in head.lower():
        return "an SVG drawing"
    if head.isascii() and head.decode("ascii").replace("\n", "").replace("\r", "").replace("\t", "").isprintable():
        return "text"
    return "of an unknown kind"


def _png(source: BytesIO) -> Image.Image:
    """Open a PNG and complete what Pillow leaves undone of its header."""
    image = PngImagePlugin.PngImageFile(source)
    data = source.getvalue()
    if "exif" not in image.info and (exif := _png_chunk(data, b"eXIf")):
        image.info["exif"] = exif
    # Pillow scales gray and colours to 8 bits, and leaves the transparent one of tRNS in the file's depth.
    depth, transparent = data[24], image.info.get("transparency")
    if image.mode == "L" and isinstance(transparent, int) and depth < 8:
        image.info["transparency"] = transparent * 255 // (2**depth - 1)
    elif isinstance(transparent, tuple) and depth == 16:
        image.info["transparency"] = tuple(value >> 8 for value in transparent)
    return image


def _png_chunk(data: bytes, kind: bytes) -> bytes | None:
    """Return the body of the first chunk of that kind, wherever it stands."""
    at = 8
    while at + 8 <= len(data):
        end = at + 8 + int.from_bytes(data[at : at + 4], "big")
        if data[at + 4 : at + 8] == kind:
            return data[at + 8 : end]
        at = end + 4  # behind the checksum
    return None


def _heif(source: BytesIO) -> Image.Image:
    try:
        from pillow_heif import HeifImageFile  # the extra `heic`
    except ImportError as error:
        raise ImageError(
            "This is a HEIC picture, and no HEIC decoder is installed: pip install 'crop-core[heic]', "
            "or convert the picture to JPEG."
        ) from error
    image = HeifImageFile(source)
    assert isinstance(image, Image.Image)
    return image


# Each format goes to its one decoder; Image.open would try them all. JpegImageFile reads the first
# picture of an MPO as the JPEG that it is.
_OPENERS: dict[str, Callable[[BytesIO], Image.Image]] = {
    "JPEG": JpegImagePlugin.JpegImageFile,
    "PNG": _png,
    "WEBP": WebPImagePlugin.WebPImageFile,
    "AVIF": AvifImagePlugin.AvifImageFile,
    "TIFF": TiffImagePlugin.TiffImageFile,
    "BMP": BmpImagePlugin.BmpImageFile,
    "GIF": GifImagePlugin.GifImageFile,
    "HEIF": _heif,
}


def opened(data: bytes, kind: str) -> Image.Image:
    """Return the picture with its header read, by the decoder of that format.

    Raises:
        ImageError: The header is broken or tells of too many pixels.
    """
    try:
        return _OPENERS[kind](BytesIO(data))
    except ImageError:
        raise
    except Image.DecompressionBombError as error:
        raise too_large() from error
    except DECODE_ERRORS as error:
        raise broken(kind) from error


def broken(kind: str) -> ImageError:
    """Return the error for a file of that format which does not decode."""
    name = {"WEBP": "WebP", "HEIF": "HEIC"}.get(kind, kind)
    return ImageError(
        f"The file begins like {name} but cannot be decoded: it is damaged, cut off or of a rare kind. "
        "Send it again, or save it anew as JPEG or PNG."
    )
