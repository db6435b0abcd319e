"""What the photo may be about: detections become things, and every thing gets a weight.

Pure arithmetic on the standard library. This module knows nothing of windows and ratios.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from crop_core.detection import FACE, PERSON, Detection
from crop_core.geometry import Box, Size, union
from crop_core.request import CropRequest

# A face belongs to a person when most of it lies in the person's box, and an unsure one only where a head would
# be: the hair above a face is about 0.4 of it high, and a hat may double that.
FACE_IN_PERSON, MOST_ABOVE_FACE = 0.7, 1.0
# Boxes of two labels with this overlap are one thing seen twice, as COCO's matching at IoU 0.75 has it.
SAME_THING_IOU = 0.75
# A face of this score almost always lies on a person; below it, often not.
SURE_FACE = 0.5
# A sure face weighs what the person it belongs to would, seen from the waist up: a figure is about 7.5
# heads tall and two wide, of which the upper half has 8 head areas (the artists' canon).
FACE_TO_PERSON = 8
# Where no face is seen, the head of who stands is this part of the box, from its top: of a person by the same canon; of
# an animal that is taller than wide a third, as of a cat or a dog that sits, where a giraffe's is less.
_ANIMALS = ("bird", "cat", "dog", "horse", "sheep", "cow", "elephant", "bear", "zebra", "giraffe")
HEAD_SHARES = {PERSON: 1 / 7.5} | dict.fromkeys(_ANIMALS, 1 / 3)
# How far a side of YuNet's box may be off, as a fraction of the face's size.
FACE_MARGIN = 0.15


@dataclass(frozen=True, slots=True)
class Thing:
    """One possible subject: a detection, the faces and the other labels on it.

    All boxes lie within the picture.

    Attributes:
        ids: Indices of the detections, the one that gives the label first.
        label: What it is.
        score: How sure the detector is.
        box: The whole thing.
        face: Its faces, bare; none where it has none.
        head: Its faces with the headroom above them, as far as the person's box goes; where a person or an
            animal that is taller than wide has no face, the top of the box.
        roomy_head: Its faces with all of the headroom above them.
        airy_head: As roomy_head, with a margin for the detector's error around each face.
        sure_face: Whether one of the faces is beyond doubt.
        gaze: For a lone face the point (x, y) between the eyes, and how far the nose points to
            the side, in eye distances, right positive.
        weight: How likely the photo is about it, times the caller's label weight.
    """

    ids: tuple[int, ...]
    label: str
    score: float
    box: Box
    face: Box | None
    head: Box | None
    roomy_head: Box | None
    airy_head: Box | None
    sure_face: bool
    gaze: tuple[float, float, float] | None
    weight: float

    @property
    def airy_box(self) -> Box:
        """Return the box extended by its heads' headroom; a lone face's box has it already."""
        return union((self.box, self.airy_head)) if self.airy_head and self.label != FACE else self.box


def subjects_among(detections: Sequence[Detection], size: Size, request: CropRequest) -> tuple[Thing, ...]:
    """Return the things that the request's mode and labels allow as subjects, in the request's order.

    In subject mode that is every thing; in the other modes one per object or face.
    """
    weights = request.label_weights
    wanted = [i for i, d in enumerate(detections) if not weights or d.label in weights]
    if request.mode == "faces":
        wanted = [i for i in wanted if detections[i].label == FACE]
    elif request.mode == "objects" and not weights:
        wanted = [i for i in wanted if detections[i].label != FACE]
    all_faces = [i for i, d in enumerate(detections) if d.label == FACE]

    things: list[Thing] = []
    taken: set[int] = set()
    for i in sorted(wanted, key=lambda i: (detections[i].label == FACE, i)):  # objects first: they take their faces
        if i in taken:
            continue
        members, faces = [i], []
        if detections[i].label == FACE:
            faces = [i]
        else:
            members += [j for j in wanted if j > i and j not in taken and _same_thing(detections[i], detections[j])]
            if any(detections[j].label == PERSON for j in members):
                faces = [j for j in all_faces if j not in taken and _lies_in(detections[j], detections[i])]
        if request.mode == "subject":
            members += [j for j in faces if j not in members]
        taken.update(members)
        things.append(_thing(detections, members, faces, size, request))
    order = {
        "score": lambda thing: (-thing.score, thing.ids),
        "area": lambda thing: (-thing.box.area, thing.ids),
        "left_to_right": lambda thing: (thing.box.x1, thing.ids),
    }[request.order]
    return tuple(sorted(things, key=order))


def weightiest(things: Iterable[Thing]) -> Thing:
    """Return the thing that weighs most, of at least one."""
    return max(things, key=lambda thing: thing.weight)


def _lies_in(face: Detection, person: Detection) -> bool:
    low = face.box.y1 - person.box.y1 > MOST_ABOVE_FACE * face.box.height
    return face.box.coverage(person.box) >= FACE_IN_PERSON and not (low and face.score < SURE_FACE)


def _same_thing(one: Detection, other: Detection) -> bool:
    if FACE in (one.label, other.label) or one.label == other.label:
        return False
    shared = one.box.intersection_area(other.box)
    return shared >= SAME_THING_IOU * (one.box.area + other.box.area - shared)


def _thing(
    detections: Sequence[Detection], members: list[int], faces: list[int], size: Size, request: CropRequest
) -> Thing:
    first = detections[members[0]]
    sure = [i for i in faces if detections[i].score >= SURE_FACE]
    shown = [detections[i] for i in sure or faces]
    face = head = roomy = airy = gaze = None
    if shown:
        # A person's box says where the hair ends; a lone face does not.
        top = first.box.y1 if first.label != FACE else 0.0
        face = union(d.box for d in shown).clipped(size)
        head = union(_with_headroom(d.box, request.headroom, min(top, d.box.y1)) for d in shown).clipped(size)
        roomy = union(_with_headroom(d.box, request.headroom) for d in shown).clipped(size)
        airy = union(_with_headroom(d.box.with_margin(FACE_MARGIN), request.headroom) for d in shown).clipped(size)
    if len(shown) == 1:
        gaze = _gaze(shown[0])
    if first.label == FACE:
        box = _with_headroom(first.box, request.headroom).clipped(size)
    else:
        box = union(detections[i].box for i in members if i not in faces).clipped(size)
    if first.label in HEAD_SHARES and face is None and box.height > box.width:
        head = Box(box.x1, box.y1, box.x2, box.y1 + HEAD_SHARES[first.label] * box.height)
    # A box around several faces is a group, and worth all of them.
    weight = max(_importance(first, size), sum(_importance(face, size) for face in shown))
    weights = request.label_weights
    if weights:
        weight *= max(weights.get(detections[i].label, 0.0) for i in members)
    return Thing(tuple(members), first.label, first.score, box, face, head, roomy, airy, bool(sure), gaze, weight)


def _with_headroom(face: Box, headroom: float, highest: float = -math.inf) -> Box:
    """Return the face with the headroom above it, but not above `highest`."""
    return Box(face.x1, max(face.y1 - headroom * face.height, highest), face.x2, face.y2)


def _gaze(face: Detection) -> tuple[float, float, float] | None:
    """Return the point between the eyes and how far the nose points to the side, in eye distances."""
    if face.landmarks is None:
        return None
    (left_x, left_y), (right_x, right_y), (nose_x, _), *_ = face.landmarks
    distance = math.hypot(right_x - left_x, right_y - left_y)
    x, y = (left_x + right_x) / 2, (left_y + right_y) / 2
    turn = (nose_x - x) / distance if distance > 0 else 0.0
    return x, y, min(max(turn, -1.0), 1.0)


def _importance(detection: Detection, size: Size) -> float:
    """Return how likely this is what the photo is about, 0 to 1.

    Size and nearness to the centre are what best predicts the objects that people name in a
    photo (Spain and Perona, "Measuring and Predicting Object Importance", IJCV 2011), size more
    than place.
    """
    share = detection.box.area / size.area
    if detection.label == FACE and detection.score >= SURE_FACE:
        share = min(1.0, FACE_TO_PERSON * share)
    x, y = detection.box.center
    off_center = math.hypot(x / size.width - 0.5, y / size.height - 0.5) / math.hypot(0.5, 0.5)
    return _likelihood(detection.score) * share * (1 - 0.25 * off_center)


def _likelihood(score: float) -> float:
    """Return how likely a box of that score is a thing at all.

    NanoDet-g's scores are no probabilities. On 152 COCO pictures its boxes were right (IoU 0.5 with
    a thing, whatever the label) in 6 % at a score of 0.08, 16 % at 0.17, 35 % at 0.27, 53 % at
    0.37, 74 % at 0.47, 86 % at 0.57, 98 % at 0.68 and all above 0.7; this curve goes through that.
    """
    return 1 / (1 + math.exp(-9 * (score - 0.36)))
