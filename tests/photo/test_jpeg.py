"""JPEG: damaged files are refused, whole ones are read to the same pixels as by Pillow."""

from __future__ import annotations

import re
from io import BytesIO

import numpy as np
import pytest
from conftest import encoded
from pictures import array_of, assert_reads_well
from PIL import Image

from crop_core import ImageError
from crop_core.photo.photo import open_photo

END = b"\xff\xd9"
NOISE = Image.fromarray(np.random.default_rng(2).integers(0, 256, (24, 32, 3), dtype=np.uint8)).resize((320, 240))
KINDS = {
    "baseline": encoded(NOISE, "JPEG", quality=90),
    "4:4:4": encoded(NOISE, "JPEG", quality=90, subsampling="4:4:4"),
    "4:2:2": encoded(NOISE, "JPEG", quality=90, subsampling="4:2:2"),
    "progressive": encoded(NOISE, "JPEG", quality=90, progressive=True),
    "with restarts": encoded(NOISE, "JPEG", quality=90, restart_marker_blocks=8),
    "gray": encoded(NOISE.convert("L"), "JPEG", quality=90),
    "CMYK": encoded(NOISE.convert("CMYK"), "JPEG", quality=90),
    "RGB": encoded(NOISE, "JPEG", quality=90, keep_rgb=True),
}
JUNK = b"\xff\xd0\0junk"


def refused(data: bytes, reduction: int = 1) -> None:
    photo = open_photo(data)
    with pytest.raises(ImageError, match="damaged, cut off") as caught:
        photo.pixels(reduction)
    assert_reads_well(caught.value)


def scan_of(data: bytes) -> int:
    """Return where the first scan's pixels begin."""
    at = data.index(b"\xff\xda")
    return at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")


@pytest.mark.parametrize("reduction", [1, 2, 8])
@pytest.mark.parametrize("kind", KINDS)
class TestDamaged:
    def test_half_of_it_with_an_end_marker_is_refused(self, kind: str, reduction: int) -> None:
        data = KINDS[kind]
        start = scan_of(data)
        end = data.index(b"\xff\xc4", start) if kind == "progressive" else len(data)
        refused(data[: (start + end) // 2].rstrip(b"\xff") + END, reduction)

    def test_half_of_it_is_refused(self, kind: str, reduction: int) -> None:
        refused(KINDS[kind][: (scan_of(KINDS[kind]) + len(KINDS[kind])) // 2], reduction)

    def test_junk_in_its_header_does_not_hide_that_half_is_missing(self, kind: str, reduction: int) -> None:
        data = KINDS[kind][:2] + JUNK + KINDS[kind][2:]
        start = scan_of(data)
        end = data.index(b"\xff\xc4", start) if kind == "progressive" else len(data)
        refused(data[: (start + end) // 2].rstrip(b"\xff") + END, reduction)


@pytest.mark.parametrize("kind", ["baseline", "4:4:4", "4:2:2", "gray", "CMYK", "RGB"])
class TestHole:
    @pytest.mark.parametrize("fill", [bytes(1_000), b""], ids=["zeros", "nothing"])
    def test_a_hole_in_its_pixels_is_refused(self, kind: str, fill: bytes) -> None:
        data = KINDS[kind]
        middle = (scan_of(data) + len(data)) // 2
        refused(data[:middle] + fill + data[middle + 1_000 :])


def test_a_part_between_restarts_that_is_missing_is_refused() -> None:
    data = KINDS["with restarts"]
    first, second, *_ = [found.start() for found in re.finditer(rb"\xff[\xd0-\xd7]", data)]
    refused(data[:first] + data[second:])


@pytest.mark.parametrize("reduction", [1, 8])
@pytest.mark.parametrize("kind", KINDS)
class TestWhole:
    def test_its_pixels_are_those_that_pillow_decodes(self, kind: str, reduction: int) -> None:
        image = Image.open(BytesIO(KINDS[kind]))
        image.draft(None, (320 // reduction, 240 // reduction))
        assert (array_of(KINDS[kind], reduction=reduction) == np.asarray(image.convert("RGB"))).all()

    @pytest.mark.parametrize("missing", [1, 2])
    def test_one_that_lacks_only_its_end_marker_is_read(self, kind: str, missing: int, reduction: int) -> None:
        assert KINDS[kind].endswith(END)
        shown = array_of(KINDS[kind][:-missing], reduction=reduction)
        assert (shown == array_of(KINDS[kind], reduction=reduction)).all()

    @pytest.mark.parametrize("more", [bytes(5_000), b"\xff" * 9, b"a camera's own notes", KINDS["gray"]])
    def test_what_lies_behind_its_end_costs_nothing(self, kind: str, more: bytes, reduction: int) -> None:
        assert (array_of(KINDS[kind] + more, reduction=reduction) == array_of(KINDS[kind], reduction=reduction)).all()

    def test_junk_in_its_header_costs_nothing(self, kind: str, reduction: int) -> None:
        data = KINDS[kind][:2] + JUNK + KINDS[kind][2:]
        assert (array_of(data, reduction=reduction) == array_of(KINDS[kind], reduction=reduction)).all()

    def test_a_few_bytes_of_padding_before_its_end_cost_nothing(self, kind: str, reduction: int) -> None:
        data = KINDS[kind][:-2] + bytes(3) + END
        assert (array_of(data, reduction=reduction) == array_of(KINDS[kind], reduction=reduction)).all()


def test_a_picture_that_may_take_long_is_decoded_by_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = array_of(KINDS["progressive"])
    monkeypatch.setattr("crop_core.photo.jpeg._A_SCAN", 1.0)  # as if each scan took a second a pixel
    assert (array_of(KINDS["progressive"]) == whole).all()
