"""What a detector found: things with label, score and box, a face's landmarks, and where a person would cut.

This module knows the labels and the order of results. It knows no networks.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from crop_core.geometry import Box

FACE = "face"
PERSON = "person"
SALIENT = "salient"  # a thing that stands out, but that no detector can name

# The 80 classes of COCO 2017, in the order of the networks' outputs (cocodataset.org, instances_val2017.json).
# fmt: off
COCO_LABELS: tuple[str, ...] = (
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light",
    "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse", "sheep", "cow",
    "elephant", "bear", "zebra", "giraffe", "backpack", "umbrella", "handbag", "tie", "suitcase", "frisbee", "skis",
    "snowboard", "sports ball", "kite", "baseball bat", "baseball glove", "skateboard", "surfboard",
    "tennis racket", "bottle", "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple", "sandwich",
    "orange", "broccoli", "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch", "potted plant", "bed",
    "dining table", "toilet", "tv", "laptop", "mouse", "remote", "keyboard", "cell phone", "microwave", "oven",
    "toaster", "sink", "refrigerator", "book", "clock", "vase", "scissors", "teddy bear", "hair drier",
    "toothbrush",
)
# fmt: on
LABELS: tuple[str, ...] = (*COCO_LABELS, FACE)

# Boxes between this score and the request's threshold still count a little in where a window lies. Below it
# NanoDet-g's boxes are mostly wrong.
WEAK_SCORE = 0.2

Landmarks = tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class Detection:
    """One thing in the picture.

    `label` is one of `LABELS`, `score` is 0 to 1, `box` lies in upright source pixels. A face
    has five `landmarks` (x, y) in the same frame: the eye at the left of the picture, the eye
    at the right, the nose tip, the left and the right corner of the mouth.
    """

    label: str
    score: float
    box: Box
    landmarks: Landmarks | None = None

    def __post_init__(self) -> None:
        if not 0.0 <= self.score <= 1.0:
            raise ValueError(f"a score lies between 0 and 1, got {self.score}")


@dataclass(frozen=True, slots=True)
class Composition:
    """Where a person would place a window, in upright source pixels.

    Attributes:
        box: The window, where its ratio is free.
        middle: x and y that the middle of a window should be near, where its ratio is given.
    """

    box: Box
    middle: tuple[float, float]


def in_order(detections: Iterable[Detection]) -> tuple[Detection, ...]:
    """Return the detections in their total order: score down, then label, then box.

    Equal inputs give equal files, whatever order a device returned them in.
    """
    return tuple(sorted(detections, key=lambda d: (-d.score, d.label, d.box.xyxy)))
