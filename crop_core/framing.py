"""Deciding where to cut: detections, a picture's size and a request in, windows out.

Pure arithmetic on the standard library; pixels, files and networks are unknown here. The rule, in
words: detections become `Thing`s (a face joins the person it lies in, two labels on one thing
count once) and every thing has a weight. The largest window of the ratio is placed so that all
heads are in it, if they fit together; then the weightiest thing is whole, if it still can be; then
as much weight as possible is. What `zoom` asks for is cut from there, around what is whole.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction

from crop_core.box import Box, Size, Window, union
from crop_core.detection import FACE, PERSON, Detection
from crop_core.errors import ImageError
from crop_core.request import MATCH_INPUT, MAX_OUTPUT_SIDE, CropRequest

SaliencyGrid = Sequence[Sequence[float]]

# A face belongs to a person when most of it lies in the person's box.
FACE_IN_PERSON = 0.7
# Boxes of two labels with this overlap are one thing seen twice, as COCO's matching at IoU 0.75 has it.
SAME_THING_IOU = 0.75
# What a thing is worth when it is not whole: its head alone, and at most its cut body.
HEAD_GAIN, PART_GAIN = 0.5, 0.3
# A face this sure is a face, and people do not forgive a cut one.
SURE_FACE = 0.5
# A face weighs what the person it belongs to would, seen from the waist up: a figure is about 7.5
# heads tall and two wide, of which the upper half has 8 head areas (the artists' canon).
FACE_TO_PERSON = 8
# How much of all weight a place may give up to sit on its subject's middle: slivers, never a whole thing.
COMPOSITION = 0.02


@dataclass(frozen=True, slots=True)
class CropPlan:
    """Where one crop is cut and how large it comes out.

    Attributes:
        window: Upright source pixels.
        content_size: What the window is resized to.
        output_size: The crop's size; larger than `content_size` where it is padded.
        aspect_ratio: The ratio's name in the request.
        label: What the crop shows: a label, or the rule that took its place.
        subjects: Indices of the detections that the crop was made for and holds.
        coverage: For each detection, the share (0 to 1) of its box that lies in the window.
        rule: ``subject``, ``object``, ``face``, or the `if_none` policy that was used.
    """

    window: Window
    content_size: Size
    output_size: Size
    aspect_ratio: str
    label: str
    subjects: tuple[int, ...]
    coverage: tuple[float, ...]
    rule: str


@dataclass(frozen=True, slots=True)
class Thing:
    """One subject: a detection, the faces and the other labels on it.

    `box` holds all of it and `head` its heads, both within the picture; `sure_head` says whether
    one of the faces is beyond doubt. `ids` index the detections, the one that gives the label
    first.
    """

    ids: tuple[int, ...]
    label: str
    score: float
    box: Box
    head: Box | None
    sure_head: bool
    weight: float


def plan_crops(
    detections: Sequence[Detection], size: Size, request: CropRequest, saliency: SaliencyGrid | None = None
) -> tuple[CropPlan, ...]:
    """Return the crops that the request asks for, at most `request.max_crops`.

    Args:
        detections: In upright source pixels; plans name them by their index here.
        size: The upright picture's.
        request: What the caller wants.
        saliency: What stands out, rows of cells over the whole picture; needed where
            `subjects_among` finds nothing and `request.if_none` is ``saliency``.

    Raises:
        ImageError: Nothing was found, and the request wants that to be an error.
    """
    things = subjects_among(detections, size, request)
    if not things:
        return _fallback_plans(detections, size, request, saliency)
    plans = []
    groups = [things] if request.mode == "subject" else [(thing,) for thing in things]
    rule = {"subject": "subject", "objects": "object", "faces": "face"}[request.mode]
    for group in groups:
        for name, ratio in request.ratios:
            exact = _exact_ratio(name, ratio, size)
            kept = _largest_set_that_fits(group, exact, size)
            window = _window_for(kept, group, exact, size, request)
            main = max(kept.whole or kept.cut, key=lambda thing: thing.weight)
            subjects = [index for thing in (kept.whole or (main,)) for index in thing.ids]
            content, output = _sizes(window, exact, request)
            coverage = tuple(detection.box.coverage(window) for detection in detections)
            plans.append(CropPlan(window, content, output, name, main.label, tuple(sorted(subjects)), coverage, rule))
            if len(plans) == request.max_crops:
                return tuple(plans)
    return tuple(plans)


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
    faces = [i for i, d in enumerate(detections) if d.label == FACE]

    things: list[Thing] = []
    taken: set[int] = set()
    for i in sorted(wanted, key=lambda i: (detections[i].label == FACE, i)):  # objects first: they take their faces
        if i in taken:
            continue
        ids = [i]
        if detections[i].label != FACE:
            ids += [j for j in wanted if j > i and j not in taken and _same_thing(detections[i], detections[j])]
        heads = [i] if detections[i].label == FACE else []
        if detections[i].label == PERSON:
            heads += [
                j for j in faces if j not in taken and detections[j].box.coverage(detections[i].box) >= FACE_IN_PERSON
            ]
        members = list(dict.fromkeys(ids + [j for j in heads if request.mode == "subject" or j in wanted]))
        taken.update(members, heads if request.mode == "subject" else ())
        things.append(_thing(detections, members, heads, size, request, weights))
    order = {
        "score": lambda thing: (-thing.score, thing.ids),
        "area": lambda thing: (-thing.box.area, thing.ids),
        "left_to_right": lambda thing: (thing.box.x1, thing.ids),
    }[request.order]
    return tuple(sorted(things, key=order))


def _same_thing(one: Detection, other: Detection) -> bool:
    if FACE in (one.label, other.label) or one.label == other.label:
        return False
    shared = one.box.intersection_area(other.box)
    return shared >= SAME_THING_IOU * (one.box.area + other.box.area - shared)


def _thing(
    detections: Sequence[Detection],
    members: list[int],
    heads: list[int],
    size: Size,
    request: CropRequest,
    weights: dict[str, float],
) -> Thing:
    first = detections[members[0]]
    head = union(_head(detections[i].box, size, request) for i in heads) if heads else None
    sure_head = any(detections[i].score >= SURE_FACE for i in heads)
    box = union([detections[i].box for i in members] + ([head] if head else []))
    weight = max(_importance(detections[i], size) for i in (members[0], *heads))
    if weights:
        weight *= max(weights.get(detections[i].label, 0.0) for i in members)
    return Thing(tuple(members), first.label, first.score, box, head, sure_head, weight)


def _head(face: Box, size: Size, request: CropRequest) -> Box:
    """Return the face with the headroom above it: a face box ends at the forehead."""
    return face.grown(0, request.headroom * face.height, 0, 0).clipped(size)


def _importance(detection: Detection, size: Size) -> float:
    """Return how likely this is what the photo is about, 0 to 1.

    Size and nearness to the centre are what best predicts the objects that people name in a
    photo (Spain and Perona, "Measuring and Predicting Object Importance", IJCV 2011). The score
    says whether the thing is there at all; it counts twice, since a detector's weak boxes are
    wrong more often than their score admits.
    """
    share = detection.box.area / size.area
    if detection.label == FACE:
        share = min(1.0, FACE_TO_PERSON * share)
    x, y = detection.box.center
    off_center = math.hypot(x / size.width - 0.5, y / size.height - 0.5) / math.hypot(0.5, 0.5)
    return detection.score**2 * share * (1 - 0.5 * off_center)


@dataclass(frozen=True, slots=True)
class _Kept:
    """What a largest window at its best place holds: `whole` things, and those it has to cut."""

    whole: tuple[Thing, ...]
    cut: tuple[Thing, ...]
    offset: tuple[int, int]


def _exact_ratio(name: str, ratio: Fraction | None, size: Size) -> Fraction | None:
    """Return width over height; none for free."""
    return Fraction(size.width, size.height) if name == MATCH_INPUT and ratio is None else ratio


def _largest(size: Size, ratio: Fraction | None) -> Size:
    """Return the largest size of the ratio in a picture of `size`; the picture's own where there is no ratio."""
    if ratio is None:
        return size
    if Fraction(size.width, size.height) >= ratio:
        return Size(max(1, min(size.width, round(size.height * ratio))), size.height)
    return Size(size.width, max(1, min(size.height, round(size.width / ratio))))


def _largest_set_that_fits(things: Sequence[Thing], ratio: Fraction | None, size: Size) -> _Kept:
    """Return what the best-placed largest window holds.

    A largest window touches two opposite borders, so it slides along one axis only. Its value
    changes course only where an edge of a box meets an edge of the window: trying those places
    is an exact search.
    """
    largest = _largest(size, ratio)
    axis = 0 if largest.width < size.width else 1
    extent, length = ((size.width, largest.width), (size.height, largest.height))[axis]
    spans = [(thing, _span(thing.box, axis), _span(thing.head, axis) if thing.head else None) for thing in things]
    sure_heads = [head for thing, _, head in spans if head and thing.sure_head]
    weightiest = max(spans, key=lambda entry: entry[0].weight)[1]
    low, high = 0, extent - length
    if sure_heads:
        low, high = _narrowed(low, high, _hull(sure_heads), length)
    low, high = _narrowed(low, high, weightiest, length)

    def value(offset: int) -> float:
        return sum(thing.weight * _gain(span, head, offset, length) for thing, span, head in spans)

    def whole_at(offset: int) -> list[tuple[int, int]]:
        return [span for _, span, _ in spans if span[0] >= offset and span[1] <= offset + length]

    middle = (extent - length) / 2
    edges = [edge for _, span, head in spans for edge in (*span, *(head or span))]
    offsets = sorted({min(max(edge - shift, low), high) for edge in edges for shift in (0, length)} | {low, high})
    best = max(offsets, key=lambda offset: (round(value(offset), 9), -abs(offset - middle)))

    held = _hull(whole_at(best) or [weightiest])
    target = round((held[0] + held[1] - length) / 2)
    loss = COMPOSITION * sum(thing.weight for thing in things) / extent
    composed = [
        offset for offset in {*offsets, min(max(target, low), high)} if set(whole_at(offset)) >= set(whole_at(best))
    ]
    best = max(
        sorted(composed), key=lambda offset: (value(offset) - loss * abs(offset - target), -abs(offset - middle))
    )

    whole = tuple(thing for thing, (first, last), _ in spans if first >= best and last <= best + length)
    cut = tuple(thing for thing in things if thing not in whole)
    return _Kept(whole, cut, (best, 0) if axis == 0 else (0, best))


def _narrowed(low: int, high: int, span: tuple[int, int], length: int) -> tuple[int, int]:
    """Return the offsets of low..high from which a window of `length` holds the span; all of them if none does."""
    first, last = max(low, span[1] - length), min(high, span[0])
    return (first, last) if first <= last else (low, high)


def _hull(spans: Iterable[tuple[int, int]]) -> tuple[int, int]:
    lows, highs = zip(*spans, strict=True)
    return min(lows), max(highs)


def _gain(span: tuple[int, int], head: tuple[int, int] | None, offset: int, length: int) -> float:
    """Return what a thing is worth (0 to 1) to a window from `offset`, `length` long."""
    low, high = span
    if low >= offset and high <= offset + length:
        return 1.0
    part = max(0, min(high, offset + length) - max(low, offset)) / (high - low)
    has_head = head is not None and head[0] >= offset and head[1] <= offset + length
    return PART_GAIN * part + HEAD_GAIN * has_head


def _span(box: Box, axis: int) -> tuple[int, int]:
    window = box.outward()
    return (window.x1, window.x2) if axis == 0 else (window.y1, window.y2)


def _window_for(
    kept: _Kept, group: Sequence[Thing], ratio: Fraction | None, size: Size, request: CropRequest
) -> Window:
    """Return the window for the things that can be kept: sized by `zoom`, placed by what it must hold."""
    largest = _largest(size, ratio)
    focus = kept.whole or (max(kept.cut, key=lambda thing: thing.weight),)
    keep = union(thing.box for thing in focus)
    pad_x, pad_y = request.padding * keep.width, request.padding * keep.height
    roomy = keep.grown(pad_x, pad_y, pad_x, pad_y).clipped(size)
    zoom = request.effective_zoom
    if ratio is None:
        whole = Box(0, 0, size.width, size.height)
        sides = (a + (b - a) * zoom for a, b in zip(whole.xyxy, roomy.xyxy, strict=True))
        return Box(*sides).outward()
    wanted = _between(largest, _smallest_around(roomy, ratio, largest), ratio, zoom)
    if wanted == largest:
        x, y = kept.offset
        return Window(x, y, x + wanted.width, y + wanted.height)
    heads = [thing.head for thing in group if thing.head and thing not in kept.whole]
    visible = [head for head in heads if _inside(head, kept.offset, largest)]
    head = union(visible) if visible else None
    x1 = _placed(wanted.width, size.width, (roomy, keep, head), 0)
    y1 = _placed(wanted.height, size.height, (roomy, keep, head), 1)
    return Window(x1, y1, x1 + wanted.width, y1 + wanted.height)


def _inside(box: Box, offset: tuple[int, int], window: Size) -> bool:
    place = Window(*offset, offset[0] + window.width, offset[1] + window.height)
    return box.coverage(place) > 1 - 1e-9


def _smallest_around(box: Box, ratio: Fraction, largest: Size) -> Size:
    """Return the smallest size of the ratio that the box fits in, as far as the picture allows."""
    window = box.outward()
    width = max(window.width, math.ceil(window.height * ratio))
    height = max(window.height, round(width / ratio))
    if width >= largest.width or height >= largest.height:
        return largest
    return Size(width, height)


def _between(largest: Size, tight: Size, ratio: Fraction, zoom: float) -> Size:
    """Return the size of the ratio that lies at `zoom` between the two."""
    if zoom <= 0:
        return largest
    if zoom >= 1:
        return tight
    if ratio >= 1:
        width = round(largest.width + (tight.width - largest.width) * zoom)
        return Size(width, min(largest.height, max(1, tight.height, round(width / ratio))))
    height = round(largest.height + (tight.height - largest.height) * zoom)
    return Size(min(largest.width, max(1, tight.width, round(height * ratio))), height)


def _placed(length: int, extent: int, boxes: tuple[Box, Box, Box | None], axis: int) -> int:
    """Return where a window of `length` starts on an axis of `extent`.

    The head, then the subject, then the subject with its padding narrow the range; what no longer
    fits leaves the range at the end that is nearest to it. Within the range, the subject's middle
    decides.
    """
    roomy, keep, head = boxes
    low, high = 0, extent - length
    for box in (head, keep, roomy):
        if box is None:
            continue
        first, last = _span(box, axis)
        # A box longer than the window: the window lies inside of it.
        start, end = (last - length, first) if last - first <= length else (first, last - length)
        low, high = (max(low, min(start, high)), min(high, max(end, low)))
    return min(max(round(roomy.center[axis] - length / 2), low), high)


def _sizes(window: Window, ratio: Fraction | None, request: CropRequest) -> tuple[Size, Size]:
    """Return what the window is resized to, and the size of the crop with its padding."""
    ratio = ratio or Fraction(window.width, window.height)
    width, height = request.width, request.height
    if width is None and height is None:
        asked = _shrunk_into(window.size, Size(MAX_OUTPUT_SIDE, MAX_OUTPUT_SIDE))
    elif width is not None and height is not None:
        asked = Size(width, height)
    elif width is not None:
        asked = Size(width, min(MAX_OUTPUT_SIDE, max(1, round(width / ratio))))
    else:
        assert height is not None
        asked = Size(min(MAX_OUTPUT_SIDE, max(1, round(height * ratio))), height)
    if request.upscale == "allow" or (asked.width <= window.width and asked.height <= window.height):
        return asked, asked
    content = Size(min(asked.width, window.width), min(asked.height, window.height))
    return content, asked if request.upscale == "pad" else content


def _shrunk_into(size: Size, limit: Size) -> Size:
    """Return the size scaled down, its ratio kept, until it fits the limit."""
    scale = min(1.0, limit.width / size.width, limit.height / size.height)
    return Size(max(1, round(size.width * scale)), max(1, round(size.height * scale)))


def _fallback_plans(
    detections: Sequence[Detection], size: Size, request: CropRequest, saliency: SaliencyGrid | None
) -> tuple[CropPlan, ...]:
    """Return the crops of a picture without a subject, by the request's `if_none`."""
    policy = request.if_none
    if policy == "empty":
        return ()
    if policy == "error":
        what = "No face" if request.mode == "faces" else f"Nothing of {request.labels}" if request.labels else "Nothing"
        raise ImageError(
            f"{what} was found in the picture at score_threshold {request.score_threshold:g}. "
            "Lower it, or set if_none to saliency, center or full_image."
        )
    plans = []
    for name, ratio in request.ratios:
        exact = _exact_ratio(name, ratio, size)
        if policy == "full_image":
            window = Window(0, 0, size.width, size.height)
            content, output = _full_image_sizes(window, request)
        else:
            largest = _largest(size, exact)
            x1, y1 = (size.width - largest.width) // 2, (size.height - largest.height) // 2
            if policy == "saliency":
                if saliency is None:
                    raise ValueError("a saliency grid is needed where nothing was found")
                x1 = _most_salient([sum(column) for column in zip(*saliency, strict=True)], size.width, largest.width)
                y1 = _most_salient([sum(row) for row in saliency], size.height, largest.height)
            window = Window(x1, y1, x1 + largest.width, y1 + largest.height)
            content, output = _sizes(window, exact, request)
        coverage = tuple(detection.box.coverage(window) for detection in detections)
        plans.append(CropPlan(window, content, output, name, policy, (), coverage, policy))
    return tuple(plans[: request.max_crops])


def _full_image_sizes(window: Window, request: CropRequest) -> tuple[Size, Size]:
    """Return the sizes of an uncropped picture: within `width` and `height`, the ratio kept."""
    asked = Size(request.width or MAX_OUTPUT_SIDE, request.height or MAX_OUTPUT_SIDE)
    content = _shrunk_into(window.size, asked)
    padded = request.upscale == "pad" and request.width is not None and request.height is not None
    return content, asked if padded else content


def _most_salient(cells: Sequence[float], extent: int, length: int) -> int:
    """Return where a window of `length` on an axis of `extent` pixels holds most of the cells' sum.

    The sum is piecewise linear in the offset, so its largest value lies where an edge of the
    window meets an edge of a cell. Ties go to the middle.
    """
    room = extent - length
    if room == 0:
        return 0
    cell = extent / len(cells)
    before = [0.0]
    for value in cells:
        before.append(before[-1] + value)

    def up_to(x: float) -> float:
        index = min(int(x / cell), len(cells) - 1)
        return before[index] + cells[index] * (x / cell - index)

    edges: Iterable[int] = (round(i * cell) for i in range(len(cells) + 1))
    offsets = {min(max(offset, 0), room) for edge in edges for offset in (edge, edge - length)} | {room // 2}
    return max(sorted(offsets), key=lambda x: (round(up_to(x + length) - up_to(x), 9), -abs(x - room / 2)))
