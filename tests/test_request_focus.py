"""`focus` and `position` as text: what is read, and what is refused in a sentence."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crop_core.errors import RequestError
from crop_core.request import CropRequest
from crop_core.request_focus import Focus, parse_focus, parse_position


@pytest.mark.parametrize(
    ("text", "foci"),
    [
        ("", ()),
        ("  ", ()),
        ("0.42,0.3", (Focus("0.42,0.3", (0.42, 0.3), False),)),
        ("0.1, 0.2, 0.6, 0.9", (Focus("0.1, 0.2, 0.6, 0.9", (0.1, 0.2, 0.6, 0.9), False),)),
        ("420px,300px", (Focus("420px,300px", (420, 300), True),)),
        ("1,0; .5,.25", (Focus("1,0", (1, 0), False), Focus(".5,.25", (0.5, 0.25), False))),
    ],
)
def test_a_focus_is_points_and_boxes_in_fractions_or_pixels(text: str, foci: tuple[Focus, ...]) -> None:
    assert CropRequest(focus=text).foci == foci


@pytest.mark.parametrize(
    ("inputs", "sentence"),
    [
        ({"focus": None}, "focus is text of at most 2000 characters"),
        ({"focus": "left"}, "focus is a point x,y or a box x1,y1,x2,y2"),
        ({"focus": "0.1,0.2,0.3"}, "got '0.1,0.2,0.3'"),
        ({"focus": "0.1,0.2;"}, "got ''"),
        ({"focus": "nan,0.5"}, "focus is a point"),
        ({"focus": "-0.1,0.5"}, "focus is a point"),
        ({"focus": "٠,٠"}, "focus is a point"),
        ({"focus": "420,300"}, "has a fraction above 1. Fractions go from 0 to 1; pixels are written as 420px."),
        ({"focus": "420px,0.3"}, "mixes fractions and pixels"),
        ({"focus": "0.6,0.2,0.1,0.9"}, "x1 is less than x2 and y1 less than y2"),
        ({"focus": "0.1,0.2,0.1,0.9"}, "is no box"),
        ({"focus": ";".join(["0,0"] * 21)}, "at most 20 points and boxes, got 21"),
        ({"focus": "0,0", "mode": "objects"}, "mode objects makes a crop of each thing"),
        ({"focus": "0,0", "mode": "faces"}, "Leave one out"),
        ({"focus": "0,0", "trim": True}, "trim finds it by the backdrop. Leave one out."),
        ({"position": None}, "position is auto, center, a compass point"),
        ({"position": "North"}, "got 'North'"),
        ({"position": "0.5"}, "two fractions from 0 to 1 such as 0.5,0.33"),
        ({"position": "1.5,0.5"}, "got '1.5,0.5'"),
        ({"position": "north", "aspect_ratio": "1:1,free"}, "Ask for a ratio, or leave position out"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_makes_no_sense_is_refused_in_one_sentence(inputs: dict[str, object], sentence: str) -> None:
    with pytest.raises(RequestError) as caught:
        CropRequest.from_inputs(**inputs)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) <= 250


@pytest.mark.parametrize(
    ("text", "place"),
    [("auto", None), ("center", (1 / 2, 1 / 2)), ("southwest", (1 / 3, 2 / 3)), ("0.5, .33", (0.5, 0.33))],
)
def test_a_position_is_a_place_in_the_crop(text: str, place: tuple[float, float] | None) -> None:
    assert CropRequest(position=text).place == place


@given(st.text(alphabet="0123456789.,;px -", max_size=30))
def test_any_text_makes_foci_and_places_or_a_request_error(text: str) -> None:
    for parse in (parse_focus, parse_position):
        try:
            parse(text)
        except RequestError as error:
            assert "\n" not in str(error)  # noqa: PT017 (the error is one of two right answers)
