"""Scenes to plan windows in: drawn by hand, or by hypothesis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from hypothesis import strategies as st

from crop_core.detection import Composition, Detection, in_order
from crop_core.frame.plan import CropPlan, plan_crops
from crop_core.frame.scene import Scene
from crop_core.frame.subjects import subjects_among
from crop_core.geometry import Box, Size
from crop_core.request import CropRequest

LANDSCAPE = Size(600, 400)


def person(x1: float, y1: float, x2: float, y2: float, score: float = 0.9) -> Detection:
    return Detection("person", score, Box(x1, y1, x2, y2))


def face(x1: float, y1: float, x2: float, y2: float, score: float = 0.9) -> Detection:
    return Detection("face", score, Box(x1, y1, x2, y2), ((0.0, 0.0),) * 5)


def dog(x1: float, y1: float, x2: float, y2: float, score: float = 0.9) -> Detection:
    return Detection("dog", score, Box(x1, y1, x2, y2))


def planned(
    detections: Sequence[Detection],
    size: Size,
    request: CropRequest,
    weak: Sequence[Detection] = (),
    composition: Box | None = None,
) -> tuple[CropPlan, ...]:
    """Return the plans for detections that all reach the threshold, and weak ones that do not."""
    asked = replace(request, score_threshold=0)
    scene = Scene.of(detections, size, asked)
    voters = subjects_among(weak, size, asked) if request.mode == "subject" else ()
    return plan_crops(
        replace(scene, voters=voters, composition=composition and Composition(composition, composition.center)), request
    )


def only_plan(detections: list[Detection], size: Size = LANDSCAPE, **inputs: object) -> CropPlan:
    (plan,) = planned(detections, size, CropRequest.from_inputs(**inputs))
    return plan


RATIOS = st.sampled_from(["1:1", "4:5", "16:9", "9:16", "3:2", "1:20", "20:1", "match_input"])


@st.composite
def scenes(draw: st.DrawFn, labels: tuple[str, ...] = ("person", "dog", "face")) -> tuple[Size, tuple[Detection, ...]]:
    size = Size(draw(st.integers(1, 3000)), draw(st.integers(1, 3000)))
    detections = []
    for _ in range(draw(st.integers(0, 6))):
        x1, x2 = sorted(draw(st.tuples(st.floats(0, size.width), st.floats(0, size.width))))
        y1, y2 = sorted(draw(st.tuples(st.floats(0, size.height), st.floats(0, size.height))))
        label = draw(st.sampled_from(labels))
        landmarks = ((x1, y1),) * 5 if label == "face" else None
        if x2 - x1 > 1e-6 and y2 - y1 > 1e-6:
            detections.append(Detection(label, draw(st.floats(0.1, 1)), Box(x1, y1, x2, y2), landmarks))
    return size, in_order(detections)


def requests_with(**inputs: st.SearchStrategy[object]) -> st.SearchStrategy[CropRequest]:
    """Return requests of every mode, one ratio, zoom and padding, with these inputs drawn beside."""
    return st.builds(
        CropRequest,
        mode=st.sampled_from(["subject", "objects", "faces"]),
        aspect_ratios=st.tuples(RATIOS),
        zoom=st.floats(0, 1),
        padding=st.floats(0, 2),
        **inputs,
    )
