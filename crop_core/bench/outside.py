"""What is measured of fresh processes: memory, cold start, the Cog server."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from statistics import median

from crop_core.bench.inside import SIDE
from crop_core.bench.server import Server, running
from crop_core.errors import CropError

# Linux: writing 5 to clear_refs sets the peak (VmHWM) back to what is resident now; see proc(5).
_MEMORY = """
import re, sys
from pathlib import Path
def status(key):
    return int(re.search(key + r":\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) / 1024
def reset():
    Path("/proc/self/clear_refs").write_text("5")
data = Path(sys.argv[1]).read_bytes()
if sys.argv[2] == "libvips":
    from crop_core.bench.peers import installed
    peer = installed()["libvips attention"]
    import pyvips
    work = lambda: peer(data, 1080)
else:
    from crop_core.run.process_settings import tune_process
    tune_process()
    from crop_core import Cropper
    from crop_core.bench.inside import square_request
    cropper, request = Cropper(device=sys.argv[2], detector=sys.argv[3]), square_request()
    cropper.warm_up()
    work = lambda: cropper.crop(data, request)
idle = status("VmRSS")
reset()
for _ in range(3):
    work()
print(status("VmHWM") - idle)
"""


def peak_memory(picture: Path, what: str, detector: str) -> float | None:
    """Return by how many MB three crops raise a fresh, loaded process above its idle memory; Linux only.

    Args:
        picture: The file.
        what: A device's name, or ``libvips``.
        detector: The cropper's.
    """
    if not Path("/proc/self/clear_refs").exists():
        return None
    printed = subprocess.run(
        [sys.executable, "-c", _MEMORY, str(picture), what, detector], check=True, capture_output=True, text=True
    ).stdout
    return round(float(printed), 1)


def cold_start(sample: Path, device: str, detector: str, runs: int) -> dict[str, float]:
    """Return the median seconds of whole processes, run in turn: an import of PyTorch alone, of the package, a crop."""
    with tempfile.TemporaryDirectory() as folder:
        crop = ["-m", "crop_core.cli", "crop", str(sample), "--out", folder]
        crop += ["--device", device, "--detector", detector]
        commands = {
            "import torch, torchvision": ["-c", "import torch, torchvision"],
            "import crop_core": ["-c", "import crop_core"],
            "crop-core crop": crop,
        }
        spent: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(runs):
            for name, arguments in commands.items():
                start = time.perf_counter()
                subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
                spent[name].append(time.perf_counter() - start)
    return {name: round(median(seconds), 3) for name, seconds in spent.items()}


@contextmanager
def served(detector: str) -> Iterator[tuple[float, Callable[[bytes], object]]]:
    """Run the Cog server; yield the seconds that it took to be ready, and a function that crops by HTTP.

    Args:
        detector: What each prediction asks for.

    Raises:
        CropError: The server does not start, or an answer is no success.
    """
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        with running(Path(os.devnull), Path(folder)) as server:
            yield time.perf_counter() - start, lambda data: _predict(server, data, detector)


@lru_cache(maxsize=1)  # `in_turn` calls everything once before it times: what a caller prepares is not the server's
def _request(data: bytes, detector: str) -> bytes:
    uri = "data:image/jpeg;base64," + base64.b64encode(data).decode()
    inputs = {"image": uri, "width": SIDE, "height": SIDE, "output_format": "jpg", "detector": detector}
    return json.dumps({"input": inputs}).encode()


def _predict(server: Server, data: bytes, detector: str) -> object:
    answer = server.answer(_request(data, detector))
    if answer.get("status") != "succeeded":
        raise CropError(f"The Cog server failed: {answer.get('error') or answer}.")
    return answer["output"]
