"""Any request and any damaged file ends in crops or in a CropError."""

from __future__ import annotations

import math
import random
from dataclasses import fields
from typing import Any

import pytest
from conftest import encoded, ramp
from fuzz import mutated, outcome, seeds, some_inputs
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import assert_reads_well

from crop_core import Cropper, CropRequest, ImageError, RequestError
from crop_core.cut.encode import encode
from crop_core.detection import LABELS
from crop_core.photo.file_format import DECODED_APART, format_of
from crop_core.photo.photo import in_srgb, open_photo
from crop_core.request import MAX_ASKED_SIDE

FILES = seeds()
AT_ONCE = sorted(name for name, data in FILES.items() if format_of(data) not in DECODED_APART)
APART = sorted(set(FILES) - set(AT_ONCE))

ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from((10**400, -(10**400), 2**63, 2**31 - 1, MAX_ASKED_SIDE, MAX_ASKED_SIDE + 1, 0, -1, 1)),
    st.floats(),
    st.sampled_from((math.nan, math.inf, -math.inf, -0.0, 5e-324, 1.7e308, math.nextafter(1, 2), math.nextafter(2, 3))),
    st.text(max_size=30),
    st.text(alphabet="\0\n\r\t\x1b\x7f\u202e\u2028\ufeff\U0001f600,:", max_size=30),
    st.sampled_from(("1:0", "0:1", "0:0", "99999:1", "1:99999", "1:1,", "-1:1", "1e3:1", "999999.999999:1", "١:١")),
    st.binary(max_size=5),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(st.text(max_size=2), st.integers(), max_size=2),
    st.just(object()),
)
RATIO = st.one_of(
    st.sampled_from(("match_input", "free")),
    st.builds("{}:{}".format, st.integers(0, 10**7), st.integers(0, 10**7)),
    st.builds("{}:{}".format, st.integers(1, 100), st.integers(1, 100)),
    st.builds("{:.3f}:{:.3f}".format, st.floats(0, 100), st.floats(0, 100)),
)
LABEL = st.builds(
    "{}{}".format,
    st.sampled_from((*sorted(LABELS), "unicorn", " ")),
    st.sampled_from(("", ":3", ":0", ":nan", ":1e9", ":")),
)


def at_and_past_its_bounds(rules: Any, whole: bool) -> st.SearchStrategy[Any]:
    low, high = rules["ge"], rules["le"]
    if whole:
        return st.sampled_from((low, high, low - 1, high + 1)) | st.integers(low, high)
    past = (math.nextafter(low, -1), math.nextafter(high, high + 1))
    return st.sampled_from((low, high, *past)) | st.floats(low, high)


INPUTS: dict[str, st.SearchStrategy[Any]] = {
    "aspect_ratio": st.lists(RATIO, min_size=1, max_size=22).map(",".join),
    "labels": st.lists(LABEL, max_size=4).map(",".join),
    "preview": st.booleans(),
    **{
        entry.name: at_and_past_its_bounds(entry.metadata, "int" in str(entry.type))
        for entry in fields(CropRequest)
        if "ge" in entry.metadata
    },
    **{
        entry.name: st.sampled_from(entry.metadata["choices"])
        for entry in fields(CropRequest)
        if "choices" in entry.metadata and entry.name != "detector"
    },
}
ANY_INPUTS = st.dictionaries(st.sampled_from(sorted(INPUTS)), st.none(), max_size=6).flatmap(
    lambda chosen: st.fixed_dictionaries({name: INPUTS[name] | ODD for name in chosen})
)
SOUND_INPUTS = st.dictionaries(st.sampled_from(sorted(INPUTS)), st.none(), max_size=5).flatmap(
    lambda chosen: st.fixed_dictionaries({name: INPUTS[name] for name in chosen})
)


@settings(max_examples=1_000)
@given(ANY_INPUTS)
def test_any_inputs_make_a_request_or_one_sentence(inputs: dict[str, Any]) -> None:
    try:
        request = CropRequest.from_inputs(**inputs)
    except RequestError as error:
        message = str(error)
    else:
        assert request == CropRequest.from_inputs(**inputs)
        return
    assert message.isprintable()
    assert message.endswith((".", "?"))
    assert len(message) < 300


# A dozen shapes: in none of these pictures anything is found, so a network of a quarter of a second looks at each.
SIZES = ((1, 1), (1, 60), (60, 1), (2, 3), (5, 60), (60, 33), (17, 16), (60, 60), (31, 59), (45, 7), (8, 8), (3, 50))


@settings(max_examples=150)
@given(SOUND_INPUTS, st.sampled_from(SIZES))
def test_any_request_crops_any_small_picture_or_says_why_not(
    quick_cropper: Cropper, inputs: dict[str, Any], size: tuple[int, int]
) -> None:
    sides = {side: inputs[side] % 200 for side in ("width", "height") if isinstance(inputs.get(side), int)}
    outcome(quick_cropper, encoded(ramp(*size)), inputs | sides)


def small_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lower the limits, so that a number that a fault made large is refused and does not take a second."""
    monkeypatch.setenv("CROP_CORE_MAX_PIXELS", "1000000")


def cropped_without_looking(data: bytes) -> str:
    """Return what becomes of a file without the networks, which get only its pixels."""
    try:
        photo = open_photo(data)
        in_srgb(photo.small(832), photo.icc_profile)
        pixels = photo.pixels()
    except ImageError as error:
        assert_reads_well(error)
        return "error"
    encode(pixels[:, :64, :64], "png", 85, photo.icc_profile)
    return "crop"


@pytest.mark.parametrize("name", AT_ONCE)
def test_a_damaged_file_is_cropped_or_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    small_limits(monkeypatch)
    chance, others = random.Random(name), list(FILES.values())
    came = [cropped_without_looking(mutated(FILES[name], others, chance)) for _ in range(100)]
    assert set(came) <= {"crop", "error"}
    assert "error" in came


@pytest.mark.parametrize("name", APART)
def test_a_damaged_file_of_a_kind_that_decodes_apart_is_cropped_or_refused(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_limits(monkeypatch)
    chance, others = random.Random(name), list(FILES.values())
    came = [cropped_without_looking(mutated(FILES[name], others, chance)) for _ in range(8)]
    assert set(came) <= {"crop", "error"}


def test_damaged_files_and_odd_requests_go_the_whole_way(cropper: Cropper, monkeypatch: pytest.MonkeyPatch) -> None:
    small_limits(monkeypatch)
    chance, others = random.Random(6), list(FILES.values())
    came = [
        outcome(cropper, mutated(FILES[name], others, chance), some_inputs(chance))
        for name in AT_ONCE
        for _ in range(4)
    ]
    assert {"crop", "ImageError"} <= set(came)


@pytest.mark.parametrize("name", sorted(FILES))
def test_each_file_is_cropped_before_it_is_damaged(name: str) -> None:
    assert cropped_without_looking(FILES[name]) == "crop"
