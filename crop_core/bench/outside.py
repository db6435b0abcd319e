"""Measures in fresh processes: memory and cold start."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

# Linux: writing 5 to clear_refs resets the peak (VmHWM) to what is resident now; see proc(5).
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
    """Return by how many MB three crops raise a fresh, loaded process above its idle memory; none if not on Linux.

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
    """Return the median seconds of whole processes, run in turn: importing PyTorch, importing the package, a crop."""
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
