"""What networks propose for a picture before the boxes are merged."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from crop_core.geometry import Size

TOP_CANDIDATES = 2000  # per network pass, before NMS; 416 px give NanoDet-g 3,549 cells of 80 scores


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """What networks propose before NMS, N boxes of one picture, on one device.

    Attributes:
        boxes: Float tensor [N, 4], xyxy in upright source pixels.
        scores: Float tensor [N], 0 to 1.
        labels: Integer tensor [N], indices of `LABELS`.
        landmarks: Float tensor [N, 10], five (x, y) in upright source pixels; zeros for objects.
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor
    landmarks: Tensor

    @staticmethod
    def joined(parts: Iterable[Candidates]) -> Candidates:
        """Return the candidates of several passes as one."""
        several = tuple(parts)
        return Candidates(
            torch.cat([part.boxes for part in several]),
            torch.cat([part.scores for part in several]),
            torch.cat([part.labels for part in several]),
            torch.cat([part.landmarks for part in several]),
        )


@dataclass(frozen=True, slots=True, eq=False)
class NetworkPass:
    """One picture in a network once: what went in and what came out.

    Attributes:
        outputs: The network's, for a batch of one.
        input: Float tensor [1, 3, H, W].
        input_hw: Height and width that the picture has in it, before padding.
        size: The upright source picture's.
    """

    outputs: tuple[Tensor, ...]
    input: Tensor
    input_hw: tuple[int, int]
    size: Size


@dataclass(frozen=True, slots=True, eq=False)
class Glance:
    """What the first look at a picture tells.

    Attributes:
        candidates: Of all its looks.
        passes: One for each size that the picture was seen at, NanoDet-g's at 416 px first.
    """

    candidates: Candidates
    passes: tuple[NetworkPass, ...]


def best_candidates(
    boxes: Tensor, scores: Tensor, labels: Tensor, landmarks: Tensor | None, size: Size, input_hw: tuple[int, int]
) -> Candidates:
    """Return the best-scored candidates of one pass, mapped to source pixels and clipped to the picture.

    Args:
        boxes: Float tensor [cells, 4], xyxy in pixels of the network's input.
        scores: Float tensor [cells, L]: every cell's score for each of `labels`.
        labels: Integer tensor [L], indices of `LABELS`.
        landmarks: Float tensor [cells, 10] in pixels of the network's input, or none.
        size: The upright source picture's.
        input_hw: Height and width that the picture had in the network's input, before padding.
    """
    count = min(TOP_CANDIDATES, scores.numel())
    top, index = scores.flatten().topk(count)
    cell, column = index // scores.shape[1], index % scores.shape[1]
    # Numbers, not tensors of them: the host would wait for a GPU to take each one.
    scale_x, scale_y = size.width / input_hw[1], size.height / input_hw[0]
    x, y = boxes[cell].view(-1, 2, 2).unbind(-1)
    mapped = torch.stack(((x * scale_x).clamp(0, size.width), (y * scale_y).clamp(0, size.height)), -1).view(-1, 4)
    if landmarks is None:
        points = boxes.new_zeros((count, 10))
    else:
        x, y = landmarks[cell].view(-1, 5, 2).unbind(-1)
        points = torch.stack((x * scale_x, y * scale_y), -1).view(-1, 10)
    return Candidates(mapped, top, labels[column], points)
