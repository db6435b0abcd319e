from __future__ import annotations

import json
import os
import struct
import sys
import threading
import warnings
import zlib
from io import BytesIO
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest
import torch
from conftest import SHARED, STORED_AS, encoded, ramp
from pictures import (
    ORIENTATION_TAG,
    WRITERS,
    array_of,
    assert_reads_well,
    chunk,
    exif_bytes,
    heic,
    largest_difference,
    png,
    stored,
)
from PIL import Image
from profiles import linear_gray_profile

from crop_core import ImageError, Size, Window
from crop_core.cut.resample import resampled
from crop_core.photo.limits import Limits
from crop_core.photo.photo import open_photo
from crop_core.photo.read_photo import read_photo
from crop_core.picture_files import read_at_most

ORIENTATIONS = tuple(STORED_AS)


class TestFormat:
    @pytest.mark.parametrize("format", WRITERS)
    def test_every_format_opens_by_its_bytes(self, format: str) -> None:
        photo = open_photo(WRITERS[format](ramp(32, 24)))
        assert (photo.format, photo.size, photo.has_alpha) == (format, Size(32, 24), False)
        assert photo.pixels().shape == (3, 24, 32)

    @pytest.mark.parametrize("format", WRITERS)
    def test_a_picture_of_one_pixel_opens(self, format: str) -> None:
        data = WRITERS[format](Image.new("RGB", (1, 1), (200, 100, 50)))
        # 4: AVIF came back 2 off, the others exact
        assert largest_difference(array_of(data), np.array([[[200, 100, 50]]])) <= 4

    def test_pixels_are_bytes_in_channels_last_memory(self) -> None:
        pixels = open_photo(encoded(ramp(32, 24))).pixels()
        assert pixels.dtype == torch.uint8
        assert pixels[None].is_contiguous(memory_format=torch.channels_last)


class TestRefusal:
    @pytest.mark.parametrize("share", [0.02, 0.6], ids=["in-the-header", "in-the-pixels"])
    @pytest.mark.parametrize("format", ["JPEG", "MPO", "PNG", "WEBP", "AVIF", "HEIF", "TIFF", "BMP", "GIF"])
    def test_a_file_cut_off_is_an_image_error(self, format: str, share: float) -> None:
        noise = Image.fromarray(np.random.default_rng(1).integers(0, 256, (64, 96, 3), dtype=np.uint8))
        data = WRITERS[format](noise)
        if format == "MPO":  # its first picture must be cut, not its second
            share /= 2
        with pytest.raises(ImageError) as caught:
            open_photo(data[: int(len(data) * share) + 12]).pixels()
        assert_reads_well(caught.value)

    def test_a_png_with_broken_pixels_is_an_image_error_not_half_a_picture(self) -> None:
        noise = np.random.default_rng(1).integers(0, 256, (64, 96, 3), dtype=np.uint8)
        rows = b"".join(b"\0" + row.tobytes() for row in noise)
        stream = bytearray(zlib.compress(rows, 0))  # stored blocks: what stands in their headers can be broken at will
        stream[2:7] = b"\x07\xff\xff\xff\xff"  # a block of the kind that deflate reserves
        data = png(96, 64, 8, 2, b"").replace(chunk(b"IDAT", zlib.compress(b"")), chunk(b"IDAT", bytes(stream)))
        photo = open_photo(data)
        assert photo.size == Size(96, 64)  # the header is well, and nothing was decoded yet
        with pytest.raises(ImageError, match="damaged"):
            photo.pixels()

    def test_a_heic_that_decodes_to_another_size_than_it_said_is_an_image_error(self) -> None:
        data = heic(ramp(48, 32))  # coded as 64x64, then cut by a `clap` box, which begins with the width
        width = data.index(b"clap") + 4
        assert data[width : width + 4] == struct.pack(">I", 48)
        photo = open_photo(data[:width] + struct.pack(">I", 300) + data[width + 4 :])
        assert photo.size == Size(300, 32)
        with pytest.raises(ImageError, match="damaged"):
            photo.pixels()

    @pytest.mark.parametrize("mode", ["F", "I"])
    def test_32_bits_a_channel_are_refused_with_a_reason(self, mode: str) -> None:
        with pytest.raises(ImageError, match="32 bits a channel") as caught:
            open_photo(encoded(Image.new(mode, (8, 8)), "TIFF")).pixels()
        assert_reads_well(caught.value)

    def test_heic_without_its_decoder_says_what_to_do(self, monkeypatch: pytest.MonkeyPatch) -> None:
        data = heic(ramp(16, 16))
        monkeypatch.setitem(sys.modules, "pillow_heif", None)  # what an absent package looks like to `import`
        with pytest.raises(ImageError, match=r"its decoder is not installed here .* Convert the picture to JPEG"):
            open_photo(data)

    def test_a_broken_profile_does_not_cost_the_picture(self) -> None:
        broken = linear_gray_profile()[:140] + bytes(100)
        data = encoded(Image.new("L", (8, 8), 128), "PNG", icc_profile=broken)
        assert (array_of(data) == 128).all()

    @pytest.mark.parametrize(
        "exif", [b"garbage", b"II*\0\xff\xff\0\0", b"II*\0\x08\0\0\0\x05\0\x12\1"], ids=["no-tiff", "no-ifd", "cut"]
    )
    @pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
    def test_broken_exif_does_not_cost_the_picture(self, format: str, exif: bytes) -> None:
        data = encoded(ramp(16, 8), format, exif=b"Exif\0\0" + exif)
        with warnings.catch_warnings(record=True) as leaked:
            warnings.simplefilter("always")
            assert open_photo(data).pixels().shape == (3, 8, 16)
        assert leaked == []


class TestLimits:
    def test_more_bytes_than_allowed_are_refused_unread(self) -> None:
        with pytest.raises(ImageError, match="at most 256 MiB"):
            open_photo(bytes(Limits().max_bytes + 1))  # zeros that the system never has to lay out

    def test_a_gif_whose_frame_blows_it_up_is_refused(self) -> None:
        screen = b"GIF89a" + struct.pack("<HHBBB", 1, 1, 0, 0, 0)
        frame = b"," + struct.pack("<HHHHB", 0, 0, 65_535, 65_535, 0) + b"\x02\x02\x44\x01\0;"
        with pytest.raises(ImageError, match="at most 89 megapixels"):
            open_photo(screen + frame)

    @pytest.mark.parametrize("between", [b"", b"!\xfe\3abc\0" * 3, b"!\xf9\4\0\0\0\0\0"])
    def test_a_gif_whose_frame_is_somewhat_too_large_is_refused_without_a_warning(self, between: bytes) -> None:
        screen = b"GIF89a" + struct.pack("<HHBBB", 1, 1, 0x80, 0, 0) + bytes(6) + between
        frame = b"," + struct.pack("<HHHHB", 0, 0, 9_500, 10_000, 0) + b"\x02\x02\x44\x01\0;"
        with pytest.raises(ImageError, match="9500x10000 pixels"):
            open_photo(screen + frame)

    def test_a_window_of_a_picture_within_the_limits_is_no_bomb(self, monkeypatch: pytest.MonkeyPatch) -> None:
        # Pillow's own limit is 89 megapixels for a warning and 179 for an error, below this module's; lowered
        # here because a picture of that size would take a gigabyte.
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
        photo = open_photo(encoded(ramp(64, 48)))
        assert resampled(photo, Window(0, 0, 60, 40), Size(60, 40)).shape == (3, 40, 60)
        assert resampled(photo, Window(0, 0, 60, 40), Size(30, 20)).shape == (3, 20, 30)


class TestOrientation:
    # The largest differences measured over all orientations were: JPEG 2, AVIF 4, HEIC 3, the others 0.
    TOLERANCE = MappingProxyType({"JPEG": 3, "AVIF": 6, "HEIF": 5})

    @pytest.mark.parametrize("orientation", ORIENTATIONS)
    @pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "HEIF"])
    def test_every_orientation_comes_out_upright(self, format: str, orientation: int) -> None:
        upright = ramp(120, 80)
        data = WRITERS[format](stored(upright, orientation), exif=exif_bytes(orientation))
        assert open_photo(data).size == Size(120, 80)
        expected = np.asarray(upright).astype(int)
        tolerance = self.TOLERANCE.get(format, 0)
        assert largest_difference(array_of(data), expected) <= tolerance
        window = Window(16, 8, 72, 56)
        part = resampled(open_photo(data), window, window.size).permute(1, 2, 0).numpy().astype(int)
        assert largest_difference(part, expected[8:56, 16:72]) <= tolerance

    @pytest.mark.parametrize("orientation", ORIENTATIONS)
    @pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "packbits"])
    def test_compressed_tiff_comes_out_upright_too(self, compression: str, orientation: int) -> None:
        upright = ramp(120, 80)
        exif = exif_bytes(orientation)
        data = encoded(stored(upright, orientation), "TIFF", exif=exif, compression=compression)
        assert open_photo(data).size == Size(120, 80)
        assert (array_of(data) == np.asarray(upright)).all()

    @pytest.mark.parametrize("orientation", ORIENTATIONS)
    @pytest.mark.parametrize("reduction", [2, 4, 8])
    def test_a_reduced_jpeg_comes_out_upright(self, reduction: int, orientation: int) -> None:
        upright = ramp(120, 80)
        data = WRITERS["JPEG"](stored(upright, orientation), exif=exif_bytes(orientation))
        blocks = np.asarray(upright).reshape(80 // reduction, reduction, 120 // reduction, reduction, 3)
        means = blocks.mean((1, 3))
        # 3: the largest difference measured over all orientations and reductions was 2.0
        assert np.abs(array_of(data, reduction=reduction) - means).max() <= 3

    @pytest.mark.parametrize("orientation", ORIENTATIONS)
    def test_a_window_is_the_slice_of_the_whole(self, orientation: int) -> None:
        data = WRITERS["JPEG"](stored(ramp(120, 80), orientation), exif=exif_bytes(orientation))
        photo = open_photo(data)
        part = resampled(photo, Window(24, 16, 96, 48), Size(72, 32))
        assert torch.equal(part, photo.pixels()[:, 16:48, 24:96])

    @pytest.mark.parametrize("value", [0, 9, 255, 65_535])
    @pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
    def test_a_wrong_orientation_counts_as_upright(self, format: str, value: int) -> None:
        data = WRITERS[format](ramp(32, 24), exif=exif_bytes(value))
        tolerance = self.TOLERANCE.get(format, 0)
        assert largest_difference(array_of(data), np.asarray(ramp(32, 24)).astype(int)) <= tolerance

    def test_an_orientation_that_is_text_counts_as_upright(self) -> None:
        entry = struct.pack("<HHI4s", ORIENTATION_TAG, 2, 2, b"6\0")  # type 2 is ASCII
        exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0" + entry + bytes(4)
        assert open_photo(encoded(ramp(32, 24), "JPEG", exif=exif)).size == Size(32, 24)

    def test_png_exif_behind_the_pixels_counts(self) -> None:
        plain = encoded(stored(ramp(32, 24), 6))
        exif = chunk(b"eXIf", exif_bytes(6).removeprefix(b"Exif\0\0"))
        data = plain[:-12] + exif + plain[-12:]  # before IEND, whose chunk has 12 bytes
        assert open_photo(data).size == Size(32, 24)
        assert (array_of(data) == np.asarray(ramp(32, 24))).all()

    def test_heic_exif_that_no_box_confirms_is_ignored(self) -> None:
        # ISO/IEC 23008-12: `irot` and `imir` turn a HEIC, EXIF only tells of the camera; libheif did the turning.
        data = heic(ramp(32, 24), exif=exif_bytes(1))
        assert data.count(exif_bytes(1)) == 1
        assert open_photo(data.replace(exif_bytes(1), exif_bytes(6))).size == Size(32, 24)


class TestReductions:
    @pytest.mark.parametrize(
        ("width", "height", "reductions"),
        [(1, 1, (1,)), (1, 100, (1,)), (2, 3, (1, 2)), (7, 9, (1, 2, 4)), (8, 8, (1, 2, 4, 8)), (640, 9, (1, 2, 4, 8))],
    )
    def test_jpeg_offers_reductions_down_to_one_pixel(
        self, width: int, height: int, reductions: tuple[int, ...]
    ) -> None:
        photo = open_photo(encoded(ramp(width, height), "JPEG"))
        assert photo.reductions == reductions
        for reduction in reductions:
            assert photo.pixels(reduction).shape == (3, -(-height // reduction), -(-width // reduction))

    @pytest.mark.parametrize("format", ["PNG", "WEBP", "AVIF", "HEIF", "TIFF", "BMP", "GIF"])
    def test_other_formats_offer_none(self, format: str) -> None:
        photo = open_photo(WRITERS[format](ramp(64, 64)))
        assert photo.reductions == (1,)
        with pytest.raises(ValueError, match="not at 1/2"):
            photo.pixels(2)

    @pytest.mark.parametrize(
        ("longest_side", "reduction"), [(1, 8), (60, 8), (61, 4), (120, 4), (121, 2), (240, 2), (241, 1), (9999, 1)]
    )
    def test_the_strongest_reduction_that_leaves_enough_is_chosen(self, longest_side: int, reduction: int) -> None:
        assert open_photo(encoded(ramp(300, 480), "JPEG")).reduction_for(longest_side) == reduction


class TestAlpha:
    @pytest.mark.parametrize(
        "data",
        [
            encoded(Image.new("RGBA", (2, 1), (9, 8, 7, 100))),
            encoded(Image.new("RGBA", (2, 1), (9, 8, 7, 100)), "WEBP", lossless=True, exact=True),
            encoded(Image.new("RGBA", (2, 1), (9, 8, 7, 100)), "TIFF"),
        ],
        ids=["PNG", "WebP", "TIFF"],
    )
    def test_rgba_is_kept(self, data: bytes) -> None:
        assert open_photo(data).has_alpha
        assert array_of(data).tolist() == [[[9, 8, 7, 100]] * 2]

    @pytest.mark.parametrize("format", ["AVIF", "HEIF"])
    def test_rgba_is_kept_in_formats_with_loss(self, format: str) -> None:
        image = Image.new("RGBA", (16, 16), (200, 100, 50, 0))
        image.paste((200, 100, 50, 255), (0, 0, 8, 16))
        pixels = array_of(WRITERS[format](image))
        assert pixels.shape == (16, 16, 4)
        # 3: two pixels off the edge the largest difference measured was 1
        assert np.abs(pixels[:, :6] - (200, 100, 50, 255)).max() <= 3
        assert pixels[:, 10:, 3].max() <= 3

    def test_gray_with_alpha_is_kept(self) -> None:
        assert array_of(encoded(Image.new("LA", (2, 1), (50, 100)))).tolist() == [[[50, 50, 50, 100]] * 2]

    @pytest.mark.parametrize(
        ("transparency", "alphas"),
        [(1, [255, 0, 255]), (b"\xff\x80\x00", [255, 128, 0])],
        ids=["index", "bytes"],
    )
    def test_a_palette_keeps_its_transparency(self, transparency: int | bytes, alphas: list[int]) -> None:
        image = Image.fromarray(np.array([[0, 1, 2]], dtype=np.uint8))
        image.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
        data = encoded(image, transparency=transparency)
        assert open_photo(data).has_alpha
        colors = [[10, 20, 30], [40, 50, 60], [70, 80, 90]]
        assert array_of(data)[0].tolist() == [[*color, alpha] for color, alpha in zip(colors, alphas, strict=True)]

    def test_a_gif_keeps_its_transparency(self) -> None:
        image = Image.fromarray(np.array([[0, 1, 2]], dtype=np.uint8))
        image.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
        assert array_of(encoded(image, "GIF", transparency=1))[0, :, 3].tolist() == [255, 0, 255]

    @pytest.mark.parametrize(
        ("depth", "color", "row", "transparent", "alphas"),
        [
            (8, 0, bytes((0, 100, 200)), (100,), [255, 0, 255]),
            (16, 0, struct.pack(">3H", 0, 1000, 1001), (1000,), [255, 0, 255]),
            (4, 0, bytes((0x07, 0xF0)), (7,), [255, 0, 255]),
            (2, 0, bytes((0b00011100,)), (1,), [255, 0, 255]),
            (1, 0, bytes((0b01000000,)), (1,), [255, 0, 255]),
            (8, 2, bytes((0, 0, 0, 9, 8, 7, 9, 8, 6)), (9, 8, 7), [255, 0, 255]),
            (16, 2, struct.pack(">9H", 0, 0, 0, 9000, 8000, 7000, 9, 8, 7), (9000, 8000, 7000), [255, 0, 255]),
        ],
        ids=["gray-8", "gray-16", "gray-4", "gray-2", "gray-1", "rgb-8", "rgb-16"],
    )
    def test_a_png_keeps_its_transparent_color_at_every_depth(
        self, depth: int, color: int, row: bytes, transparent: tuple[int, ...], alphas: list[int]
    ) -> None:
        trns = chunk(b"tRNS", struct.pack(f">{len(transparent)}H", *transparent))
        data = png(3, 1, depth, color, b"\0" + row, before=trns)
        assert open_photo(data).has_alpha
        assert array_of(data)[0, :, 3].tolist() == alphas


class TestAnimation:
    @pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG", "TIFF", "AVIF"])
    def test_the_first_frame_is_the_picture(self, format: str) -> None:
        first, second = Image.new("RGB", (32, 24), (255, 0, 0)), Image.new("RGB", (32, 24), (0, 0, 255))
        data = encoded(first, format, save_all=True, append_images=[second])
        with Image.open(BytesIO(data)) as opened:
            assert opened.n_frames == 2
        # 4: lossy WebP's red was off by 2, AVIF's by 1, the others' by nothing
        assert largest_difference(array_of(data)[:, :, :3], np.full((24, 32, 3), (255, 0, 0))) <= 4

    def test_a_second_decode_is_the_first_frame_again(self) -> None:
        first, second = Image.new("RGB", (32, 24), (255, 0, 0)), Image.new("RGB", (32, 24), (0, 0, 255))
        photo = open_photo(encoded(first, "GIF", save_all=True, append_images=[second]))
        assert torch.equal(photo.pixels(), photo.pixels())


# It has all its scans and lacks one byte of its end marker; the list counts it as cut off.
ALL_BUT_ITS_END = {"truncated_exif.jpg": "crop"}


@pytest.mark.shared
def test_odd_files_are_read_or_refused_as_their_list_says() -> None:
    folder = SHARED / "data" / "nasty"
    wrong = []
    for name, entry in json.loads((folder / "nasty.json").read_text()).items():
        try:
            photo = open_photo((folder / "files" / name).read_bytes())
            pixels = photo.pixels()
        except ImageError as error:
            assert_reads_well(error)
            outcome = "error"
        else:
            assert pixels.shape == (4 if photo.has_alpha else 3, photo.size.height, photo.size.width)
            outcome = "crop"
        if ALL_BUT_ITS_END.get(name, entry["expect"]) not in (outcome, "either"):
            wrong.append((name, outcome))
    assert wrong == []


def test_a_file_beyond_the_limit_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "large.jpg"
    with path.open("wb") as file:
        file.truncate(Limits().max_bytes + 1)  # sparse: no disk, and no memory unless it is read
    with pytest.raises(ImageError, match="at most 256 MiB are accepted"):
        read_photo(path)


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="reads a device without an end")
def test_a_file_without_an_end_is_read_to_the_limit_and_no_further(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CROP_CORE_MAX_BYTES", "3000000")
    with pytest.raises(ImageError, match="does not end within 3000000 bytes") as caught:
        read_photo("/dev/zero")
    assert_reads_well(caught.value)
    assert len(read_at_most("/dev/zero", 3_000_000)) == 3_000_001


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs a pipe with a name")
@pytest.mark.parametrize("length", [0, 1, 3_000_000])
def test_a_pipe_is_read_to_its_end(length: int, tmp_path: Path) -> None:
    pipe, data = tmp_path / "pipe", bytes(range(256)) * 20_000
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: pipe.write_bytes(data[:length]))
    writer.start()
    assert read_photo(pipe) == data[:length]
    writer.join()


@pytest.mark.parametrize("length", [0, 1, 999, 1_000])
def test_a_file_within_the_limit_is_read_whole(length: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CROP_CORE_MAX_BYTES", "1000")
    (tmp_path / "file").write_bytes(b"x" * length)
    assert read_photo(str(tmp_path / "file")) == b"x" * length


def test_a_name_that_no_file_can_have_gives_a_sentence() -> None:
    with pytest.raises(ImageError, match="no file can have this path"):
        read_photo("a\0b.jpg")


def test_a_file_that_cannot_be_read_gives_a_sentence_without_its_path(tmp_path: Path) -> None:
    with pytest.raises(ImageError) as caught:
        read_photo(tmp_path / "absent.jpg")
    assert (
        str(caught.value) == "The file cannot be read: No such file or directory. Check its path and its permissions."
    )
