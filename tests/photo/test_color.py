from __future__ import annotations

import struct
from io import BytesIO

import numpy as np
import pytest
from conftest import encoded, ramp
from pictures import WRITERS, array_of, largest_difference, png
from PIL import Image, ImageCms
from profiles import SRGB, chained_profile, cmyk_profile, linear_gray_profile

from crop_core.photo.color import converted_to_srgb, is_srgb
from crop_core.photo.limits import Limits
from crop_core.photo.photo import open_photo


class TestDepth:
    def test_16_bit_gray_is_scaled_not_clipped(self) -> None:
        values = np.array([[0, 257, 1000, 32_768, 65_278, 65_535]], dtype=np.uint16)
        for data in (encoded(Image.fromarray(values)), encoded(Image.fromarray(values), "TIFF")):
            assert array_of(data)[0].tolist() == [[v] * 3 for v in (0, 1, 4, 128, 254, 255)]

    def test_16_bit_rgb_png_is_scaled(self) -> None:
        rows = b"\0" + struct.pack(">6H", 65_535, 0, 32_768, 257, 512, 65_280)
        assert array_of(png(2, 1, 16, 2, rows)).tolist() == [[[255, 0, 128], [1, 2, 255]]]

    def test_16_bit_gray_with_alpha_is_scaled(self) -> None:
        rows = b"\0" + struct.pack(">4H", 65_535, 65_535, 512, 32_768)
        assert array_of(png(2, 1, 16, 4, rows)).tolist() == [[[255, 255, 255, 255], [2, 2, 2, 128]]]

    def test_one_bit_becomes_black_and_white(self) -> None:
        image = Image.fromarray(np.array([[True, False, True]]))
        assert image.mode == "1"
        for name in ("PNG", "TIFF", "BMP"):
            assert array_of(encoded(image, name))[0].tolist() == [[255] * 3, [0] * 3, [255] * 3]


class TestColor:
    @pytest.mark.parametrize("format", ["JPEG", "TIFF"])
    def test_cmyk_becomes_rgb_not_inverted(self, format: str) -> None:
        inks = [(0, 0, 0, 0), (255, 0, 0, 0), (0, 255, 0, 0), (0, 0, 255, 0), (0, 0, 0, 255)]
        image = Image.new("CMYK", (5 * 8, 8))
        for index, ink in enumerate(inks):
            image.paste(ink, (index * 8, 0, index * 8 + 8, 8))
        photo = open_photo(encoded(image, format, **({"quality": 95} if format == "JPEG" else {})))
        assert photo.icc_profile is None
        middles = photo.pixels()[:, 4, 4::8].T.numpy().astype(int)
        expected = np.array([[255, 255, 255], [0, 255, 255], [255, 0, 255], [255, 255, 0], [0, 0, 0]])
        assert largest_difference(middles, expected) <= 1  # both came out exact here; 1 leaves room for another libjpeg

    @pytest.mark.parametrize("format", ["JPEG", "TIFF"])
    def test_cmyk_is_converted_by_its_profile(self, format: str) -> None:
        profile = cmyk_profile()
        photo = open_photo(encoded(Image.new("CMYK", (8, 8), (255, 0, 0, 0)), format, icc_profile=profile))
        assert photo.icc_profile is None  # a CMYK profile must not travel with RGB pixels
        red, green, blue = photo.pixels()[:, 4, 4].tolist()
        # The profile makes cyan ink Lab(50, 70, 50), a strong red that came out as 226, 35, 38; without it, it is cyan.
        assert red > 200
        assert green < 40
        assert blue < 60

    def test_gray_is_converted_by_its_profile(self) -> None:
        profile = linear_gray_profile()
        gray = Image.new("L", (8, 8), 128)
        for data in (
            encoded(gray, icc_profile=profile),
            encoded(gray, "JPEG", icc_profile=profile, quality=95),
            encoded(Image.new("LA", (8, 8), (128, 200)), icc_profile=profile),
            encoded(gray, icc_profile=profile, transparency=7),
            encoded(Image.fromarray(np.full((8, 8), 128 * 257, np.uint16)), icc_profile=profile),
        ):
            photo = open_photo(data)
            assert photo.icc_profile is None
            # 188 = 255 * (1.055 * (128 / 255) ** (1 / 2.4) - 0.055), sRGB's own formula; 1 for lcms's 8-bit steps
            assert largest_difference(array_of(data)[:, :, :3], np.full((8, 8, 3), 188)) <= 1

    def test_gray_without_a_profile_keeps_its_values(self) -> None:
        data = encoded(Image.new("L", (4, 4), 77))
        assert (array_of(data) == 77).all()

    def test_lab_becomes_rgb(self) -> None:
        data = encoded(Image.new("LAB", (4, 4), (136, 128, 128)), "TIFF")
        # 136 of 255 is L* 53.3, which is sRGB 127; 1 for lcms's 8-bit steps, and it came out exact
        assert largest_difference(array_of(data), np.full((4, 4, 3), 127)) <= 1

    @pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "AVIF", "TIFF", "HEIF"])
    def test_an_rgb_profile_is_kept_and_the_pixels_left_alone(self, format: str) -> None:
        data = WRITERS[format](ramp(32, 24), icc_profile=SRGB)
        assert open_photo(data).icc_profile == SRGB
        assert (array_of(data) == array_of(WRITERS[format](ramp(32, 24)))).all()

    def test_a_palette_keeps_its_rgb_profile(self) -> None:
        assert open_photo(encoded(ramp(32, 24).quantize(16), icc_profile=SRGB)).icc_profile == SRGB

    @pytest.mark.parametrize(
        ("mode", "profile"),
        [("L", linear_gray_profile()), ("L", SRGB), ("RGB", linear_gray_profile()), ("RGB", b"short")],
        ids=["gray", "rgb-in-gray", "gray-in-rgb", "too-short"],
    )
    def test_a_profile_that_does_not_fit_rgb_pixels_does_not_travel(self, mode: str, profile: bytes) -> None:
        assert open_photo(encoded(Image.new(mode, (8, 8)), icc_profile=profile)).icc_profile is None


class TestChains:
    """A profile may hold its conversion twice, once as a chain of steps that ends where the file does."""

    LINKS = 2_000

    def test_a_chain_of_a_profile_is_left_aside_for_its_usual_conversion(self) -> None:
        image = Image.new("RGB", (4, 4), (10, 100, 200))
        colors = converted_to_srgb(image, chained_profile(self.LINKS)).getpixel((0, 0))
        assert colors == pytest.approx((10, 100, 200), abs=2)

    def test_the_chain_would_darken_the_picture(self) -> None:
        image = Image.new("RGB", (4, 4), (10, 100, 200))
        chain = ImageCms.ImageCmsProfile(BytesIO(chained_profile(40)))
        dark = ImageCms.profileToProfile(image, chain, ImageCms.createProfile("sRGB"), outputMode="RGB")
        assert max(dark.getpixel((0, 0))) < 100

    def test_the_longest_chain_that_a_profile_can_hold_takes_no_time(self) -> None:
        profile = chained_profile(500_000)  # 4 MB, some hours of lcms
        assert len(profile) <= Limits().max_profile_bytes
        assert is_srgb(profile)
