"""The odd pictures that people upload, one row each, from the file to the crop."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from io import BytesIO

import numpy as np
import pillow_heif
import pytest
from conftest import SAMPLES, SHARED, STORED_AS, encoded
from pictures import WRITERS, assert_reads_well, chunk, exif_bytes, heic, png, stored, tiff
from PIL import ExifTags, Image, ImageCms, PngImagePlugin
from profiles import (
    ADOBE_RGB,
    DISPLAY_P3,
    LAB,
    NEGATIVE,
    PROPHOTO,
    SRGB,
    in_profile,
    lab_of,
    linear_gray_profile,
    mean_delta_e,
    plausible_cmyk_profile,
)

from crop_core import Cropper, CropRequest, ImageError

WHOLE = CropRequest(
    aspect_ratios=("match_input",), if_none="full_image", output_format="png"
)  # in subject mode the largest crop of a picture is all of it


def photo(name: str = "astronaut", width: int = 120, height: int = 90) -> Image.Image:
    """Return a sample without its detail, so that what is measured is colours and not what a codec leaves out."""
    with Image.open(SAMPLES / f"{name}.jpg") as opened:
        return opened.convert("RGB").resize((20, 15)).resize((width, height), Image.Resampling.BICUBIC)


PHOTO = photo()
CUT_OUT = PHOTO.copy()
CUT_OUT.putalpha(photo("cat").convert("L"))
PALETTE = PHOTO.quantize(64)
GRAY = PHOTO.convert("L")
DEEP_GRAY = np.asarray(GRAY).astype(np.uint16) * 257
DEEP = np.asarray(PHOTO).astype(np.uint16) * 257
BLACK_AND_WHITE = PHOTO.convert("1")
CMYK = PHOTO.convert("CMYK")
NOISE = Image.fromarray(np.random.default_rng(1).integers(0, 256, (90, 120, 3), dtype=np.uint8))


def with_alpha(image: Image.Image, alpha: int | Image.Image) -> Image.Image:
    result = image.convert("RGB")
    result.putalpha(alpha)
    return result


def lab_picture() -> Image.Image:
    return ImageCms.profileToProfile(PHOTO, ImageCms.createProfile("sRGB"), LAB, outputMode="LAB")


def as_seen(image: Image.Image, profile: bytes) -> Image.Image:
    """Return a picture that is not RGB in sRGB, by its profile."""
    source = ImageCms.ImageCmsProfile(BytesIO(profile))
    return ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")


def rows_of(array: np.ndarray) -> bytes:
    """Return a PNG's rows of 16 bits, each behind its filter's 0."""
    return b"".join(b"\0" + row.astype(">u2").tobytes() for row in array)


def jpeg_with_junk() -> bytes:
    data = encoded(PHOTO, "JPEG", quality=95)
    return data[:20] + b"\0junk" * 9 + data[20:]


def gif_without_palette() -> bytes:
    screen = b"GIF89a" + struct.pack("<HHBBB", 1, 1, 0, 0, 0)
    return screen + b"," + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\x02\x02\x44\x01\0;"


def text_that_inflates() -> bytes:
    plain = encoded(PHOTO)
    return plain[:33] + chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(2 * 2**20))) + plain[33:]


def deep_heic() -> bytes:
    buffer = BytesIO()
    pillow_heif.from_bytes("RGB;16", PHOTO.size, DEEP.tobytes()).save(buffer, quality=95, chroma=444)
    return buffer.getvalue()


def bomb_avif() -> bytes:
    data = WRITERS["AVIF"](PHOTO)
    at = data.index(b"ispe") + 8
    return data[:at] + struct.pack(">II", 17_000, 17_000) + data[at + 8 :]


def frames(format: str, size: tuple[int, int] = PHOTO.size, count: int = 4) -> bytes:
    first = PHOTO.resize(size)
    later = [Image.new("RGB", size, (0, 0, index)) for index in range(1, count)]
    options = {"WEBP": {"lossless": True}, "AVIF": {"quality": 95}}.get(format, {})
    return encoded(first, format, save_all=True, append_images=later, **options)


@dataclass(frozen=True)
class Row:
    """A file, and the picture that it shows, or a part of the error message."""

    data: Callable[[], bytes]
    shows: Image.Image | str


ROWS: dict[str, Row] = {
    # Turned by a tag, which each format keeps in its own way.
    **{
        f"JPEG, orientation {tag}": Row(
            lambda tag=tag: WRITERS["JPEG"](stored(PHOTO, tag), exif=exif_bytes(tag)), PHOTO
        )
        for tag in STORED_AS
    },
    "JPEG, orientation 0": Row(lambda: WRITERS["JPEG"](PHOTO, exif=exif_bytes(0)), PHOTO),
    "WebP, orientation 6": Row(lambda: WRITERS["WEBP"](stored(PHOTO, 6), exif=exif_bytes(6)), PHOTO),
    "PNG, orientation 6": Row(lambda: encoded(stored(CUT_OUT, 6), exif=exif_bytes(6)), CUT_OUT),
    "AVIF, irot and imir": Row(lambda: WRITERS["AVIF"](stored(PHOTO, 7), exif=exif_bytes(7)), PHOTO),
    "HEIC, irot": Row(lambda: WRITERS["HEIF"](stored(PHOTO, 6), exif=exif_bytes(6)), PHOTO),
    "TIFF, orientation 5": Row(lambda: WRITERS["TIFF"](stored(PHOTO, 5), exif=exif_bytes(5)), PHOTO),
    # Colours.
    "CMYK JPEG with a profile": Row(
        lambda: encoded(CMYK, "JPEG", quality=95, icc_profile=plausible_cmyk_profile()),
        as_seen(CMYK, plausible_cmyk_profile()),
    ),
    "CMYK JPEG without a profile": Row(lambda: encoded(CMYK, "JPEG", quality=95), PHOTO),
    "CMYK JPEG, orientation 6": Row(
        lambda: encoded(stored(PHOTO, 6).convert("CMYK"), "JPEG", quality=95, exif=exif_bytes(6)), PHOTO
    ),
    "CMYK TIFF with a profile": Row(
        lambda: encoded(CMYK, "TIFF", icc_profile=plausible_cmyk_profile()), as_seen(CMYK, plausible_cmyk_profile())
    ),
    "Lab TIFF": Row(lambda: encoded(lab_picture(), "TIFF"), PHOTO),
    "gray JPEG": Row(lambda: encoded(GRAY, "JPEG", quality=95), GRAY.convert("RGB")),
    "gray JPEG with a profile": Row(
        lambda: encoded(GRAY, "JPEG", quality=95, icc_profile=linear_gray_profile()),
        as_seen(GRAY, linear_gray_profile()),
    ),
    "progressive JPEG": Row(lambda: encoded(PHOTO, "JPEG", quality=95, progressive=True), PHOTO),
    "JPEG that is its own negative": Row(
        lambda: WRITERS["JPEG"](in_profile(PHOTO, NEGATIVE), icc_profile=NEGATIVE), PHOTO
    ),
    "JPEG in Display P3": Row(lambda: WRITERS["JPEG"](in_profile(PHOTO, DISPLAY_P3), icc_profile=DISPLAY_P3), PHOTO),
    "JPEG in Adobe RGB": Row(lambda: WRITERS["JPEG"](in_profile(PHOTO, ADOBE_RGB), icc_profile=ADOBE_RGB), PHOTO),
    "JPEG in ProPhoto RGB": Row(lambda: WRITERS["JPEG"](in_profile(PHOTO, PROPHOTO), icc_profile=PROPHOTO), PHOTO),
    "PNG in Display P3": Row(lambda: encoded(in_profile(PHOTO, DISPLAY_P3), icc_profile=DISPLAY_P3), PHOTO),
    "AVIF with a profile": Row(lambda: WRITERS["AVIF"](PHOTO, icc_profile=SRGB), PHOTO),
    # Depths, palettes and transparency.
    "PNG of 16 bits, gray and alpha": Row(
        lambda: png(120, 90, 16, 4, rows_of(np.stack((DEEP_GRAY, np.full_like(DEEP_GRAY, 128 * 257)), -1))),
        with_alpha(GRAY, 128),
    ),
    "PNG of 16 bits, gray": Row(lambda: png(120, 90, 16, 0, rows_of(DEEP_GRAY)), GRAY.convert("RGB")),
    "PNG of 16 bits, RGB": Row(lambda: png(120, 90, 16, 2, rows_of(DEEP)), PHOTO),
    "PNG of a palette with a transparent color": Row(
        lambda: encoded(PALETTE, transparency=0),
        with_alpha(PALETTE, Image.fromarray(np.where(np.asarray(PALETTE) == 0, 0, 255).astype(np.uint8))),
    ),
    "PNG of a palette with transparency for each": Row(
        lambda: encoded(PALETTE, transparency=bytes(range(64))),
        with_alpha(PALETTE, Image.fromarray(np.asarray(PALETTE))),
    ),
    "PNG of gray and alpha": Row(
        lambda: encoded(Image.merge("LA", (GRAY, CUT_OUT.getchannel("A")))), with_alpha(GRAY, CUT_OUT.getchannel("A"))
    ),
    "PNG of RGBA": Row(lambda: encoded(CUT_OUT), CUT_OUT),
    "PNG of RGBA in Display P3": Row(
        lambda: encoded(with_alpha(in_profile(PHOTO, DISPLAY_P3), 128), icc_profile=DISPLAY_P3), with_alpha(PHOTO, 128)
    ),
    "PNG of 1 bit": Row(lambda: encoded(BLACK_AND_WHITE), BLACK_AND_WHITE.convert("RGB")),
    "HEIC of 16 bits": Row(deep_heic, PHOTO),
    "HEIC with alpha": Row(lambda: heic(CUT_OUT, quality=-1, chroma=444), CUT_OUT),
    "TIFF of 16 bits, RGB": Row(lambda: tiff(DEEP), PHOTO),
    "TIFF of fax pages": Row(
        lambda: encoded(
            BLACK_AND_WHITE, "TIFF", compression="group4", save_all=True, append_images=[Image.new("1", (9, 9))]
        ),
        BLACK_AND_WHITE.convert("RGB"),
    ),
    "GIF with transparency": Row(
        lambda: encoded(PALETTE, "GIF", transparency=3),
        with_alpha(PALETTE, Image.fromarray(np.where(np.asarray(PALETTE) == 3, 0, 255).astype(np.uint8))),
    ),
    "BMP of a palette": Row(lambda: encoded(PALETTE, "BMP"), PALETTE.convert("RGB")),
    # Animations and files of several pictures: the first counts.
    "animated PNG": Row(lambda: frames("PNG"), PHOTO),
    "animated WebP": Row(lambda: frames("WEBP"), PHOTO),
    "animated WebP of 99 high frames": Row(lambda: frames("WEBP", (13, 169), 99), PHOTO.resize((13, 169))),
    "animated AVIF": Row(lambda: frames("AVIF"), PHOTO),
    "MPO": Row(lambda: encoded(PHOTO, "MPO", quality=95, save_all=True, append_images=[NOISE]), PHOTO),
    # Shapes.
    "PNG of 940x2": Row(lambda: encoded(PHOTO.resize((940, 2))), PHOTO.resize((940, 2))),
    "GIF of one pixel without a palette": Row(gif_without_palette, Image.new("RGB", (1, 1))),
    "panorama of 40:1": Row(lambda: WRITERS["JPEG"](PHOTO.resize((4000, 100))), PHOTO.resize((4000, 100))),
    "strip of 1:40": Row(lambda: WRITERS["JPEG"](PHOTO.resize((100, 4000))), PHOTO.resize((100, 4000))),
    # Damaged, but to be read.
    "JPEG with junk in its header": Row(jpeg_with_junk, PHOTO),
    "PNG with a text that inflates": Row(text_that_inflates, PHOTO),
    "PNG with bytes behind its end": Row(lambda: encoded(PHOTO) + bytes(999), PHOTO),
    # Damaged, and not to be read.
    "nothing": Row(lambda: b"", "empty"),
    "JPEG cut in its pixels": Row(lambda: encoded(NOISE, "JPEG")[:5_000], "damaged"),
    "JPEG cut in its header": Row(lambda: encoded(NOISE, "JPEG")[:150], "damaged"),
    "JPEG cut before its last bytes": Row(lambda: encoded(NOISE, "JPEG")[:-50], "damaged"),
    "PNG cut in its pixels": Row(lambda: encoded(NOISE)[:10_000], "damaged"),
    "PNG of a header": Row(lambda: encoded(NOISE)[:33], "damaged"),
    "WebP cut in its pixels": Row(lambda: encoded(NOISE, "WEBP")[:2_000], "damaged"),
    "TIFF of 32-bit floats": Row(lambda: tiff(DEEP.astype(np.float32) / 65_535, sample_format=3), "32 bits a channel"),
    # Beyond the limits.
    "AVIF of 289 megapixels": Row(bomb_avif, "AVIF"),
    "GIF of 44 bytes and 4,365 megapixels": Row(
        lambda: (
            b"GIF89a\xff\xff\x29\x04\0\0\0" + b"," + struct.pack("<4HB", 0, 0, 65_535, 66_601 % 65_536, 0) + bytes(17)
        ),
        "pixels",
    ),
    "PNG of 10,000 megapixels": Row(lambda: png(100_000, 100_000, 8, 2, b"\0"), "100000x100000 pixels"),
    # No picture, or none of those that are read.
    "SVG": Row(lambda: b"<svg xmlns='http://www.w3.org/2000/svg'><image href='http://127.0.0.1/'/></svg>", "an SVG"),
    "JPEG 2000": Row(lambda: encoded(PHOTO, "JPEG2000"), "a JPEG 2000"),
    "JPEG XL": Row(lambda: b"\xff\x0a\xfa\x1f\x41\x91", "a JPEG XL"),
}


def shown(data: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Return the colours that a file shows by its profile, L*a*b* [h, w, 3], and its alpha, 0 to 255 [h, w]."""
    with Image.open(BytesIO(data)) as image:
        alpha = np.asarray(image.convert("RGBA").getchannel("A")).astype(int)
        return lab_of(image.convert("RGB"), image.info.get("icc_profile")), alpha


@pytest.mark.parametrize("name", ROWS)
def test_each_is_cropped_as_it_looks_or_refused_in_a_sentence(name: str, quick_cropper: Cropper) -> None:
    row = ROWS[name]
    if isinstance(row.shows, str):
        with pytest.raises(ImageError, match=row.shows) as caught:
            quick_cropper.crop(row.data(), WHOLE)
        assert_reads_well(caught.value)
        return
    (crop,) = quick_cropper.crop(row.data(), WHOLE).crops
    assert crop.data is not None
    (colors, alpha), (due, due_alpha) = shown(crop.data), shown(encoded(row.shows))
    assert np.abs(alpha - due_alpha).max() <= 4  # HEIC's alpha came back 3 off, the others' exact
    assert mean_delta_e(colors[due_alpha > 0], due[due_alpha > 0]) <= 2


@pytest.mark.parametrize("name", [name for name, row in ROWS.items() if isinstance(row.shows, Image.Image)])
def test_each_that_is_read_has_a_crop_of_any_ratio(name: str, quick_cropper: Cropper) -> None:
    ratios = ("1:1", "9:16", "16:9")
    result = quick_cropper.crop(ROWS[name].data(), CropRequest(aspect_ratios=ratios, if_none="center"), dry_run=True)
    assert tuple(crop.plan.aspect_ratio for crop in result.crops) == ratios
    for crop in result.crops:
        x1, y1, x2, y2 = crop.window.xyxy
        assert 0 <= x1 < x2 <= result.size.width
        assert 0 <= y1 < y2 <= result.size.height


class TestColors:
    @pytest.mark.parametrize("output_format", ["jpg", "png", "webp", "avif"])
    @pytest.mark.parametrize(
        "profile", [DISPLAY_P3, ADOBE_RGB, PROPHOTO, NEGATIVE], ids=["Display P3", "Adobe RGB", "ProPhoto", "negative"]
    )
    @pytest.mark.parametrize("name", ["astronaut", "coffee"])
    def test_a_crop_shows_the_colors_that_its_picture_shows(
        self, name: str, profile: bytes, output_format: str, quick_cropper: Cropper
    ) -> None:
        data = encoded(in_profile(photo(name, 240, 180), profile), icc_profile=profile)
        (crop,) = quick_cropper.crop(data, replace(WHOLE, output_format=output_format, output_quality=95)).crops
        assert crop.data is not None
        assert mean_delta_e(shown(crop.data)[0], shown(data)[0]) <= 2

    @pytest.mark.parametrize("output_format", ["jpg", "png", "webp", "avif"])
    @pytest.mark.parametrize("name", ["astronaut", "coffee"])
    def test_a_crop_of_cmyk_shows_the_colors_that_the_profile_prints(
        self, name: str, output_format: str, quick_cropper: Cropper
    ) -> None:
        profile = plausible_cmyk_profile()
        inks = photo(name, 240, 180).convert("CMYK")
        data = encoded(inks, "TIFF", icc_profile=profile)
        (crop,) = quick_cropper.crop(data, replace(WHOLE, output_format=output_format, output_quality=95)).crops
        assert crop.data is not None
        assert mean_delta_e(shown(crop.data)[0], lab_of(inks, profile)) <= 2

    @pytest.mark.parametrize("profile", [DISPLAY_P3, ADOBE_RGB, PROPHOTO], ids=["Display P3", "Adobe RGB", "ProPhoto"])
    def test_dropping_the_profile_would_be_seen(self, profile: bytes) -> None:
        pixels = in_profile(PHOTO, profile)
        assert mean_delta_e(lab_of(pixels, None), lab_of(pixels, profile)) > 2


class TestSeen:
    """The detectors see what people see, whatever the pixels say."""

    @pytest.mark.parametrize(
        "write",
        [
            lambda image: encoded(image.convert("L"), "JPEG", quality=95),
            lambda image: encoded(image.convert("CMYK"), "JPEG", quality=95),
            lambda image: WRITERS["JPEG"](in_profile(image, DISPLAY_P3), icc_profile=DISPLAY_P3),
            lambda image: WRITERS["JPEG"](in_profile(image, PROPHOTO), icc_profile=PROPHOTO),
            lambda image: WRITERS["JPEG"](in_profile(image, NEGATIVE), icc_profile=NEGATIVE),
            lambda image: WRITERS["AVIF"](in_profile(image, NEGATIVE), icc_profile=NEGATIVE),
        ],
        ids=["gray", "CMYK", "Display P3", "ProPhoto", "negative", "negative AVIF"],
    )
    def test_a_face_is_found_in_any_colors(
        self, write: Callable[[Image.Image], bytes], cropper: Cropper, astronaut: bytes
    ) -> None:
        with Image.open(BytesIO(astronaut)) as image:
            data = write(image.convert("RGB"))
        request = CropRequest(mode="faces", if_none="empty")
        (due,), (crop,) = (cropper.crop(one, request, dry_run=True).crops for one in (astronaut, data))
        assert np.abs(np.subtract(crop.window.xyxy, due.window.xyxy)).max() <= 8  # of 512 px; 0 to 5 were measured

    def test_a_preview_keeps_the_colors_of_its_picture(self, cropper: Cropper, astronaut: bytes) -> None:
        with Image.open(BytesIO(astronaut)) as image:
            data = WRITERS["JPEG"](in_profile(image.convert("RGB"), NEGATIVE), icc_profile=NEGATIVE)
        request = CropRequest(mode="faces", if_none="empty", preview=True)
        plain, negative = (cropper.crop(one, request).preview for one in (astronaut, data))
        assert plain is not None
        assert negative is not None
        (colors, _), (due, _) = shown(negative), shown(plain)
        same = (slice(0, 560), slice(0, 560))
        # The lines and texts are drawn in the picture's own space and differ; the picture itself must not.
        assert np.median(np.abs(colors[same] - due[same])) <= 3

    def test_a_profile_that_cannot_be_used_costs_neither_picture_nor_detection(
        self, cropper: Cropper, astronaut: bytes
    ) -> None:
        with Image.open(BytesIO(astronaut)) as image:
            data = WRITERS["JPEG"](image.convert("RGB"), icc_profile=SRGB[:200] + bytes(300))
        assert cropper.crop(data, CropRequest(mode="faces")).crops[0].plan.rule == "face"


GPS, SERIAL, MAKER_NOTE = b"Secret48N", b"SecretSerial", b"SecretNote"
XMP = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'><rdf:RDF><a>SecretPlace</a></rdf:RDF></x:xmpmeta>"


def telling_exif() -> bytes:
    """Return EXIF with a position, a serial number, a maker's note and a thumbnail with the whole of the scene."""
    exif = Image.Exif()
    exif[0x010F] = "SecretMaker"
    exif.get_ifd(0x8825).update({1: "N", 2: (48.0, 51.0, 29.0), 29: GPS.decode()})
    exif.get_ifd(0x8769).update({0xA431: SERIAL.decode(), 0x927C: MAKER_NOTE})
    plain = exif.tobytes()
    thumbnail = encoded(Image.new("RGB", (16, 16), (1, 2, 3)), "JPEG", comment=b"SecretThumbnail")
    # The second directory, the thumbnail's, goes behind all else; the first one's last four bytes link to it.
    (tags,) = struct.unpack_from(">H", plain, 14)
    link, end = 16 + 12 * tags, len(plain) - 6
    second = struct.pack(">HHHIIHHII", 2, 0x0201, 4, 1, end + 30, 0x0202, 4, 1, len(thumbnail)) + bytes(4)
    return plain[:link] + struct.pack(">I", end) + plain[link + 4 :] + second + thumbnail


def iptc() -> bytes:
    """Return a JPEG's segment of Photoshop resources with a caption (IPTC-NAA 2:120)."""
    caption = b"\x1c\x02\x78\0\x0dSecretCaption"
    resources = b"Photoshop 3.0\0" + b"8BIM\x04\x04\0\0" + struct.pack(">I", len(caption)) + caption
    return b"\xff\xed" + struct.pack(">H", len(resources) + 2) + resources


def telling_jpeg() -> bytes:
    data = encoded(PHOTO, "JPEG", exif=telling_exif(), xmp=XMP, comment=b"SecretWord", icc_profile=SRGB)
    return data[:2] + iptc() + data[2:]


def telling_png() -> bytes:
    texts = PngImagePlugin.PngInfo()
    texts.add_text("Comment", "SecretWord")
    texts.add_itxt("XML:com.adobe.xmp", XMP.decode())
    return encoded(PHOTO, pnginfo=texts, exif=telling_exif(), icc_profile=SRGB)


TELLING: dict[str, Callable[[], bytes]] = {
    "JPEG": telling_jpeg,
    "PNG": telling_png,
    "WEBP": lambda: encoded(PHOTO, "WEBP", exif=telling_exif(), xmp=XMP, icc_profile=SRGB),
    "AVIF": lambda: encoded(PHOTO, "AVIF", exif=telling_exif(), xmp=XMP, icc_profile=SRGB),
    "HEIF": lambda: heic(PHOTO, exif=telling_exif(), xmp=XMP, icc_profile=SRGB),
    "TIFF": lambda: encoded(PHOTO, "TIFF", exif=Image.Exif(), tiffinfo={270: "SecretWord", 700: XMP}, icc_profile=SRGB),
    "GIF": lambda: encoded(PHOTO, "GIF", comment=b"SecretWord"),
}


class TestMetadata:
    def test_the_jpeg_tells_all_there_is_to_begin_with(self) -> None:
        data = telling_jpeg()
        secrets = (GPS, SERIAL, MAKER_NOTE, b"SecretMaker", b"SecretThumbnail", b"SecretPlace", b"SecretCaption")
        assert all(secret in data for secret in (*secrets, b"SecretWord"))
        with Image.open(BytesIO(data)) as image:
            assert image.getexif().get_ifd(0x8825)[1] == "N"
            assert image.getexif().get_ifd(ExifTags.IFD.IFD1)[0x0202] > 500

    @pytest.mark.parametrize("output_format", ["match_input", "jpg", "png", "webp", "avif"])
    @pytest.mark.parametrize("kind", TELLING)
    def test_nothing_but_pixels_and_the_profile_reaches_a_crop(
        self, kind: str, output_format: str, quick_cropper: Cropper
    ) -> None:
        data = TELLING[kind]()
        assert b"Secret" in data
        request = CropRequest(if_none="center", aspect_ratios=("1:1",), output_format=output_format, preview=True)
        result = quick_cropper.crop(data, request)
        assert result.preview is not None
        for written in (result.crops[0].data, result.preview):
            assert written is not None
            assert b"Secret" not in written
            with Image.open(BytesIO(written)) as image:
                assert dict(image.getexif()) == {}
                assert set(image.info) <= {*CODEC_FACTS, "icc_profile"}
                assert image.info.get("icc_profile") == (None if kind == "GIF" else SRGB)
        assert "Secret" not in json.dumps(result.record())


# What Pillow tells of any file of these formats: densities, frames and versions that the encoder wrote.
CODEC_FACTS = {"jfif", "jfif_version", "jfif_unit", "jfif_density", "loop", "background", "timestamp", "duration"}
CODEC_FACTS |= {"dpi", "default_image"}


@pytest.mark.shared
class TestReal:
    FILES = SHARED / "data" / "nasty" / "files"

    @pytest.mark.parametrize(
        "name", ["made_photo_prophoto.jpg", "png_p3.png", "avif_icc.avif", "xyb_icc.jpg", "cmyk.jpg"]
    )
    def test_real_profiles_give_true_colors_too(self, name: str, quick_cropper: Cropper) -> None:
        data = (self.FILES / name).read_bytes()
        (crop,) = quick_cropper.crop(data, WHOLE).crops
        assert crop.data is not None
        with Image.open(BytesIO(data)) as image:
            due = lab_of(image if image.mode == "CMYK" else image.convert("RGB"), image.info["icc_profile"])
        colors, alpha = shown(crop.data)
        assert mean_delta_e(colors[alpha > 0], due[alpha > 0]) <= 2
