from dataclasses import fields
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crop_core import CropRequest, RequestError
from crop_core.request import inputs, value_of


def test_the_defaults_are_the_ones_of_the_design() -> None:
    request = CropRequest()
    assert (request.mode, request.labels, request.aspect_ratios) == ("subject", "", ("1:1",))
    assert (request.width, request.height, request.zoom) == (None, None, None)
    assert (request.padding, request.headroom, request.max_crops) == (0.1, 0.4, 20)
    assert (request.order, request.if_none, request.upscale) == ("score", "saliency", "never")
    assert (request.detector, request.output_format, request.output_quality) == ("auto", "webp", 85)
    assert request.preview is False


@pytest.mark.parametrize(
    ("inputs", "sentence"),
    [
        ({"mode": "zzz"}, "mode is one of subject, objects, faces; got 'zzz'"),
        ({"mode": "object"}, "mode is one of subject, objects, faces; got 'object'. Did you mean objects?"),
        ({"output_format": "jpeg"}, "got 'jpeg'. Did you mean jpg?"),
        ({"mode": None}, "mode is one of"),
        ({"mode": ["subject"]}, "mode is one of"),
        ({"padding": 9}, "padding is a number from 0 to 2, got 9"),
        ({"padding": float("nan")}, "padding is a number from 0 to 2, got nan"),
        ({"padding": None}, "padding is a number"),
        ({"headroom": -0.1}, "headroom is a number from 0 to 2"),
        ({"zoom": 1.01}, "zoom is a number from 0 to 1"),
        ({"zoom": float("inf")}, "zoom is a number from 0 to 1"),
        ({"score_threshold": "high"}, "score_threshold is a number from 0 to 1, got 'high'"),
        ({"iou_threshold": True}, "iou_threshold is a number from 0 to 1, got True"),
        ({"width": "abc"}, "width is a whole number from 1 to 8192, got 'abc'"),
        ({"width": 0}, "width is a whole number"),
        ({"width": 10**60}, "width is a whole number from 1 to 8192, got a number of more than 50 digits"),
        ({"height": 12.5}, "height is a whole number from 1 to 8192, got 12.5"),
        ({"max_crops": 101}, "max_crops is a whole number from 1 to 100"),
        ({"output_quality": 0}, "output_quality is a whole number from 1 to 100"),
        ({"order": "random"}, "order is one of score, area, left_to_right"),
        ({"if_none": "crash"}, "if_none is one of saliency, center, full_image, empty, error"),
        ({"upscale": "always"}, "upscale is one of never, allow, pad"),
        ({"detector": "yolo"}, "detector is one of auto, fast, balanced, accurate"),
        ({"output_format": "gif"}, "output_format is one of match_input, webp, jpg, png, avif"),
        ({"preview": "yes"}, "preview is true or false, got 'yes'"),
        (
            {"aspect_ratio": "banana"},
            "aspect_ratio is width:height such as 16:9, match_input, free, or auto: or closest: before several ratios, "
            "such as auto:1:1,16:9; got 'banana'.",
        ),
        ({"aspect_ratio": ""}, "aspect_ratio is width:height"),
        ({"aspect_ratio": "1:0"}, "A side of aspect_ratio cannot be zero, got '1:0'"),
        ({"aspect_ratio": "１:1"}, "width:height such as 16:9"),
        ({"paddings": 1}, "There is no input paddings. Did you mean padding?"),
        ({"aspect": "1:1"}, "There is no input aspect. Did you mean aspect_ratio?"),
        ({"labels": "phone"}, "Did you mean cell phone?"),
        ({"aspect_ratio": "0.001:1"}, "between 1:100 and 100:1"),
        ({"aspect_ratio": "99999:1"}, "between 1:100 and 100:1"),
        ({"aspect_ratio": "-1:1"}, "width:height"),
        ({"aspect_ratio": "1:1,"}, "width:height"),
        ({"aspect_ratio": ",".join(f"1:{n}" for n in range(1, 23))}, "1 to 20 ratios, got 22"),
        ({"aspect_ratio": None}, "aspect_ratio is text"),
        ({"aspect_ratio": 1.5}, "aspect_ratio is text"),
        ({"aspect_ratio": "auto"}, "aspect_ratio takes auto once, before a list of ratios: auto:1:1,4:5,16:9"),
        ({"aspect_ratio": "closest:"}, "aspect_ratio takes closest once, before a list of ratios"),
        ({"aspect_ratio": "1:1,auto:4:5"}, "aspect_ratio takes auto once"),
        ({"aspect_ratio": "auto:1:1,free"}, "aspect_ratio auto: picks one of several ratios, and free is not a ratio"),
        ({"aspect_ratio": "closest:match_input,1:1"}, "Leave match_input out"),
        ({"aspect_ratio": "auto:1:1", "width": 9, "height": 9}, "aspect_ratio asks for auto:1:1. Leave out one of"),
        ({"multiple_of": 65}, "multiple_of is a whole number from 1 to 64, got 65"),
        ({"max_pixels": 100}, "max_pixels is a whole number from 1024 to 67108864, got 100"),
        ({"multiple_of": 64, "max_pixels": 4000}, "at least 4096 pixels, and max_pixels allows 4000"),
        (
            {"multiple_of": 64, "width": 1000},
            "width 1000 is not a multiple of multiple_of 64. Set width to 960 or 1024.",
        ),
        ({"multiple_of": 64, "height": 10}, "height 10 is not a multiple of multiple_of 64. Set height to 64."),
        ({"max_pixels": 2000, "width": 10}, "width sets the crops' size, and max_pixels bounds it"),
        ({"multiple_of": 8, "if_none": "full_image"}, "Choose another if_none, or leave multiple_of out"),
        ({"labels": "unicorn"}, "labels names 'unicorn', which no detector here knows. Use COCO's 80 names"),
        ({"labels": "persn"}, "Did you mean person?"),
        ({"labels": "dog:much"}, "gives dog the weight 'much'"),
        ({"labels": "dog:0"}, "a number above 0 and up to 1000"),
        ({"labels": "dog:nan"}, "a number above 0"),
        ({"labels": "dog:1e400"}, "a number above 0"),
        ({"labels": None}, "labels is text"),
        ({"labels": "dog," * 1000}, "at most 2000 characters"),
        ({"mode": "faces", "labels": "dog"}, "mode faces crops faces only"),
        ({"width": 100, "height": 100, "aspect_ratio": "16:9"}, "Leave out one of the three"),
        ({"width": 100, "height": 100, "aspect_ratio": "free"}, "Leave out one of the three"),
        ({"width": 8192, "height": 8}, "beyond 100:1"),
        ({"width": 8192, "aspect_ratio": "1:50"}, "more than 16383 pixels a side"),
        ({"height": 8192, "aspect_ratio": "50:1"}, "more than 16383 pixels a side"),
        ({"align": "nose"}, "align is one of none, eyes"),
        ({"face_height": 0}, "face_height is a number from 0.05 to 1"),
        ({"align": "eyes", "mode": "objects"}, "align lays out a face, and mode objects crops things"),
        (
            {"eye_line": 0.4, "aspect_ratio": "free"},
            "eye_line lays out a face in a shape, and aspect_ratio free has none",
        ),
        ({"face_height": 0.7, "zoom": 1}, "face_height sets how tight the crop is, and so does zoom"),
        ({"align": "eyes", "focus": "0.5,0.5"}, "align lays out a face, and focus says what the crop is about"),
        ({"eye_line": 0.4, "position": "north"}, "eye_line says where the face lies in the crop, and so does position"),
        ({"face_height": 0.7, "trim": True}, "face_height lays out a face, and trim takes an object"),
        ({"trim": "yes"}, "trim is true or false"),
        ({"trim": True, "trim_threshold": 255}, "trim_threshold is a whole number from 1 to 254"),
        ({"trim_threshold": 30}, "trim_threshold is for trim, and trim is false"),
        (
            {"trim": True, "mode": "objects"},
            "trim takes the picture's one object, and mode objects makes a crop of each",
        ),
        ({"trim": True, "labels": "dog"}, "trim takes whatever lies on the backdrop, and labels names what to take"),
        ({"redact": "hide"}, "redact is one of none, blur, pixelate"),
        ({"redact": "blur", "redact_labels": "fase"}, "redact_labels names 'fase', which no detector here knows"),
        ({"redact": "blur", "redact_labels": ""}, "redact_labels names nothing to hide"),
        ({"redact": "blur", "redact_labels": "face:2"}, "redact_labels takes labels without weights"),
        ({"redact_labels": "person"}, "redact_labels says what to hide, and redact is none"),
        ({"fit": "stretch"}, "fit is one of crop, pad, auto; got 'stretch'"),
        ({"background": "whitish", "fit": "pad"}, "background is a CSS colour such as white, #f5f5f5"),
        ({"background": None, "fit": "pad"}, "background is a CSS colour"),
        ({"background": "white"}, "background fills padding, and nothing is padded. Set fit to pad or auto"),
        ({"fit": "pad", "aspect_ratio": "1:1,free"}, "aspect_ratio free takes the shape of what it keeps"),
        ({"fit": "pad", "background": "transparent", "output_format": "jpg"}, "jpg has no transparency"),
        ({"upscale": "pad", "background": "#fff8", "output_format": "jpg"}, "jpg has no transparency"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_bad_input_gets_one_sentence_that_says_what_is_right(inputs: dict[str, Any], sentence: str) -> None:
    with pytest.raises(RequestError) as caught:
        CropRequest.from_inputs(**inputs)
    message = str(caught.value)
    assert sentence in message
    assert "\n" not in message
    assert len(message) <= 250


@pytest.mark.parametrize(
    ("name", "cell", "value"),
    [
        ("fit", "pad", "pad"),
        ("background", "#fff", "#fff"),
        ("align", "eyes", "eyes"),
        ("face_height", "0.75", 0.75),
        ("eye_line", "0.4", 0.4),
        ("trim", "true", True),
        ("trim_threshold", "40", 40),
        ("redact", "blur", "blur"),
        ("redact_labels", "face,tv", "face,tv"),
    ],
)
def test_a_cell_of_a_table_is_a_value_of_its_input(name: str, cell: str, value: object) -> None:
    found = value_of(inputs()[name], cell)
    assert (found, type(found)) == (value, type(value))


def test_a_name_that_is_like_none_gets_the_names_of_all_inputs() -> None:
    with pytest.raises(RequestError, match=r"There is no input zzzzzz\. The inputs are aspect_ratio, mode, .+\.$"):
        CropRequest.from_inputs(zzzzzz=1)


names = ["aspect_ratio", *(entry.name for entry in fields(CropRequest) if entry.name != "aspect_ratios")]
anything = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=30), st.just([1]))


@given(st.dictionaries(st.sampled_from(names), anything, max_size=4))
def test_any_value_makes_a_request_or_a_request_error(inputs: dict[str, Any]) -> None:
    try:
        request = CropRequest.from_inputs(**inputs)
    except RequestError:
        return
    assert all(ratio is None or Fraction(1, 100) <= ratio <= 100 for _, ratio in request.ratios)


@pytest.mark.parametrize(
    ("labels", "weights"),
    [
        ("", {}),
        ("  ", {}),
        ("dog", {"dog": 1.0}),
        ("dog:3,person:1", {"dog": 3.0, "person": 1.0}),
        (" Traffic  Light : 2.5 ,face", {"traffic light": 2.5, "face": 1.0}),
    ],
)
def test_labels_are_names_with_weights(labels: str, weights: dict[str, float]) -> None:
    assert CropRequest(labels=labels).label_weights == weights


@pytest.mark.parametrize(
    ("text", "ratios"),
    [
        ("match_input", (("match_input", None),)),
        ("free", (("free", None),)),
        ("1:1", (("1:1", Fraction(1)),)),
        ("1.91:1", (("1.91:1", Fraction(191, 100)),)),
        ("1:1, 16:9,1:1", (("1:1", Fraction(1)), ("16:9", Fraction(16, 9)))),
    ],
)
def test_ratios_are_exact_and_repeats_count_once(text: str, ratios: tuple[tuple[str, Fraction | None], ...]) -> None:
    assert CropRequest.from_inputs(aspect_ratio=text).ratios == ratios


@pytest.mark.parametrize(
    ("text", "choice"), [("1:1,4:5", ""), ("auto:1:1,4:5", "auto"), ("closest:1:1,4:5", "closest")]
)
def test_a_word_before_a_list_of_ratios_says_how_one_is_chosen(text: str, choice: str) -> None:
    request = CropRequest.from_inputs(aspect_ratio=text)
    assert (request.ratio_choice, request.ratios) == (choice, (("1:1", Fraction(1)), ("4:5", Fraction(4, 5))))


def test_width_and_height_make_the_ratio() -> None:
    assert CropRequest(width=1080, height=1350).ratios == (("4:5", Fraction(4, 5)),)


def test_width_and_height_may_repeat_the_ratio_to_the_pixel() -> None:
    request = CropRequest.from_inputs(aspect_ratio="16:9", width=1000, height=563)  # 562.5, rounded
    assert request.ratios == (("1000:563", Fraction(1000, 563)),)


def test_a_whole_number_may_be_written_as_a_float() -> None:
    assert CropRequest(width=12.0).width == 12  # type: ignore[arg-type]  # as JSON may have it


@pytest.mark.parametrize(("mode", "zoom"), [("subject", 0.0), ("objects", 1.0), ("faces", 1.0)])
def test_an_unset_zoom_is_the_modes_own(mode: str, zoom: float) -> None:
    assert CropRequest(mode=mode).effective_zoom == zoom
    assert CropRequest(mode=mode, zoom=0.25).effective_zoom == 0.25
