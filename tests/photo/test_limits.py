from __future__ import annotations

import json
import os
import re
import signal
import struct
import subprocess
import sys
import time
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import fields
from io import BytesIO
from pathlib import Path

import numpy as np
import pillow_heif
import pytest
from cog_server import children_of
from conftest import ROOT, encoded, ramp
from pictures import WRITERS, assert_reads_well, chunk, exif_bytes, heic, png
from PIL import Image
from profiles import SRGB

from crop_core import CropError, Cropper, CropRequest, ImageError, RequestError, Size
from crop_core.photo import decode_in_subprocess as decoder
from crop_core.photo.limits import Limits, limits
from crop_core.photo.photo import open_photo

SECURITY = (ROOT / ".github" / "SECURITY.md").read_text(encoding="utf-8")


def allow(monkeypatch: pytest.MonkeyPatch, **settings: int) -> None:
    for name, value in settings.items():
        monkeypatch.setenv(f"CROP_CORE_{name.upper()}", str(value))


# ---- the settings


def test_without_a_word_from_the_environment_the_defaults_hold() -> None:
    assert limits() == Limits()


@pytest.mark.parametrize("name", [entry.name for entry in fields(Limits)])
def test_the_environment_overrides_each_limit_alone(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    allow(monkeypatch, **{name: 7})
    assert limits() == Limits(**{name: 7})


@pytest.mark.parametrize("text", ["", "0", "-1", "1.5", "1e6", "many", "٣", "9" * 16], ids=repr)
def test_a_setting_that_is_no_whole_number_is_refused_by_its_name(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CROP_CORE_MAX_PIXELS", text)
    with pytest.raises(CropError, match="CROP_CORE_MAX_PIXELS is a whole number of at least 1, got"):
        limits()


def test_the_page_on_security_names_every_limit_with_its_default() -> None:
    rows = dict(re.findall(r"^\| `CROP_CORE_(\w+)` \| ([\d,]+) \|", SECURITY, re.MULTILINE))
    assert {name.lower(): int(value.replace(",", "")) for name, value in rows.items()} == {
        entry.name: entry.default for entry in fields(Limits)
    }


# ---- what a header tells


def patched(data: bytes, at: int, layout: str, *values: int) -> bytes:
    return data[:at] + struct.pack(layout, *values) + data[at + struct.calcsize(layout) :]


def large_jpeg(width: int, height: int) -> bytes:
    data = encoded(ramp(16, 16), "JPEG")
    return patched(data, data.index(b"\xff\xc0") + 5, ">HH", height, width)


def large_webp(width: int, height: int) -> bytes:
    data = encoded(ramp(16, 16).convert("RGBA"), "WEBP", icc_profile=bytes(128))  # so it has a VP8X chunk
    body = struct.pack("<I", width - 1)[:3] + struct.pack("<I", height - 1)[:3]
    at = data.index(b"VP8X") + 12
    return data[:at] + body + data[at + 6 :]


def large_avif(width: int, height: int) -> bytes:
    data = encoded(ramp(16, 16), "AVIF")
    return patched(data, data.index(b"ispe") + 8, ">II", width, height)


def large_heic(width: int, height: int) -> bytes:
    data = heic(ramp(64, 64))
    return patched(data, data.index(b"ispe") + 8, ">II", width, height)


def large_tiff(width: int, height: int) -> bytes:
    data = encoded(ramp(16, 16), "TIFF")
    (directory,) = struct.unpack_from("<I", data, 4)
    for index in range(struct.unpack_from("<H", data, directory)[0]):
        at = directory + 2 + 12 * index
        tag = struct.unpack_from("<H", data, at)[0]
        if tag in (256, 257):
            data = patched(data, at, "<HHII", tag, 4, 1, width if tag == 256 else height)
    return data


def large_bmp(width: int, height: int) -> bytes:
    return patched(encoded(ramp(16, 16), "BMP"), 18, "<ii", width, height)


def large_gif(width: int, height: int) -> bytes:
    return patched(encoded(ramp(16, 16), "GIF"), 6, "<HH", width, height)


LARGE: dict[str, Callable[[int, int], bytes]] = {
    "JPEG": large_jpeg,
    "PNG": lambda width, height: png(width, height, 8, 2, b"\0"),
    "WEBP": large_webp,
    "AVIF": large_avif,
    "HEIF": large_heic,
    "TIFF": large_tiff,
    "BMP": large_bmp,
    "GIF": large_gif,
}


class TestPixels:
    @pytest.mark.parametrize("side", [14_492, 16_384, 40_000, 65_535])
    @pytest.mark.parametrize("kind", LARGE)
    def test_a_bomb_is_refused_on_its_header(self, kind: str, side: int) -> None:
        with pytest.raises(ImageError) as caught:
            open_photo(LARGE[kind](min(side, 16_384) if kind == "WEBP" else side, side if kind != "WEBP" else 16_384))
        assert_reads_well(caught.value)

    @pytest.mark.parametrize(("width", "height"), [(100_000, 100_000), (65_536, 1), (1, 65_536), (10_001, 10_000)])
    def test_more_pixels_than_allowed_are_refused_with_the_numbers(self, width: int, height: int) -> None:
        with pytest.raises(ImageError, match=f"{width}x{height} pixels") as caught:
            open_photo(png(width, height, 8, 2, b"\0"))
        assert "100 megapixels and 65535 pixels a side" in str(caught.value)

    @pytest.mark.parametrize(("width", "height"), [(10_000, 10_000), (65_535, 1_525)])
    def test_the_largest_pictures_allowed_open(self, width: int, height: int, monkeypatch: pytest.MonkeyPatch) -> None:
        allow(monkeypatch, free_pixels=10**9)
        assert open_photo(png(width, height, 8, 2, b"\0")).size == Size(width, height)

    def test_a_jpeg_may_have_more_pixels_than_what_decodes_whole(self, monkeypatch: pytest.MonkeyPatch) -> None:
        allow(monkeypatch, max_pixels=3_000, max_pixels_at_once=1_000)
        assert open_photo(WRITERS["JPEG"](ramp(60, 50))).size == Size(60, 50)
        for kind in LARGE:
            with pytest.raises(ImageError, match="3000 pixels and" if kind == "JPEG" else "1000 pixels and"):
                open_photo(WRITERS[kind](ramp(61, 50)))

    def test_the_bound_of_all_pixels_holds_for_what_decodes_whole_too(self, monkeypatch: pytest.MonkeyPatch) -> None:
        allow(monkeypatch, max_pixels=1_000)
        with pytest.raises(ImageError, match="at most 1000 pixels and"):
            open_photo(WRITERS["PNG"](ramp(60, 50)))

    def test_few_bytes_for_many_pixels_are_refused_as_a_bomb(self, monkeypatch: pytest.MonkeyPatch) -> None:
        blank = encoded(Image.new("1", (6_000, 6_000)))  # 36 megapixels
        assert 36e6 / len(blank) > 2_000
        with pytest.raises(ImageError, match=f"6000x6000 pixels in only {len(blank)} bytes") as caught:
            open_photo(blank)
        assert_reads_well(caught.value)
        allow(monkeypatch, max_pixels_per_byte=40_000)
        assert open_photo(blank).size == Size(6_000, 6_000)

    def test_a_blank_canvas_of_an_ordinary_size_is_a_picture(self) -> None:
        blank = encoded(Image.new("1", (4_000, 5_000)))
        assert 20e6 / len(blank) > 2_000
        assert open_photo(blank).pixels().shape == (3, 5_000, 4_000)


class TestFrames:
    @pytest.mark.parametrize("kind", ["WEBP", "AVIF", "PNG"])
    def test_more_frames_than_allowed_are_refused(self, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
        frames = [Image.new("RGB", (8, 8), (index, 0, 0)) for index in range(0, 90, 30)]
        data = encoded(frames[0], kind, save_all=True, append_images=frames[1:])
        allow(monkeypatch, max_frames=3)
        assert open_photo(data).size == Size(8, 8)
        allow(monkeypatch, max_frames=2)
        with pytest.raises(ImageError, match="has 3 frames; at most 2"):
            open_photo(data)

    def test_frames_that_no_header_counts_are_never_read(self) -> None:
        frame = encoded(Image.new("P", (8, 8)), "GIF")
        data = frame[:-1] + b"!\xf9\4\0\0\0\0\0," * 200_000 + b";"
        assert open_photo(data).pixels().shape == (3, 8, 8)


class TestTexts:
    INFLATING = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(2 * 2**20)))

    @pytest.mark.parametrize("times", [1, 100], ids=["one", "a hundred"])
    @pytest.mark.parametrize("place", ["before", "after"])
    def test_a_png_whose_texts_inflate_is_cropped_without_them(self, place: str, times: int) -> None:
        plain = encoded(ramp(32, 24))
        at = plain.index(b"IDAT") - 4 if place == "before" else len(plain) - 12
        photo = open_photo(plain[:at] + self.INFLATING * times + plain[at:])
        assert (photo.pixels().permute(1, 2, 0).numpy() == np.asarray(ramp(32, 24))).all()

    def test_a_profile_that_inflates_is_one_sentence_or_none(self) -> None:
        plain = encoded(ramp(32, 24))
        at = plain.index(b"IDAT") - 4
        bomb = chunk(b"iCCP", b"x\0\0" + zlib.compress(bytes(64 * 2**20)))
        with pytest.raises(ImageError) as caught:
            open_photo(plain[:at] + bomb + plain[at:])
        assert_reads_well(caught.value)

    def test_a_png_of_crumbs_is_refused(self) -> None:
        plain = encoded(ramp(32, 24))
        with pytest.raises(ImageError, match="more than 100000 chunks") as caught:
            open_photo(plain[:33] + chunk(b"abcd", b"") * 100_001 + plain[33:])
        assert_reads_well(caught.value)


def tiff_with(
    tags: list[tuple[int, int, int, int]], tail: bytes = b"", big: bool = False, without: tuple[int, ...] = ()
) -> bytes:
    """Return a TIFF of 4x4 gray pixels with more tags: number, type, count, offset."""
    offset = 16 if big else 8
    own = [(256, 3, 1, 4), (257, 3, 1, 4), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (273, 4, 1, offset)]
    own += [(277, 3, 1, 1), (278, 3, 1, 4), (279, 4, 1, 16)]
    entries = sorted({tag[0]: tag for tag in own + tags if tag[0] not in without}.values())
    directory = offset + 16
    if big:
        head = b"II+\0\x08\0\0\0" + struct.pack("<Q", directory) + bytes(range(16)) + struct.pack("<Q", len(entries))
        return head + b"".join(struct.pack("<HHQQ", *entry) for entry in entries) + bytes(8) + tail
    head = b"II*\0" + struct.pack("<I", directory) + bytes(range(16)) + struct.pack("<H", len(entries))
    return head + b"".join(struct.pack("<HHII", *entry) for entry in entries) + bytes(4) + tail


class TestTags:
    @pytest.mark.parametrize("big", [False, True], ids=["TIFF", "BigTIFF"])
    def test_a_tiff_made_by_hand_opens(self, big: bool) -> None:
        assert open_photo(tiff_with([], big=big)).pixels()[0].flatten().tolist() == list(range(16))

    @pytest.mark.parametrize("big", [False, True], ids=["TIFF", "BigTIFF"])
    def test_a_tiff_of_more_tags_than_allowed_is_refused(self, big: bool) -> None:
        many = [(number, 3, 1, 0) for number in range(40_000, 41_500)]
        with pytest.raises(ImageError, match="has 1509 tags; at most 1000") as caught:
            open_photo(tiff_with(many, big=big))
        assert_reads_well(caught.value)

    @pytest.mark.parametrize("big", [False, True], ids=["TIFF", "BigTIFF"])
    def test_a_tiff_of_more_strips_than_pictures_have_is_refused(self, big: bool) -> None:
        count = 2_500_000
        with pytest.raises(ImageError, match=r"250000\d numbers") as caught:
            open_photo(tiff_with([(273, 4, count, 300)], bytes(4 * count + 600), big=big))
        assert_reads_well(caught.value)

    def test_a_tag_that_speaks_of_more_than_the_file_has_costs_no_memory(self) -> None:
        data = tiff_with([(700, 1, 2**32 - 1, 8), (34_675, 7, 2**31, 8), (305, 2, 2**32 - 1, 8)])
        assert open_photo(data).pixels().shape == (3, 4, 4)

    def test_a_directory_beyond_the_end_is_an_image_error(self) -> None:
        with pytest.raises(ImageError, match="TIFF"):
            open_photo(b"II*\0\xff\xff\xff\xff" + bytes(20))

    @pytest.mark.parametrize("kind", [3, 5, 6, 12], ids=["shorts", "fractions", "signed bytes", "doubles"])
    def test_numbers_of_every_kind_count(self, kind: int) -> None:
        tags = [(40_000, kind, 2_000_001, 300)]
        with pytest.raises(ImageError, match=r"has (2|16)0000\d\d numbers in its tags") as caught:
            open_photo(tiff_with(tags, bytes(17_000_000)))
        assert_reads_well(caught.value)

    def test_a_fraction_counts_as_eight_numbers(self) -> None:
        with pytest.raises(ImageError, match="has 2000017 numbers"):
            open_photo(tiff_with([(40_000, 5, 250_001, 300)], bytes(2_100_000)))


class TestSegments:
    def test_a_jpeg_of_crumbs_is_refused(self) -> None:
        plain = encoded(ramp(32, 24), "JPEG")
        crumbs = b"\xff\xe5\0\2" * 99_990
        assert open_photo(plain[:2] + crumbs + plain[2:]).pixels().shape == (3, 24, 32)
        with pytest.raises(ImageError, match="JPEG has more than 100000 segments") as caught:
            open_photo(plain[:2] + crumbs + b"\xff\xfe\0\2" * 20 + plain[2:])
        assert_reads_well(caught.value)

    def test_markers_without_a_body_and_junk_between_segments_are_no_segments(self) -> None:
        plain = encoded(ramp(32, 24), "JPEG")
        junk = (b"\xff\xd0" + b"\xff" * 5 + b"\xff\x00" + b"junk") * 30_000
        assert open_photo(plain[:2] + junk + plain[2:]).pixels().shape == (3, 24, 32)


def exif_of(kind: int, count: int, size: int, tag: int = 0x0112) -> bytes:
    """Return EXIF of one tag with so many numbers of a kind, the orientation where no other is asked for."""
    return b"MM\0*" + struct.pack(">IHHHIIxxxx", 8, 1, tag, kind, count, 26) + b"\1\2" * (count * size // 2)


def webp_with(exif: bytes) -> bytes:
    data = encoded(ramp(32, 24), "WEBP", exif=exif_bytes(1))
    data = data[: data.index(b"EXIF")] + b"EXIF" + struct.pack("<I", len(exif)) + exif
    return data[:4] + struct.pack("<I", len(data) - 8) + data[8:]


def jpeg_with(exif: bytes) -> bytes:
    plain = encoded(ramp(32, 24), "JPEG")
    parts = [b"Exif\0\0" + exif[at : at + 65_000] for at in range(0, len(exif), 65_000)]
    return plain[:2] + b"".join(b"\xff\xe1" + struct.pack(">H", len(one) + 2) + one for one in parts) + plain[2:]


WITH_EXIF: dict[str, Callable[[bytes], bytes]] = {
    "JPEG": jpeg_with,
    "PNG": lambda exif: encoded(ramp(32, 24), exif=exif),
    "WEBP": webp_with,
    "AVIF": lambda exif: encoded(ramp(32, 24), "AVIF", exif=exif),
    "HEIF": lambda exif: heic(ramp(64, 48), exif=exif),
}


class TestExif:
    @pytest.mark.parametrize("kind", WITH_EXIF)
    def test_more_of_it_than_cameras_write_is_refused(self, kind: str) -> None:
        comment, limit = 0x9286, 2 * 2**20
        assert open_photo(WITH_EXIF[kind](exif_of(7, limit - 1000, 1, comment))).pixels().shape[0] == 3
        with pytest.raises(ImageError, match="2 MiB of EXIF; at most 2 MiB are accepted") as caught:
            open_photo(WITH_EXIF[kind](exif_of(7, limit, 1, comment)))
        assert_reads_well(caught.value)

    @pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
    def test_an_orientation_of_a_million_numbers_is_none(self, kind: str) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's
            assert open_photo(WITH_EXIF[kind](exif_of(3, 1_000_000, 2))).size == Size(32, 24)


def iso_boxes(data: bytes, at: int, end: int) -> Iterator[tuple[bytes, bytes]]:
    """Yield type and whole of each box."""
    while at < end:
        length, kind = struct.unpack_from(">I4s", data, at)
        yield kind, data[at : at + length]
        at += length


def box(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(body), kind) + body


def with_index(data: bytes, places: bytes) -> bytes:
    """Return an AVIF or a HEIC that says in other words where its items lie: the body of its box `iloc`."""
    outer = dict(iso_boxes(data, 0, len(data)))
    meta = outer[b"meta"]
    inner = dict(iso_boxes(meta, 12, len(meta))) | {b"iloc": box(b"iloc", places)}
    outer[b"meta"] = box(b"meta", meta[8:12] + b"".join(inner.values()))
    return b"".join(outer.values())


def of_items(count: int) -> bytes:
    """Return an AVIF that says of so many items that they lie nowhere."""
    head = b"\2\0\0\0\x44\0" + struct.pack(">I", count)
    places = head + b"".join(struct.pack(">IHHH", number, 0, 0, 0) for number in range(1000, 1000 + count))
    return with_index(encoded(ramp(64, 48), "AVIF"), places)


def of_parts(items: int, write: Callable[[Image.Image], bytes] = WRITERS["AVIF"]) -> bytes:
    """Return an AVIF or HEIC whose items each have 65,535 parts, of no bytes and in no bytes."""
    head = b"\2\0\0\0\0\0" + struct.pack(">I", items)
    places = head + b"".join(struct.pack(">IHHH", 1000 + number, 0, 0, 65_535) for number in range(items))
    return with_index(write(ramp(64, 48)), places)


class TestIndex:
    """libavif looks at every item for each item, and keeps something of each part; the decoder's process ends that."""

    def test_an_avif_whose_index_takes_long_is_stopped(self, monkeypatch: pytest.MonkeyPatch) -> None:
        allow(monkeypatch, max_decode_s=1)
        with pytest.raises(ImageError, match="did not decode within 1 seconds") as caught:
            open_photo(of_items(100_000))  # 15 seconds of libavif
        assert_reads_well(caught.value)

    @pytest.mark.parametrize("kind", ["AVIF", "HEIF"])
    def test_a_kilobyte_that_speaks_of_millions_of_parts_is_refused(self, kind: str) -> None:
        with pytest.raises(ImageError, match="cannot be decoded") as caught:
            open_photo(of_parts(500, WRITERS[kind]))  # a gigabyte of libavif
        assert_reads_well(caught.value)

    def test_a_large_profile_is_no_index(self) -> None:
        profile = SRGB + bytes(3 * 2**20)
        assert open_photo(WRITERS["AVIF"](ramp(64, 48), icc_profile=profile)).icc_profile == profile

    @pytest.mark.parametrize("kind", ["AVIF", "HEIF"])
    def test_an_index_that_is_cut_off_anywhere_raises_nothing_but_an_image_error(self, kind: str) -> None:
        data = WRITERS[kind](ramp(64, 48), exif=exif_bytes(6))
        ends = range(40, data.index(b"mdat"), 17)  # each starts a process
        refused = 0
        for end in ends:
            try:
                open_photo(data[:end])
            except ImageError:
                refused += 1
        assert refused > len(ends) / 2  # libavif does without the last of it


class TestProfiles:
    @pytest.mark.parametrize("kind", ["JPEG", "WEBP", "TIFF", "AVIF", "HEIF"])
    def test_a_profile_larger_than_any_is_refused(self, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
        profile = SRGB + bytes(4 * 2**20 - len(SRGB))
        assert open_photo(WRITERS[kind](ramp(32, 24), icc_profile=profile)).icc_profile == profile
        with pytest.raises(ImageError, match="colour profile of 4 MiB; at most 4 MiB") as caught:
            open_photo(WRITERS[kind](ramp(32, 24), icc_profile=profile + b"\0"))
        assert_reads_well(caught.value)

    @pytest.mark.parametrize("output_format", ["jpg", "png", "webp", "avif"])
    def test_the_largest_profile_travels_in_every_format(self, output_format: str, cropper: Cropper) -> None:
        profile = SRGB + bytes(4 * 2**20 - len(SRGB))
        data = WRITERS["JPEG"](ramp(32, 24), icc_profile=profile)
        (crop,) = cropper.crop(data, CropRequest(output_format=output_format)).crops
        assert crop.data is not None
        assert profile in crop.data or output_format in ("png", "jpg")  # which deflate it, and cut it in pieces


class TestCrops:
    def test_crops_of_too_many_pixels_together_are_refused_before_they_are_cut(
        self, cropper: Cropper, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        request = CropRequest(aspect_ratios=("1:1", "4:5"), width=40, upscale="allow")
        data = encoded(ramp(64, 48))
        allow(monkeypatch, max_crop_pixels=40 * 40 + 40 * 50)
        assert len(cropper.crop(data, request).crops) == 2
        allow(monkeypatch, max_crop_pixels=40 * 40 + 40 * 50 - 1)
        with pytest.raises(RequestError, match="All crops together would have 3600 pixels") as caught:
            cropper.crop(data, request)
        assert "at most 3599 pixels are allowed for a picture. Ask for a smaller width" in str(caught.value)


# ---- time


def jpeg_of_scans(side: int, scans: int) -> bytes:
    """Return a progressive JPEG that repeats its last scan: few bytes, and each time a walk over the picture."""
    data = encoded(Image.new("L", (side, side), 90), "JPEG", progressive=True)
    return data[:-2] + data[data.rindex(b"\xff\xda") : -2] * scans + data[-2:]


def sequential_jpeg_of_scans(side: int, scans: int) -> bytes:
    """Return a JPEG that is not progressive and has each of its components in a scan of its own, again and again."""
    data = large_jpeg(side, side)
    scan = b"".join(b"\xff\xda\0\x08\1" + bytes((component,)) + b"\0\0\x3f\0" for component in (1, 2, 3))
    return data[: data.index(b"\xff\xda")] + scan * (scans // 3) + b"\xff\xd9"


@contextmanager
def signalled_decoders(number: signal.Signals) -> Iterator[None]:
    """Send a signal to every decoder's process that starts within the block, as soon as it has."""
    start = decoder._started

    def started(code: str) -> subprocess.Popen[bytes]:
        process = start(code)
        process.send_signal(number)
        return process

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decoder, "_started", started)
        yield


APART = {kind: WRITERS[kind](ramp(64, 48)) for kind in ("AVIF", "HEIF", "TIFF", "WEBP")}


class TestDeadline:
    @pytest.mark.parametrize("reduction", [1, 8])
    @pytest.mark.parametrize("write", [jpeg_of_scans, sequential_jpeg_of_scans], ids=["progressive", "sequential"])
    def test_a_jpeg_of_endless_scans_is_stopped(
        self, write: Callable[[int, int], bytes], reduction: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        allow(monkeypatch, max_decode_s=1)
        data = write(6_000, 3_000)  # they would take 60 and 8 seconds
        with pytest.raises(ImageError, match="did not decode within 1 seconds") as caught:
            open_photo(data).pixels(reduction)
        assert_reads_well(caught.value)

    def test_time_that_passes_between_header_and_pixels_is_not_the_decoders(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        allow(monkeypatch, max_decode_s=1)
        photo = open_photo(encoded(ramp(32, 24), "JPEG"))
        time.sleep(1.1)
        assert photo.pixels().shape == (3, 24, 32)

    @pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="finds the decoder's process in /proc")
    @pytest.mark.parametrize("kind", APART)
    def test_a_decoder_that_hangs_is_killed(self, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
        allow(monkeypatch, max_decode_s=1)
        with (
            signalled_decoders(signal.SIGSTOP),
            pytest.raises(ImageError, match="did not decode within 1 seconds"),
        ):
            open_photo(APART[kind]).pixels()
        assert children_named("crop_core.photo.decoder_process") == []

    @pytest.mark.parametrize("kind", APART)
    def test_a_decoder_that_crashes_costs_the_picture_alone(self, kind: str) -> None:
        with signalled_decoders(signal.SIGSEGV), pytest.raises(ImageError, match="cannot be decoded"):
            open_photo(APART[kind]).pixels()
        assert open_photo(APART[kind]).pixels().shape == (3, 48, 64)

    def test_a_decoder_that_dies_while_it_reads_costs_the_picture_alone(self) -> None:
        data = APART["TIFF"] + bytes(50_000_000)
        with signalled_decoders(signal.SIGKILL), pytest.raises(ImageError, match="cannot be decoded"):
            open_photo(data).pixels()

    def test_a_decoder_that_cannot_start_is_one_sentence(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys, "executable", "/no/such/python")
        with pytest.raises(ImageError, match="cannot be started here: No such file or directory") as caught:
            open_photo(APART["AVIF"]).pixels()
        assert_reads_well(caught.value)


class TestProcess:
    """The decoder's process, wherever and however this one was started."""

    def test_it_decodes_in_another_folder_with_paths_of_this_process_alone_and_an_editable_install(
        self, tmp_path: Path
    ) -> None:
        for kind, data in APART.items():
            (tmp_path / kind).write_bytes(data)
        (tmp_path / "PIL.py").write_text("raise SystemExit('the wrong Pillow')")
        paths = [str(ROOT), *(path for path in sys.path if path)]
        program = f"""
import sys
sys.path[:] = {paths!r}
from crop_core.photo.photo import open_photo
sys.path[:] = [path for path in sys.path if path != {str(ROOT)!r}]  # an editable install may have a finder instead
for kind in {tuple(APART)!r}:
    assert open_photo(open(kind, "rb").read()).pixels().shape == (3, 48, 64), kind
"""
        run = [sys.executable, "-I", "-S", "-c", program]
        subprocess.run(run, cwd=tmp_path, check=True, env={"PYTHONPATH": str(tmp_path)})

    def test_it_says_nothing_and_leaves_no_process(self, capfd: pytest.CaptureFixture[str]) -> None:
        for data in (*APART.values(), APART["TIFF"][:-2000], APART["AVIF"][:-200]):
            with suppress(ImageError):
                open_photo(data).pixels()
        assert capfd.readouterr() == ("", "")
        if Path("/proc/self/task").is_dir():
            assert children_named("crop_core.photo.decoder_process") == []

    @pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="reads the process's environment in /proc")
    def test_it_gets_the_limits_and_nothing_else_of_the_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        allow(monkeypatch, max_decode_s=20)
        start, given = decoder._started, []

        def started(code: str) -> subprocess.Popen[bytes]:
            process = start(code)
            environment = Path(f"/proc/{process.pid}/environ")
            late = time.monotonic() + 20
            while not (found := environment.read_bytes()) and time.monotonic() < late:
                time.sleep(0.01)  # on a busy machine it is empty until the program has begun
            given.append(found)
            return process

        monkeypatch.setattr(decoder, "_started", started)
        assert open_photo(APART["AVIF"]).pixels().shape == (3, 48, 64)
        names = {entry.split(b"=")[0] for entry in given[0].split(b"\0") if entry}
        assert names >= {b"CROP_CORE_MAX_DECODE_S"}
        loaders = {name.encode() for name in decoder._LOADERS}
        assert names - loaders - {b"OPENBLAS_NUM_THREADS", b"OMP_NUM_THREADS"} == {b"CROP_CORE_MAX_DECODE_S"}

    @pytest.mark.parametrize(
        ("soft", "hard", "held"), [(-1, -1, 192), (250, 250, 192), (150, 150, 150), (140, 300, 140)], ids=str
    )
    def test_its_memory_is_limited_under_any_limit_that_stands_already(self, soft: int, hard: int, held: int) -> None:
        resource = pytest.importorskip("resource")
        program = f"""
import resource, sys
limits = [one * 2**20 if one > 0 else resource.RLIM_INFINITY for one in ({soft}, {hard})]
resource.setrlimit(resource.RLIMIT_DATA, tuple(limits))
sys.path[:] = {[str(ROOT), *sys.path]!r}
from crop_core.photo.decoder_process import main
main("TIFF", True)
print(*resource.getrlimit(resource.RLIMIT_DATA), file=sys.stderr)
"""
        run = subprocess.run([sys.executable, "-c", program], input=APART["TIFF"], capture_output=True, check=True)
        assert len(run.stdout) > 3 * 64 * 48
        now, most = map(int, run.stderr.split())
        assert now // 2**20 == held
        assert most == now  # and nothing in it can raise it again
        assert now != resource.RLIM_INFINITY

    def test_who_ignores_the_end_of_child_processes_gets_the_picture_too(self) -> None:
        usual = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        try:
            assert open_photo(APART["TIFF"]).pixels().shape == (3, 48, 64)
        finally:
            signal.signal(signal.SIGCHLD, usual)

    @pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="finds the decoder's process in /proc")
    def test_it_ends_by_itself_when_the_process_that_waits_for_it_is_killed(self, tmp_path: Path) -> None:
        pipe = tmp_path / "endless"
        os.mkfifo(pipe)
        program = f"""
import sys
sys.path[:] = {[str(ROOT), *sys.path]!r}
from crop_core.photo.decoder_process import main
main("TIFF", True)
"""
        keeper = os.open(pipe, os.O_RDWR)  # so that its input never ends
        try:
            with pipe.open("rb") as endless:
                decoder = subprocess.Popen(
                    [sys.executable, "-c", program], stdin=endless, env={**os.environ, "CROP_CORE_MAX_DECODE_S": "1"}
                )
                assert decoder.wait(timeout=60) == -signal.SIGALRM
        finally:
            os.close(keeper)


def children_named(name: str) -> list[str]:
    found = children_of(str(os.getpid()))
    return [child for child in found if name.encode() in Path(f"/proc/{child}/cmdline").read_bytes()]


# ---- memory

# What SECURITY.md states: above a loaded process, a picture takes at most so much on the way to a crop.
BYTES_A_PIXEL, BYTES_A_BYTE, BESIDE = 32, 4, 256 * 2**20

_CROPS = r"""
import ctypes, json, pathlib, sys, threading, time
import torch
from crop_core import CropError, Cropper, CropRequest
from crop_core.cut.encode import encode

def kilobytes(name, process="self"):
    lines = pathlib.Path(f"/proc/{process}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1])

def watch(done, peaks):
    while not done.is_set():
        for task in pathlib.Path("/proc/self/task").iterdir():
            try:
                for child in (task / "children").read_text().split():
                    # Before it starts its own program, a child shares this one's memory and its arguments.
                    if b"-I" in pathlib.Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0"):
                        peaks[child] = max(peaks.get(child, 0), kilobytes("VmHWM", child))
            except (OSError, StopIteration):
                pass  # it has ended
        time.sleep(0.005)

def peak(path, inputs, before):
    data = pathlib.Path(path).read_bytes()
    peaks, done = {}, threading.Event()
    watcher = threading.Thread(target=watch, args=(done, peaks))
    watcher.start()
    pathlib.Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    refusal = None
    try:
        cropper.crop(data, CropRequest.from_inputs(**inputs))
    except CropError as error:
        refusal = str(error)
    done.set()
    watcher.join()
    decoder = max(peaks.values(), default=0)  # its peak may lie at another time, so this is the worst case
    return [(kilobytes("VmHWM") - before + decoder) * 1024, refusal]

cropper = Cropper(device="cpu", detector="fast")
for shape in ((3, 960, 960), (3, 720, 960)):  # warm for what comes; other shapes would cost seconds and change nothing
    cropper.crop(encode(torch.full(shape, 128, dtype=torch.uint8), "jpg", 85, None), CropRequest(output_format="jpg"))
ctypes.CDLL(None).malloc_trim(0)
loaded = kilobytes("VmRSS")
for path, inputs in json.loads(sys.argv[1]):
    print(json.dumps(peak(path, inputs, loaded if sys.argv[2] == "all" else kilobytes("VmRSS"))), flush=True)
"""


def peaks_of(asked: list[tuple[Path, dict[str, object]]], counted: str = "all") -> list[tuple[int, str | None]]:
    """Return how many bytes more than before a loaded process takes for each picture, and its refusal.

    Args:
        asked: The pictures and the inputs of each request.
        counted: Of `all` pictures what they leave behind counts for those after them, of `each` it does not.
    """
    given = json.dumps([(str(path), inputs) for path, inputs in asked])
    run = subprocess.run([sys.executable, "-c", _CROPS, given, counted], capture_output=True, text=True, check=True)
    return [tuple(json.loads(line)) for line in run.stdout.splitlines()]


def noisy(mode: str, width: int, height: int) -> Image.Image:
    cells = np.random.default_rng(0).integers(0, 256, (height // 8, width // 8, len(mode)), dtype=np.uint8)
    return Image.fromarray(np.kron(cells, np.ones((8, 8, 1), np.uint8)))


has_peaks = pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="reads the peak from /proc")


def deep_heic(image: Image.Image) -> bytes:
    """Return a HEIC of 16 bits a channel, which takes the most memory of all."""
    deep = np.asarray(image.convert("RGBA")).astype(np.uint16) * 257
    buffer = BytesIO()
    fast = {"preset": "ultrafast"}  # to encode it takes longer than the crop
    pillow_heif.from_bytes("RGBA;16", image.size, deep.tobytes()).save(buffer, chroma=444, enc_params=fast)
    return buffer.getvalue()


SIDE, SMALL_SIDE = 2_000, 512
HEAVY: dict[str, tuple[Callable[[Image.Image], bytes], str, str]] = {
    "JPEG": (lambda image: encoded(image, "JPEG", progressive=True, subsampling=0), "RGB", "jpg"),
    "PNG": (lambda image: encoded(image, "PNG", compress_level=1), "RGBA", "png"),
    "WebP": (lambda image: encoded(image, "WEBP", quality=50, method=0), "RGBA", "webp"),
    "AVIF": (lambda image: encoded(image, "AVIF", speed=10), "RGB", "jpg"),
    "TIFF": (lambda image: encoded(image, "TIFF", compression="tiff_lzw"), "RGBA", "jpg"),
    "HEIC": (deep_heic, "RGB", "jpg"),
}
ENLARGED = {"jpg": 2_400, "avif": 1_400}  # which take the most of the four


@pytest.fixture(scope="module")
def peaks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[int, int]]:
    """The bytes that each heavy picture takes, and those of its file; one loaded process crops them all."""
    folder = tmp_path_factory.mktemp("heavy")
    asked: dict[str, tuple[Path, dict[str, object]]] = {}
    for kind, (write, mode, output_format) in HEAVY.items():
        (folder / kind).write_bytes(write(noisy(mode, SIDE, SIDE)))
        asked[kind] = folder / kind, {"output_format": output_format}
    (folder / "small").write_bytes(encoded(noisy("RGBA", SMALL_SIDE, SMALL_SIDE)))
    for output_format, side in ENLARGED.items():
        larger = {"width": side, "height": side, "upscale": "allow", "output_format": output_format}
        asked[output_format] = folder / "small", larger
    found = dict(zip(asked, peaks_of(list(asked.values())), strict=True))
    assert [refusal for _, refusal in found.values() if refusal] == []
    return {name: (taken, asked[name][0].stat().st_size) for name, (taken, _) in found.items()}


@has_peaks
@pytest.mark.parametrize("kind", HEAVY)
def test_the_peak_of_memory_stays_under_the_bound_that_readme_states(
    kind: str, peaks: dict[str, tuple[int, int]]
) -> None:
    taken, length = peaks[kind]
    # The crop is the whole picture.
    assert taken <= 2 * BYTES_A_PIXEL * SIDE * SIDE + BYTES_A_BYTE * length + BESIDE


@has_peaks
@pytest.mark.parametrize(("output_format", "side"), ENLARGED.items())
def test_a_crop_far_larger_than_the_picture_stays_under_the_bound_too(
    output_format: str, side: int, peaks: dict[str, tuple[int, int]]
) -> None:
    taken, length = peaks[output_format]
    assert taken <= BYTES_A_PIXEL * (SMALL_SIDE * SMALL_SIDE + side * side) + BYTES_A_BYTE * length + BESIDE


def texts_that_inflate() -> bytes:
    plain = encoded(ramp(32, 24))
    return plain[:33] + TestTexts.INFLATING * 100 + plain[33:]


def tile_that_inflates() -> bytes:
    """Return a TIFF of 4x4 pixels in one tile of 65,520 x 65,520."""
    tile = zlib.compress(bytes(20_000_000))
    tags = [(259, 3, 1, 8), (322, 3, 1, 65_520), (323, 3, 1, 65_520), (324, 4, 1, 500), (325, 4, 1, len(tile))]
    data = tiff_with(tags, without=(273, 278, 279))
    return data + bytes(500 - len(data)) + tile


def webp_of_codes(side: int = 1024) -> bytes:
    """Return a lossless WebP that has a set of five codes for every 4x4 pixels (RFC 9649, section 5)."""
    bits: list[int] = []

    def put(value: int, length: int) -> None:
        bits.extend(value >> one & 1 for one in range(length))

    one_symbol = (1, 0, 0, 0)  # a code that takes no bits: simple, one symbol, of one bit, 0
    put(0x2F, 8)
    put(side - 1, 14)
    put(side - 1, 14)
    put(0, 4)  # no alpha, version 0
    put(0, 2)  # no transform, no cache
    put(1, 4)  # several sets of codes, one for 4x4 pixels
    put(0, 1)
    for symbols in (280, 256):  # the codes of the sets' numbers: 256 symbols of 8 bits, none of the others
        put(0, 1)
        put(8, 4)
        for place in range(12):
            put(place in (1, 11), 3)  # the lengths 18, for many zeros, and 8
        put(0, 1 + 256)
        if symbols > 256:
            put(1, 1)
            put(symbols - 256 - 11, 7)
    bits += one_symbol * 3
    sets = (side // 4) ** 2
    for number in range(sets):
        for half in (number & 255, number >> 8):
            bits += (int(bit) for bit in f"{half:08b}")
    bits += one_symbol * 5 * sets
    body = np.packbits(np.array(bits, np.uint8), bitorder="little").tobytes() + bytes(8)
    body += bytes(len(body) % 2)
    picture = b"WEBPVP8L" + struct.pack("<I", len(body)) + body
    return b"RIFF" + struct.pack("<I", len(picture)) + picture


def test_a_webp_of_few_codes_made_by_hand_opens() -> None:
    assert open_photo(webp_of_codes(64)).pixels().shape == (3, 64, 64)


BOMBS: dict[str, Callable[[], bytes]] = {
    **{f"{kind} of 100 megapixels": lambda kind=kind: LARGE[kind](10_000, 10_000) for kind in LARGE},
    **{f"{kind} of 20 megapixels": lambda kind=kind: LARGE[kind](5_000, 4_000) for kind in ("PNG", "WEBP", "AVIF")},
    "JPEG of 196 megapixels": lambda: large_jpeg(14_000, 14_000),
    "texts that inflate": texts_that_inflate,
    "strips": lambda: tiff_with([(273, 4, 1_900_000, 300)], bytes(8_000_000)),
    "tags that share bytes": lambda: tiff_with(
        [(number, 7, 4_000_000, 300) for number in range(40_000, 40_900)], bytes(4_100_000)
    ),
    "a tile that inflates": tile_that_inflates,
    "segments": lambda: jpeg_with(b"")[:2] + b"\xff\xe5\0\2" * 3_000_000 + jpeg_with(b"")[2:],
    "an orientation of 8 million numbers": lambda: webp_with(exif_of(3, 8_000_000, 2)),
    "an orientation of a million numbers": lambda: webp_with(exif_of(3, 1_000_000, 2)),
    "fractions in EXIF": lambda: jpeg_with(exif_of(5, 250_000, 8)),
    "fractions in a TIFF": lambda: tiff_with([(282, 5, 1_900_000, 300)], b"\1" * 16_000_000),
    "a few fractions in a TIFF": lambda: tiff_with([(282, 5, 249_000, 300)], b"\1" * 2_000_000),
    "signed bytes in a TIFF": lambda: tiff_with([(258, 6, 40_000_000, 300)], bytes(41_000_000)),
    "codes of a WebP": webp_of_codes,
    "parts of an AVIF": lambda: of_parts(500),
    "items of an AVIF": lambda: of_items(25_000),
}


@has_peaks
def test_a_bomb_takes_no_more_memory_than_a_small_picture(tmp_path: Path) -> None:
    files = [tmp_path / name for name in BOMBS]
    for path in files:
        path.write_bytes(BOMBS[path.name]())
    taken = dict(zip(BOMBS, peaks_of([(path, {}) for path in files], "each"), strict=True))
    allowed = dict.fromkeys(BOMBS, BESIDE)
    allowed["AVIF of 20 megapixels"] += 2 * BYTES_A_PIXEL * 20_000_000  # 16x16 pixels, which libavif enlarges
    assert {name: most for name, (most, _) in taken.items() if most > allowed[name]} == {}
    read = {"AVIF of 20 megapixels", "texts that inflate", "strips", "tags that share bytes"}
    read |= {"an orientation of a million numbers", "fractions in EXIF", "a few fractions in a TIFF"}
    assert {name for name, (_, refusal) in taken.items() if refusal is None} == read


def test_the_bound_of_memory_is_the_one_that_is_stated() -> None:
    stated = re.search(
        r"(\d+) bytes for each pixel of the picture and of its largest crop, (\d+) times the file, and (\d+) MiB",
        SECURITY,
    )
    assert stated
    assert tuple(map(int, stated.groups())) == (BYTES_A_PIXEL, BYTES_A_BYTE, BESIDE // 2**20)
