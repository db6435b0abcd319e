"""How far a face is tilted, measured by turning it.

The face network was trained on upright faces: it draws the landmarks of a tilted face too level, but on the right side.
So the face is turned in steps. Where the tilt of its eyes changes sign, the face is upright.
"""

from __future__ import annotations

import math
from itertools import pairwise

from crop_core.cut.resample import Source, resampled_turned
from crop_core.detect.detector import Detector
from crop_core.detect.merge_boxes import all_settled
from crop_core.detect.network_input import View
from crop_core.detection import Detection
from crop_core.geometry import Size, Window

TURNS = range(-40, 41, 10)  # degrees
# How large the part around the face is, in sides of the face's box, and its pixels. Larger parts gave larger errors.
AROUND, SIDE = 2.5, 192
LEAST_SCORE = 0.2


def tilt_of(photo: Source, face: Detection, detector: Detector) -> float | None:
    """Return by how many degrees the line between the eyes falls to the right; none if it is not known.

    Args:
        photo: The picture.
        face: In upright source pixels.
        detector: The detector whose face network is used.
    """
    x, y = face.box.center
    length = max(2, round(AROUND * max(face.box.width, face.box.height)))
    left, top, size = round(x - length / 2), round(y - length / 2), Size(SIDE, SIDE)
    window = Window(left, top, left + length, top + length)
    views = [View(resampled_turned(photo, window, float(turn), size)[0][:3], size) for turn in TURNS]
    lines = []
    for turn, candidates in zip(TURNS, detector.find_faces(views, SIDE), strict=True):
        line = _line_in_the_middle(all_settled([candidates], LEAST_SCORE, 0.5)[0])
        if line is not None:
            lines.append((turn, *line))
    best: tuple[float, float] | None = None
    for (turn, tilt, score), (next_turn, next_tilt, next_score) in pairwise(lines):
        if tilt <= 0 < next_tilt:
            upright = turn + (next_turn - turn) * -tilt / (next_tilt - tilt)
            best = max(best or (-math.inf, 0.0), (score + next_score, upright))
    return -best[1] if best else None


def _line_in_the_middle(faces: tuple[Detection, ...]) -> tuple[float, float] | None:
    """Return the tilt of the eyes of the face nearest to the middle of a part, and that face's score."""
    found = [face for face in faces if face.landmarks]
    if not found:
        return None
    face = min(found, key=lambda one: math.dist(one.box.center, (SIDE / 2, SIDE / 2)))
    assert face.landmarks is not None
    (left_x, left_y), (right_x, right_y), *_ = face.landmarks
    return math.degrees(math.atan2(right_y - left_y, right_x - left_x)), face.score
