"""What gpu.py checks, each part by itself; run it through gpu.py."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from io import BytesIO
from itertools import cycle, islice
from pathlib import Path
from statistics import median
from typing import Any
from xml.etree import ElementTree

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from crop_core import Cropper, CropRequest, CropResult
from crop_core.bench.pictures import photo_like
from crop_core.cut.encode_on_gpu import encode_jpeg
from crop_core.device import precision
from crop_core.photo.decode_on_gpu import AcceleratedPhoto
from crop_core.photo.photo import open_photo

ROOT = Path(__file__).parents[2]
SAMPLES = sorted((ROOT / "samples").glob("*.jpg"))
RATIOS = ("1:1", "4:5", "16:9", "9:16")
PLANS = CropRequest(aspect_ratios=RATIOS, output_format="jpg")
SQUARE = CropRequest(aspect_ratios=("1:1",), width=1080, output_format="jpg")
DETECTORS = ("fast", "balanced")
THREADS = 8  # as crop_many has beside a GPU
SHAPES = ((640, 480), (1600, 1067), (1080, 1350), (4000, 3000))


def drawn_scene(seed: int) -> bytes:
    """Return a JPEG of drawn shapes with samples pasted into it, of 0.3 to 12 megapixels."""
    random = np.random.default_rng(seed)
    width, height = SHAPES[seed % 4]
    image = Image.new("RGB", (width, height), tuple(int(v) for v in random.integers(40, 216, 3)))
    draw = ImageDraw.Draw(image)
    for _ in range(12):
        x, y = random.integers(0, width), random.integers(0, height)
        w, h = random.integers(width // 20, width // 3), random.integers(height // 20, height // 3)
        color = tuple(int(v) for v in random.integers(0, 256, 3))
        (draw.ellipse if random.random() < 0.5 else draw.rectangle)((x, y, x + w, y + h), fill=color)
    for _ in range(1 + seed % 3):
        with Image.open(SAMPLES[int(random.integers(len(SAMPLES)))]) as sample:
            side = int(random.integers(height // 4, max(height // 4 + 1, int(height * 0.8))))
            part = sample.convert("RGB").resize((side * sample.width // sample.height, side))
        image.paste(
            part, (int(random.integers(-side // 4, width)), int(random.integers(-side // 4, height - side // 2)))
        )
    buffer = BytesIO()
    image.save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def resident_mb() -> int:
    """Return the MB of this process that lie in memory; 0 where the system is not Linux."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((int(line.split()[1]) // 1024 for line in lines if line.startswith("VmRSS")), 0)


def environment(device: str, quick: bool) -> Iterator[tuple[str, Any]]:
    """Find what the machine is, and what the doctor says of it."""
    query = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
    try:
        yield "nvidia-smi", subprocess.run(query, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError) as error:
        yield "nvidia-smi", str(error)
    yield "cores", os.cpu_count()
    yield "python", platform.python_version()
    yield "torch", torch.__version__
    yield "cuda", torch.version.cuda
    yield "cudnn", torch.backends.cudnn.version()
    doctor = [sys.executable, "-m", "crop_core.cli", "doctor", "--device", device]
    run = subprocess.run(doctor, cwd=ROOT, capture_output=True, text=True, check=False)
    yield "doctor", {"status": run.returncode, "says": (run.stdout + run.stderr)[-5000:].splitlines()}
    if device == "cuda":
        yield "gpu", torch.cuda.get_device_name()


def tests(device: str, quick: bool) -> Iterator[tuple[str, Any]]:
    """Run the tests that need a GPU; those of files without one are not collected, as they need more packages."""
    marked = [str(path) for path in sorted((ROOT / "tests").rglob("test_*.py")) if "mark.gpu" in path.read_text()]
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder, "results.xml")
        command = [sys.executable, "-m", "pytest", "-m", "gpu", "-q", "-p", "no:cacheprovider", "--tb=short"]
        command += [f"--junitxml={results}", *marked]
        command += ["-n", "4"] if device == "cuda" and find_spec("xdist") else []  # most of a test is loading kernels
        run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        yield "tail", run.stdout[-8000:] + run.stderr[-1000:]
        counts = counts_of(results.read_text()) if results.exists() else {}
        yield "counts", counts
    if run.returncode or (device == "cuda" and counts.get("skipped")):
        raise SystemExit(f"pytest ended with status {run.returncode}: {run.stdout.strip().splitlines()[-1:]}")


def counts_of(junit: str) -> dict[str, Any]:
    """Return how many tests passed, were skipped, and the names of those that failed, from pytest's XML."""
    ends = {"failure": "failed", "error": "failed", "skipped": "skipped"}
    counts: dict[str, Any] = {"passed": 0, "skipped": 0, "failed": []}
    for case in ElementTree.fromstring(junit).iter("testcase"):
        end = next((ends[child.tag] for child in case if child.tag in ends), "passed")
        if end == "failed":
            counts["failed"].append(case.get("name"))
        else:
            counts[end] += 1
    return counts


def agreement(device: str, quick: bool) -> Iterator[tuple[str, Any]]:
    """Compare windows and detections of the CPU with the device's, on the samples at 12 megapixels and drawn scenes."""
    pictures = {path.stem: path.read_bytes() for path in SAMPLES[: 2 if quick else None]}
    pictures |= {f"{path.stem} at 12 MP": photo_like(path, 12) for path in SAMPLES[: 1 if quick else None]}
    pictures |= {f"scene {seed}": drawn_scene(seed) for seed in range(2 if quick else 60)}
    for name in DETECTORS[: 1 if quick else None]:
        pairs = {}
        on_cpu, on_device = Cropper("cpu", name), Cropper(device, name)
        for title, data in pictures.items():
            pairs[title] = on_cpu.crop(data, PLANS, dry_run=True), on_device.crop(data, PLANS, dry_run=True)
        # A CPU may compute with less than single precision, too: then both sides of the comparison are rounded.
        floats = {"cpu_floats": str(precision(on_cpu.device)), "device_floats": str(precision(on_device.device))}
        yield name, compared(pairs) | floats


def compared(pairs: dict[str, tuple[CropResult, CropResult]]) -> dict[str, Any]:
    """Return how near the windows and scores of two results for each picture are.

    Args:
        pairs: By the picture's name; both results of a pair for one request.
    """
    moves, scores, lost = [], [], 0
    for title, (one, other) in pairs.items():
        longer = max(one.size.width, one.size.height)
        for left, right in zip(one.crops, other.crops, strict=True):
            move = max(abs(x - y) for x, y in zip(left.window.xyxy, right.window.xyxy, strict=True))
            moves.append((move / longer, move, f"{title} {left.plan.aspect_ratio}: {move} px of {longer}"))
        near, missing = matched(one, other)
        scores += near
        lost += missing
    return {
        "windows": len(moves),
        "within_2_px": round(sum(move <= 2 for _, move, _ in moves) / len(moves), 4),
        "within_1_percent": round(sum(share <= 0.01 for share, _, _ in moves) / len(moves), 4),
        "largest_move": round(max(share for share, _, _ in moves), 4),
        "worst": [text for share, _, text in sorted(moves, reverse=True)[:20] if share > 0.01],
        "boxes": len(scores),
        "boxes_without_partner": lost,
        "score_difference_largest": round(max(scores, default=0), 4),
        "score_difference_median": round(median(scores or [0]), 5),
    }


def matched(one: CropResult, other: CropResult) -> tuple[list[float], int]:
    """Return the score differences of the boxes that both found, and how many one of them alone found."""
    left, near, lost = list(other.detections), [], 0
    for mine in one.detections:
        best = max(
            (theirs for theirs in left if theirs.label == mine.label),
            key=lambda theirs: mine.box.intersection_area(theirs.box),
            default=None,
        )
        shared = mine.box.intersection_area(best.box) if best else 0.0
        if best and shared > 0.5 * max(mine.box.area, best.box.area):
            near.append(abs(mine.score - best.score))
            left.remove(best)
        else:
            lost += 1
    return near, lost + len(left)


def codec(device: str, quick: bool) -> Iterator[tuple[str, Any]]:
    """Compare the device's JPEG decoder and encoder with Pillow's, and one thread with many."""
    there = torch.device(device)

    def there_and_back(data: bytes) -> tuple[Tensor, bytes | None]:
        pixels = AcceleratedPhoto(open_photo(data), there).pixels()
        return pixels.cpu(), encode_jpeg(pixels, 95, None)

    with ThreadPoolExecutor(THREADS) as pool:
        for path in SAMPLES[: 2 if quick else None]:
            data = path.read_bytes()
            expected = open_photo(data).pixels()
            photo = AcceleratedPhoto(open_photo(data), there)
            pixels, jpeg = there_and_back(data)
            again = list(pool.map(there_and_back, [data] * (4 if quick else 100)))
            yield (
                path.stem,
                {
                    "decoded_there": photo._whole is not None,
                    "encoded_there": jpeg is not None,
                    "decode_db": psnr(pixels, expected),
                    "encode_db": psnr(open_photo(jpeg).pixels(), pixels) if jpeg else 0.0,
                    "threads_differ": sum(not torch.equal(p, pixels) or j != jpeg for p, j in again),
                },
            )


def psnr(one: Tensor, other: Tensor) -> float:
    """Return the peak signal-to-noise ratio of two uint8 tensors of one shape, in dB; 99 where they are the same."""
    error = ((one.cpu().float() - other.cpu().float()) ** 2).mean()
    return round(min(99.0, (10 * torch.log10(255**2 / error)).item()), 2)


def out_of_memory(device: str, quick: bool) -> Iterator[tuple[str, Any]]:
    """Take away the device's memory, and see that pictures are cropped all the same, with a note."""
    cropper = Cropper(device, "fast")
    data = photo_like(ROOT / "samples" / "astronaut.jpg", 1 if quick else 12)
    plain = cropper.crop(data, SQUARE)
    for room_mb in (40,) if quick else (150, 80, 40):
        if device == "cuda":
            torch.cuda.empty_cache()
            total = torch.cuda.get_device_properties(0).total_memory
            torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + room_mb * 1e6) / total)
        alone = cropper.crop(data, SQUARE)
        many = list(cropper.crop_many([data] * 8, SQUARE))
        if device == "cuda":
            torch.cuda.set_per_process_memory_fraction(1.0)
        yield (
            f"{room_mb} MB left",
            {
                "note": alone.note,
                "device": alone.device,
                "same_window": alone.crops[0].window == plain.crops[0].window,
                "many": Counter(one.note if isinstance(one, CropResult) else str(one) for one in many),
            },
        )
    yield "after", {"note": cropper.crop(data, SQUARE).note, "works": cropper.works}


def soak(device: str, quick: bool) -> Iterator[tuple[str, Any]]:
    """Crop many pictures of many shapes; what is held of the device and of the host must not grow."""
    cropper = Cropper(device, "fast")
    scenes = [drawn_scene(seed) for seed in range(4 if quick else 24)]
    count = 8 if quick else 100
    for turn in range(1, 4):
        good = sum(isinstance(one, CropResult) for one in cropper.crop_many(islice(cycle(scenes), count), SQUARE))
        held = round(torch.cuda.memory_reserved() / 1e6, 1) if device == "cuda" else 0.0
        yield f"after {turn * count}", {"good": good, "of": count, "device_mb": held, "host_mb": resident_mb()}
