"""From bytes to upright pixels, and to what must survive the way: colour profile, alpha, format.

`open_photo` knows a format by its bytes, goes to that one decoder and no other, reads the header
and applies the limits; nothing is decoded before `Photo.pixels` asks for it. This module knows
nothing of detectors, windows' meaning or output files.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from functools import cached_property
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageCms,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)
from torch import Tensor

from crop_core.box import Size, Window
from crop_core.errors import ImageError

MAX_BYTES = 256 * 2**20  # a 200-megapixel JPEG has some 80 MB, a large TIFF a few times that
MAX_PIXELS = 210_000_000  # the largest camera phones take 16384 x 12288 = 201 megapixels
MAX_SIDE = 65_535  # px; JPEG's own limit

FORMATS = "JPEG, PNG, WebP, AVIF, HEIC, TIFF, BMP or GIF"

# What Pillow's decoders raise on files that are broken; Image.open catches most of the same.
_DECODE_ERRORS = (
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

_ORIENTATION_TAG = 0x0112
_TRANSPOSE = {  # EXIF orientation -> what makes the picture upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def read_photo(path: Path) -> bytes:
    """Return the bytes of a picture file; one beyond `MAX_BYTES` is not read.

    Raises:
        ImageError: The file is too large or cannot be read.
    """
    try:
        _check_length(path.stat().st_size)
        return path.read_bytes()
    except OSError as error:
        raise ImageError(f"The file cannot be read: {error.strerror}.") from error


def open_photo(data: bytes) -> Photo:
    """Return the picture that the bytes hold, its header read and nothing decoded.

    Raises:
        ImageError: The bytes are no picture of a format on the list, or it is broken or beyond
            the limits `MAX_BYTES`, `MAX_PIXELS` and `MAX_SIDE`.
    """
    if not data:
        raise ImageError(f"The file is empty (0 bytes); send a {FORMATS} picture.")
    _check_length(len(data))
    return Photo(data, format_of(data))


def _check_length(length: int) -> None:
    if length > MAX_BYTES:
        raise ImageError(
            f"The file has {length / 2**20:.0f} MiB; at most {MAX_BYTES // 2**20} MiB are accepted. "
            "Send a smaller or more strongly compressed picture."
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


class Photo:
    """A picture whose header is read. Pixels are decoded when asked for, and kept.

    Attributes:
        size: Upright width and height, after the EXIF orientation is applied.
        format: Pillow's name of the format: JPEG, MPO, PNG, WEBP, AVIF, HEIF, TIFF, BMP or GIF.
        has_alpha: Whether `pixels` has four channels.
        icc_profile: The RGB colour profile that the crops must carry, or none. CMYK, gray and Lab
            pictures are converted to sRGB instead, by their own profile where they have one.
    """

    def __init__(self, data: bytes, format: str) -> None:
        """Read the header; call `open_photo`, which knows the format."""
        self._data = data
        self._kind = format
        self._decoded: dict[int, Image.Image] = {}
        image = self._opened()
        width, height = image.size
        if max(width, height) > MAX_SIDE or width * height > MAX_PIXELS:
            raise _too_large(f"{width}x{height} pixels ({width * height / 1e6:.0f} megapixels)")
        self._raw_size = Size(width, height)
        self._first: Image.Image | None = image
        self._orientation = self._read_orientation(image)
        self.size = Size(height, width) if self._orientation >= 5 else self._raw_size
        self.format = "MPO" if format == "JPEG" and "mp" in image.info else format
        self.has_alpha = image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info
        profile = image.info.get("icc_profile")
        self._source_profile: bytes | None = profile if isinstance(profile, bytes) and len(profile) >= 128 else None
        space = self._source_profile[16:20] if self._source_profile else b""
        in_rgb = image.mode in ("RGB", "RGBA", "RGBX", "P", "PA")
        self.icc_profile = self._source_profile if in_rgb and space == b"RGB " else None

    @cached_property
    def reductions(self) -> tuple[int, ...]:
        """Return the denominators of the scales that the decoder offers; JPEG's DCT gives 1, 2, 4 and 8."""
        if self._kind != "JPEG":
            return (1,)
        shorter = min(self._raw_size.width, self._raw_size.height)
        return tuple(n for n in (1, 2, 4, 8) if shorter >= n)

    def reduction_for(self, longest_side: int) -> int:
        """Return the strongest reduction that leaves at least `longest_side` pixels on the longer side."""
        longer = max(self.size.width, self.size.height)
        return max((n for n in self.reductions if longer // n >= longest_side), default=1)

    def pixels(self, reduction: int = 1, window: Window | None = None, device: str | torch.device = "cpu") -> Tensor:
        """Return upright pixels at 1/`reduction` of the source's scale.

        Args:
            reduction: One of `reductions`.
            window: The part to return, in upright source pixels, its corners multiples of
                `reduction` as the picture's sides are; the whole picture when none.
            device: Where the tensor goes.

        Returns:
            uint8 tensor [3 or 4, h, w], RGB or RGBA (alpha not premultiplied), 0 to 255, in
            channels-last memory.

        Raises:
            ImageError: The picture is broken.
        """
        image = self._decode(reduction)
        if window is not None:
            raw = self._raw_window(window)
            x1, y1, x2, y2 = (side // reduction for side in raw.xyxy)
            # Image.crop would refuse windows beyond Pillow's own limit, which is lower than MAX_PIXELS.
            image = image.transform((x2 - x1, y2 - y1), Image.Transform.EXTENT, (x1, y1, x2, y2))
        if self._orientation in _TRANSPOSE:
            image = image.transpose(_TRANSPOSE[self._orientation])
        array = np.array(image)
        return torch.from_numpy(array).to(device).permute(2, 0, 1)

    def _opened(self) -> Image.Image:
        try:
            return _OPENERS[self._kind](BytesIO(self._data))
        except ImageError:
            raise
        except Image.DecompressionBombError as error:
            raise _too_large() from error
        except _DECODE_ERRORS as error:
            raise _broken(self._kind) from error

    def _read_orientation(self, image: Image.Image) -> int:
        """Return the EXIF orientation that is still to be applied: 1 to 8, 1 for whatever is none."""
        if self._kind in ("TIFF", "HEIF"):
            return 1  # these decoders turn the picture themselves
        try:
            # Not the class's own: PngImageFile's decodes the picture to find EXIF, and one that fails once
            # while it loads gives half a picture without an error the next time.
            value = Image.Image.getexif(image).get(_ORIENTATION_TAG, 1)
        except _DECODE_ERRORS:
            return 1  # broken EXIF in a picture that may well decode
        return value if value in _TRANSPOSE else 1

    def _decode(self, reduction: int) -> Image.Image:
        """Return the picture at 1/`reduction`, RGB or RGBA, not yet turned upright."""
        if reduction in self._decoded:
            return self._decoded[reduction]
        if reduction not in self.reductions:
            raise ValueError(f"a {self._kind} picture is decoded at 1/{self.reductions}, not at 1/{reduction}")
        image, self._first = self._first or self._opened(), None
        try:
            if reduction > 1:
                width, height = self._raw_size.width, self._raw_size.height
                image.draft(None, (width // reduction, height // reduction))
            image.load()
            expected = (-(-self._raw_size.width // reduction), -(-self._raw_size.height // reduction))
            if image.size != expected:
                raise _broken(self._kind)  # libheif may find another size in the pixels than in the header
            image = _as_rgb(image, self._source_profile, self.has_alpha)
        except ImageError:
            raise
        except Image.DecompressionBombError as error:
            raise _too_large() from error
        except _DECODE_ERRORS as error:
            raise _broken(self._kind) from error
        self._decoded[reduction] = image
        return image

    def _raw_window(self, window: Window) -> Window:
        """Return where the upright window lies in the picture as it is stored."""
        width, height = self._raw_size.width, self._raw_size.height
        x1, y1, x2, y2 = window.xyxy
        match self._orientation:
            case 2:
                return Window(width - x2, y1, width - x1, y2)
            case 3:
                return Window(width - x2, height - y2, width - x1, height - y1)
            case 4:
                return Window(x1, height - y2, x2, height - y1)
            case 5:
                return Window(y1, x1, y2, x2)
            case 6:
                return Window(y1, height - x2, y2, height - x1)
            case 7:
                return Window(width - y2, height - x2, width - y1, height - x1)
            case 8:
                return Window(width - y2, x1, width - y1, x2)
        return window


def _too_large(what: str = "too many pixels") -> ImageError:
    return ImageError(
        f"The picture has {what}; at most {MAX_PIXELS // 10**6} megapixels and {MAX_SIDE} pixels a side are "
        "accepted. Send a smaller one."
    )


def _broken(kind: str) -> ImageError:
    name = {"WEBP": "WebP", "HEIF": "HEIC"}.get(kind, kind)
    return ImageError(
        f"The file begins like {name} but cannot be decoded: it is damaged, cut off or of a rare kind. "
        "Send it again, or save it anew as JPEG or PNG."
    )


def _as_rgb(image: Image.Image, profile: bytes | None, has_alpha: bool) -> Image.Image:
    """Return the decoded picture as 8-bit RGB, or RGBA where it has alpha."""
    if image.mode.startswith("I;16"):
        image = _as_8_bits(image)
    if image.mode in ("I", "F"):
        raise ImageError(
            "The picture has 32 bits a channel, whose black and white are not defined. Save it with 8 or 16 bits."
        )
    if image.mode in ("CMYK", "L", "LAB") and not has_alpha:
        return _converted_to_srgb(image, profile)
    if image.mode in ("L", "LA", "La"):
        gray, alpha = image.convert("LA").split()
        image = _converted_to_srgb(gray, profile)
        image.putalpha(alpha)
        return image
    return image.convert("RGBA" if has_alpha else "RGB")


def _as_8_bits(image: Image.Image) -> Image.Image:
    """Return a 16-bit gray picture in 8 bits, 65,535 becoming 255; convert("L") would clip it to white."""
    deep = np.asarray(image).astype(np.uint32)
    gray = Image.fromarray(((deep + 128) // 257).astype(np.uint8))
    if (transparent := image.info.get("transparency")) is not None:
        gray.putalpha(Image.fromarray(np.where(deep == transparent, 0, 255).astype(np.uint8)))
    return gray


def _converted_to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Return a CMYK, gray or Lab picture in sRGB, by its profile; where it has none of its kind, as Pillow does."""
    space = {"CMYK": b"CMYK", "L": b"GRAY", "LAB": b"Lab "}[image.mode]
    try:
        if profile is not None and profile[16:20] == space:
            source = ImageCms.ImageCmsProfile(BytesIO(profile))
        elif image.mode == "LAB":
            source = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))
        else:
            return image.convert("RGB")
        converted = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError):
        return image.convert("RGB")  # a broken profile must not cost the picture
    assert converted is not None  # not in place
    return converted
