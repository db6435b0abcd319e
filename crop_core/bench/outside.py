"""What is measured of fresh processes: memory, cold start, the Cog server."""

from __future__ import annotations

import base64
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPConnection
from pathlib import Path
from statistics import median
from typing import Any

from crop_core.bench.inside import SIDE
from crop_core.errors import CropError

ROOT = Path(__file__).parents[2]
START_TIMEOUT_S = 120
ANSWER_TIMEOUT_S = 60

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
    from crop_core.process import tune_process
    tune_process()
    from crop_core import Cropper
    from crop_core.bench.inside import square_request
    cropper, request = Cropper(device=sys.argv[2]), square_request()
    cropper.warm_up()
    work = lambda: cropper.crop(data, request)
idle = status("VmRSS")
reset()
for _ in range(3):
    work()
print(status("VmHWM") - idle)
"""


def peak_memory(picture: Path, what: str) -> float | None:
    """Return by how many MB three crops raise a fresh, loaded process above its idle memory; Linux only.

    Args:
        picture: The file.
        what: A device's name, or ``libvips``.
    """
    if not Path("/proc/self/clear_refs").exists():
        return None
    printed = subprocess.run(
        [sys.executable, "-c", _MEMORY, str(picture), what], check=True, capture_output=True, text=True
    ).stdout
    return round(float(printed), 1)


def cold_start(sample: Path, device: str, runs: int) -> dict[str, float]:
    """Return the median seconds of whole processes, run in turn: an import of PyTorch alone, of the package, a crop."""
    with tempfile.TemporaryDirectory() as folder:
        crop = ["-m", "crop_core.cli", "crop", str(sample), "--out", folder, "--device", device]
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
def served() -> Iterator[tuple[float, Callable[[bytes], object]]]:
    """Run the Cog server; yield the seconds that it took to be ready, and a function that crops by HTTP.

    Raises:
        CropError: The server does not start, or an answer is no success.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as temporary:
        environment = os.environ | {
            "COG_PREDICT_TYPE_STUB": "predict.py:Predictor",
            "PORT": str(port),
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",  # its worker is `python` there
            "TMPDIR": temporary,
        }
        start = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-m", "cog.server.http", "--host", "127.0.0.1"],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            _wait_until_ready(port, process)
            yield time.perf_counter() - start, lambda data: _predict(port, data)
        finally:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=10)
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # the worker, too
            process.wait()


def _wait_until_ready(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    status = "no answer"
    while time.monotonic() < deadline and process.poll() is None and status != "SETUP_FAILED":
        with suppress(OSError):
            status = _ask(port, "GET", "/health-check")[1]["status"]
        if status == "READY":
            return
        time.sleep(0.02)
    raise CropError(f"The Cog server does not become ready ({status}); run python -m cog.server.http to see why.")


def _predict(port: int, data: bytes) -> object:
    inputs = {
        "image": "data:image/jpeg;base64," + base64.b64encode(data).decode(),
        "width": SIDE,
        "height": SIDE,
        "output_format": "jpg",
    }
    deadline = time.monotonic() + ANSWER_TIMEOUT_S
    status, answer = _ask(port, "POST", "/predictions", {"input": inputs})
    while status == 409 and time.monotonic() < deadline:  # for a moment after an answer it is not free yet
        time.sleep(0.002)
        status, answer = _ask(port, "POST", "/predictions", {"input": inputs})
    if answer.get("status") != "succeeded":
        raise CropError(f"The Cog server answered {status}: {answer.get('error') or answer}.")
    return answer["output"]


def _ask(port: int, method: str, path: str, body: object = None) -> tuple[int, Any]:
    connection = HTTPConnection("127.0.0.1", port, timeout=ANSWER_TIMEOUT_S)
    try:
        connection.request(method, path, json.dumps(body), {"Content-Type": "application/json"})
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()
