"""The check of everything that only a GPU runs: one command, from the repository's root, on a machine with one.

    PYTHONPATH=. python tests/bench/gpu.py --out FOLDER

It needs PyTorch with torchvision, Pillow, numpy, safetensors, tqdm, pytest and hypothesis, and no network. Each part
runs in a process of its own with a limit of time; one that fails says so, keeps what it found until then, and the
next one runs. What is done so far is in FOLDER/gpu.json and, as the table that README shows, in FOLDER/gpu.md.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from importlib import import_module
from pathlib import Path
from typing import Any

PARTS = {  # name -> module:function, and its seconds; what matters most comes first, in case the time runs out
    "environment": ("gpu_parts:environment", 60),
    "tests": ("gpu_parts:tests", 130),
    "speed": ("gpu_figures:speed", 90),
    "rate": ("gpu_figures:rate", 75),
    "agreement": ("gpu_parts:agreement", 100),
    "waits": ("gpu_figures:waits", 40),
    "memory": ("gpu_figures:memory", 45),
    "codec": ("gpu_parts:codec", 40),
    "out_of_memory": ("gpu_parts:out_of_memory", 45),
    "soak": ("gpu_parts:soak", 45),
}
SECONDS = 400  # for all parts together
LEAST = 10  # seconds; a part that has less left is not begun


def main(arguments: list[str] | None = None) -> int:
    """Run the parts and return 0, or 1 when one failed."""
    parser = argparse.ArgumentParser(description="Check and measure what only a GPU runs.")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="takes gpu.json and gpu.md")
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"), help="cuda, or cpu to try the check")
    parser.add_argument("--quick", action="store_true", help="few pictures and runs")
    parser.add_argument("--only", default="", metavar="LIST", help=f"some of {','.join(PARTS)}")
    parser.add_argument("--seconds", type=float, default=SECONDS, help=f"the most that all parts may take ({SECONDS})")
    parser.add_argument("--part", help=argparse.SUPPRESS)  # module:function, in a process of its own; --out is a file
    options = parser.parse_args(arguments)
    if options.part:
        module, _, function = options.part.partition(":")
        keep(getattr(import_module(module), function)(options.device, options.quick), options.out)
        return 0
    names = options.only.split(",") if options.only else list(PARTS)
    if unknown := [name for name in names if name not in PARTS]:
        parser.error(f"there is no part {unknown[0]}; the parts are {', '.join(PARTS)}")
    options.out.mkdir(parents=True, exist_ok=True)
    report: dict[str, Any] = {}
    begin = time.perf_counter()
    for name in names:
        start = time.perf_counter()
        part, limit = PARTS[name]
        limit = min(limit, options.seconds - (start - begin))
        print(f"== {name}", flush=True)
        if limit < LEAST and limit < PARTS[name][1]:
            report[name] = {"failed": f"not begun: the {options.seconds:.0f} s for all parts are spent"}
        else:
            report[name] = apart(part, options.device, options.quick, limit)
        report[name]["seconds"] = round(time.perf_counter() - start, 1)
        print(json.dumps(report[name])[-1500:], flush=True)
        _write(options.out / "gpu.json", json.dumps(report, indent=1) + "\n")
        _write(options.out / "gpu.md", table(report))
    print(table(report), flush=True)
    return 1 if any("failed" in part for part in report.values()) else 0


def keep(found: Iterable[tuple[str, Any]], target: Path) -> None:
    """Write what a part finds, as JSON, each time that it finds something."""
    kept: dict[str, Any] = {}
    for name, value in found:
        kept[name] = value
        _write(target, json.dumps(kept))


def apart(part: str, device: str, quick: bool, limit: float) -> dict[str, Any]:
    """Return what a part found in a process of its own; under `failed` why it did not come to its end, if so.

    Args:
        part: module:function, the function a generator of names and values of JSON.
        device: For the function.
        quick: For the function.
        limit: Seconds, after which the process and all that it started are ended.
    """
    with tempfile.TemporaryDirectory() as folder:
        target, said = Path(folder, "found.json"), Path(folder, "said")
        command = [sys.executable, "-X", "faulthandler", __file__, "--part", part, "--out", str(target)]
        command += ["--device", device] + ["--quick"] * quick
        # Output goes to a file: a pipe that a left-over process holds open would have to be waited for.
        with said.open("wb") as output:
            process = subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True)
            try:
                status = process.wait(limit)
                failed = f"ended with status {status}: {said.read_text(errors='replace')[-3000:]}" if status else ""
            except subprocess.TimeoutExpired:
                failed = f"not done within {limit:.0f} s: {said.read_text(errors='replace')[-500:]}"
            finally:
                _end_all_of(process)
        found: dict[str, Any] = json.loads(target.read_text()) if target.exists() else {}
    return found | ({"failed": failed} if failed else {})


def _end_all_of(process: subprocess.Popen[bytes]) -> None:
    """End the process and what it started, such as pytest, if it has not come to its end."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _write(target: Path, text: str) -> None:
    """Write the file, or leave the one that was there: whoever writes may be ended at any moment."""
    draft = target.with_name(target.name + ".new")
    draft.write_text(text)
    draft.replace(target)


def table(report: dict[str, Any]) -> str:
    """Return the report's main figures as README shows them; what was not found has no line."""
    title = _found(report, "environment").get("gpu") or "on a GPU"
    rows = [row for rows_of in (_speeds, _rates, _agreements, _waits, _memory, _codec) for row in rows_of(report)]
    return "\n".join([f"| {title} | |", "|---|---|", *(f"| {what} | {found} |" for what, found in rows)]) + "\n"


def _found(report: dict[str, Any], part: str) -> dict[str, Any]:
    """Return what a part found, without its time and what failed in it."""
    return {name: value for name, value in report.get(part, {}).items() if name not in ("failed", "seconds")}


def _each(part: str, line: Callable[[str, Any], tuple[str, str]]) -> Callable[[dict[str, Any]], list[tuple[str, str]]]:
    """Return what makes a line of each thing that a part found."""
    return lambda report: [line(name, found) for name, found in _found(report, part).items()]


def _sizes(found: dict[str, Any], figure: str) -> str:
    return ", ".join(f"{size} MP {values[figure]:.0f}" for size, values in found.items())


_speeds = _each("speed", lambda name, found: (f"one photo, `{name}`, ms", _sizes(found, "ms")))
_rates = _each(
    "rate", lambda what, found: (f"3 MP photos a second, `{what.replace(' ', '`, ')}", f"{found['photos_a_second']}")
)
_agreements = _each(
    "agreement",
    lambda name, found: (
        f"{found['windows']} windows as on the CPU, `{name}`",
        f"{found['within_2_px']:.1%} within 2 px, {found['within_1_percent']:.1%} within 1 % of the picture",
    ),
)
_waits = _each("waits", lambda name, found: (f"waits of the host a picture, `{name}`", f"{found['waits']}"))


def _memory(report: dict[str, Any]) -> list[tuple[str, str]]:
    return [
        (f"most memory of the GPU, `{name}`, MB", _sizes(found, "reserved_mb"))
        for name, found in _found(report, "memory").items()
        if all("reserved_mb" in values for values in found.values())
    ]


def _codec(report: dict[str, Any]) -> list[tuple[str, str]]:
    found = _found(report, "codec").values()
    if not found:
        return []
    least = {way: min(one[way] for one in found) for way in ("decode_db", "encode_db")}
    what = "least PSNR beside Pillow over the samples, dB"
    return [(what, f"JPEG decoded {least['decode_db']:.1f}, encoded at 95 {least['encode_db']:.1f}")]


if __name__ == "__main__":
    sys.exit(main())
