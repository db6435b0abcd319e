"""Deciding where to cut: a scene and a request in, crop plans out.

Pure arithmetic on the standard library; pixels, files and networks are unknown here. `subjects` says what
the photo may be about and how much each thing weighs, `place_on_axis` where a window slides to, `window` how
large it is by ratio and `zoom`, `output_size` how large the crop comes out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import partial

from crop_core.frame.buckets import bucket_for, grown
from crop_core.frame.choose_ratio import Subject, best_ratio, closest_ratio
from crop_core.frame.claims import Verdict, folded
from crop_core.frame.focus import FocusAreas
from crop_core.frame.nothing_found import fallback_window, refuse_if_asked
from crop_core.frame.output_size import content_and_output, full_image_sizes, output_sizes
from crop_core.frame.pad import frame_around, frame_holding, never_cut, smallest_around, within
from crop_core.frame.portrait import Layout, coverage, lay_out, portrait_faces, turned
from crop_core.frame.scene import Scene
from crop_core.frame.subjects import Thing, weightiest
from crop_core.frame.window import (
    Placed,
    aimed_at,
    exact_ratio,
    free_window,
    largest_size,
    place_largest,
    smallest_holding,
    window_on_focus,
    zoom_in,
)
from crop_core.geometry import Box, Size, Window
from crop_core.request import CropRequest

FOCUS = "focus"  # the rule of a crop on what the caller named
RULES = {"subject": "subject", "objects": "object", "faces": "face"}  # mode -> the rule of its crops


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
        rule: ``subject``, ``object``, ``face``, ``focus``, or the `if_none` policy that was used.
        verdicts: What became of the claims on the window's place.
        angle: By how many degrees the picture is turned before it is cut, clockwise.
        frame: All that the crop shows, where that is more than the picture has: `window` is what it has. None where
            both are the same.
        why_ratio: What each ratio would keep, in words, where one of several was chosen.
        layout: How a portrait's head lies in the crop; none where the crop is none or nobody asked.
    """

    window: Window
    content_size: Size
    output_size: Size
    aspect_ratio: str
    label: str
    subjects: tuple[int, ...]
    coverage: tuple[float, ...]
    rule: str
    verdicts: tuple[Verdict, ...] = field(default=(), compare=False)
    angle: float = 0.0
    frame: Window | None = None
    why_ratio: str = field(default="", compare=False)
    layout: Layout | None = None

    @property
    def shown_in(self) -> Window:
        """Return where the window's pixels lie in the crop, in the crop's own; what is around them is filled."""
        frame, content = self.frame or self.window, self.content_size
        if self.angle:  # the frame has turned pixels of the picture all over
            return _centered(content, self.output_size)
        x1, x2 = _scaled(self.window.x1 - frame.x1, self.window.x2 - frame.x1, frame.width, content.width)
        y1, y2 = _scaled(self.window.y1 - frame.y1, self.window.y2 - frame.y1, frame.height, content.height)
        left, top, *_ = _centered(content, self.output_size).xyxy
        return Window(left + x1, top + y1, left + x2, top + y2)

    def shows(self, box: Box) -> bool:
        """Return whether the crop shows any of a box of the picture."""
        return self.in_crop(box).clipped(self.output_size).area > 0

    def in_crop(self, box: Box) -> Box:
        """Return the smallest box around a box of the picture in the crop's pixels, of which it may lie outside."""
        frame = (self.frame or self.window).box
        middle_x, middle_y = frame.center
        scale_x, scale_y = self.content_size.width / frame.width, self.content_size.height / frame.height
        left, top = _centered(self.content_size, self.output_size).box.center
        corners = [turned(x - middle_x, y - middle_y, self.angle) for x in (box.x1, box.x2) for y in (box.y1, box.y2)]
        x, y = [left + scale_x * x for x, _ in corners], [top + scale_y * y for _, y in corners]
        return Box(min(x), min(y), max(x), max(y))


Planned = Callable[[str, Fraction | None], CropPlan]  # a ratio's name, width over height -> its plan


def plan_crops(scene: Scene, request: CropRequest) -> tuple[CropPlan, ...]:
    """Return the crops that the request asks for, at most `request.max_crops`.

    Args:
        scene: Made for the same request.
        request: What the caller wants.

    Raises:
        ImageError: Nothing was found, and the request wants that to be an error; or the picture has too few pixels
            for the multiples asked for.
    """
    plans = []
    for plan in _plans(scene, request):
        plans.append(replace(plan, verdicts=folded(plan.verdicts, request.score_threshold)))
        if len(plans) == request.max_crops:
            break
    return tuple(plans)


def _plans(scene: Scene, request: CropRequest) -> Iterator[CropPlan]:
    if scene.focus:
        aim = [(aimed_at(scene.focus, scene.subjects), 1.0)]
        yield from _of_each_ratio(partial(_focus_plan, scene, scene.focus, request), aim, scene, request)
        return
    if not scene.subjects:
        refuse_if_asked(request)
        if request.if_none != "empty":
            yield from _of_each_ratio(partial(_fallback_plan, scene, request), (), scene, request)
        return
    groups = [scene.subjects] if request.mode == "subject" else [(thing,) for thing in scene.subjects]
    for group in groups:
        about = [(thing.airy_box, thing.weight) for thing in never_cut(group, request)]
        yield from _of_each_ratio(partial(_subject_plan, scene, group, request), about, scene, request)


def _of_each_ratio(planned: Planned, subject: Subject, scene: Scene, request: CropRequest) -> Iterator[CropPlan]:
    """Yield the plan of each of the request's ratios, or of the one that it chooses, in the multiples asked for."""
    size, ratios, why = scene.size, request.ratios, ""
    if request.ratio_choice == "closest":
        ratios = (ratios[closest_ratio(ratios, size)],)
        why = f"{ratios[0][0]} is the closest to {size.width}:{size.height}"
    plans = [planned(name, ratio) for name, ratio in ratios]
    if request.ratio_choice == "auto":
        best, why = best_ratio([plan.frame or plan.window for plan in plans], subject, size, request)
        plans, ratios = [plans[best]], (ratios[best],)
    for plan, (name, ratio) in zip(plans, ratios, strict=True):
        whole = (
            plan
            if request.multiple_of == 1
            else _in_multiples(plan, planned, exact_ratio(name, ratio, size), scene, request)
        )
        yield replace(whole, why_ratio=why) if why else whole


def _in_multiples(
    plan: CropPlan, planned: Planned, exact: Fraction | None, scene: Scene, request: CropRequest
) -> CropPlan:
    """Return the plan with an output size of the multiples asked for, and a window of that size's ratio."""
    size, padded = scene.size, plan.frame is not None
    shown = plan.frame or plan.window
    asked = bucket_for(shown.size, exact, shown.size if padded else size, request)
    if exact is not None:
        plan = planned(plan.aspect_ratio, Fraction(asked.width, asked.height))
    if padded and plan.frame is None:  # with the ratio of the multiples nothing is cut
        asked = bucket_for(plan.window.size, exact, size, request)
    if plan.frame is not None and exact is None:
        plan = _reframed(plan, smallest_around(plan.frame.box, Fraction(asked.width, asked.height)), size)
    if plan.frame is None and plan.layout is None:
        window = plan.window
        if padded or exact is None:
            window = smallest_holding(window, Fraction(asked.width, asked.height), size)
        plan = replace(plan, window=grown(window, asked, size) if request.upscale == "never" else window)
    if request.upscale == "never":
        content = output = asked
    else:
        content, output = content_and_output(plan.frame or plan.window, asked, request)
    plan = replace(plan, content_size=content, output_size=output)
    return plan if plan.layout else replace(plan, coverage=_covered(scene, plan.window))


def _reframed(plan: CropPlan, wanted: Size, size: Size) -> CropPlan:
    """Return the plan with a frame of another size around the same middle."""
    x, y = ((plan.frame or plan.window).box).center
    x1, y1 = math.floor(x - wanted.width / 2), math.floor(y - wanted.height / 2)
    frame = Window(x1, y1, x1 + wanted.width, y1 + wanted.height)
    return replace(plan, frame=frame, window=within(frame, size))


def _subject_plan(
    scene: Scene, group: tuple[Thing, ...], request: CropRequest, name: str, ratio: Fraction | None
) -> CropPlan:
    exact = exact_ratio(name, ratio, scene.size)
    composition = scene.composition if request.mode == "subject" else None
    largest = place_largest(
        (*group, *scene.voters), largest_size(scene.size, exact), scene.size, composition, at=request.place
    )
    focus = [thing for thing in group if _holds(largest.window, thing.box)] or [weightiest(group)]
    if exact is None and request.zoom is None and composition is not None:
        focus = [weightiest(group)]
        placed = Placed(free_window(focus, composition.box, scene.size))
    else:
        placed = zoom_in(focus, largest, exact, scene.size, request)
    frame = None
    if request.fit != "crop":
        whole = never_cut(group, request)
        if request.fit == "pad" or not all(_holds(placed.window, thing.box) for thing in whole):
            frame = frame_around(whole, exact, scene.size, request, scene.alone)
            placed = Placed(within(frame, scene.size))
            focus = [thing for thing in group if _holds(placed.window, thing.box)]
    layout = None
    of = portrait_faces(scene.detections, request)
    if request.mode == "faces":
        of = [i for i in of if i in group[0].ids]
    if of and exact is not None:
        base, face = frame or placed.window, scene.detections[of[0]]
        layout = lay_out(base, face, exact, scene.size, request, scene.tilts.get(of[0]))
        frame, placed = layout.frame, Placed(within(layout.frame, scene.size))
    ids = {index for thing in focus for index in thing.ids}
    sizes = output_sizes(frame or placed.window, exact, request)
    label = weightiest(focus).label
    return _plan(scene, placed, sizes, name, label, tuple(sorted(ids)), RULES[request.mode], frame, layout)


def _focus_plan(scene: Scene, focus: FocusAreas, request: CropRequest, name: str, ratio: Fraction | None) -> CropPlan:
    exact = exact_ratio(name, ratio, scene.size)
    placed = window_on_focus(focus, scene.subjects, scene.voters, scene.composition, exact, scene.size, request)
    frame = None
    if request.fit == "pad" or (request.fit == "auto" and not _holds(placed.window, focus.hull)):
        frame = frame_holding(aimed_at(focus, scene.subjects), focus.start, exact, scene.size, request)
        placed = Placed(within(frame, scene.size))
    held = [thing for thing in scene.subjects if _holds(placed.window, thing.box)]
    ids = {index for thing in held for index in thing.ids}
    sizes = output_sizes(frame or placed.window, exact, request)
    label = weightiest(held).label if held else FOCUS
    return _plan(scene, placed, sizes, name, label, tuple(sorted(ids)), FOCUS, frame)


def _fallback_plan(scene: Scene, request: CropRequest, name: str, ratio: Fraction | None) -> CropPlan:
    policy, exact = request.if_none, exact_ratio(name, ratio, scene.size)
    if request.fit == "pad":
        frame = frame_around((), exact, scene.size, request)
        sizes = output_sizes(frame, exact, request)
        return _plan(scene, Placed(within(frame, scene.size)), sizes, name, policy, (), policy, frame)
    window = fallback_window(policy, scene, exact)
    full = policy == "full_image"
    sizes = full_image_sizes(window, request) if full else output_sizes(window, exact, request)
    return _plan(scene, Placed(window), sizes, name, policy, (), policy)


def _plan(
    scene: Scene,
    placed: Placed,
    sizes: tuple[Size, Size],
    name: str,
    label: str,
    subjects: tuple[int, ...],
    rule: str,
    frame: Window | None = None,
    layout: Layout | None = None,
) -> CropPlan:
    angle, shown = (layout.angle, layout.frame) if layout else (0.0, placed.window)
    covered = _covered(scene, shown, angle)
    beyond = None if frame == placed.window else frame
    plan = CropPlan(placed.window, *sizes, name, label, subjects, covered, rule, placed.verdicts, angle, beyond)
    return plan if layout is None else replace(plan, layout=layout)


def _covered(scene: Scene, shown: Window, angle: float = 0.0) -> tuple[float, ...]:
    return tuple(coverage(detection.box, shown, angle) for detection in scene.detections)


def _centered(content: Size, canvas: Size) -> Window:
    left, top = (canvas.width - content.width) // 2, (canvas.height - content.height) // 2
    return Window(left, top, left + content.width, top + content.height)


def _scaled(low: int, high: int, length: int, pixels: int) -> tuple[int, int]:
    """Return where a part of a side of `length` lies on as many pixels as given, at least one of them."""
    first = min(round(low * pixels / length), pixels - 1)
    return first, max(first + 1, round(high * pixels / length))


def _holds(window: Window, box: Box) -> bool:
    inner = box.outward()
    return window.x1 <= inner.x1 and window.y1 <= inner.y1 and inner.x2 <= window.x2 and inner.y2 <= window.y2
