from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
import torch
from conftest import ramp
from PIL import Image, ImageCms, JpegImagePlugin
from torch import Tensor

from crop_core.cut.encode import MATCHING, encode, file_name, format_for
from crop_core.photo.photo import open_photo
from crop_core.request import CropRequest

FORMATS = {"jpg": "JPEG", "png": "PNG", "webp": "WEBP", "avif": "AVIF"}
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def pixels_of(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def decoded(data: bytes) -> Image.Image:
    image = Image.open(BytesIO(data))
    image.load()
    return image


class TestFormats:
    @pytest.mark.parametrize("output_format", FORMATS)
    @pytest.mark.parametrize("size", [(1, 1), (1, 40), (120, 80), (33, 17)], ids=lambda s: f"{s[0]}x{s[1]}")
    def test_each_format_decodes_to_the_same_size_and_nearly_the_same_pixels(
        self, size: tuple[int, int], output_format: str
    ) -> None:
        image = decoded(encode(pixels_of(ramp(*size)), output_format, 90, None))
        assert (image.format, image.mode, image.size) == (FORMATS[output_format], "RGB", size)
        difference = np.abs(np.asarray(image).astype(int) - np.asarray(ramp(*size))).max()
        # The largest differences measured over these sizes at quality 90 were 0, 2, 5 and 4.
        assert difference <= {"png": 0, "jpg": 3, "webp": 7, "avif": 6}[output_format]

    def test_png_is_exact_whatever_the_quality(self) -> None:
        pixels = pixels_of(ramp(60, 40))
        assert encode(pixels, "png", 1, None) == encode(pixels, "png", 100, None)

    @pytest.mark.parametrize("output_format", ["jpg", "webp", "avif"])
    def test_a_higher_quality_is_nearer_to_the_pixels(self, output_format: str) -> None:
        noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
        pixels = torch.from_numpy(noise).permute(2, 0, 1)
        errors = [
            np.abs(np.asarray(decoded(encode(pixels, output_format, quality, None))).astype(int) - noise).mean()
            for quality in (5, 50, 95)
        ]
        assert errors == sorted(errors, reverse=True)
        assert errors[0] > errors[2]

    def test_jpeg_keeps_the_color_of_every_pixel(self) -> None:
        image = decoded(encode(pixels_of(ramp(32, 24)), "jpg", 85, None))
        assert isinstance(image, JpegImagePlugin.JpegImageFile)
        assert JpegImagePlugin.get_sampling(image) == 0  # 4:4:4

    def test_an_unknown_format_is_refused(self) -> None:
        with pytest.raises(ValueError, match="bmp"):
            encode(pixels_of(ramp(2, 2)), "bmp", 85, None)


class TestAlpha:
    def half_transparent(self) -> Tensor:
        image = Image.new("RGBA", (32, 16), (200, 60, 20, 255))
        image.paste((200, 60, 20, 0), (0, 0, 16, 16))
        return pixels_of(image)

    def test_transparency_lies_on_white_in_jpeg(self) -> None:
        image = decoded(encode(self.half_transparent(), "jpg", 95, None))
        assert image.mode == "RGB"
        # 2: the largest difference measured four pixels and more off the edge was 1
        assert np.abs(np.subtract(image.getpixel((4, 8)), (255, 255, 255))).max() <= 2
        assert np.abs(np.subtract(image.getpixel((28, 8)), (200, 60, 20))).max() <= 2

    @pytest.mark.parametrize("output_format", ["png", "webp", "avif"])
    def test_transparency_is_kept_elsewhere(self, output_format: str) -> None:
        image = decoded(encode(self.half_transparent(), output_format, 90, None))
        assert image.mode == "RGBA"
        assert image.getpixel((4, 8))[3] == 0
        # 2: the largest difference measured was 1, in WebP and AVIF
        assert np.abs(np.subtract(image.getpixel((28, 8)), (200, 60, 20, 255))).max() <= 2


class TestProfile:
    @pytest.mark.parametrize("output_format", FORMATS)
    def test_the_profile_is_embedded(self, output_format: str) -> None:
        data = encode(pixels_of(ramp(8, 8)), output_format, 85, SRGB)
        assert decoded(data).info["icc_profile"] == SRGB
        assert open_photo(data).icc_profile == SRGB

    @pytest.mark.parametrize("output_format", FORMATS)
    def test_without_a_profile_there_is_none(self, output_format: str) -> None:
        assert not decoded(encode(pixels_of(ramp(8, 8)), output_format, 85, None)).info.get("icc_profile")

    @pytest.mark.parametrize("output_format", FORMATS)
    def test_a_profile_does_not_change_the_pixels(self, output_format: str) -> None:
        pixels = pixels_of(ramp(8, 8))
        with_profile, without = (decoded(encode(pixels, output_format, 85, p)) for p in (SRGB, None))
        assert (np.asarray(with_profile) == np.asarray(without)).all()


class TestNames:
    @pytest.mark.parametrize(
        ("source_format", "expected"),
        [
            ("JPEG", "jpg"),
            ("MPO", "jpg"),
            ("HEIF", "jpg"),
            ("PNG", "png"),
            ("GIF", "png"),
            ("BMP", "png"),
            ("TIFF", "png"),
            ("WEBP", "webp"),
            ("AVIF", "avif"),
        ],
    )
    def test_match_input_keeps_the_format_or_takes_the_nearest(self, source_format: str, expected: str) -> None:
        assert format_for("match_input", source_format) == expected

    def test_match_input_knows_every_format_that_opens(self) -> None:
        assert len(MATCHING) == 9  # as many as Photo.format can have, and the table above
        assert set(MATCHING.values()) == set(FORMATS)

    @pytest.mark.parametrize("output_format", FORMATS)
    @pytest.mark.parametrize("source_format", MATCHING)
    def test_a_format_that_is_named_is_written(self, source_format: str, output_format: str) -> None:
        assert format_for(output_format, source_format) == output_format

    def test_every_format_that_can_be_asked_for_is_written(self) -> None:
        for output_format in CropRequest.__dataclass_fields__["output_format"].metadata["choices"]:
            assert encode(pixels_of(ramp(2, 2)), format_for(output_format, "PNG"), 85, None)

    @pytest.mark.parametrize(
        ("arguments", "expected"),
        [
            ((0, "person", "1:1", "webp"), "00_person_1x1.webp"),
            ((7, "traffic light", "16:9", "jpg"), "07_traffic-light_16x9.jpg"),
            ((99, "full_image", "match_input", "png"), "99_full_image_match_input.png"),
            ((0, "hot dog", "1.91:1", "avif"), "00_hot-dog_1.91x1.avif"),
        ],
    )
    def test_a_name_says_what_the_crop_is(self, arguments: tuple[int, str, str, str], expected: str) -> None:
        assert file_name(*arguments) == expected
