"""Mutated pictures and random requests, the whole way: each gives crops or a CropError, and nothing else.

    python tests/bench/fuzz.py --seconds 900 --seed 1

A case is its number and the seed: `--case N` runs that one alone and shows what it raises. The cases
run in a process of their own, so that a crash of a decoder is a find like any other; at the end stand
the numbers, and the exit status is 1 when there are finds.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pillow_heif
from PIL import Image
from profiles import DISPLAY_P3, NEGATIVE, SRGB, in_profile, linear_gray_profile, plausible_cmyk_profile

from crop_core import CropError, Cropper, CropRequest, CropResult, ImageError
from crop_core.photo.photo import reopened

ROOT = Path(__file__).parents[2]
INTERESTING = (0, 1, 2, 127, 128, 255, 256, 32_767, 32_768, 65_535, 2**31 - 1, 2**31, 2**32 - 1)


def saved(image: Image.Image, format: str, **options: Any) -> bytes:
    buffer = BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def seeds() -> dict[str, bytes]:
    """Return small real pictures of every kind that is decoded, by name."""
    with Image.open(ROOT / "samples" / "pair.jpg") as opened:
        opened.thumbnail((160, 160))
        photo = opened.convert("RGB")
    turned = photo.transpose(Image.Transpose.ROTATE_90)
    alpha = photo.copy()
    alpha.putalpha(photo.convert("L"))
    palette = photo.quantize(64)
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "a camera"
    exif.get_ifd(0x8825)[1] = "N"
    tags = {"exif": exif.tobytes(), "icc_profile": SRGB, "xmp": b"<x:xmpmeta/>"}
    frames = {"save_all": True, "append_images": [turned.resize(photo.size), photo]}
    heic = BytesIO()
    pillow_heif.from_pillow(photo).save(heic, exif=exif.tobytes(), icc_profile=SRGB)
    heic_alpha = BytesIO()
    pillow_heif.from_pillow(alpha).save(heic_alpha)
    return {
        "jpeg": saved(photo, "JPEG", **tags),
        "jpeg-progressive": saved(turned, "JPEG", progressive=True, subsampling=0),
        "jpeg-restarts": saved(photo, "JPEG", restart_marker_blocks=4),
        "jpeg-gray": saved(photo.convert("L"), "JPEG"),
        "jpeg-cmyk": saved(photo.convert("CMYK"), "JPEG"),
        "jpeg-cmyk-profile": saved(photo.convert("CMYK"), "JPEG", icc_profile=plausible_cmyk_profile()),
        "jpeg-gray-profile": saved(photo.convert("L"), "JPEG", icc_profile=linear_gray_profile()),
        "jpeg-p3": saved(in_profile(photo, DISPLAY_P3), "JPEG", icc_profile=DISPLAY_P3),
        "mpo": saved(photo, "MPO", **frames),
        "png": saved(alpha, "PNG", **{**tags, "xmp": None}),
        "png-palette": saved(palette, "PNG", transparency=3),
        "png-16": saved(photo.convert("I").convert("I;16"), "PNG"),
        "png-1": saved(photo.convert("1"), "PNG"),
        "apng": saved(alpha, "PNG", save_all=True, append_images=[alpha.rotate(90), alpha]),
        "webp": saved(photo, "WEBP", **tags),
        "webp-lossless": saved(alpha, "WEBP", lossless=True),
        "webp-animated": saved(photo, "WEBP", **frames),
        "gif": saved(palette, "GIF", transparency=5, comment=b"a comment"),
        "gif-animated": saved(photo, "GIF", **frames),
        "bmp": saved(photo, "BMP"),
        "bmp-palette": saved(palette, "BMP"),
        "tiff": saved(photo, "TIFF", exif=exif, icc_profile=SRGB),
        "tiff-lzw": saved(alpha, "TIFF", compression="tiff_lzw"),
        "tiff-deflate": saved(photo.convert("CMYK"), "TIFF", compression="tiff_adobe_deflate"),
        "tiff-jpeg": saved(photo, "TIFF", compression="jpeg"),
        "tiff-fax": saved(photo.convert("1"), "TIFF", compression="group4"),
        "tiff-big": saved(photo.convert("I").convert("I;16"), "TIFF", big_tiff=True),
        "tiff-lab": saved(Image.merge("LAB", photo.split()), "TIFF"),
        "tiff-negative": saved(in_profile(photo, NEGATIVE), "TIFF", icc_profile=NEGATIVE),
        "tiff-pages": saved(palette, "TIFF", save_all=True, append_images=[palette]),
        "avif": saved(photo, "AVIF", speed=10, **tags),
        "avif-alpha": saved(alpha, "AVIF", speed=10),
        "avif-animated": saved(photo, "AVIF", speed=10, **frames),
        "tiff-profile": saved(photo, "TIFF", icc_profile=plausible_cmyk_profile()),
        "heic": heic.getvalue(),
        "heic-alpha": heic_alpha.getvalue(),
    }


def mutated(data: bytes, others: list[bytes], chance: random.Random) -> bytes:
    """Return the file with one to six faults: flipped bits, cuts, splices, repeats, numbers at their bounds."""
    out = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 3, 6))):
        if not out:
            break
        # Half of the faults go to the head, where sizes and tables stand.
        at = chance.randrange(min(len(out), 512) if chance.random() < 0.5 else len(out))
        length = min(chance.choice((1, 2, 4, 8, 64, 1024)), len(out) - at)
        match chance.randrange(8):
            case 0:
                out[at] ^= 1 << chance.randrange(8)
            case 1:
                out[at] = chance.randrange(256)
            case 2:
                size = chance.choice((1, 2, 4, 8))
                number = chance.choice(INTERESTING) % 256**size
                out[at : at + size] = number.to_bytes(size, chance.choice(("big", "little")))
            case 3:
                del out[at:]
            case 4:
                del out[at : at + length]
            case 5:
                out[at:at] = out[at : at + length] * chance.choice((1, 2, 100))
            case 6:
                other = chance.choice(others)
                start = chance.randrange(len(other))
                out[at : at + length] = other[start : start + length]
            case 7:
                out[at : at + length] = chance.randbytes(length)
    return bytes(out)


SOUND: dict[str, tuple[Any, ...]] = {
    "mode": ("subject", "objects", "faces"),
    "labels": ("", "person", "face", "dog:3,person:1"),
    "aspect_ratio": (
        "match_input",
        "free",
        "1:1",
        "4:5",
        "16:9",
        "1:100",
        "100:1",
        "1:1,9:16",
        "0.5:1",
        "auto:1:1,9:16",
    ),
    "focus": ("", "0.1,0.9", "0,0,1,0.2;0.5,0.5", "3px,2px,90px,40px"),
    "position": ("auto", "center", "northwest", "0,1"),
    "multiple_of": (1, 8, 64),
    "max_pixels": (None, 1024, 65_536),
    "width": (None, 1, 64, 300),
    "height": (None, 1, 64, 300),
    "zoom": (None, 0, 0.5, 1, -0.0),
    "padding": (0.1, 0, 2, 1e-300),
    "headroom": (0.4, 0, 2),
    "score_threshold": (0.3, 0, 1, 5e-324),
    "iou_threshold": (0.5, 0, 1),
    "max_crops": (20, 1, 100),
    "order": ("score", "area", "left_to_right"),
    "if_none": ("saliency", "center", "full_image", "empty", "error"),
    "upscale": ("never", "allow", "pad"),
    "output_format": ("match_input", "webp", "jpg", "png", "avif"),
    "output_quality": (85, 1, 100),
    "preview": (False, True),
}
ODD = (None, True, 0, -1, 8192, 8193, 10**400, 64.0, 1.0000001, float("nan"), float("inf"), float("-inf"))
ODD += ("", "64", "1:0", "0:0", "99999:1", "1:1," * 30, "\x00", "person:nan", "\u202e\n", [], {})


def some_inputs(chance: random.Random) -> dict[str, Any]:
    """Return a few inputs, one in ten with odd ones; sides that cost seconds are rare."""
    inputs = {name: chance.choice(SOUND[name]) for name in chance.sample(sorted(SOUND), chance.choice((0, 1, 2, 4)))}
    if chance.random() < 0.1:
        inputs[chance.choice(sorted(SOUND))] = chance.choice(ODD)
    if 8192 in inputs.values() and chance.random() < 0.9:
        inputs |= {"upscale": "never"}
    return inputs


def case(seed: int, number: int, files: dict[str, bytes]) -> tuple[str, bytes, dict[str, Any]]:
    """Return the seed file's name, the mutated file and the inputs of a case."""
    chance = random.Random(seed * 1_000_003 + number)
    name = sorted(files)[number % len(files)]
    return name, mutated(files[name], list(files.values()), chance), some_inputs(chance)


def outcome(cropper: Cropper, data: bytes, inputs: dict[str, Any]) -> str:
    """Return `crop` or the error's class, after a look at what came.

    Raises:
        Exception: A find: anything but a CropError, or a result that is not in order.
    """
    try:
        request = CropRequest.from_inputs(**inputs)
        result = cropper.crop(data, request, source="x")
    except CropError as error:
        refusal = error
    else:
        return _looked_at(result)
    message = str(refusal)
    assert message.endswith((".", "?")), message
    assert "\n" not in message, message
    assert len(message) < 400, message
    assert not isinstance(refusal, ImageError) or "/" not in message, message
    return type(refusal).__name__


def _looked_at(result: CropResult) -> str:
    json.loads(json.dumps(result.record(), allow_nan=False))
    for crop in result.crops:
        x1, y1, x2, y2 = crop.plan.window.xyxy
        assert 0 <= x1 < x2 <= result.size.width, crop.plan
        assert 0 <= y1 < y2 <= result.size.height, crop.plan
        assert crop.data is not None
        assert reopened(crop.data).size == crop.plan.output_size, crop.plan
    return "crop"


def cases(seed: int, first: int, seconds: float) -> Iterator[dict[str, Any]]:
    """Run case after case, and yield what came of each, before and after it."""
    files = seeds()
    cropper = Cropper(device="cpu", detector="fast")
    cropper.warm_up()
    end = time.monotonic() + seconds
    number = first
    while time.monotonic() < end:
        name, data, inputs = case(seed, number, files)
        yield {"case": number, "name": name}
        _forget_peak()
        before, start = _kilobytes("VmRSS"), time.monotonic()
        found = None
        try:
            came = outcome(cropper, data, inputs)
        except Exception:  # noqa: BLE001 (whatever it is, it is a find)
            came, found = "find", traceback.format_exc(limit=-4)
        spent = round(time.monotonic() - start, 3)
        grown = max(0, _kilobytes("VmHWM") - before)
        yield {"case": number, "name": name, "came": came, "find": found, "s": spent, "kB": grown}
        number += 1


def _forget_peak() -> None:
    peak = Path("/proc/self/clear_refs")
    if peak.exists():
        peak.write_text("5")


def _kilobytes(name: str) -> int:
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((int(line.split()[1]) for line in lines if line.startswith(name)), 0)


def supervised(seed: int, first: int, seconds: float) -> int:
    """Run the cases in a process, and in another from the next case on when it dies; return how many finds."""
    end = time.monotonic() + seconds
    came: Counter[str] = Counter()
    slowest: dict[str, Any] = {"s": 0}
    largest: dict[str, Any] = {"kB": 0}
    ran = first
    while (left := end - time.monotonic()) > 1:
        command = [sys.executable, __file__, "--worker", f"--seed={seed}", f"--first={ran}", f"--seconds={left}"]
        begun: dict[str, Any] | None = None
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as worker:
            assert worker.stdout is not None
            for line in worker.stdout:
                row = json.loads(line)
                begun = row if "came" not in row else None
                if begun:
                    continue
                ran = row["case"] + 1
                came[row["came"]] += 1
                slowest = max(slowest, row, key=lambda one: one["s"])
                largest = max(largest, row, key=lambda one: one["kB"])
                if row["find"]:
                    print(f"find in case {row['case']} ({row['name']}):\n{row['find']}", flush=True)
                if ran % 1000 == 0:
                    print(f"{ran} cases: {dict(came)}", flush=True)
        if worker.returncode:
            at = begun or {"case": ran, "name": "start"}
            print(f"find: the process ended with {worker.returncode} in case {at['case']} ({at['name']})", flush=True)
            came["find"] += 1
            ran = at["case"] + 1
    print(f"seed {seed}, cases {first} to {ran - 1}, {seconds:.0f} s: {dict(came)}")
    print(f"slowest {slowest}\nlargest {largest}")
    return came["find"]


def main() -> None:
    """Run what the arguments ask for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=900)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0, help="the first case's number")
    parser.add_argument("--case", type=int, help="run this case alone")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.case is not None:
        name, data, inputs = case(arguments.seed, arguments.case, seeds())
        print(f"{name}, {len(data)} bytes, {inputs}")
        print(outcome(Cropper(device="cpu", detector="fast"), data, inputs))
    elif arguments.worker:
        for row in cases(arguments.seed, arguments.first, arguments.seconds):
            print(json.dumps(row), flush=True)
    else:
        sys.exit(1 if supervised(arguments.seed, arguments.first, arguments.seconds) else 0)


if __name__ == "__main__":
    main()
