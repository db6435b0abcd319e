import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crop_core.geometry import Box, Size, Window, union

sides = st.floats(-5000, 5000, allow_nan=False)


@st.composite
def boxes(draw: st.DrawFn) -> Box:
    x1, y1 = draw(sides), draw(sides)
    return Box(x1, y1, x1 + draw(st.floats(0, 5000)), y1 + draw(st.floats(0, 5000)))


@pytest.mark.parametrize(("width", "height"), [(0, 1), (1, 0), (-1, 5)])
def test_a_size_without_pixels_cannot_be_built(width: int, height: int) -> None:
    with pytest.raises(ValueError, match="1x1"):
        Size(width, height)


@pytest.mark.parametrize("side", [math.nan, math.inf, -math.inf])
def test_a_box_of_numbers_that_are_not_finite_cannot_be_built(side: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        Box(0, 0, side, 1)


def test_a_box_that_is_inside_out_cannot_be_built() -> None:
    with pytest.raises(ValueError, match="x1 <= x2"):
        Box(2, 0, 1, 1)


def test_an_empty_window_cannot_be_built() -> None:
    with pytest.raises(ValueError, match="1x1"):
        Window(3, 3, 3, 4)


@pytest.mark.parametrize(
    ("box", "window"),
    [
        pytest.param(Box(5, 5, 5, 5), Window(5, 5, 6, 6), id="empty"),
        pytest.param(Box(10, 10, 20, 20), Window(10, 10, 20, 20), id="whole numbers stay"),
        pytest.param(Box(10.2, 10.9, 19.1, 19.9), Window(10, 10, 20, 20), id="sides go outward"),
        pytest.param(Box(9.9999, 10, 20.0001, 20), Window(10, 10, 20, 20), id="float dust is no pixel"),
        pytest.param(Box(-0.5, -0.5, 0.5, 0.5), Window(-1, -1, 1, 1), id="across zero"),
    ],
)
def test_rounding_goes_outward(box: Box, window: Window) -> None:
    assert box.outward() == window


@given(boxes())
def test_the_rounded_window_holds_the_box_and_not_a_pixel_more(box: Box) -> None:
    window = box.outward()
    dust = 1e-3  # what the rule lets go on each side
    assert window.x1 <= box.x1 + dust
    assert window.y1 <= box.y1 + dust
    assert window.x2 >= box.x2 - dust
    assert window.y2 >= box.y2 - dust
    assert window.width <= box.width + 2
    assert window.height <= box.height + 2


@pytest.mark.parametrize(
    ("window", "share"),
    [
        pytest.param(Window(20, 20, 30, 30), 0.0, id="apart"),
        pytest.param(Window(0, 0, 10, 10), 1.0, id="same"),
        pytest.param(Window(0, 0, 5, 10), 0.5, id="left half"),
        pytest.param(Window(5, 5, 50, 50), 0.25, id="a quarter"),
        pytest.param(Window(-5, -5, 50, 50), 1.0, id="around"),
    ],
)
def test_coverage_is_the_share_of_the_box_in_the_window(window: Window, share: float) -> None:
    assert Box(0, 0, 10, 10).coverage(window) == share


@pytest.mark.parametrize(("window", "share"), [(Window(0, 0, 10, 10), 1.0), (Window(6, 6, 10, 10), 0.0)])
def test_an_empty_box_is_covered_like_a_point(window: Window, share: float) -> None:
    assert Box(5, 5, 5, 5).coverage(window) == share


@given(boxes(), boxes())
def test_a_union_covers_both_boxes(one: Box, other: Box) -> None:
    both = union((one, other))
    assert one.intersection_area(both) == pytest.approx(one.area)
    assert other.intersection_area(both) == pytest.approx(other.area)


def test_the_union_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="no boxes"):
        union([])


@given(boxes())
def test_a_clipped_box_lies_in_the_picture(box: Box) -> None:
    clipped = box.clipped(Size(640, 480))
    assert 0 <= clipped.x1 <= clipped.x2 <= 640
    assert 0 <= clipped.y1 <= clipped.y2 <= 480


def test_growing_moves_each_side_outward() -> None:
    assert Box(10, 10, 20, 20).grown(1, 2, 3, 4) == Box(9, 8, 23, 24)
