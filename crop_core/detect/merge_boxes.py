"""From candidates to detections: threshold, NMS, clean-up, one transfer, total order.

Everything happens on the device of the tensors, and the host waits for it where `all_settled`
brings the boxes of all pictures over in one piece.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from crop_core.detect.candidates import Candidates
from crop_core.detect.overlap import areas_of, iou, nms
from crop_core.detection import FACE, LABELS, Detection, Landmarks, in_order
from crop_core.errors import DeviceError
from crop_core.geometry import Box

MAX_OBJECTS = 100  # what COCO's evaluation counts per picture
MAX_FACES = 500  # WIDER FACE has pictures with hundreds
# Two labels on boxes that overlap this much are two names for one thing ("cat" and "dog" on one
# animal); high enough to leave a person on a horse alone. The second name goes if it has less
# than half the first one's score. Closer scores are a real doubt, and dropping those loses true things.
DUPLICATE_IOU = 0.85
DUPLICATE_SCORE = 0.5
# A part of a face that fills the frame looks like a face at the larger scale, and overlaps too
# little for NMS. A face that lies in another by this share of its own area, with less than half its
# score, is such a part; true faces hardly ever are.
PART_SHARE = 0.875
# The boxes that a network proposes for one thing differ by a few percent, and which of them has the best score is
# chance: an encoder's noise changes it. So a box becomes the mean of all that overlap it by more than this, which is
# NanoDet's own threshold for NMS. Each counts by the square of its score and by how far beyond that it overlaps, so
# that at either threshold, where noise decides who is in, a box hardly counts.
FUSED_IOU = 0.6
FUSED_SCORE = 0.1

_FACE_INDEX = LABELS.index(FACE)
_PICTURE = 16  # the column with the picture's number
_AT_ONCE = 256  # boxes that are compared with all others at once; limits the memory for the weights


def all_settled(
    candidates: Sequence[Candidates], score_threshold: float, iou_threshold: float
) -> list[tuple[Detection, ...]]:
    """Return each picture's final detections, in total order.

    Scores below the threshold go; of boxes of one label that overlap by more than
    `iou_threshold`, the best-scored stays (NMS), at the mean place of those that lie where it
    does. What has less than half the score of another goes too where it is a second name of it: a
    near-identical object box of another label, or a part of a face. Faces and objects never remove
    one another. The order of the candidates does not matter, not even where scores tie.

    A GPU settles all pictures at once. The host waits for it three times: for how many rows pass, how many
    NMS keeps, and the rows.

    Raises:
        DeviceError: A score or a box is NaN, which a faulty device returns.
    """
    rows = torch.cat([_rows(several, picture) for picture, several in enumerate(candidates)])
    if rows.device.type != "cuda":
        rows = rows.cpu()  # MPS has no doubles
    sides = rows[:, 2:4] - rows[:, :2]
    floor = min(score_threshold, FUSED_SCORE)
    rows = _sorted_rows(rows[~((rows[:, 4] < floor) | (sides <= 0).any(1))])  # keeps NaN: it is reported below
    wide = rows.double()
    groups = _groups(wide)
    near = max(iou_threshold, FUSED_IOU)  # a caller who keeps more overlapping boxes wants them separate
    kept = nms(wide[:, :4], groups, near)
    rows = _fused(wide, groups, kept, min(near, 0.99)).float().cpu()  # at 1 a box would not count for itself
    if not rows.isfinite().all():
        raise DeviceError(
            "The network returned NaN: the device is faulty. Send the picture again once the process is restarted."
        )
    if iou_threshold < near:
        rows = rows[nms(rows[:, :4].double(), _groups(rows), iou_threshold)]
    rows = rows[rows[:, 4] >= score_threshold]
    return [_cleared(rows[rows[:, _PICTURE] == picture]) for picture in range(len(candidates))]


def _rows(candidates: Candidates, picture: int) -> Tensor:
    """Return the candidates as rows of box, score, label, landmarks and picture, float tensor [N, 17]."""
    scores, labels = candidates.scores[:, None], candidates.labels[:, None].to(candidates.boxes)
    return torch.cat((candidates.boxes, scores, labels, candidates.landmarks, torch.full_like(scores, picture)), 1)


def _cleared(rows: Tensor) -> tuple[Detection, ...]:
    """Return one picture's detections, without second names and those above the limits."""
    is_face = rows[:, 5] == _FACE_INDEX
    rows = torch.cat((rows[is_face][:MAX_FACES], rows[~is_face][:MAX_OBJECTS]))
    return in_order(_detection(row) for row in rows[~_second_names(rows)].tolist())


def _groups(rows: Tensor) -> Tensor:
    """Return a number for each row; rows of one picture and label share it."""
    return rows[:, _PICTURE] * len(LABELS) + rows[:, 5]


def _fused(rows: Tensor, groups: Tensor, kept: Tensor, iou_threshold: float) -> Tensor:
    """Return the kept rows, each with the mean box and landmarks of the rows of its group that lie where it does.

    Args:
        rows: Double tensor [N, 17].
        groups: Tensor [N]; only rows of one group are averaged.
        kept: Integer tensor [K], indices of rows.
        iou_threshold: 0 to 1; beyond it two boxes lie in one place.
    """
    result = rows[kept]
    scores = rows[:, 4].square().clamp(min=torch.finfo(rows.dtype).tiny)  # avoids division by zero if the score is 0
    for start in range(0, len(kept), _AT_ONCE):
        part = result[start : start + _AT_ONCE]
        weights = (iou(part, rows) - iou_threshold).clamp(min=0) * scores
        weights *= groups[kept[start : start + _AT_ONCE], None] == groups
        weights /= weights.sum(1, keepdim=True)
        for columns in (slice(0, 4), slice(6, _PICTURE)):
            part[:, columns] = weights @ rows[:, columns]
    return result


def _sorted_rows(rows: Tensor) -> Tensor:
    """Return the rows by score down, then label, then box: NMS and the limits decide ties by position."""
    order = torch.arange(len(rows), device=rows.device)
    for column in (3, 2, 1, 0, 5):  # the last key first: stable sorts
        order = order[rows[order, column].argsort(stable=True)]
    return rows[order[rows[order, 4].argsort(stable=True, descending=True)]]


def _second_names(rows: Tensor) -> Tensor:
    """Return which rows are a much weaker second name for the thing in another row, boolean tensor [N]."""
    boxes, scores, labels = rows[:, :4], rows[:, 4], rows[:, 5]
    weaker = scores[:, None] < DUPLICATE_SCORE * scores
    is_face = labels == _FACE_INDEX
    top_left = torch.maximum(boxes[:, None, :2], boxes[:, :2])
    bottom_right = torch.minimum(boxes[:, None, 2:], boxes[:, 2:])
    shared = (bottom_right - top_left).clamp(min=0).prod(-1)
    part = is_face[:, None] & is_face & (shared > PART_SHARE * areas_of(boxes)[:, None])
    other_label = (labels[:, None] != labels) & ~is_face[:, None] & ~is_face
    twin = other_label & (iou(rows, rows) > DUPLICATE_IOU)
    second: Tensor = (weaker & (part | twin)).any(1)
    return second


def _detection(row: list[float]) -> Detection:
    label = LABELS[int(row[5])]
    landmarks: Landmarks | None = None
    if label == FACE:
        landmarks = tuple(zip(row[6:_PICTURE:2], row[7:_PICTURE:2], strict=True))
    return Detection(label, min(1.0, row[4]), Box(*row[:4]), landmarks)
