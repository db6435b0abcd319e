"""What gpu.py measures, each part by itself; run it through gpu.py."""

from __future__ import annotations

import subprocess
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial
from io import BytesIO
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw

from crop_core import Cropper, CropRequest, CropResult
from crop_core.bench.pictures import photo_like
from crop_core.detect import torchvision_models
from crop_core.doctor.report import examine
from crop_core.photo.decode_on_gpu import AcceleratedPhoto
from crop_core.photo.photo import open_photo

ROOT = Path(__file__).parents[2]
SAMPLES = sorted((ROOT / "samples").glob("*.jpg"))
RATIOS = ("1:1", "4:5", "16:9", "9:16")
PLANS = CropRequest(aspect_ratios=RATIOS, output_format="jpg")
SQUARE = CropRequest(aspect_ratios=("1:1",), width=1080, output_format="jpg")
DETECTORS = ("fast", "balanced")


def drawn_scene(seed: int) -> bytes:
    """Return a JPEG of drawn shapes with samples pasted into it, of 0.3 to 12 megapixels."""
    random = np.random.default_rng(seed)
    width, height = ((640, 480), (1600, 1067), (1080, 1350), (4000, 3000))[seed % 4]
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


def timed(work: Callable[[], object], runs: int) -> float:
    """Return the median of so many runs in milliseconds, after two to warm up."""
    spent = []
    for run in range(runs + 2):
        start = time.perf_counter()
        work()
        if run > 1:
            spent.append((time.perf_counter() - start) * 1000)
    return round(median(spent), 2)


def environment(device: str, quick: bool) -> dict[str, Any]:
    """Return what the machine is, and what the doctor says of it."""
    try:
        smi = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError) as error:
        smi = str(error)
    return {
        "gpu": smi,
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        "doctor": [f"{'ok' if one.ok else 'WRONG'} {one.what}: {one.found} {one.remedy}" for one in examine(device)],
    }


def tests(device: str, quick: bool) -> dict[str, Any]:
    """Run the tests that need a GPU."""
    marked = [str(path) for path in sorted((ROOT / "tests").rglob("test_*.py")) if "mark.gpu" in path.read_text()]
    command = [sys.executable, "-m", "pytest", "-m", "gpu", "-q", "-p", "no:cacheprovider", "--tb=short", *marked]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return {"status": run.returncode, "tail": run.stdout[-8000:] + run.stderr[-1000:]}


def agreement(device: str, quick: bool) -> dict[str, Any]:
    """Compare windows and detections of the CPU with the device's, on the samples at 12 megapixels and drawn scenes."""
    pictures = {path.stem: path.read_bytes() for path in SAMPLES}
    pictures |= {f"{path.stem} at 12 MP": photo_like(path, 12) for path in SAMPLES[: 1 if quick else None]}
    pictures |= {f"scene {seed}": drawn_scene(seed) for seed in range(4 if quick else 60)}
    found: dict[str, Any] = {}
    for name in DETECTORS[: 1 if quick else None]:
        moves, scores, lost, worst = [], [], 0, []
        one, other = Cropper("cpu", name), Cropper(device, name)
        for title, data in pictures.items():
            a, b = (cropper.crop(data, PLANS, dry_run=True) for cropper in (one, other))
            for left, right in zip(a.crops, b.crops, strict=True):
                move = max(abs(x - y) for x, y in zip(left.window.xyxy, right.window.xyxy, strict=True))
                share = move / max(a.size.width, a.size.height)
                moves.append((move, share))
                if share > 0.01:
                    worst.append(f"{title} {left.plan.aspect_ratio}: {move} px of {a.size.width}")
            near, missing = matched(a, b)
            scores += near
            lost += missing
        found[name] = {
            "windows": len(moves),
            "within_2_px": round(sum(move <= 2 for move, _ in moves) / len(moves), 4),
            "within_1_percent": round(sum(share <= 0.01 for _, share in moves) / len(moves), 4),
            "largest_move_px": max(move for move, _ in moves),
            "worst": worst[:20],
            "boxes": len(scores),
            "boxes_without_partner": lost,
            "score_difference_largest": round(max(scores, default=0), 4),
            "score_difference_median": round(median(scores or [0]), 5),
        }
    return found


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


def speed(device: str, quick: bool) -> dict[str, Any]:
    """Return milliseconds and stages for each detector and size; `accurate` has random weights."""
    torchvision_models.load = _random_model  # type: ignore[assignment]  # its weights are not here
    sizes = (1,) if quick else (1, 12, 48)
    photos = {size: photo_like(ROOT / "samples" / "astronaut.jpg", size) for size in sizes}
    found: dict[str, Any] = {}
    for name in ("fast",) if quick else (*DETECTORS, "accurate"):
        cropper = Cropper(device, name)
        cropper.warm_up()
        found[name] = {}
        for size, data in photos.items():
            whole = timed(partial(cropper.crop, data, SQUARE), 3 if quick else 7)
            stages = {step: round(value, 2) for step, value in cropper.crop(data, SQUARE).timings_ms.items()}
            found[name][size] = {"ms": whole, "stages": stages}
    return found


def _random_model(name: str) -> torch.nn.Module:
    from torchvision.models import get_model

    return get_model(name, weights=None, weights_backbone=None).eval()


def rate(device: str, quick: bool) -> dict[str, Any]:
    """Return photos a second, many photos of 3 megapixels, by detector and format."""
    photos = [photo_like(path, 3) for path in SAMPLES[: 1 if quick else None]]
    count = 4 if quick else 60
    found: dict[str, Any] = {}
    for name in DETECTORS[: 1 if quick else None]:
        cropper = Cropper(device, name)
        cropper.warm_up()
        for kind in ("jpg", "webp"):
            request = CropRequest(aspect_ratios=("1:1",), width=1080, output_format=kind)
            stream = (photos[i % len(photos)] for i in range(count))
            start = time.perf_counter()
            good = sum(isinstance(result, CropResult) for result in cropper.crop_many(stream, request))
            found[f"{name} {kind}"] = {"photos_a_second": round(good / (time.perf_counter() - start), 1), "good": good}
    return found


def memory(device: str, quick: bool) -> dict[str, Any]:
    """Return the most MB that PyTorch held of the device, alone and for many."""
    found: dict[str, Any] = {"host_peak_mb": None}
    for name in DETECTORS[: 1 if quick else None]:
        cropper = Cropper(device, name)
        for size in (1,) if quick else (1, 12, 48):
            data = photo_like(ROOT / "samples" / "astronaut.jpg", size)
            if device == "cuda":
                torch.cuda.empty_cache()
                torch.cuda.reset_peak_memory_stats()
            cropper.crop(data, SQUARE)
            if device == "cuda":
                found[f"{name} {size} MP"] = round(torch.cuda.max_memory_reserved() / 1e6, 1)
    status = Path("/proc/self/status")
    if status.exists():
        found["host_peak_mb"] = next(
            int(line.split()[1]) // 1024 for line in status.read_text().splitlines() if line.startswith("VmHWM")
        )
    return found


def waits(device: str, quick: bool) -> dict[str, Any]:
    """Count how often the host waits for the device for one picture, and where."""
    found: dict[str, Any] = {}
    data = photo_like(ROOT / "samples" / "pair.jpg", 3)
    for name in DETECTORS:
        cropper = Cropper(device, name)
        for _ in range(3):
            cropper.crop(data, SQUARE)
        if device != "cuda":
            continue
        places: Counter[str] = Counter()

        def note(
            message: object, category: object, filename: str, line: int, *rest: object, to: Counter[str] = places
        ) -> None:
            to[f"{Path(filename).name}:{line}"] += 1

        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.showwarning = note  # type: ignore[assignment]  # only counted
            torch.cuda.set_sync_debug_mode("warn")
            cropper.crop(data, SQUARE)
            torch.cuda.set_sync_debug_mode("default")
        found[name] = {"waits": sum(places.values()), "where": dict(places.most_common(30))}
    return found


def decoder(device: str, quick: bool) -> dict[str, Any]:
    """Compare the device's JPEG decoder with Pillow's, also with many threads at once."""
    found = {}
    for path in SAMPLES:
        data = path.read_bytes()
        ours = AcceleratedPhoto(open_photo(data), torch.device(device))
        difference = (ours.pixels().cpu().float() - open_photo(data).pixels().float()).abs()
        found[path.stem] = {"mean": round(difference.mean().item(), 3), "on_device": ours._whole is not None}
    return found


def out_of_memory(device: str, quick: bool) -> dict[str, Any]:
    """Take away the device's memory, and see that pictures are cropped all the same, with a note."""
    cropper = Cropper(device, "fast")
    data = photo_like(ROOT / "samples" / "astronaut.jpg", 1 if quick else 12)
    plain = cropper.crop(data, SQUARE)
    if device == "cuda":
        torch.cuda.empty_cache()
        total = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + 40e6) / total)
    alone = cropper.crop(data, SQUARE)
    many = list(cropper.crop_many([data] * 8, SQUARE))
    if device == "cuda":
        torch.cuda.set_per_process_memory_fraction(1.0)
    after = cropper.crop(data, SQUARE)
    return {
        "note": alone.note,
        "device": alone.device,
        "same_window": alone.crops[0].window == plain.crops[0].window,
        "many": Counter(one.note if isinstance(one, CropResult) else str(one) for one in many),
        "after": after.note,
        "works": cropper.works,
    }


def soak(device: str, quick: bool) -> dict[str, Any]:
    """Crop many pictures of many shapes; what is held of the device must not grow."""
    cropper = Cropper(device, "fast")
    scenes = [drawn_scene(seed) for seed in range(6 if quick else 24)]

    def round_of(count: int) -> tuple[int, float]:
        stream: Iterable[bytes] = (scenes[i % len(scenes)] for i in range(count))
        good = sum(isinstance(result, CropResult) for result in cropper.crop_many(stream, SQUARE))
        return good, round(torch.cuda.memory_reserved() / 1e6, 1) if device == "cuda" else 0.0

    return {str(turn): round_of(8 if quick else 100) for turn in range(3)}


PARTS: dict[str, tuple[Callable[[str, bool], dict[str, Any]], int]] = {  # name -> the part, and its seconds
    "environment": (environment, 60),
    "tests": (tests, 130),
    "speed": (speed, 100),
    "rate": (rate, 75),
    "agreement": (agreement, 100),
    "waits": (waits, 30),
    "memory": (memory, 45),
    "decoder": (decoder, 30),
    "out_of_memory": (out_of_memory, 40),
    "soak": (soak, 45),
}
