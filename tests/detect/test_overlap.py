"""Which boxes stand is what torchvision says, and so is how they overlap."""

from __future__ import annotations

import pytest
import torch
from torchvision.ops import batched_nms, box_area, box_iou

from crop_core.detect.overlap import areas_of, iou, nms


def boxes_of(count: int, seed: int, whole: bool) -> torch.Tensor:
    """Return boxes of a crowd, many of them over one another, doubles that single precision holds."""
    generator = torch.Generator().manual_seed(seed)
    corners = torch.rand((count, 2), generator=generator) * 300
    sides = torch.rand((count, 2), generator=generator) * 120 + 1
    boxes = torch.cat((corners, corners + sides), 1)
    return (boxes.round() if whole else boxes).double()


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.5, 0.6, 0.99, 1.0])
@pytest.mark.parametrize("whole", [True, False], ids=["whole pixels", "fractions"])
@pytest.mark.parametrize(("count", "labels"), [(0, 1), (1, 1), (40, 3), (700, 1), (3000, 81)])
def test_the_boxes_that_stay_are_those_that_torchvision_keeps(
    count: int, labels: int, whole: bool, threshold: float
) -> None:
    boxes = boxes_of(count, count + labels, whole)
    groups = torch.randint(0, labels, (count,), generator=torch.Generator().manual_seed(1)).double()
    scores = torch.linspace(1, 0.1, count).double()
    expected = batched_nms(boxes, scores, groups, threshold).sort().values
    assert torch.equal(nms(boxes, groups, threshold), expected)


def test_equal_boxes_leave_the_first() -> None:
    boxes = torch.tensor([[0.0, 0, 8, 8]] * 4).double()
    assert nms(boxes, torch.tensor([1.0, 1, 2, 1]), 0.5).tolist() == [0, 2]


def test_areas_and_overlaps_are_those_of_torchvision() -> None:
    boxes = boxes_of(200, 7, False).float()
    assert torch.equal(areas_of(boxes), box_area(boxes))
    assert torch.equal(iou(boxes[:50], boxes), box_iou(boxes[:50], boxes))
