"""The figures of gpu.py: milliseconds, photos a second, memory, waits of the host; run it through gpu.py."""

from __future__ import annotations

import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import cycle, islice
from statistics import median
from typing import Any, TypeVar

import torch
from gpu_parts import DETECTORS, ROOT, SAMPLES, SQUARE, resident_mb

from crop_core import Cropper, CropRequest, CropResult
from crop_core.bench.pictures import photo_like
from crop_core.detect import torchvision_models

ASTRONAUT = ROOT / "samples" / "astronaut.jpg"
Made = TypeVar("Made")
WAITED = "called a synchronizing CUDA operation"  # how PyTorch's warning begins; its first one speaks of the mode alone


def timed(work: Callable[[], Made], runs: int) -> tuple[list[float], list[Made]]:
    """Return the milliseconds of so many runs and what each made, after two to warm up."""
    spent, made = [], []
    for run in range(runs + 2):
        start = time.perf_counter()
        result = work()
        if run > 1:
            spent.append((time.perf_counter() - start) * 1000)
            made.append(result)
    return spent, made


def speed(device: str, quick: bool) -> Iterator[tuple[str, Any]]:
    """Find milliseconds and stages for each detector and size; `accurate` has random weights."""
    torchvision_models.load = _random_model  # type: ignore[assignment]  # its weights are not here
    photos = {size: photo_like(ASTRONAUT, size) for size in ((1,) if quick else (1, 12, 48))}
    for name in ("fast",) if quick else (*DETECTORS, "accurate"):
        cropper = Cropper(device, name)
        start = time.perf_counter()
        cropper.warm_up()
        warmed = time.perf_counter() - start
        found: dict[int, Any] = {}
        for size, data in photos.items():
            spent, results = timed(partial(cropper.crop, data, SQUARE), 3 if quick else 11)
            rows = [result.timings_ms for result in results]
            found[size] = {
                "ms": round(median(spent), 2),
                "worst_ms": round(max(spent), 2),
                "stages": {step: round(median(row[step] for row in rows), 2) for step in rows[0]},
                "warm_up_s": round(warmed, 1),
            }
        yield name, found


def _random_model(name: str) -> torch.nn.Module:
    from torchvision.models import get_model

    torch.manual_seed(0)
    return get_model(name, weights=None, weights_backbone=None).eval()


def rate(device: str, quick: bool) -> Iterator[tuple[str, Any]]:
    """Find photos a second, many photos of 3 megapixels, by detector and format.

    The first pictures are timed apart: several at once use other kernels than one does, each chosen
    and loaded when it first runs.
    """
    photos = [photo_like(path, 3) for path in SAMPLES[: 1 if quick else None]]
    first, count = (1, 4) if quick else (24, 120)
    for name in DETECTORS[: 1 if quick else None]:
        cropper = Cropper(device, name)
        for kind in ("jpg", "webp"):
            request = CropRequest(aspect_ratios=("1:1",), width=1080, output_format=kind)
            cold, _ = _cropped(cropper, islice(cycle(photos), first), request)
            seconds, good = _cropped(cropper, islice(cycle(photos), count), request)
            found = {"photos_a_second": round(good / seconds, 1), "good": good, "of": count}
            yield f"{name} {kind}", found | {"first": first, "first_s": round(cold, 2)}


def _cropped(cropper: Cropper, photos: Iterable[bytes], request: CropRequest) -> tuple[float, int]:
    """Return the seconds that the photos took, and how many became crops."""
    start = time.perf_counter()
    good = sum(isinstance(result, CropResult) for result in cropper.crop_many(photos, request))
    return time.perf_counter() - start, good


def memory(device: str, quick: bool) -> Iterator[tuple[str, Any]]:
    """Find the most MB that PyTorch held of the device for one picture, and what the process has."""
    for name in DETECTORS[: 1 if quick else None]:
        cropper = Cropper(device, name)
        found: dict[int, Any] = {}
        for size in (1,) if quick else (1, 12, 48):
            data = photo_like(ASTRONAUT, size)
            if device == "cuda":
                torch.cuda.empty_cache()
                torch.cuda.reset_peak_memory_stats()
            cropper.crop(data, SQUARE)
            found[size] = {"host_mb": resident_mb()}
            if device == "cuda":
                found[size]["reserved_mb"] = round(torch.cuda.max_memory_reserved() / 1e6, 1)
                found[size]["allocated_mb"] = round(torch.cuda.max_memory_allocated() / 1e6, 1)
        yield name, found


def waits(device: str, quick: bool) -> Iterator[tuple[str, Any]]:
    """Find how often the host waits for the device for one picture and where, and what CUDA is called for."""
    if device != "cuda":
        return
    data = photo_like(ROOT / "samples" / "pair.jpg", 3)
    for name in DETECTORS:
        cropper = Cropper(device, name)
        crop = partial(cropper.crop, data, SQUARE)
        for _ in range(3):
            crop()
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")
            try:
                crop()
            finally:
                torch.cuda.set_sync_debug_mode("default")
        places = places_of(said)
        found = {"waits": sum(places.values()), "where": dict(places)}
        yield name, found
        yield name, found | {"calls": calls_of(crop)}


def places_of(said: Iterable[warnings.WarningMessage]) -> Counter[str]:
    """Return how often the host waited at each place; those of libraries have their file's folder before them."""
    return Counter(
        "/".join(one.filename.rsplit("/", 2)[1:]) + f":{one.lineno}"
        for one in said
        if str(one.message).startswith(WAITED)
    )


def calls_of(work: Callable[[], object]) -> dict[str, int]:
    """Return how often CUDA was called for what; it also sees waits of nvJPEG, of which PyTorch knows nothing."""
    from torch.profiler import profile, supported_activities

    with profile(activities=supported_activities(), acc_events=True) as seen:
        work()
    told = ("cudaLaunch", "cudaMemcpy", "cuLaunch", "Memcpy", "Synchronize")
    return {event.key: event.count for event in seen.key_averages() if any(name in event.key for name in told)}
