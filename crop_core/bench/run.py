"""The benchmark composed: what is asked for is measured, printed as short tables, kept as JSON."""

from __future__ import annotations

import os
import platform
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import torch

from crop_core.bench import inside, outside, peers
from crop_core.bench.pictures import photo_like
from crop_core.cropper import Cropper
from crop_core.version import __version__

OURS = "crop-core"
PARTS = ("stages", "peers", "throughput", "memory", "cold", "http")


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
    report: dict[str, Any] = {"machine": _machine(cropper), "bytes": {size: len(photos[size]) for size in photos}}
    _print(", ".join(f"{key} {value}" for key, value in report["machine"].items()))
    if "stages" in parts:
        report["stages_ms"] = {
            size: {stage: asdict(times) for stage, times in inside.stages(cropper, data, runs).items()}
            for size, data in photos.items()
        }
        _table("ms, p50 / p95", report["stages_ms"], inside.STAGES)
        report["whole_ms"] = {size: asdict(inside.whole(cropper, photos[size], runs)) for size in photos}
        _print(f"whole, ms, p50: { ({size: times['p50'] for size, times in report['whole_ms'].items()}) }")
    if "peers" in parts:
        report["beside_ms"] = {size: _beside(cropper, data, runs) for size, data in photos.items()}
        names = (OURS, *peers.installed())
        _table("ms, in turn", report["beside_ms"], names)
        for name in names[1:]:
            ratios = [f"{row[OURS]['p50'] / row[name]['p50']:.2f}" for row in report["beside_ms"].values()]
            _print(f"{OURS} / {name}: {', '.join(ratios)}")
    if "throughput" in parts:
        report["pictures_a_second"] = {size: inside.throughput(cropper, photos[size], runs) for size in photos}
        _print(f"pictures a second: {report['pictures_a_second']}")
    if "memory" in parts:
        report["peak_mb"] = _memory(photos, cropper.device.type, detector)
        _print(f"peak MB above an idle loaded process: {report['peak_mb']}")
        report["device_mb"] = {size: inside.device_memory(cropper, photos[size]) for size in photos}
        on_cuda = cropper.device.type == "cuda"
        _print(f"peak MB of the GPU: {report['device_mb'] if on_cuda else 'none in use here, so not measured'}")
    if "cold" in parts:
        report["cold_s"] = outside.cold_start(sample, cropper.device.type, detector, min(runs, 5))
        _print(f"seconds, process start to exit: {report['cold_s']}")
    if "http" in parts:
        report["http"] = _http(cropper, photos, detector, runs)
        _print(f"Cog server: {report['http']}")
    return report


def _beside(cropper: Cropper, data: bytes, runs: int) -> dict[str, dict[str, float]]:
    contenders = {OURS: partial(cropper.crop, data, inside.square_request())} | {
        name: partial(peer, data, inside.SIDE) for name, peer in peers.installed().items()
    }
    return {name: asdict(times) for name, times in inside.in_turn(contenders, runs).items()}


def _memory(photos: dict[float, bytes], device: str, detector: str) -> dict[str, dict[float, float | None]]:
    contenders = {OURS: device} | ({"libvips attention": "libvips"} if "libvips attention" in peers.installed() else {})
    peaks: dict[str, dict[float, float | None]] = {name: {} for name in contenders}
    for size, data in photos.items():
        with tempfile.NamedTemporaryFile(suffix=".jpg") as file:
            file.write(data)
            file.flush()
            for name, what in contenders.items():
                peaks[name][size] = outside.peak_memory(Path(file.name), what, detector)
    return peaks


def _http(cropper: Cropper, photos: dict[float, bytes], detector: str, runs: int) -> dict[str, Any]:
    with outside.served(detector) as (ready_s, predict):
        rows = {
            size: inside.in_turn(
                {"http": partial(predict, data), "in process": partial(cropper.crop, data, inside.square_request())},
                runs,
            )
            for size, data in photos.items()
        }
    return {
        "ready_s": round(ready_s, 2),
        "http_ms": {size: row["http"].p50 for size, row in rows.items()},
        "in_process_ms": {size: row["in process"].p50 for size, row in rows.items()},
        "overhead_ms": {size: round(row["http"].p50 - row["in process"].p50, 1) for size, row in rows.items()},
    }


def _machine(cropper: Cropper) -> dict[str, object]:
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


def _table(title: str, rows: dict[float, dict[str, dict[str, float]]], columns: Sequence[str]) -> None:
    width = max(len(column) for column in columns) + 2
    _print(f"{title:<{width}}" + "".join(f"{f'{size:g} MP':>18}" for size in rows))
    for column in columns:
        cells = (f"{row[column]['p50']:.1f} / {row[column]['p95']:.1f}" for row in rows.values())
        _print(f"{column:<{width}}" + "".join(f"{cell:>18}" for cell in cells))


def _print(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
