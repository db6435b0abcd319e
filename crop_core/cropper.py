"""The five steps composed: open, detect, frame, render, encode.

A `Cropper` is loaded once and called per picture; it keeps the networks and nothing of the
pictures.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

import torch

from crop_core import detectors
from crop_core.box import Size
from crop_core.detectors import Detector, load_detector
from crop_core.device import resolve_device
from crop_core.encode import encode, file_name, format_for
from crop_core.framing import plan_crops
from crop_core.limits import check_crops
from crop_core.photo import open_photo
from crop_core.preview import draw_preview
from crop_core.render import on_white, render
from crop_core.request import CropRequest
from crop_core.result import Crop, CropResult
from crop_core.saliency import saliency_grid
from crop_core.subject import WEAK_SCORE, subjects_among

# A decode of twice the pixels that the networks see takes hardly longer than one that just suffices (reading the
# entropy code is most of the work), and serves most crops too, so that a picture is decoded once.
OVERSAMPLING = 2
# What warm-up shows the networks: the shapes of a landscape, a portrait and a square photo.
WARM_UP_SIZES = (Size(960, 720), Size(720, 960), Size(960, 960))


class Cropper:
    """Crops pictures with detectors that stay loaded.

    Attributes:
        device: Where the networks run and the pixels lie.
    """

    def __init__(self, device: str = "auto", detector: str = "auto") -> None:
        """Load the detector.

        Args:
            device: ``auto`` (CUDA where it works, else the CPU), ``cpu``, ``cuda`` or ``mps``.
            detector: What a request's ``auto`` means: ``auto``, ``fast``, ``balanced``,
                ``accurate``, or the name of a torchvision model.

        Raises:
            DeviceError: The device is not there.
            RequestError: No detector has that name.
            WeightsError: The detector's weights are absent or not the ones expected.
        """
        self.device = resolve_device(device)
        self._default = detectors.resolve(detector, self.device)
        self._loaded: dict[str, Detector] = {}
        self._lock = Lock()
        self.detector("auto")

    def warm_up(self) -> None:
        """Run the default detector once on each usual shape, so that the first picture is as fast as the next."""
        detector = self.detector("auto")
        for size in WARM_UP_SIZES:
            pixels = torch.zeros((3, size.height, size.width), dtype=torch.uint8, device=self.device)
            detector.detect(pixels, size, 0.5, 0.5)

    def crop(
        self, data: bytes, request: CropRequest | None = None, *, source: str = "", dry_run: bool = False
    ) -> CropResult:
        """Return the crops of one picture.

        Args:
            data: The picture file's bytes.
            request: What is wanted; the defaults when none.
            source: The picture's name, for the result.
            dry_run: Decide where to cut, and cut nothing.

        Raises:
            ImageError: The picture cannot be cropped.
            RequestError: The crops would have too many pixels.
            WeightsError: The request's detector has no weights here.
        """
        request = request or CropRequest()
        detector = self.detector(request.detector)
        timings = dict.fromkeys(("decode", "detect", "frame", "render", "encode"), 0.0)

        with _timed(timings, "decode"):
            photo = open_photo(data)
            longest_side = OVERSAMPLING * detector.longest_side
            pixels = on_white(photo.seen(longest_side).to(self.device))
        with _timed(timings, "detect"):
            floor = min(request.score_threshold, WEAK_SCORE) if request.mode == "subject" else request.score_threshold
            seen = detector.detect(pixels, photo.size, floor, request.iou_threshold)
            detections = tuple(detection for detection in seen if detection.score >= request.score_threshold)
            weak = seen[len(detections) :]  # the order is by score
        with _timed(timings, "frame"):
            found = bool(subjects_among(detections, photo.size, request))
            saliency = None if found or request.if_none != "saliency" else saliency_grid(pixels)
            plans = plan_crops(detections, photo.size, request, weak=weak, saliency=saliency)
            check_crops((plan.output_size.width, plan.output_size.height) for plan in plans)
        crops = []
        output_format = format_for(request.output_format, photo.format)
        for index, plan in enumerate(plans):
            if dry_run:
                crops.append(Crop(plan, None, None))
                continue
            with _timed(timings, "render"):
                cut = render(photo, plan, self.device)
            with _timed(timings, "encode"):
                encoded = encode(cut, output_format, request.output_quality, photo.icc_profile)
            crops.append(Crop(plan, file_name(index, plan.label, plan.aspect_ratio, output_format), encoded))
        preview = None
        if request.preview and not dry_run:
            own_colors = on_white(photo.small(longest_side))
            preview = draw_preview(own_colors, photo.size, detections, tuple(crops), photo.icc_profile)
        return CropResult(
            source,
            photo.size,
            photo.format,
            detector.name,
            self.device.type,
            timings,
            detections,
            tuple(crops),
            preview,
        )

    def detector(self, name: str) -> Detector:
        """Return the detector that a request's name means, loaded if it is not yet.

        Raises:
            RequestError: No detector has that name.
            WeightsError: Its weights are absent or not the ones expected.
        """
        name = self._default if name == "auto" else name
        with self._lock:  # two threads must not load one detector twice
            if name not in self._loaded:
                self._loaded[name] = load_detector(name, self.device)
            return self._loaded[name]


@contextmanager
def _timed(timings: dict[str, float], step: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    timings[step] += (time.perf_counter() - start) * 1000
