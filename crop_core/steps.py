"""The steps of one picture: decode, detect, frame, cut, encode."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from torch import Tensor

from crop_core.cut.background import filling_for
from crop_core.cut.encode import encode, file_name, format_for
from crop_core.cut.preview import Shown, draw_preview, tile_of
from crop_core.cut.redact import hidden
from crop_core.cut.render import render
from crop_core.detect.backdrop import object_on_backdrop
from crop_core.detect.detector import Detector
from crop_core.detect.network_input import View
from crop_core.detect.seen import Seen, with_opaque
from crop_core.detection import WEAK_SCORE
from crop_core.frame.focal_point import focal_point
from crop_core.frame.output_size import check_together
from crop_core.frame.plan import plan_crops
from crop_core.frame.portrait import portrait_faces
from crop_core.frame.scene import Scene
from crop_core.photo.decode_on_gpu import AcceleratedPhoto
from crop_core.photo.limits import limits
from crop_core.photo.photo import Photo, in_srgb, open_photo
from crop_core.photo.read_photo import Picture, bytes_of
from crop_core.photo.transparency import on_contrast
from crop_core.request import CropRequest
from crop_core.result import Crop, CropResult
from crop_core.run.memory_fallback import Attempt
from crop_core.tilt import tilt_of

# A picture is decoded at twice the side that the networks see. That takes hardly longer, since entropy decoding is
# most of the work, and it is large enough for most crops, so that one decode does.
OVERSAMPLING = 2


@dataclass(slots=True, eq=False)
class Opened:
    """A decoded picture; once detection has run, `seen` is set."""

    photo: Photo | AcceleratedPhoto
    pixels: Tensor
    detector: Detector
    attempt: Attempt
    timings: dict[str, float]
    seen: Seen | None = None


def open_picture(picture: Picture, detector: Detector, attempt: Attempt) -> Opened:
    """Return the picture, decoded as far as detection needs."""
    timings = dict.fromkeys(("decode", "detect", "frame", "render", "encode"), 0.0)
    with _timed(timings, "decode"):
        plain = open_photo(bytes_of(picture))
        photo = AcceleratedPhoto(plain, attempt.pixels) if attempt.pixels.type == "cuda" else plain
        pixels = on_contrast(in_srgb(photo.small(OVERSAMPLING * detector.longest_side), photo.icc_profile))
    return Opened(photo, pixels, detector, attempt, timings)


def detect_in(pictures: Sequence[Opened], request: CropRequest) -> None:
    """Run the detector on the pictures, which share it; in some requests also keep boxes below the threshold."""
    if not pictures:
        return
    weak_too = request.mode == "subject" or request.hidden_labels  # one box too many is better than a face missed
    floor = min(request.score_threshold, WEAK_SCORE) if weak_too else request.score_threshold
    timings: dict[str, float] = {"detect": 0.0}
    with _timed(timings, "detect"):
        views = [View(picture.pixels, picture.photo.size) for picture in pictures]
        found = pictures[0].detector.see_all(views, floor, request.iou_threshold)
    for picture, seen in zip(pictures, found, strict=True):
        picture.seen = with_opaque(seen, picture.photo.opaque_box, picture.photo.size)
        picture.timings["detect"] = timings["detect"] / len(pictures)


def finish_picture(opened: Opened, request: CropRequest, source: str, dry_run: bool) -> CropResult:
    """Return the crops: framed, cut, resized and encoded."""
    photo, timings, attempt = opened.photo, opened.timings, opened.attempt
    with _timed(timings, "frame"):
        assert opened.seen is not None
        scene = Scene.of(opened.seen.detections, photo.size, request, opened.seen.composition, opened.seen.mask)
        trim = None
        if request.trim:
            scene, trim = scene.trimmed(object_on_backdrop(photo.pixels(), request.trim_threshold))
        if request.align == "eyes":
            scene = replace(scene, tilts=_tilts(scene, opened, request))
        plans = plan_crops(scene, request)
        check_together((plan.output_size for plan in plans), limits().max_crop_pixels)
    to_hide = [one.box for one in opened.seen.detections if one.label in request.hidden_labels]
    crops, shown = [], []
    output_format = format_for(request.output_format, photo.format)
    filling = filling_for(request, output_format, photo.icc_profile)
    for index, plan in enumerate(plans):
        hide = tuple(box for box in to_hide if plan.shows(box))
        redacted = hide if request.hidden_labels else None
        if dry_run:
            crops.append(Crop(plan, None, None, redacted, trim))
            continue
        with _timed(timings, "render"):
            cut = hidden(render(photo, plan, attempt.pixels, filling), map(plan.in_crop, hide), request.redact)
        with _timed(timings, "encode"):
            encoded = encode(cut, output_format, request.output_quality, photo.icc_profile)
        crops.append(
            Crop(plan, file_name(index, plan.label, plan.aspect_ratio, output_format), encoded, redacted, trim)
        )
        if request.preview:
            shown.append(Shown(plan, tile_of(cut)))
    preview = None
    if request.preview and not dry_run:
        own_colors = on_contrast(photo.small(OVERSAMPLING * opened.detector.longest_side))
        scale = own_colors.shape[-1] / photo.size.width
        own_colors = hidden(own_colors, [box.scaled(scale) for box in to_hide], request.redact)
        preview = draw_preview(own_colors, photo.size, scene.detections, shown, photo.icc_profile)
    return CropResult(
        source,
        photo.size,
        photo.format,
        opened.detector.name,
        attempt.device.type,
        timings,
        scene.detections,
        tuple(crops),
        preview,
        attempt.note,
        focal_point(scene),
    )


def _tilts(scene: Scene, opened: Opened, request: CropRequest) -> dict[int, float]:
    """Return face id -> tilt in degrees, for the faces that become portraits; 0 where it is not known."""
    faces = portrait_faces(scene.detections, request)
    if request.mode == "faces":
        cropped = {i for thing in scene.subjects[: request.max_crops] for i in thing.ids}
        faces = [i for i in faces if i in cropped]
    return {i: tilt_of(opened.photo, scene.detections[i], opened.detector) or 0.0 for i in faces}


@contextmanager
def _timed(timings: dict[str, float], step: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    timings[step] += (time.perf_counter() - start) * 1000
