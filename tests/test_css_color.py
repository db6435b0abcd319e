"""Colours as CSS writes them."""

from __future__ import annotations

import pytest
from PIL import ImageColor

from crop_core.css_color import NAMES, parse_color


@pytest.mark.parametrize(
    ("text", "color"),
    [
        ("white", (255, 255, 255, 255)),
        (" RebeccaPurple ", (102, 51, 153, 255)),
        ("#fa0", (255, 170, 0, 255)),
        ("#fa08", (255, 170, 0, 136)),
        ("#FFAA00", (255, 170, 0, 255)),
        ("#ffaa0080", (255, 170, 0, 128)),
        ("rgb(1, 2,3)", (1, 2, 3, 255)),
        ("rgb( 1 2 3 )", (1, 2, 3, 255)),
        ("rgb(100% 0% 50%)", (255, 0, 128, 255)),
        ("rgba(1, 2, 3, .5)", (1, 2, 3, 128)),
        ("rgb(1 2 3 / 50%)", (1, 2, 3, 128)),
        ("transparent", (0, 0, 0, 0)),
    ],
)
def test_a_css_color_is_its_red_green_blue_and_alpha(text: str, color: tuple[int, int, int, int]) -> None:
    assert parse_color(text) == color


@pytest.mark.parametrize(
    "text", ["", "whit", "fff", "#ff", "#fffff", "#ggg", "rgb(256, 0, 0)", "rgb(1, 2)", "rgb(1 2 3 / 2)", "rgb(1 2 3/)"]
)
def test_what_is_no_color_is_none(text: str) -> None:
    assert parse_color(text) is None


def test_the_names_are_the_148_of_css() -> None:
    assert len(NAMES) == 148
    assert all(parse_color(name) == (*ImageColor.getrgb(name), 255) for name in NAMES)
