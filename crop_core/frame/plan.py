"""Deciding where to cut: detections, a picture's size and a request in, windows out.

Pure arithmetic on the standard library; pixels, files and networks are unknown here. `subject`
says what the photo may be about and how much each thing weighs, `placement` where a window slides
to. This module sizes the windows by ratio and `zoom`, and the crops by `width` and `height`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction

from crop_core.detection import Detection
from crop_core.errors import ImageError
from crop_core.frame.place_on_axis import best_offset, offset_holding, well_placed
from crop_core.frame.subjects import Thing, subjects_among
from crop_core.geometry import Box, Size, Window, union
from crop_core.request import MATCH_INPUT, MAX_OUTPUT_PIXELS, MAX_OUTPUT_SIDE, CropRequest

SaliencyGrid = Sequence[Sequence[float]]


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


def plan_crops(
    detections: Sequence[Detection],
    size: Size,
    request: CropRequest,
    *,
    weak: Sequence[Detection] = (),
    saliency: SaliencyGrid | None = None,
) -> tuple[CropPlan, ...]:
    """Return the crops that the request asks for, at most `request.max_crops`.

    Args:
        detections: In upright source pixels; plans name them by their index here.
        size: The upright picture's.
        request: What the caller wants.
        weak: Detections below the request's threshold. In subject mode they have a say in where
            the window lies, by their little weight, and are no subjects.
        saliency: What stands out, rows of cells over the whole picture; needed where
            `subjects_among` finds nothing and `request.if_none` is ``saliency``.

    Raises:
        ImageError: Nothing was found, and the request wants that to be an error.
    """
    subjects = subjects_among(detections, size, request)
    if not subjects:
        return _fallback_plans(detections, size, request, saliency)
    groups: list[tuple[Thing, ...]] = [(thing,) for thing in subjects]
    voters: tuple[Thing, ...] = ()
    if request.mode == "subject":
        groups = [subjects]
        voters = subjects_among(weak, size, request)
    rule = {"subject": "subject", "objects": "object", "faces": "face"}[request.mode]
    plans = []
    for group in groups:
        for name, ratio in request.ratios:
            exact = _exact_ratio(name, ratio, size)
            scene = _placed_largest((*group, *voters), _largest(size, exact), size)
            focus = [thing for thing in group if _holds(scene, thing.box)] or [_weightiest(group)]
            window = _window_around(focus, scene, exact, size, request)
            ids = {index for thing in focus for index in thing.ids}
            content, output = _sizes(window, exact, request)
            coverage = tuple(detection.box.coverage(window) for detection in detections)
            label = _weightiest(focus).label
            plans.append(CropPlan(window, content, output, name, label, tuple(sorted(ids)), coverage, rule))
            if len(plans) == request.max_crops:
                return tuple(plans)
    return tuple(plans)


def _weightiest(things: Iterable[Thing]) -> Thing:
    return max(things, key=lambda thing: thing.weight)


def _holds(window: Window, box: Box) -> bool:
    inner = box.outward()
    return window.x1 <= inner.x1 and window.y1 <= inner.y1 and inner.x2 <= window.x2 and inner.y2 <= window.y2


def _exact_ratio(name: str, ratio: Fraction | None, size: Size) -> Fraction | None:
    """Return width over height; none for free."""
    return Fraction(size.width, size.height) if name == MATCH_INPUT else ratio


def _largest(size: Size, ratio: Fraction | None) -> Size:
    """Return the largest size of the ratio in a picture of `size`; the picture's own where there is no ratio."""
    if ratio is None:
        return size
    if Fraction(size.width, size.height) >= ratio:
        return Size(max(1, min(size.width, round(size.height * ratio))), size.height)
    return Size(size.width, max(1, min(size.height, round(size.width / ratio))))


def _placed_largest(things: Sequence[Thing], largest: Size, size: Size) -> Window:
    """Return the largest window at its best place; it touches two opposite borders, so it slides along one axis."""
    x = best_offset(things, 0, size.width, largest.width) if largest.width < size.width else 0
    y = best_offset(things, 1, size.height, largest.height) if largest.height < size.height else 0
    return Window(x, y, x + largest.width, y + largest.height)


def _window_around(
    focus: Sequence[Thing], scene: Window, ratio: Fraction | None, size: Size, request: CropRequest
) -> Window:
    """Return the window at the request's `zoom`, between the scene and the subject with its padding."""
    zoom = request.effective_zoom
    if zoom <= 0:
        return scene
    keep = union(thing.airy_box for thing in focus)
    pad_x, pad_y = request.padding * keep.width, request.padding * keep.height
    roomy = keep.grown(pad_x, pad_y, pad_x, pad_y).clipped(size)
    if ratio is None:
        sides = (a + (b - a) * zoom for a, b in zip(scene.xyxy, roomy.xyxy, strict=True))
        return Box(*sides).outward()
    wanted = _between(scene.size, _smallest_around(roomy, ratio, scene.size), ratio, zoom)
    if wanted == scene.size:
        return scene
    wants = [union(thing.box for thing in focus), keep, roomy]
    heads = [thing.face for thing in focus if thing.face]
    wants = [union(heads), *wants] if heads else wants
    x1 = offset_holding(wants, well_placed(focus, 0, wanted.width), 0, size.width, wanted.width)
    y1 = offset_holding(wants, well_placed(focus, 1, wanted.height), 1, size.height, wanted.height)
    return Window(x1, y1, x1 + wanted.width, y1 + wanted.height)


def _smallest_around(box: Box, ratio: Fraction, largest: Size) -> Size:
    """Return the smallest size of the ratio that the box fits in, as far as the picture allows."""
    window = box.outward()
    width = max(window.width, math.ceil(window.height * ratio))
    height = max(window.height, round(width / ratio))
    if width >= largest.width or height >= largest.height:
        return largest
    return Size(width, height)


def _between(largest: Size, tight: Size, ratio: Fraction, zoom: float) -> Size:
    """Return the size of the ratio that lies at `zoom`, above 0, between the two."""
    if zoom >= 1:
        return tight
    if ratio >= 1:
        width = round(largest.width + (tight.width - largest.width) * zoom)
        return Size(width, min(largest.height, max(1, tight.height, round(width / ratio))))
    height = round(largest.height + (tight.height - largest.height) * zoom)
    return Size(min(largest.width, max(1, tight.width, round(height * ratio))), height)


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
    asked = _shrunk_to_the_limit(asked)
    if request.upscale == "allow" or (asked.width <= window.width and asked.height <= window.height):
        return asked, asked
    content = Size(min(asked.width, window.width), min(asked.height, window.height))
    return content, asked if request.upscale == "pad" else content


def _shrunk_into(size: Size, limit: Size) -> Size:
    """Return the size scaled down, its ratio kept, until it fits the limit."""
    scale = min(1.0, limit.width / size.width, limit.height / size.height)
    return Size(max(1, round(size.width * scale)), max(1, round(size.height * scale)))


def _shrunk_to_the_limit(size: Size) -> Size:
    """Return the size scaled down, its ratio kept, until it has at most as many pixels as a crop may have."""
    scale = math.sqrt(MAX_OUTPUT_PIXELS / (size.width * size.height))
    return Size(math.floor(size.width * scale), math.floor(size.height * scale)) if scale < 1 else size


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
    content = _shrunk_to_the_limit(_shrunk_into(window.size, asked))
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
