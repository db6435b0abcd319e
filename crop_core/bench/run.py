"""Runs the parts of the benchmark, prints short tables, and returns the figures as JSON values."""

from __future__ import annotations

import os
import platform
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from crop_core.bench import inside, outside
from crop_core.bench.pictures import doubtful_photo, photo_like
from crop_core.cropper import Cropper
from crop_core.version import __version__

PARTS = ("stages", "throughput", "memory", "cold")


def run(
    megapixels: Sequence[float], runs: int, device: str, sample: Path, parts: Sequence[str], detector: str = "auto"
) -> dict[str, Any]:
    """Measure, print, and return what was measured.

    Args:
        megapixels: The photos' sizes.
        runs: How often each is cropped.
        device: One of `crop_core.device.DEVICES`.
        sample: The picture that the photos show.
        parts: Some of `PARTS`.
        detector: One of `crop_core.detect.detector.NAMES`.

    Returns:
        Values of JSON: times in milliseconds, cold starts in seconds, memory in MB.

    Raises:
        CropError: The sample, the device, the detector or the server cannot be used.
    """
    photos = {size: photo_like(sample, size) for size in megapixels}
    cropper = Cropper(device=device, detector=detector)
    cropper.warm_up()
    report: dict[str, Any] = {"machine": machine(cropper), "bytes": {size: len(photos[size]) for size in photos}}
    say(", ".join(f"{key} {value}" for key, value in report["machine"].items()))
    if "stages" in parts:
        _stages(report, "", "the sample", cropper, photos, runs)
        doubtful = {size: doubtful_photo(size) for size in megapixels}
        _stages(report, "doubtful_", "a photo in doubt", cropper, doubtful, runs)
    if "throughput" in parts:
        report["pictures_a_second"] = {size: inside.throughput(cropper, photos[size], runs) for size in photos}
        say(f"pictures a second: {report['pictures_a_second']}")
    if "memory" in parts:
        report["peak_mb"] = _memory(photos, cropper.device.type, detector)
        say(f"peak MB above an idle loaded process: {report['peak_mb']}")
        report["device_mb"] = {size: inside.device_memory(cropper, photos[size]) for size in photos}
        on_cuda = cropper.device.type == "cuda"
        say(f"peak MB of the GPU: {report['device_mb'] if on_cuda else 'none in use here, so not measured'}")
    if "cold" in parts:
        report["cold_s"] = outside.cold_start(sample, cropper.device.type, detector, min(runs, 5))
        say(f"seconds, process start to exit: {report['cold_s']}")
    return report


def _stages(
    report: dict[str, Any], prefix: str, shows: str, cropper: Cropper, photos: dict[float, bytes], runs: int
) -> None:
    """Time photos stage by stage and whole; add the times to the report and print them."""
    stages = {size: inside.stages(cropper, data, runs) for size, data in photos.items()}
    report[f"{prefix}stages_ms"] = {
        size: {stage: asdict(times) for stage, times in spent.items()} for size, spent in stages.items()
    }
    table(f"{shows}: ms, p50 / p95", report[f"{prefix}stages_ms"], inside.STAGES)
    report[f"{prefix}whole_ms"] = {size: asdict(inside.whole(cropper, photos[size], runs)) for size in photos}
    say(f"whole, ms, p50: { ({size: times['p50'] for size, times in report[f'{prefix}whole_ms'].items()}) }")


def _memory(photos: dict[float, bytes], device: str, detector: str) -> dict[float, float | None]:
    peaks = {}
    for size, data in photos.items():
        with tempfile.NamedTemporaryFile(suffix=".jpg") as file:
            file.write(data)
            file.flush()
            peaks[size] = outside.peak_memory(Path(file.name), device, detector)
    return peaks


def machine(cropper: Cropper) -> dict[str, object]:
    """Return the machine and the versions, without which the figures mean nothing."""
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "crop-core": __version__,
        "detector": cropper.detector("auto").name,
        "device": cropper.device.type,
        "cores": os.cpu_count(),
        "processor": platform.machine(),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def table(title: str, rows: dict[float, dict[str, dict[str, float]]], columns: Sequence[str]) -> None:
    """Print the medians and the 95th percentiles: a line for each stage, a column for each size."""
    width = max(len(column) for column in (title, *columns)) + 2
    say(f"{title:<{width}}" + "".join(f"{f'{size:g} MP':>18}" for size in rows))
    for column in columns:
        cells = (f"{row[column]['p50']:.1f} / {row[column]['p95']:.1f}" for row in rows.values())
        say(f"{column:<{width}}" + "".join(f"{cell:>18}" for cell in cells))


def say(line: str) -> None:
    """Print a line and flush it."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
