"""What several test modules share: the samples, a loaded cropper, pictures made on the spot."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path

# PyTorch's idle threads spin by default: where tests, servers and commands share two cores, that made them
# five times slower. Must stand before torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, settings
from PIL import Image
from torch import Tensor

from crop_core import Cropper
from crop_core.detect.engine import Engine

pytest_plugins = ["serving"]  # its fixtures are one server for several modules

ROOT = Path(__file__).parent.parent
SAMPLES = ROOT / "samples"
SHARED = ROOT.parent / "shared"

# The machines are noisy, so no example has a deadline; the same examples on every run, so CI does not flicker.
settings.register_profile("steady", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("steady")

# What the camera did to an upright picture: the inverse of what each EXIF orientation asks for.
STORED_AS = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip, with a reason, what this machine cannot run."""
    for item in items:
        if item.get_closest_marker("gpu") and not torch.cuda.is_available():
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device, and PyTorch finds none here"))
        if item.get_closest_marker("shared") and not SHARED.is_dir():
            item.add_marker(pytest.mark.skip(reason="needs the measuring data beside the checkout"))


@pytest.fixture(scope="session")
def cropper() -> Cropper:
    return Cropper(device="cpu", detector="fast")


class Remembering:
    """A network that is asked once for each input: the same pixels have the same answer.

    tests/detect holds the networks themselves to that.
    """

    def __init__(self, engine: Engine) -> None:
        self.device, self.input_dtype = engine.device, engine.input_dtype
        self._engine = engine
        self._answers: dict[bytes, tuple[Tensor, ...]] = {}

    def run(self, batch: Tensor) -> tuple[Tensor, ...]:
        key = hashlib.sha256(repr(batch.shape).encode() + batch.contiguous().numpy().tobytes()).digest()
        if key not in self._answers:
            self._answers[key] = self._engine.run(batch)
        return tuple(output.clone() for output in self._answers[key])


@pytest.fixture(scope="session")
def quick_cropper() -> Cropper:
    """A cropper that asks the network for what stands out, its slowest, once for each input.

    For tests that crop one picture many times, or many pictures in which nothing is found, and that are not about
    the networks.
    """
    cropper = Cropper(device="cpu", detector="fast")
    detector = cropper.detector("fast")
    detector.common = replace(detector.common, salient=Remembering(detector.common.salient))
    return cropper


@pytest.fixture(scope="session")
def astronaut() -> bytes:
    """One person with one face, 512x512."""
    return (SAMPLES / "astronaut.jpg").read_bytes()


@pytest.fixture(scope="session")
def cat() -> bytes:
    """One cat that fills the frame, 451x300."""
    return (SAMPLES / "cat.jpg").read_bytes()


@pytest.fixture(scope="session")
def rocket() -> bytes:
    """A picture in which no detector finds anything, 640x427."""
    return (SAMPLES / "rocket.jpg").read_bytes()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 64 KiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)], capture_output=True, text=True, check=False
    )
    if mount.returncode:
        pytest.skip(f"needs the right to mount a file system: {mount.stderr.strip()}")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def ramp(width: int, height: int) -> Image.Image:
    """Return a picture whose pixels say where they are: red = x, green = y (modulo 256), blue = 128."""
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    return Image.fromarray(np.stack((x % 256, y % 256, np.full_like(x, 128)), -1).astype(np.uint8))


def encoded(image: Image.Image, format: str = "PNG", **options: object) -> bytes:
    """Return the picture as a file's bytes."""
    buffer = BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


@pytest.fixture
def heeds_ctrl_c() -> Iterator[None]:
    """Handle Ctrl-C here and in processes started from here: a shell's background jobs ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
