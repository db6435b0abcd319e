"""What a picture needs of the networks, told from the first look at it.

The answers are tensors on the device of the candidates. A CPU reads them and skips what is not needed.
On a GPU the host would have to wait for them, so everything runs, and the answers decide which results
count.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from crop_core.detect.candidates import Candidates
from crop_core.detect.overlap import areas_of, iou
from crop_core.detection import LABELS, PERSON, WEAK_SCORE
from crop_core.geometry import Size

# A box of this score is almost always right, and a thing of a quarter of its weight does not outweigh it. A second
# look at such a picture changes no window that matters.
CLEAR_SCORE, CLEAR_SHARE = 0.7, 0.25
SAME_IOU = 0.5  # boxes that overlap by this are of one thing
# A figure is seven and a half heads tall, and its face box hardly a head. One that is half as long as the picture's
# longer side has a face of 20 px where that side has 320, twice the smallest that the face network sees.
TALL_FIGURE = 0.5

_PERSON = LABELS.index(PERSON)


def is_clear(candidates: Candidates) -> Tensor:
    """Return whether one thing is beyond doubt what the picture shows, boolean tensor []."""
    if not len(candidates.scores):
        return candidates.scores.new_zeros((), dtype=torch.bool)
    # The weight that each box would have as a thing, roughly as `subjects` computes it.
    weights = candidates.scores * areas_of(candidates.boxes) * (candidates.scores >= WEAK_SCORE)
    best = weights.argmax(0, keepdim=True)  # with a Python number as index the host would wait for the GPU
    others = iou(candidates.boxes[best], candidates.boxes)[0] < SAME_IOU
    rivals = others & (weights > CLEAR_SHARE * weights[best])
    clear: Tensor = (candidates.scores[best] >= CLEAR_SCORE).all() & ~rivals.any()
    return clear


def has_small_figures(candidates: Candidates, size: Size) -> Tensor:
    """Return whether there are people whose faces are small in the picture, boolean tensor [].

    Args:
        candidates: In source pixels.
        size: The upright source picture's.
    """
    figures = (candidates.labels == _PERSON) & (candidates.scores >= WEAK_SCORE)
    heights = candidates.boxes[:, 3] - candidates.boxes[:, 1]
    return (figures & (heights < TALL_FIGURE * max(size.width, size.height))).any()


def wanted(answers: Sequence[Tensor]) -> list[int]:
    """Return the positions of the true answers; on a GPU all positions, since the host would have to wait."""
    return [i for i, answer in enumerate(answers) if answer.device.type != "cpu" or bool(answer)]


def counted(candidates: Candidates, answer: Tensor) -> Candidates:
    """Return the candidates, without a score where the answer is false."""
    return Candidates(candidates.boxes, candidates.scores * answer, candidates.labels, candidates.landmarks)
