"""The formats: which one the bytes are, and the one decoder that opens it and no other.

Pillow's own `Image.open` would try every decoder there is; nothing here reaches Ghostscript, FITS or
another exotic reader.
"""

from __future__ import annotations

import struct
import time
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO

from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from crop_core.errors import ImageError
from crop_core.photo.color import as_rgb
from crop_core.photo.header_checks import check_index, check_segments, check_tags, png_chunks
from crop_core.photo.limits import check_exif, limits, too_large, too_slow

# These decoders take a file whole, and their time has no bound by the file's size or its pixels.
_DECODED_APART = ("AVIF", "HEIF", "TIFF")

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


def is_decoded_apart(kind: str, data: bytes) -> bool:
    """Return whether a file is decoded in a process of its own.

    So is a WebP that is lossless or transparent: a few bytes of it can ask for tables of 20 KB, 65,536
    times, as no header tells. Lossy ones have no such tables.
    """
    return kind in _DECODED_APART or (kind == "WEBP" and (b"VP8L" in data or b"ALPH" in data))


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


# A JPEG of several scans can hold one of the whole picture in 10 bytes, which takes up to 0.6 ns a pixel. So many
# bytes, divided by its pixels, are decoded between two looks at the clock: some two seconds' worth. Pillow's usual
# are 65,536.
_SCANS_PIECE = 40_000_000_000


class Source(BytesIO):
    """A file's bytes that cannot be read for ever.

    Pillow feeds a decoder piece by piece, so a read that fails stops it; a thread or a signal would
    not.
    """

    def __init__(self, data: bytes) -> None:
        """Start the time."""
        super().__init__(data)
        self.restart()

    def restart(self) -> None:
        """Start the time anew: a header may have been read long before its picture is decoded."""
        self._until = time.monotonic() + limits().max_decode_s

    def read(self, size: int | None = -1, /) -> bytes:
        """Return the next bytes.

        Raises:
            ImageError: The time is over.
        """
        if time.monotonic() > self._until:
            raise too_slow()
        return super().read(size)


class JpegFile(JpegImagePlugin.JpegImageFile):
    """A JPEG that knows whether it takes several scans to make its picture, whatever their kind.

    Attributes:
        several_scans: Whether it does.
    """

    several_scans = False


def _jpeg(source: BytesIO) -> Image.Image:
    """Open a JPEG of which the clock can be kept; the first picture of an MPO is one, too."""
    components = check_segments(source.getvalue())
    image = JpegFile(source)
    image.several_scans = "progressive" in image.info or components < image.layers
    if image.several_scans:
        image.decodermaxblock = max(64, min(image.decodermaxblock, _SCANS_PIECE // (image.width * image.height)))
    return image


def _webp(source: BytesIO) -> Image.Image:
    image = WebPImagePlugin.WebPImageFile(source)
    check_exif(len(image.info.get("exif", b"")))
    return image


def _avif(source: BytesIO) -> Image.Image:
    check_index(source.getvalue(), "AVIF")
    return AvifImagePlugin.AvifImageFile(source)


def _png(source: BytesIO) -> Image.Image:
    """Open a PNG, and complete what Pillow leaves undone of its header."""
    data = source.getvalue()
    chunks = png_chunks(data)
    exif = next((data[start:end] for kind, start, end in chunks if kind == b"eXIf"), None)
    check_exif(sum(min(end, len(data)) - start for kind, start, end in chunks if kind == b"eXIf"))
    ends = [end + 4 for kind, _, end in chunks if kind == b"IDAT"]
    if ends and len(data) - ends[-1] > len(_PNG_END):  # texts, frames and what not, which could inflate
        source = Source(data[: ends[-1]] + _PNG_END)
    try:
        image = PngImagePlugin.PngImageFile(source)
    except ValueError:  # a text inflates beyond Pillow's limits, which must not cost the picture
        kept = (data[start - 8 : end + 4] for kind, start, end in chunks if kind not in (b"tEXt", b"zTXt", b"iTXt"))
        image = PngImagePlugin.PngImageFile(Source(data[:8] + b"".join(kept)))
    if "exif" not in image.info and exif:
        image.info["exif"] = exif
    # Pillow scales gray and colours to 8 bits, and leaves the transparent one of tRNS in the file's depth.
    depth, transparent = data[24], image.info.get("transparency")
    if image.mode == "L" and isinstance(transparent, int) and depth < 8:
        image.info["transparency"] = transparent * 255 // (2**depth - 1)
    elif isinstance(transparent, tuple) and depth == 16:
        image.info["transparency"] = tuple(value >> 8 for value in transparent)
    return image


_PNG_END = b"\0\0\0\0IEND\xaeB`\x82"


def _tiff(source: BytesIO) -> Image.Image:
    """Open a TIFF whose tags are of a number that makes sense."""
    check_tags(source.getvalue())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a tag that is damaged; what the picture lacks for it, its decoder says
        return TiffImagePlugin.TiffImageFile(source)


def _heif(source: BytesIO) -> Image.Image:
    try:
        from pillow_heif import HeifImageFile  # the extra `heic`
    except ImportError as error:
        raise ImageError(
            "This is a HEIC picture, and no HEIC decoder is installed: pip install 'crop-core[heic]', "
            "or convert the picture to JPEG."
        ) from error
    check_index(source.getvalue(), "HEIC")
    image = HeifImageFile(source)
    assert isinstance(image, Image.Image)
    return image


# Each format goes to its one decoder; Image.open would try them all.
_OPENERS: dict[str, Callable[[BytesIO], Image.Image]] = {
    "JPEG": _jpeg,
    "PNG": _png,
    "WEBP": _webp,
    "AVIF": _avif,
    "TIFF": _tiff,
    "BMP": BmpImagePlugin.BmpImageFile,
    "GIF": GifImagePlugin.GifImageFile,
    "HEIF": _heif,
}


def opened(data: bytes, kind: str) -> Image.Image:
    """Return the picture with its header read, by the decoder of that format.

    Raises:
        ImageError: The header is broken, or its parts are more than the limits allow.
    """
    with _refused(kind):
        return _OPENERS[kind](Source(data))


def decoded(image: Image.Image, kind: str, size: tuple[int, int], mode: str) -> Image.Image:
    """Return the picture's pixels as 8-bit RGB or RGBA.

    Args:
        image: As `opened` returns it.
        kind: Its format.
        size: What must come out, in pixels.
        mode: ``RGB``, or ``RGBA`` where the picture has transparency of any kind.

    Raises:
        ImageError: It is broken, has 32 bits a channel, or does not decode in time.
    """
    profile = image.info.get("icc_profile")
    if isinstance(image, ImageFile.ImageFile) and isinstance(image.fp, Source):
        image.fp.restart()
    with _refused(kind):
        image.load()
        if image.size != size:
            raise broken(kind)  # libheif may find another size in the pixels than in the header
        return as_rgb(image, profile if isinstance(profile, bytes) else None, has_alpha=mode == "RGBA")


@contextmanager
def _refused(kind: str) -> Iterator[None]:
    """Raise as an ImageError what a decoder raises."""
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
    """Return the error for a file of that format which does not decode."""
    name = {"WEBP": "WebP", "HEIF": "HEIC"}.get(kind, kind)
    return ImageError(
        f"The file begins like {name} but cannot be decoded: it is damaged, cut off or of a rare kind. "
        "Send it again, or save it anew as JPEG or PNG."
    )
