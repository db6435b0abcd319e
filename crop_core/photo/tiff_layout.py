"""Reads a TIFF's tags: which of its pictures is the main one, and how its numbers become colours.

A TIFF can be stored in more ways than any decoder knows, and decoders guess at the rest. So the tags
are read here first, and a layout that is not known for certain is refused by name.
"""

from __future__ import annotations

from dataclasses import dataclass

from crop_core.errors import ImageError
from crop_core.photo.tiff_tags import Directory, directories, first_directory

# Tags.
_SUBFILE, _OLD_SUBFILE = 254, 255
_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _FILL_ORDER = 256, 257, 258, 259, 262, 266
_STRIPS, _ORIENTATION, _SAMPLES, _PLANAR, _PREDICTOR, _COLOR_MAP = 273, 274, 277, 284, 317, 320
_TILE_WIDTH, _TILES, _INK_SET, _EXTRA, _FORMAT, _PROFILE = 322, 324, 332, 338, 339, 34675
_DNG_VERSION = 50706

# Values of PhotometricInterpretation, and how many channels each takes.
WHITE_IS_0, BLACK_IS_0, RGB, PALETTE, CMYK, YCBCR, LAB = 0, 1, 2, 3, 5, 6, 8
_COLORS = {WHITE_IS_0: 1, BLACK_IS_0: 1, RGB: 3, PALETTE: 1, CMYK: 4, YCBCR: 3, LAB: 3}
_RAW = (32803, 34892)  # a sensor's mosaic, and linear raw
_NAMES = {4: "a mask", 9: "ICC L*a*b*", 10: "ITU L*a*b*", 32844: "LogL", 32845: "LogLuv", 34892: "linear raw"}

# Values of Compression.
_FAX, _OLD_JPEG, _JPEG, _WEBP = (2, 3, 4), 6, 7, 50001
_LOSSLESS = (1, 5, 8, 32773, 32946, 34925, 50000)  # none, LZW, deflate (twice), PackBits, LZMA, Zstandard

NO_ALPHA, PREMULTIPLIED, STRAIGHT = 0, 1, 2
_COREL = 999  # what Corel's programs write for straight alpha
_UNSIGNED = (1, 4)  # values of SampleFormat; 4 is "undefined", which scanners write
_MOST_BITS_A_PIXEL = 128


@dataclass(frozen=True, slots=True)
class Layout:
    """How the pixels of a TIFF's picture are stored.

    Attributes:
        directory: The picture's.
        width: In pixels, as stored.
        height: In pixels, as stored.
        orientation: 1 to 8, as in EXIF.
        photometric: `BLACK_IS_0` and so on.
        bits: Bits of a channel.
        samples: Stored channels, including transparency and unknown ones.
        colors: How many channels are colours; these come first.
        apart: Whether each channel is stored in a plane of its own.
        alpha: `NO_ALPHA`, `PREMULTIPLIED` or `STRAIGHT`.
        alpha_at: The index of the alpha channel.
        by_pillow: Whether Pillow reads this layout correctly. All others are lossless.
    """

    directory: Directory
    width: int
    height: int
    orientation: int
    photometric: int
    bits: int
    samples: int
    colors: int
    apart: bool
    alpha: int
    alpha_at: int
    by_pillow: bool

    @property
    def upright_size(self) -> tuple[int, int]:
        """Return width and height of the upright picture."""
        return (self.height, self.width) if self.orientation >= 5 else (self.width, self.height)

    @property
    def profile(self) -> bytes | None:
        """Return the colour profile."""
        return self.directory.raw(_PROFILE) or None


def layout_of(data: bytes) -> Layout:
    """Return the layout of a TIFF's main picture.

    Raises:
        ImageError: It is a camera's raw file, or its colours are not known for certain.
        struct.error: The first directory is not in the file.
        ValueError: The tags contradict each other.
    """
    directory = _chosen(data)
    width, height = directory.number(_WIDTH, 0), directory.number(_HEIGHT, 0)
    bits, samples = _bits_and_samples(directory)
    photometric = _photometric(directory)
    colors = _COLORS[photometric]
    if width < 1 or height < 1 or samples < colors:
        raise ValueError("the tags of the size or of the channels contradict each other")
    _check_numbers(directory, bits, samples, photometric)
    alpha, alpha_at = _alpha(directory, photometric, samples, colors)
    apart = directory.number(_PLANAR, 1) == 2 and samples > 1
    orientation = directory.number(_ORIENTATION, 1)
    orientation = orientation if 1 <= orientation <= 8 else 1
    by_pillow = _is_pillows(directory, photometric, bits, samples, apart)
    if not by_pillow:
        _check_lossless(directory, photometric, bits)
    return Layout(
        directory, width, height, orientation, photometric, bits, samples, colors, apart, alpha, alpha_at, by_pillow
    )


def _chosen(data: bytes) -> Directory:
    """Return the picture's directory: the first, or the first whole picture where that one is a preview."""
    first = first_directory(data)
    found = list(directories(first))
    is_raw = any(one.number(_PHOTOMETRIC, -1) in _RAW for one in found)
    if is_raw or _DNG_VERSION in first.entries or data[8:10] == b"CR":
        raise ImageError(
            "The file is a camera's raw file, and only its preview could be read. Export it as JPEG first."
        )
    return next((one for one in found if not _is_aside(one)), first)


def _is_aside(directory: Directory) -> bool:
    """Return whether a directory says that it is a preview or a mask."""
    return bool(directory.number(_SUBFILE, 0) & 0b101) or directory.number(_OLD_SUBFILE, 1) == 2


def _bits_and_samples(directory: Directory) -> tuple[int, int]:
    samples = directory.number(_SAMPLES, 1)
    bits = directory.numbers(_BITS)[:samples] or (1,)
    if len(bits) not in (1, samples) or samples < 1:
        raise ValueError("as many channels as depths are needed")
    if len(set(bits)) > 1:
        raise refused(f"has channels of {', '.join(map(str, bits[:8]))} bits")
    return bits[0], samples


def _photometric(directory: Directory) -> int:
    if directory.number(_COMPRESSION, 1) == _OLD_JPEG:
        return YCBCR
    photometric = directory.number(_PHOTOMETRIC, -1)
    if photometric == -1:
        raise refused("does not say what its numbers mean (it lacks PhotometricInterpretation)")
    if photometric not in _COLORS:
        raise refused(f"has colours of the kind {_NAMES.get(photometric, photometric)}")
    if photometric == CMYK and directory.number(_INK_SET, 1) != 1:
        raise refused("has inks other than CMYK")
    return photometric


def _check_numbers(directory: Directory, bits: int, samples: int, photometric: int) -> None:
    if bits > 16:
        raise ImageError(
            f"The picture has {bits} bits a channel, for which black and white are not defined. "
            "Save it with 8 or 16 bits."
        )
    if not set(directory.numbers(_FORMAT)[:samples] or (1,)) <= set(_UNSIGNED):
        raise refused("has numbers that are not whole or can be negative")
    if samples * bits > _MOST_BITS_A_PIXEL:
        raise refused(f"has {samples} channels")
    if bits < 1 or (photometric == PALETTE and bits > 8) or (photometric == LAB and bits not in (8, 16)):
        raise refused(f"has {bits} bits a channel for colours of this kind")


def _alpha(directory: Directory, photometric: int, samples: int, colors: int) -> tuple[int, int]:
    """Return the kind of alpha and the index of its channel; extra channels of an unknown kind are ignored."""
    extra = directory.numbers(_EXTRA)[: samples - colors]
    if not extra and photometric == RGB and samples == 4:
        return STRAIGHT, 3
    for index, kind in enumerate(extra):
        if kind in (PREMULTIPLIED, STRAIGHT, _COREL):
            return STRAIGHT if kind == _COREL else kind, colors + index
    return NO_ALPHA, 0


def _is_pillows(directory: Directory, photometric: int, bits: int, samples: int, apart: bool) -> bool:
    """Return whether Pillow reads this layout correctly; tests/photo/test_tiff.py tries many layouts."""
    compression = directory.number(_COMPRESSION, 1)
    if directory.big and directory.order == ">":
        return False  # Pillow takes a big-endian BigTIFF for a plain TIFF
    if apart or directory.numbers(_FORMAT)[:1] not in ((), (1,)):
        return False
    extra = directory.numbers(_EXTRA)
    usual = samples == _COLORS[photometric] or (photometric == RGB and samples == 4 and len(extra) <= 1)
    if compression in _FAX:
        return photometric in (WHITE_IS_0, BLACK_IS_0) and bits == 1 and samples == 1
    if compression in (_JPEG, _OLD_JPEG, _WEBP):
        return bits == 8 and usual
    if photometric == YCBCR:
        return compression in _LOSSLESS and bits == 8 and samples == 3
    if compression not in _LOSSLESS or directory.number(_FILL_ORDER, 1) != 1 or not usual:
        return False
    if photometric == PALETTE:
        return bits == 8 and max(directory.numbers(_COLOR_MAP), default=0) > 255
    return bits == 8 or (photometric == RGB and bits == 16) or (photometric in (WHITE_IS_0, BLACK_IS_0) and bits == 1)


def _check_lossless(directory: Directory, photometric: int, bits: int) -> None:
    compression, predictor = directory.number(_COMPRESSION, 1), directory.number(_PREDICTOR, 1)
    if compression not in _LOSSLESS:
        raise refused(f"is compressed in a way ({compression}) that is not read for pixels of this kind")
    if photometric == YCBCR:
        raise refused(f"has YCbCr colours of {bits} bits, or in planes or with more channels")
    if predictor not in (1, 2) or (predictor == 2 and bits not in (8, 16)):
        raise refused(f"has differences of pixels (predictor {predictor}) of {bits} bits")
    if photometric == PALETTE and len(directory.numbers(_COLOR_MAP)) != 3 << bits:
        raise ValueError("the palette does not have a colour for each number")


def refused(what: str) -> ImageError:
    """Return the error for a TIFF of a kind that is not read."""
    return ImageError(f"The TIFF {what}, which is not read. Save it again as JPEG or PNG.")
