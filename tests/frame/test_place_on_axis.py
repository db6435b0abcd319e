from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crop_core.detection import Detection
from crop_core.frame.place_on_axis import best_place, claims_on, place_holding
from crop_core.frame.rule_of_thirds import well_placed
from crop_core.frame.subjects import Thing, subjects_among
from crop_core.geometry import Box, Size
from crop_core.request import CropRequest

SIZE = Size(1000, 1000)


def offset_of(things: Sequence[Thing], axis: int, extent: int, length: int) -> int:
    return best_place(things, axis, extent, length).offset


def things(*detections: Detection) -> tuple[Thing, ...]:
    return subjects_among(detections, SIZE, CropRequest())


def object_(x1: float, x2: float, score: float = 0.9, label: str = "dog") -> Detection:
    return Detection(label, score, Box(x1, 300, x2, 700))


def face(x1: float, y1: float, side: float, nose: float = 0.0, score: float = 0.9) -> Detection:
    """Return a face whose nose points `nose` eye distances to the right."""
    x, y = x1 + side / 2, y1 + 0.4 * side
    eyes = ((x - side / 4, y), (x + side / 4, y))
    return Detection(
        "face", score, Box(x1, y1, x1 + side, y1 + side), (*eyes, (x + nose * side / 2, y), (x, y), (x, y))
    )


def test_one_thing_sits_in_the_middle_of_the_window() -> None:
    assert offset_of(things(object_(500, 700)), 0, 1000, 400) == 400


def test_a_thing_at_the_border_is_whole_and_the_window_stays_inside() -> None:
    assert offset_of(things(object_(900, 1000)), 0, 1000, 400) == 600


def test_a_thing_that_cannot_fit_is_seen_in_its_middle() -> None:
    assert offset_of(things(object_(100, 900)), 0, 1000, 400) == 300


def test_a_weak_thing_does_not_pull_the_window_off_a_strong_one_that_cannot_fit() -> None:
    offset = offset_of(things(object_(100, 900), object_(850, 950, score=0.2)), 0, 1000, 400)
    assert offset == 300


def test_a_face_on_a_poster_claims_nothing_beside_the_face_of_the_main_thing() -> None:
    def claimed(side: float) -> list[str]:
        ranked = sorted(things(face(600, 300, 200), face(100, 100, side)), key=lambda thing: -thing.weight)
        return [claim.what for claim in claims_on(ranked, 0, (0, 200), 800)]

    assert "all faces together" in claimed(100)
    assert "the face" in claimed(15)


def test_a_weak_thing_does_not_pull_the_window_off_the_face_of_a_person_who_cannot_fit() -> None:
    portrait = (object_(200, 800, label="person"), face(450, 310, 100))
    assert offset_of(things(*portrait), 0, 1000, 400) == 300
    assert offset_of(things(*portrait, object_(205, 260, score=0.2)), 0, 1000, 400) == 300


def test_a_slight_unsure_thing_does_not_keep_the_window_from_where_a_person_would_place_it() -> None:
    dog, left = object_(400, 700), object_(100, 120, score=0.23, label="cup")
    placed = best_place(things(dog, left), 0, 1000, 600, middle_at=650).offset
    assert placed == best_place(things(dog), 0, 1000, 600, middle_at=650).offset == 350
    sure = object_(100, 120, label="cup")
    assert best_place(things(dog, sure), 0, 1000, 600, middle_at=650).offset <= 100


def test_a_large_guess_does_not_cost_a_sure_person_the_head() -> None:
    walker = Detection("person", 0.78, Box(480, 100, 560, 400))
    bench = Detection("bench", 0.22, Box(0, 150, 1000, 650))
    weights = [thing.weight for thing in things(walker, bench)]
    assert weights[1] > weights[0]
    offset = offset_of(things(walker, bench), 1, 1000, 500)
    assert offset <= 100


def test_where_nothing_is_sure_the_weightiest_guess_counts() -> None:
    cup, bench = object_(700, 760, score=0.4, label="cup"), object_(0, 500, score=0.29, label="bench")
    assert offset_of(things(cup, bench), 0, 1000, 500) == 0


def test_a_face_that_hardly_matters_beside_the_main_thing_claims_nothing() -> None:
    dog = object_(50, 950)
    assert offset_of(things(dog, face(910, 310, 12)), 0, 1000, 510) == offset_of(things(dog), 0, 1000, 510) == 245
    assert offset_of(things(dog, face(830, 310, 120)), 0, 1000, 510) >= 440


def test_a_sure_thing_beside_one_that_cannot_fit_is_whole() -> None:
    (table, dog) = (object_(0, 1000, label="dining table"), object_(700, 950))
    offset = offset_of(things(table, dog), 0, 1000, 400)
    assert offset <= 700
    assert offset + 400 >= 950


def test_faces_that_fit_together_are_kept_together() -> None:
    offset = offset_of(things(face(100, 300, 80), face(380, 300, 80), object_(500, 560)), 0, 1000, 400)
    assert offset <= 100
    assert offset + 400 >= 460


@pytest.mark.parametrize(("length", "offset"), [(380, 95), (386, 94)])
def test_faces_that_just_fit_together_have_what_is_left_on_both_sides(length: int, offset: int) -> None:
    # The faces are 370 px long and want 6 and 18 px of margin, 15 % of either.
    assert offset_of(things(face(100, 300, 40), face(350, 300, 120)), 0, 1000, length) == offset


def test_the_headroom_comes_before_the_margin_under_a_chin() -> None:
    # The face is 200 px high and wants 80 px of headroom, and a margin of 30 at either end: 10 are left for them.
    person = Detection("person", 0.9, Box(300, 290, 700, 900))
    offset = offset_of(things(person, face(400, 300, 200)), 1, 1000, 290)
    assert 300 - 80 - 10 <= offset <= 300 - 80


def test_a_thing_that_outweighs_all_faces_comes_before_them() -> None:
    offset = offset_of(things(object_(500, 880), face(0, 300, 40)), 0, 1000, 400)
    assert offset <= 500
    assert offset + 400 >= 880


def test_a_larger_thing_that_is_hardly_there_does_not() -> None:
    offset = offset_of(things(object_(500, 880, score=0.2), face(100, 400, 80)), 0, 1000, 400)
    assert offset <= 100


def test_the_eyes_of_a_lone_face_lie_on_the_upper_third() -> None:
    (thing,) = things(face(450, 450, 100))
    assert well_placed([thing], 1, 600) == pytest.approx(490 - 200)
    assert offset_of([thing], 1, 1000, 600) == 290


@pytest.mark.parametrize(("nose", "shift"), [(0, 0), (0.5, 50), (-0.5, -50)], ids=["ahead", "right", "left"])
def test_a_turned_head_has_room_to_look_into(nose: float, shift: float) -> None:
    assert offset_of(things(face(450, 450, 100, nose)), 0, 1000, 600) == 200 + shift


spans = st.tuples(st.integers(0, 999), st.integers(1, 1000)).filter(lambda span: span[0] < span[1])


@given(st.lists(spans, min_size=1, max_size=4), st.floats(-2000, 2000), st.integers(1, 1000))
def test_an_offset_is_in_the_picture_and_holds_the_first_want(
    wants: list[tuple[int, int]], target: float, length: int
) -> None:
    boxes = [Box(low, 0, high, 10) for low, high in wants]
    offset = place_holding([("box", box) for box in boxes], target, 0, 1000, length).offset
    assert 0 <= offset <= 1000 - length
    low, high = wants[0]
    inside, around = offset <= low and high <= offset + length, low <= offset and offset + length <= high
    assert inside or around


@given(st.lists(st.tuples(spans, st.floats(0.3, 1)), min_size=1, max_size=5), st.integers(1, 1000))
def test_no_other_offset_holds_the_weightiest_thing_better(
    scene: list[tuple[tuple[int, int], float]], length: int
) -> None:
    ranked = sorted(things(*(object_(*span, score) for span, score in scene)), key=lambda t: (-t.weight, t.ids))
    offset = offset_of(ranked, 0, 1000, length)
    box = ranked[0].box

    def held(at: int) -> float:
        return max(0.0, min(box.x2, at + length) - max(box.x1, at))

    best = max(held(at) for at in range(1000 - length + 1))
    # A thing that cannot fit may give up 15 % of the window (SLACK), and one that nearly fits nothing.
    assert held(offset) >= best - (0.15 * length + 1 if box.width > 1.06 * length else 0)
