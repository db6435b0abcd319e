"""Measures within one process: the stages, whole crops, and several callables in turn."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import repeat
from statistics import median, quantiles

import torch

from crop_core.cropper import Cropper
from crop_core.detect import yunet
from crop_core.detect.network_input import View
from crop_core.detect.salient_object import masks_of
from crop_core.detect.second_look import has_small_figures, is_clear
from crop_core.photo.photo import open_photo
from crop_core.request import CropRequest
from crop_core.result import CropResult
from crop_core.steps import OVERSAMPLING

STAGES = ("open", "decode", "detect", "face", "salient", "frame", "render", "encode")
SIDE = 1080  # px of the square crops


@dataclass(frozen=True, slots=True)
class Times:
    """Milliseconds of many runs.

    Attributes:
        p50: The median.
        p95: The 95th percentile.
        runs: How many there were.
    """

    p50: float
    p95: float
    runs: int

    @staticmethod
    def of(milliseconds: list[float]) -> Times:
        """Return the figures of these runs, at least one."""
        worst = quantiles(milliseconds, n=20, method="inclusive")[-1] if len(milliseconds) > 1 else milliseconds[0]
        return Times(round(median(milliseconds), 2), round(worst, 2), len(milliseconds))


def square_request() -> CropRequest:
    """Return the request that is timed: the subject in a square JPEG, every other input at its default."""
    return CropRequest.from_inputs(width=SIDE, height=SIDE, output_format="jpg")


def stages(cropper: Cropper, data: bytes, runs: int) -> dict[str, Times]:
    """Time every stage of a crop.

    `detect` is all networks and NMS. `face` is only the face network with its resizing, at the sizes that the picture
    needs. `salient` is only the salient network, 0 if the picture does not need it. Both are timed in runs of their
    own, since on a CPU the networks run side by side.
    """
    request = square_request()
    detector = cropper.detector("auto")
    cropper.crop(data, request)
    photo = open_photo(data)
    view = View(photo.small(OVERSAMPLING * detector.longest_side).to(cropper.device), photo.size)
    with torch.inference_mode():
        (glance,) = detector.look([view])
    doubtful = not bool(is_clear(glance.candidates))
    sides = (yunet.NEAR, yunet.FAR) if has_small_figures(glance.candidates, view.size) else (yunet.NEAR,)
    spent: dict[str, list[float]] = {stage: [] for stage in STAGES}
    for _ in range(runs):
        start = time.perf_counter()
        open_photo(data)
        opened = (time.perf_counter() - start) * 1000
        timings = dict(cropper.crop(data, request).timings_ms)
        start = time.perf_counter()
        with torch.inference_mode():
            for side in sides:
                detector.find_faces([view], side)[0].scores.cpu()
        face = (time.perf_counter() - start) * 1000
        start = time.perf_counter()
        with torch.inference_mode():
            for mask in masks_of(detector.common.salient, [view.pixels] if doubtful else []):
                mask.cpu()
        salient = (time.perf_counter() - start) * 1000 if doubtful else 0.0
        row = {**timings, "open": opened, "face": face, "salient": salient}
        row["decode"] -= opened
        for stage in STAGES:
            spent[stage].append(row[stage])
    return {stage: Times.of(values) for stage, values in spent.items()}


def whole(cropper: Cropper, data: bytes, runs: int) -> Times:
    """Time whole crops, from a file's bytes to a file's bytes."""
    return in_turn({"whole": partial(cropper.crop, data, square_request())}, runs)["whole"]


def in_turn(contenders: Mapping[str, Callable[[], object]], runs: int, limit_s: float = 60) -> dict[str, Times]:
    """Time several callables A B A B, each warmed up once.

    Args:
        contenders: What to call, by name.
        runs: How many turns.
        limit_s: After this many seconds no more turns begin.
    """
    for contender in contenders.values():
        contender()
    spent: dict[str, list[float]] = {name: [] for name in contenders}
    begun = time.perf_counter()
    for turn in range(runs):
        if turn and time.perf_counter() - begun > limit_s:
            break
        for name, contender in contenders.items():
            start = time.perf_counter()
            contender()
            spent[name].append((time.perf_counter() - start) * 1000)
    return {name: Times.of(values) for name, values in spent.items()}


def throughput(cropper: Cropper, data: bytes, pictures: int) -> float:
    """Return how many pictures a second `crop_many` crops."""
    request = square_request()
    start = time.perf_counter()
    for result in cropper.crop_many(repeat(data, pictures), request):
        assert isinstance(result, CropResult)
    return round(pictures / (time.perf_counter() - start), 2)


def device_memory(cropper: Cropper, data: bytes) -> float | None:
    """Return the most MB of CUDA memory that PyTorch held during one crop, networks included; none without CUDA."""
    if cropper.device.type != "cuda":
        return None
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    cropper.crop(data, square_request())
    return round(torch.cuda.max_memory_reserved() / 1e6, 1)
