import itertools

import pytest

from crop_core.detection import COCO_LABELS, LABELS, Detection, in_order
from crop_core.geometry import Box


def test_there_are_the_80_labels_of_coco_and_the_face() -> None:
    assert len(COCO_LABELS) == len(set(COCO_LABELS)) == 80
    assert (COCO_LABELS[0], COCO_LABELS[15], COCO_LABELS[79]) == ("person", "cat", "toothbrush")
    assert (*COCO_LABELS, "face") == LABELS


@pytest.mark.parametrize("score", [-0.1, 1.1, float("nan")])
def test_a_score_beyond_0_and_1_is_refused(score: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        Detection("cat", score, Box(0, 0, 1, 1))


def test_no_detections_are_an_ordinary_result() -> None:
    assert in_order([]) == ()


def test_the_order_is_total_score_then_label_then_box() -> None:
    expected = (
        Detection("dog", 0.9, Box(0, 0, 1, 1)),
        Detection("cat", 0.5, Box(0, 0, 1, 1)),
        Detection("cat", 0.5, Box(0, 0, 2, 1)),
        Detection("dog", 0.5, Box(0, 0, 1, 1)),
    )
    for shuffled in itertools.permutations(expected):
        assert in_order(shuffled) == expected
