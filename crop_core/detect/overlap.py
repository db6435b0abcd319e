"""How boxes overlap, and which of them stand: areas, intersection over union, non-maximum suppression.

torchvision has the same, and takes longer to import than a photo takes to crop; so only a GPU asks it.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

_AT_ONCE = 128  # boxes that are compared with the rest of their group at once


def areas_of(boxes: Tensor) -> Tensor:
    """Return the areas, tensor [N], of boxes, tensor [N, 4] or wider, x1, y1, x2, y2 first."""
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def iou(ones: Tensor, others: Tensor) -> Tensor:
    """Return the intersection over union of every pair of boxes, tensor [K, N].

    Computes one coordinate at a time, on contiguous memory, which is faster than torchvision's `box_iou`.

    Args:
        ones: Tensor [K, 4] or wider, x1, y1, x2, y2 first.
        others: Tensor [N, 4] or wider.
    """
    x1, y1, x2, y2 = ones[:, :4, None].unbind(1)
    u1, v1, u2, v2 = others[:, :4].t().contiguous().unbind()
    width = torch.minimum(x2, u2).sub_(torch.maximum(x1, u1)).clamp_(min=0)
    shared = torch.minimum(y2, v2).sub_(torch.maximum(y1, v1)).clamp_(min=0).mul_(width)
    result: Tensor = shared / ((x2 - x1) * (y2 - y1) + (u2 - u1) * (v2 - v1) - shared)
    return result


def nms(boxes: Tensor, groups: Tensor, iou_threshold: float) -> Tensor:
    """Return the indices of the boxes that non-maximum suppression keeps in each group, in order, on their device.

    A box goes where it overlaps a better one that stays by more than the threshold.

    Args:
        boxes: Double tensor [N, 4], x1, y1, x2, y2, the best first. Where torchvision is asked, it moves the boxes
            of each group apart, by so much that single precision would lose tenths of a pixel.
        groups: Tensor [N].
        iou_threshold: 0 to 1.
    """
    if boxes.device.type == "cuda":
        from torchvision.ops import batched_nms

        scores = torch.arange(len(boxes), 0, -1, device=boxes.device, dtype=boxes.dtype)
        on_device: Tensor = batched_nms(boxes, scores, groups, iou_threshold).sort().values
        return on_device
    labels = groups.numpy()
    order = labels.argsort(kind="stable")  # each group's boxes side by side, still the best first
    labels, (x1, y1, x2, y2) = labels[order], boxes.numpy()[order].T.copy()
    areas, ends = (x2 - x1) * (y2 - y1), np.searchsorted(labels, labels, side="right")
    gone = np.zeros(len(order), bool)
    for start in range(0, len(order), _AT_ONCE):
        stop = min(start + _AT_ONCE, len(order))
        ones, others = np.s_[start:stop, None], slice(start, ends[stop - 1])
        width = np.minimum(x2[ones], x2[others]) - np.maximum(x1[ones], x1[others])
        height = np.minimum(y2[ones], y2[others]) - np.maximum(y1[ones], y1[others])
        shared = np.maximum(width, 0) * np.maximum(height, 0)
        over = (shared / (areas[ones] + areas[others] - shared) > iou_threshold) & (labels[ones] == labels[others])
        for one, other in (np.argwhere(np.triu(over, 1)) + start).tolist():  # the best of them first
            if not gone[one]:
                gone[other] = True
    return torch.from_numpy(np.sort(order[~gone]))
