"""Tells a file's format by its first bytes, and makes the errors for files that are broken or of no known format.

Pillow's own `Image.open` would try every decoder that it has. Here each format goes to its one decoder,
so that no file reaches Ghostscript, FITS or another exotic reader.
"""

from __future__ import annotations

import importlib.util
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

from PIL import Image

from crop_core.errors import ImageError
from crop_core.photo.limits import too_large

# Opened and decoded in a process of its own: neither the file's size nor its pixels bound the decoder's time and
# memory.
DECODED_APART = ("AVIF", "HEIF", "TIFF", "WEBP")

# What Pillow's decoders raise on broken files; Image.open itself catches most of these.
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
    struct.error,
    zlib.error,
)


def has_heic_decoder() -> bool:
    """Return whether pillow-heif is installed; the extra `heic` brings it."""
    return importlib.util.find_spec("pillow_heif") is not None


def formats() -> str:
    """Return the formats that can be read here, as a message names them."""
    return f"JPEG, PNG, WebP, AVIF, {'HEIC, ' if has_heic_decoder() else ''}TIFF, BMP or GIF"


def format_of(data: bytes) -> str:
    """Return Pillow's name of the format, told by the first bytes: file names cannot be trusted.

    Raises:
        ImageError: No known format begins like this.
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
    raise ImageError(f"Expected a {formats()} picture, but the file is {_described(data)}. Convert it first.")


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
    "a camera's raw file": (b"IIRO", b"IIRS", b"MMOR", b"IIU\0", b"FUJIFILMCCD-RAW", b"FOVb"),
    "an archive": (b"PK\x03\x04", b"\x1f\x8b", b"7z\xbc\xaf"),
}


def _described(data: bytes) -> str:
    if data[4:12] == b"ftypcrx ":
        return "a camera's raw file"
    for what, signatures in _REFUSED_SIGNATURES.items():
        if data.startswith(signatures):
            return what
    head = data[:512].lstrip(b"\xef\xbb\xbf \t\r\n")
    if b"<svg" in head.lower():
        return "an SVG drawing"
    if head.isascii() and head.decode("ascii").replace("\n", "").replace("\r", "").replace("\t", "").isprintable():
        return "text"
    return "of an unknown kind"


@contextmanager
def refusing(kind: str) -> Iterator[None]:
    """Turn what a decoder raises into an ImageError."""
    try:
        yield
    except ImageError:
        raise
    except Image.DecompressionBombError as error:
        raise too_large(kind) from error
    except MemoryError as error:
        raise ImageError("There is not enough memory to decode the picture. Send a smaller one.") from error
    except DECODE_ERRORS as error:
        raise broken(kind) from error


def broken(kind: str) -> ImageError:
    """Return the error for a file of that format that does not decode."""
    name = {"WEBP": "WebP", "HEIF": "HEIC"}.get(kind, kind)
    return ImageError(
        f"The file begins like {name} but cannot be decoded: it is damaged, cut off or of a rare kind. "
        "Send it again, or save it again as JPEG or PNG."
    )
