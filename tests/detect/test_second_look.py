"""What the first look says of the second, and of small faces."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from conftest import SAMPLES
from torch import Tensor

from crop_core.detect import yunet
from crop_core.detect.candidates import Candidates, Glance
from crop_core.detect.choose_detector import load_detector
from crop_core.detect.detector import Detector
from crop_core.detect.network_input import View
from crop_core.detect.second_look import counted, has_small_figures, is_clear, wanted
from crop_core.detection import LABELS
from crop_core.geometry import Size
from crop_core.photo.photo import open_photo

SIZE = Size(1000, 800)
Row = tuple[str, float, tuple[float, float, float, float]]
LARGE = ("dog", 0.8, (100, 100, 700, 700))  # 360,000 square pixels


def candidates(*rows: Row) -> Candidates:
    boxes = torch.tensor([box for _, _, box in rows]).view(-1, 4).float()
    scores = torch.tensor([score for _, score, _ in rows])
    labels = torch.tensor([LABELS.index(label) for label, _, _ in rows], dtype=torch.long)
    return Candidates(boxes, scores, labels, torch.zeros(len(rows), 10))


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([], False),
        ([LARGE], True),
        ([("dog", 0.69, LARGE[2])], False),
        ([LARGE, ("cat", 0.8, (0, 0, 290, 290))], True),
        ([LARGE, ("cat", 0.8, (0, 0, 310, 310))], False),
        ([LARGE, ("cat", 0.19, (0, 0, 1000, 800))], True),
        ([LARGE, ("cat", 0.7, (110, 110, 690, 690))], True),
        ([LARGE, ("cat", 0.3, (90, 90, 800, 800))], True),
        ([LARGE, ("cat", 0.3, (0, 0, 1000, 800))], False),
    ],
    ids=[
        "nothing",
        "one sure thing",
        "one unsure thing",
        "and one of a quarter of its weight",
        "and one of more",
        "and a large one that is none",
        "and another name for it",
        "and a larger box around it",
        "and one that it fills less than half of",
    ],
)
def test_clear_is_what_outweighs_all_else(rows: Sequence[Row], expected: bool) -> None:
    assert bool(is_clear(candidates(*rows))) is expected


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([], False),
        ([("person", 0.8, (0, 0, 100, 500))], False),
        ([("person", 0.8, (0, 0, 100, 499))], True),
        ([("person", 0.19, (0, 0, 100, 100))], False),
        ([("dog", 0.8, (0, 0, 100, 100))], False),
        ([("person", 0.8, (0, 0, 100, 600)), ("person", 0.2, (500, 0, 600, 100))], True),
    ],
    ids=["nothing", "tall figure", "small figure", "hardly a figure", "small dog", "small figure beside a tall one"],
)
def test_small_figures_are_people_of_less_than_half_the_longer_side(rows: Sequence[Row], expected: bool) -> None:
    assert bool(has_small_figures(candidates(*rows), SIZE)) is expected


def test_host_waits_for_no_answer_but_the_cpus() -> None:
    assert wanted([torch.tensor(False), torch.tensor(True)]) == [1]
    assert wanted([torch.empty((), dtype=torch.bool, device="meta")] * 2) == [0, 1]


def test_candidates_that_do_not_count_have_no_score() -> None:
    found = candidates(LARGE)
    assert torch.equal(counted(found, torch.tensor(True)).scores, found.scores)
    assert not counted(found, torch.tensor(False)).scores.any()


class Noting(Detector):
    """The fast detector, and what it was asked for."""

    looks_twice = True

    def __init__(self) -> None:
        self.inner = load_detector("fast", torch.device("cpu"), torch.float32)
        self.twice: list[int] = []
        self.sides: list[int] = []
        super().__init__(self.inner.common)

    def look(self, views: Sequence[View]) -> list[Glance]:
        return self.inner.look(views)

    def look_again(self, glances: Sequence[Glance], clear: Sequence[Tensor]) -> list[Glance]:
        self.twice.append(len(glances))
        return self.inner.look_again(glances, clear)

    def find_faces(self, views: Sequence[View], longest_side: int) -> list[Candidates]:
        self.sides.append(longest_side)
        return self.inner.find_faces(views, longest_side)


def view_of(sample: str) -> View:
    photo = open_photo((SAMPLES / sample).read_bytes())
    return View(photo.pixels(), photo.size)


def test_portrait_is_seen_once_and_near() -> None:
    detector = Noting()
    detector.candidates([view_of("astronaut.jpg")])
    assert detector.twice == []
    assert detector.sides == [yunet.NEAR]


def test_of_several_pictures_the_doubtful_ones_are_seen_twice() -> None:
    detector = Noting()
    detector.candidates([view_of(sample) for sample in ("pair.jpg", "astronaut.jpg", "coffee.jpg")])
    assert detector.twice == [2]
    assert detector.sides == [yunet.NEAR, yunet.FAR]  # the pair is a child and a cat, both small


def test_device_that_is_not_asked_gives_what_a_cpu_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    views = [view_of(sample) for sample in ("astronaut.jpg", "cat.jpg", "coffee.jpg", "pair.jpg", "rocket.jpg")]
    detector = load_detector("fast", torch.device("cpu"), torch.float32)
    asked = detector.detect_all(views, 0.1, 0.5)
    monkeypatch.setattr("crop_core.detect.detector.wanted", lambda answers: list(range(len(answers))))
    assert detector.detect_all(views, 0.1, 0.5) == asked
