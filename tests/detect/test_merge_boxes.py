"""From the cells of the networks to detections, held to a slow and obvious settlement in plain Python."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from crop_core.detect.candidates import TOP_CANDIDATES, Candidates, best_candidates
from crop_core.detect.merge_boxes import (
    DUPLICATE_IOU,
    DUPLICATE_SCORE,
    FUSED_IOU,
    FUSED_SCORE,
    MAX_FACES,
    MAX_OBJECTS,
    PART_SHARE,
    all_settled,
)
from crop_core.detect.network_input import by_shape, letterboxed, padded
from crop_core.detection import FACE, LABELS, Detection
from crop_core.errors import DeviceError
from crop_core.geometry import Size

XYXY = tuple[float, float, float, float]
Proposal = tuple[str, float, XYXY]


def candidates(proposals: list[Proposal]) -> Candidates:
    """Return the proposals as tensors; a face's landmarks are its number, ten times."""
    labels = torch.tensor([LABELS.index(label) for label, _, _ in proposals], dtype=torch.int64)
    return Candidates(
        torch.tensor([box for _, _, box in proposals], dtype=torch.float32).reshape(-1, 4),
        torch.tensor([score for _, score, _ in proposals], dtype=torch.float32),
        labels,
        torch.where(labels == LABELS.index(FACE), torch.arange(len(proposals)), 0)[:, None].repeat(1, 10).float(),
    )


def settle(proposals: list[Proposal], score_threshold: float = 0.3, iou_threshold: float = 0.5) -> list[Proposal]:
    found = all_settled([candidates(proposals)], score_threshold, iou_threshold)[0]
    return [(d.label, d.score, d.box.xyxy) for d in found]


def area(box: XYXY) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def shared_area(one: XYXY, other: XYXY) -> float:
    width, height = min(one[2], other[2]) - max(one[0], other[0]), min(one[3], other[3]) - max(one[1], other[1])
    return max(0.0, width) * max(0.0, height)


def iou(one: XYXY, other: XYXY) -> float:
    shared = shared_area(one, other)
    return shared / (area(one) + area(other) - shared)


def slow_nms(proposals: list[Proposal], iou_threshold: float) -> list[Proposal]:
    standing: list[Proposal] = []
    for label, score, box in proposals:
        if not any(label == other and iou(box, kept) > iou_threshold for other, _, kept in standing):
            standing.append((label, score, box))
    return standing


def slowly_fused(one: Proposal, proposals: list[Proposal], iou_threshold: float) -> Proposal:
    """Return the proposal at the mean place of all that lie where it does, in single precision."""
    near = [
        (max(score**2, 1e-300) * (iou(box, one[2]) - iou_threshold), box)
        for label, score, box in proposals
        if label == one[0]
    ]
    near = [(weight, box) for weight, box in near if weight > 0]
    whole = sum(weight for weight, _ in near)
    x1, y1, x2, y2 = (float(np.float32(sum(weight * box[i] for weight, box in near) / whole)) for i in range(4))
    return one[0], one[1], (x1, y1, x2, y2)


def slowly_settled(proposals: list[Proposal], score_threshold: float, iou_threshold: float) -> list[Proposal]:
    """Return what `settled` should, one proposal at a time."""
    ranked = [
        (label, score, box)
        for label, score, box in sorted(proposals, key=lambda p: (-p[1], LABELS.index(p[0]), p[2]))
        if score >= min(score_threshold, FUSED_SCORE) and box[2] > box[0] and box[3] > box[1]
    ]
    near = max(iou_threshold, FUSED_IOU)
    fused = [slowly_fused(one, ranked, min(near, 0.99)) for one in slow_nms(ranked, near)]
    apart = slow_nms(fused, iou_threshold) if iou_threshold < near else fused
    standing = [one for one in apart if one[1] >= score_threshold]
    standing = [
        *[p for p in standing if p[0] == FACE][:MAX_FACES],
        *[p for p in standing if p[0] != FACE][:MAX_OBJECTS],
    ]

    def is_second_name(one: Proposal, other: Proposal) -> bool:
        if one[1] >= DUPLICATE_SCORE * other[1] or (one[0] == FACE) != (other[0] == FACE):
            return False
        if one[0] == FACE:
            return Fraction(shared_area(one[2], other[2])) > Fraction(PART_SHARE) * Fraction(area(one[2]))
        return one[0] != other[0] and iou(one[2], other[2]) > DUPLICATE_IOU

    names = [one for one in standing if not any(is_second_name(one, other) for other in standing)]
    return sorted(names, key=lambda p: (-p[1], p[0], p[2]))


# Few values, so that boxes overlap, coincide and are empty, and scores tie; whole numbers and binary
# fractions, so that single precision is exact.
CORNERS = st.sampled_from([0.0, 1.0, 4.0])
SIDES = st.sampled_from([0.0, 8.0, 16.0, 17.0])
BOXES = st.builds(lambda x, y, width, height: (x, y, x + width, y + height), CORNERS, CORNERS, SIDES, SIDES)
SCORES = st.sampled_from([0.25, 0.3125, 0.5, 0.625, 1.0])
PROPOSALS = st.lists(st.tuples(st.sampled_from(["cat", "dog", FACE]), SCORES, BOXES), max_size=12)
THRESHOLDS = st.sampled_from([0.0, 0.25, 0.3, 0.5, 0.7, 1.0])


@settings(max_examples=300)
@given(PROPOSALS, THRESHOLDS, THRESHOLDS)
def test_settled_agrees_with_a_slow_plain_settlement(
    proposals: list[Proposal], score_threshold: float, iou_threshold: float
) -> None:
    found = settle(proposals, score_threshold, iou_threshold)
    assert found == slowly_settled(proposals, score_threshold, iou_threshold)


def crowd(count: int, seed: int) -> list[Proposal]:
    """Return many boxes of whole pixels with heaps of overlap and scores that tie, as a busy picture gives."""
    random = np.random.default_rng(seed)
    corners = random.integers(0, 900, (count, 2))
    sides = random.integers(1, 200, (count, 2))
    scores = random.integers(0, 65, count) / 64
    labels = random.choice(["person", "cat", "dog", "book", FACE], count)
    return [
        (str(label), float(score), (float(x), float(y), float(x + w), float(y + h)))
        for label, score, (x, y), (w, h) in zip(labels, scores, corners, sides, strict=True)
    ]


@pytest.mark.parametrize("count", [0, 1, 100, 900, 1100], ids="{} boxes".format)
@pytest.mark.parametrize("iou_threshold", [0.3, 0.5, 0.95])
def test_settled_agrees_with_a_slow_plain_settlement_of_a_crowd(count: int, iou_threshold: float) -> None:
    # Above 1,000 boxes torchvision's batched_nms takes another way on the CPU.
    proposals = crowd(count, seed=count)
    assert settle(proposals, 0.25, iou_threshold) == slowly_settled(proposals, 0.25, iou_threshold)


@settings(max_examples=300)
@given(PROPOSALS.flatmap(lambda proposals: st.tuples(st.just(proposals), st.permutations(proposals))))
def test_order_of_the_candidates_does_not_matter(both: tuple[list[Proposal], list[Proposal]]) -> None:
    assert settle(both[0]) == settle(both[1])


@given(PROPOSALS)
def test_settled_is_in_total_order(proposals: list[Proposal]) -> None:
    found = settle(proposals)
    assert found == sorted(found, key=lambda p: (-p[1], p[0], p[2]))


def test_no_candidates_settle_to_an_empty_tuple() -> None:
    assert all_settled([candidates([])], 0.0, 0.5)[0] == ()


UNIT = (100.0, 100.0, 200.0, 200.0)
NEARLY = (100.0, 100.0, 200.0, 196.0)  # IoU 0.96 with UNIT
OVERLAPPING = (100.0, 100.0, 200.0, 170.0)  # IoU 0.7
INNER = (120.0, 120.0, 180.0, 180.0)  # wholly inside UNIT, IoU 0.36


@pytest.mark.parametrize(
    ("proposals", "standing"),
    [
        pytest.param([], [], id="nothing"),
        pytest.param([("cat", 0.9, UNIT)], [0], id="one stands"),
        pytest.param([("cat", 0.29, UNIT)], [], id="a score below the threshold goes"),
        pytest.param([("cat", 0.9, (5.0, 5.0, 5.0, 9.0))], [], id="a box without width goes"),
        pytest.param([("cat", 0.9, (5.0, 5.0, 9.0, 5.0))], [], id="a box without height goes"),
        pytest.param([("cat", 0.9, (9.0, 9.0, 5.0, 5.0))], [], id="a box inside out goes"),
        pytest.param([("cat", 0.9, UNIT), ("cat", 0.8, OVERLAPPING)], [0], id="one label, the better stands"),
        pytest.param([("cat", 0.9, UNIT), ("cat", 0.8, INNER)], [0, 1], id="one label, little overlap, both stand"),
        pytest.param([("cat", 0.9, UNIT), ("dog", 0.35, OVERLAPPING)], [0, 1], id="labels do not suppress each other"),
        pytest.param([("cat", 0.9, UNIT), ("dog", 0.44, NEARLY)], [0], id="a much weaker second name goes"),
        pytest.param([("cat", 0.9, UNIT), ("dog", 0.46, NEARLY)], [0, 1], id="a real doubt stands"),
        pytest.param([("cat", 0.75, UNIT), ("dog", 0.375, NEARLY)], [0, 1], id="exactly half the score stands"),
        pytest.param([("person", 0.9, UNIT), (FACE, 0.31, UNIT)], [0, 1], id="an object leaves a face alone"),
        pytest.param([(FACE, 0.9, UNIT), ("person", 0.31, UNIT)], [0, 1], id="a face leaves an object alone"),
        pytest.param([(FACE, 0.9, UNIT), (FACE, 0.8, OVERLAPPING)], [0], id="faces, the better stands"),
        pytest.param([(FACE, 0.9, UNIT), (FACE, 0.31, INNER)], [0], id="a weak part of a face goes"),
        pytest.param([(FACE, 0.9, UNIT), (FACE, 0.6, INNER)], [0, 1], id="a sure face before another stands"),
        pytest.param([(FACE, 0.31, UNIT), (FACE, 0.9, INNER)], [0, 1], id="a weak face around a sure one stands"),
        pytest.param([("cat", 0.9, UNIT), ("cat", 0.31, INNER)], [0, 1], id="an object in its like stands"),
        pytest.param([("person", 0.9, UNIT), (FACE, 0.31, INNER)], [0, 1], id="a weak face in a person stands"),
    ],
)
def test_who_stands(proposals: list[Proposal], standing: list[int]) -> None:
    expected = [proposals[index] for index in standing]
    found = settle(proposals)
    assert Counter((label, round(score, 6)) for label, score, _ in found) == Counter(p[:2] for p in expected)


def test_boxes_of_one_label_are_left_to_nms_alone() -> None:
    # The caller lets boxes overlap by 0.98; that one is much weaker makes it no second name of another label.
    proposals = [("cat", 0.9, UNIT), ("cat", 0.4, NEARLY)]
    assert len(settle(proposals, iou_threshold=0.98)) == 2


@pytest.mark.parametrize("score_threshold", [0.0, 0.1, 0.3, 0.5, 0.7, 1.0])
def test_score_exactly_at_the_threshold_stands_and_the_next_lower_goes(score_threshold: float) -> None:
    exact = np.float32(score_threshold)
    assert len(settle([("cat", float(exact), UNIT)], score_threshold)) == 1
    if score_threshold > 0:
        below = float(np.nextafter(exact, np.float32(0)))
        assert settle([("cat", below, UNIT)], score_threshold) == []


@pytest.mark.parametrize(("label", "most"), [("cat", MAX_OBJECTS), (FACE, MAX_FACES)])
def test_the_best_stand_when_there_are_more_than_the_most(label: str, most: int) -> None:
    count = most + 50
    far_apart = [(20.0 * (i % 30), 20.0 * (i // 30), 20.0 * (i % 30) + 10, 20.0 * (i // 30) + 10) for i in range(count)]
    scores = np.random.default_rng(0).permutation(count) / (2 * count) + 0.5  # all but equal: none is a second name
    proposals = [(label, float(np.float32(score)), box) for score, box in zip(scores, far_apart, strict=True)]
    assert settle(proposals) == sorted(proposals, key=lambda p: -p[1])[:most]


def test_the_most_objects_and_the_most_faces_do_not_count_against_each_other() -> None:
    boxes = [(20.0 * (i % 30), 20.0 * (i // 30), 20.0 * (i % 30) + 10, 20.0 * (i // 30) + 10) for i in range(600)]
    found = settle([(label, 0.5, box) for label in ("cat", FACE) for box in boxes])
    assert Counter(label for label, _, _ in found) == {"cat": MAX_OBJECTS, FACE: MAX_FACES}


def test_a_face_carries_its_own_landmarks_and_an_object_none() -> None:
    apart = (300.0, 300.0, 400.0, 400.0)
    found = all_settled([candidates([("cat", 0.4, UNIT), (FACE, 0.5, apart), (FACE, 0.9, UNIT)])], 0.3, 0.5)[0]
    assert [(d.label, d.landmarks) for d in found] == [
        (FACE, ((2.0, 2.0),) * 5),
        (FACE, ((1.0, 1.0),) * 5),
        ("cat", None),
    ]


def test_a_box_that_stands_is_the_mean_of_those_where_it_is_and_so_are_its_landmarks() -> None:
    # The second overlaps by 0.9, which is 0.3 beyond 0.6, the box itself by 0.4; the third by 0.4 alone.
    proposals = [
        (FACE, 0.75, (0.0, 0.0, 100.0, 100.0)),
        (FACE, 0.5, (0.0, 0.0, 100.0, 90.0)),
        (FACE, 0.5, (0.0, 0.0, 100.0, 40.0)),
    ]
    (found, _) = all_settled([candidates(proposals)], 0.3, 0.5)[0]
    share = 0.5**2 * 0.3 / (0.5**2 * 0.3 + 0.75**2 * 0.4)
    assert found.box.xyxy == pytest.approx((0, 0, 100, 100 - 10 * share), rel=1e-6)
    assert found.landmarks == (pytest.approx((share, share), rel=1e-6),) * 5


@pytest.mark.parametrize("iou_threshold", [0.3, 0.5, 0.6])
def test_which_of_two_boxes_is_better_by_a_hair_hardly_matters(iou_threshold: float) -> None:
    for one, other in ((0.501, 0.5), (0.5, 0.501)):
        ((_, _, box),) = settle([("cat", one, UNIT), ("cat", other, (100.0, 100.0, 200.0, 180.0))], 0.3, iou_threshold)
        assert box == pytest.approx((100, 100, 200, 190), abs=4)


def test_a_box_far_below_the_threshold_has_no_say() -> None:
    weak = ("cat", 0.09, (100.0, 100.0, 200.0, 190.0))
    assert settle([("cat", 0.9, UNIT), weak], 0.3) == settle([("cat", 0.9, UNIT)], 0.3)


def test_a_score_a_rounding_above_one_is_one() -> None:
    (found,) = all_settled([candidates([("cat", 1.0000001, UNIT)])], 0.3, 0.5)[0]
    assert found == Detection("cat", 1.0, found.box)


def test_boxes_of_all_pictures_leave_the_device_in_one_transfer(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: Counter[str] = Counter()
    for name in ("cpu", "tolist", "item", "numpy", "__iter__", "__float__", "__int__", "__array__"):
        original = getattr(Tensor, name)

        def counted(self: Tensor, *args: object, _name: str = name, _original: object = original) -> object:
            calls[_name] += 1
            return _original(self, *args)

        monkeypatch.setattr(Tensor, name, counted)
    proposals = [candidates(crowd(300, seed)) for seed in range(3)]
    calls.clear()
    assert all(len(found) > 50 for found in all_settled(proposals, 0.3, 0.5))
    del calls["numpy"]  # of NMS on a CPU, where nothing is brought over
    assert calls == {"cpu": 2, "tolist": 3}  # the first brings MPS's, the second a GPU's, and what is listed lies here


def test_pictures_that_are_settled_together_come_out_as_they_do_alone() -> None:
    several = [candidates(crowd(200, seed)) for seed in (1, 2)]
    several = [several[0], candidates([]), several[1], several[0]]
    assert all_settled(several, 0.1, 0.4) == [all_settled([one], 0.1, 0.4)[0] for one in several]


@pytest.mark.parametrize("score", [0.9, float("nan")])
@pytest.mark.parametrize("side", [5.0, float("nan")])
def test_what_is_no_number_is_a_device_that_fails(score: float, side: float) -> None:
    proposals = [("dog", 0.8, UNIT), ("cat", score, (0.0, 0.0, side, 5.0))]
    if score == score and side == side:
        assert len(all_settled([candidates(proposals)], 0.3, 0.5)[0]) == 2
        return
    with pytest.raises(DeviceError, match="The network returned NaN"):
        all_settled([candidates(proposals)], 0.3, 0.5)[0]


def test_inputs_of_one_shape_make_one_batch() -> None:
    shapes = [(1, 3, 32, 64), (1, 3, 64, 32), (1, 3, 32, 64), (1, 3, 32, 32)]
    assert by_shape([torch.zeros(shape) for shape in shapes]) == [[0, 2], [1], [3]]
    assert by_shape([]) == []


def test_joined_keeps_every_candidate_of_every_pass() -> None:
    one, other = candidates([("cat", 0.9, UNIT)]), candidates([("dog", 0.8, INNER), (FACE, 0.7, UNIT)])
    joined = Candidates.joined(part for part in (one, candidates([]), other))
    assert joined.boxes.tolist() == [list(UNIT), list(INNER), list(UNIT)]
    assert joined.scores.tolist() == pytest.approx([0.9, 0.8, 0.7])
    assert joined.labels.tolist() == [LABELS.index(label) for label in ("cat", "dog", FACE)]
    assert joined.landmarks[:, 0].tolist() == [0, 0, 1]


@pytest.mark.parametrize(
    ("size", "input_hw", "box", "mapped"),
    [
        (Size(416, 416), (416, 416), (10, 20, 30, 40), (10, 20, 30, 40)),
        (Size(4160, 3120), (312, 416), (10, 20, 30, 40), (100, 200, 300, 400)),
        (Size(3120, 4160), (416, 312), (10, 20, 30, 40), (100, 200, 300, 400)),
        (Size(208, 104), (208, 416), (10, 20, 30, 40), (5, 10, 15, 20)),
        (Size(1000, 333), (139, 416), (0, 0, 416, 139), (0, 0, 1000, 333)),
        (Size(4160, 3120), (312, 416), (-5, -6, 30, 40), (0, 0, 300, 400)),
        (Size(4160, 3120), (312, 416), (400, 300, 430, 330), (4000, 3000, 4160, 3120)),
        (Size(4160, 3120), (312, 416), (400, 313, 430, 330), (4000, 3120, 4160, 3120)),
        (Size(4160, 3120), (312, 416), (-float("inf"), 0, float("inf"), 40), (0, 0, 4160, 400)),
    ],
    ids=[
        "same scale",
        "landscape",
        "portrait",
        "enlarged",
        "a rounded side ends at the border",
        "clipped at the top left",
        "clipped at the bottom right",
        "in the padding, so empty",
        "endless",
    ],
)
def test_boxes_are_mapped_to_source_pixels_and_clipped_to_the_picture(
    size: Size, input_hw: tuple[int, int], box: tuple[float, ...], mapped: tuple[float, ...]
) -> None:
    found = best_candidates(
        torch.tensor([box], dtype=torch.float32), torch.tensor([[0.5]]), torch.tensor([7]), None, size, input_hw
    )
    # Single precision has seven digits: half a thousandth of a pixel at 4,160.
    assert found.boxes[0].tolist() == pytest.approx(mapped, abs=5e-4)
    assert found.labels.tolist() == [7]
    assert found.landmarks.tolist() == [[0.0] * 10]


def test_landmarks_are_mapped_like_boxes() -> None:
    points = torch.arange(10, dtype=torch.float32)[None]
    found = best_candidates(
        torch.tensor([[0.0, 0, 9, 9]]), torch.tensor([[0.5]]), torch.tensor([80]), points, Size(832, 1248), (416, 416)
    )
    assert found.landmarks[0].tolist() == [0, 3, 4, 9, 8, 15, 12, 21, 16, 27]  # x by 2, y by 3


def test_best_candidates_takes_every_cell_and_label_by_score() -> None:
    boxes = torch.tensor([[0.0, 0, 1, 1], [0, 0, 2, 2]])
    scores = torch.tensor([[0.1, 0.9, 0.2], [0.8, 0.3, 0.7]])
    found = best_candidates(boxes, scores, torch.tensor([5, 6, 7]), None, Size(8, 8), (8, 8))
    assert found.scores.tolist() == pytest.approx([0.9, 0.8, 0.7, 0.3, 0.2, 0.1])
    assert found.labels.tolist() == [6, 5, 7, 6, 7, 5]
    assert found.boxes[:, 2].tolist() == [1, 2, 2, 2, 1, 1]


def test_best_candidates_are_no_more_than_the_most() -> None:
    scores = torch.rand((100, 80), generator=torch.Generator().manual_seed(0))
    found = best_candidates(torch.zeros(100, 4), scores, torch.arange(80), None, Size(8, 8), (8, 8))
    assert len(found.scores) == TOP_CANDIDATES
    assert found.scores.min() > scores.flatten().sort().values[-TOP_CANDIDATES - 1]


@pytest.mark.parametrize(
    ("height_width", "expected"),
    [
        ((1, 1), (416, 416)),
        ((416, 416), (416, 416)),
        ((300, 451), (277, 416)),
        ((3000, 4000), (312, 416)),
        ((4000, 3000), (416, 312)),
        ((1, 5000), (1, 416)),
    ],
    ids=str,
)
def test_letterboxed_keeps_the_ratio(height_width: tuple[int, int], expected: tuple[int, int]) -> None:
    batch = letterboxed(torch.zeros((3, *height_width), dtype=torch.uint8), 416)
    assert batch.shape == (1, 3, *expected)
    assert batch.dtype == torch.uint8


def test_letterboxed_averages_what_it_shrinks() -> None:
    stripes = torch.zeros((3, 832, 832), dtype=torch.uint8)
    stripes[..., 0::4] = stripes[..., 3::4] = 255
    shrunk = letterboxed(stripes, 208)[..., 2:-2, 2:-2].int()
    # Half of it is white, 127.5. Without antialias the two middle columns of each four count alone, which are black.
    assert shrunk.min() >= 127
    assert shrunk.max() <= 128


@pytest.mark.parametrize(
    ("height_width", "expected"),
    [((1, 1), (32, 32)), ((32, 64), (32, 64)), ((277, 416), (288, 416)), ((416, 313), (416, 320))],
    ids=str,
)
def test_padded_adds_zeros_at_the_right_and_the_bottom_alone(
    height_width: tuple[int, int], expected: tuple[int, int]
) -> None:
    height, width = height_width
    batch = torch.full((2, 3, height, width), 7.0)
    out = padded(batch)
    assert out.shape == (2, 3, *expected)
    assert torch.equal(out[..., :height, :width], batch)
    assert not out[..., height:, :].any()
    assert not out[..., width:].any()
