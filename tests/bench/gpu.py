"""The check of everything that only a GPU runs: one command, from the repository's root, on a machine with one.

    PYTHONPATH=. python tests/bench/gpu.py --out FOLDER

It needs PyTorch with torchvision, Pillow, numpy, safetensors, tqdm, pytest and hypothesis, and no network. Each part
runs in a process of its own with a limit of time; one that fails says so, and the next one runs. What is done so far
is in FOLDER/gpu.json and, as the table that README shows, in FOLDER/gpu.md.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from gpu_parts import PARTS


def main(arguments: list[str] | None = None) -> int:
    """Run the parts and return 0, or 1 when one failed."""
    parser = argparse.ArgumentParser(description="Check and measure what only a GPU runs.")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="takes gpu.json and gpu.md")
    parser.add_argument("--device", default="cuda", help="cuda, or cpu to try the check itself")
    parser.add_argument("--quick", action="store_true", help="few pictures and runs")
    parser.add_argument("--only", default="", metavar="LIST", help=f"some of {','.join(PARTS)}")
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.part:
        work, _ = PARTS[options.part]
        options.out.write_text(json.dumps(work(options.device, options.quick)))
        return 0
    options.out.mkdir(parents=True, exist_ok=True)
    report: dict[str, Any] = {}
    for name in options.only.split(",") if options.only else PARTS:
        start = time.perf_counter()
        report[name] = _in_its_process(name, options)
        report[name]["seconds"] = round(time.perf_counter() - start, 1)
        print(f"== {name}: {json.dumps(report[name])[:1500]}", flush=True)
        (options.out / "gpu.json").write_text(json.dumps(report, indent=1) + "\n")
        (options.out / "gpu.md").write_text(table(report))
    print(table(report), flush=True)
    return 1 if any("failed" in part for part in report.values()) else 0


def _in_its_process(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """Return what a part found, or why it failed."""
    target = options.out / f"{name}.part"
    command = [sys.executable, __file__, "--part", name, "--out", str(target), "--device", options.device]
    command += ["--quick"] if options.quick else []
    limit = PARTS[name][1]
    try:
        run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=limit)
    except subprocess.TimeoutExpired:
        return {"failed": f"not done within {limit} s"}
    if run.returncode:
        return {"failed": run.stderr[-3000:]}
    found: dict[str, Any] = json.loads(target.read_text())
    target.unlink()
    return found


def table(report: dict[str, Any]) -> str:
    """Return the report's main figures as README shows them; what failed or was not run has no line."""
    rows = []
    for name, sizes in _good(report, "speed").items():
        cells = ", ".join(f"{size} MP {found['ms']:.1f}" for size, found in sizes.items())
        rows.append((f"one photo, `{name}`, ms", cells))
    for what, found in _good(report, "rate").items():
        rows.append((f"3 MP photos a second, `{what.replace(' ', '`, ')}", str(found["photos_a_second"])))
    for name, found in _good(report, "agreement").items():
        text = f"{found['within_2_px']:.1%} within 2 px, {found['within_1_percent']:.1%} within 1 % of the picture"
        rows.append((f"windows as on the CPU, `{name}`", text))
    for name, found in _good(report, "waits").items():
        rows.append((f"waits of the host a picture, `{name}`", str(found["waits"])))
    peaks = {what: mb for what, mb in _good(report, "memory").items() if what != "host_peak_mb"}
    if peaks:
        rows.append(("most memory of the GPU, MB", ", ".join(f"{what} {mb:.0f}" for what, mb in peaks.items())))
    return "\n".join(["| on a GPU | |", "|---|---|", *(f"| {what} | {found} |" for what, found in rows)]) + "\n"


def _good(report: dict[str, Any], part: str) -> dict[str, Any]:
    """Return what a part found, without its own time; nothing where it failed."""
    found = report.get(part, {})
    return {} if "failed" in found else {name: value for name, value in found.items() if name != "seconds"}


if __name__ == "__main__":
    sys.exit(main())
