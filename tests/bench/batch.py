"""Measures `crop-core batch` beside the plain loop, and breaks it in mid-run.

    python tests/bench/batch.py speed  PICTURES... [--count 400]     # plain loop, 1 and 2 workers, 1 of 2 threads
    python tests/bench/batch.py memory PICTURES... [--count 200]     # one run, with the peak of all its processes
    python tests/bench/batch.py broken PICTURES... [--count 600]     # a killed worker, Ctrl-C, and the run after it
    python tests/bench/batch.py lost   PICTURES... [--count 240]     # a cluster of two machines that loses one

The pictures of the folders are repeated under new names until there are as many as asked for, in an
order that is mixed and always the same. `--of` takes the first pictures of the folders alone, so that
runs of several lengths have the same ones.
Every run is the command itself, as a process, from an empty folder; its time is the whole command's.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import random
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from crop_core.picture_files import PICTURE_ENDINGS

REQUEST = ["--device", "cpu", "--detector", "fast", "--aspect-ratio", "1:1", "--width", "512"]
CROP_CORE = [sys.executable, "-m", "crop_core.cli"]
RAY = str(Path(sys.executable).parent / "ray")
SAMPLE_S = 0.5


def main() -> None:
    """Run one of the measurements and print what came of it, a line of JSON each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("speed", "memory", "broken", "lost"))
    parser.add_argument("pictures", nargs="+", type=Path)
    parser.add_argument("--count", type=int, default=400)
    parser.add_argument("--of", type=int, help="take only so many different pictures")
    parser.add_argument("--only", default="plain,1x1,2x1,1x2", help="of speed: the plain loop, and WORKERSxCORES")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder, names = Path(scratch), repeated(options.pictures, options.of, options.count, Path(scratch) / "photos")
        if options.what == "speed":
            speed(folder, names, options.only.split(","))
        else:
            {"memory": memory, "broken": broken, "lost": lost}[options.what](folder, names)


def repeated(sources: list[Path], different: int | None, count: int, target: Path) -> dict[str, Path]:
    """Copy the pictures under new names until there are `count`; return new name -> picture."""
    pictures = [p for source in sources for p in sorted(source.rglob("*")) if p.suffix.lower() in PICTURE_ENDINGS]
    pictures = pictures[:different]
    random.Random(0).shuffle(pictures)
    names = {}
    for number, picture in enumerate(itertools.islice(itertools.cycle(pictures), count)):
        name = f"{number // 100:03d}/{number:05d}_{picture.name}"
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(picture, target / name)
        names[name] = picture
    return names


def speed(folder: Path, names: dict[str, Path], runs: list[str]) -> None:
    """Print the seconds of the plain loop and of the batch with several pools."""
    for run in runs:
        out = folder / run
        if run == "plain":
            plain = timed([*CROP_CORE, "crop", str(folder / "photos"), "--out", str(out), *REQUEST])
            show(
                run="plain loop, all cores", pictures=len(names), seconds=plain, pictures_per_second=len(names) / plain
            )
            continue
        workers, cores = run.split("x")
        arguments = ["--workers", workers, "--cores-per-worker", cores, "--log-json"]
        process = batch(folder / "photos", out, *arguments)
        start = time.perf_counter()
        summary = summary_of(process.communicate()[1])
        show(run=f"{workers} workers of {cores} cores", seconds=time.perf_counter() - start, **times(summary))


def memory(folder: Path, names: dict[str, Path]) -> None:
    """Print the peak memory of a run's processes together, how it grew, and what became of the pictures."""
    out = folder / "out"
    start = time.perf_counter()
    together, largest = [], []  # every half second: of all processes, and of the largest worker alone
    with open(folder / "log", "w") as log:
        process = batch(folder / "photos", out, "--log-json", stderr=log)
        while process.poll() is None:
            held = {child: proportional_mib(child) for child in [process.pid, *below(process.pid)]}
            together.append(sum(held.values()))
            largest.append(max((held.get(worker, 0.0) for worker in workers_below(process.pid)), default=0.0))
            time.sleep(SAMPLE_S)
    summary = summary_of((folder / "log").read_text())
    show(run="all cores", seconds=time.perf_counter() - start, peak_mib=max(together), **times(summary))
    show(run="peaks of each tenth of it", peaks_mib=tenths(together), largest_worker_mib=tenths(largest))
    check(out, names)


def tenths(samples: list[float]) -> list[int]:
    """Return the largest of each tenth of the samples."""
    ends = [len(samples) * tenth // 10 for tenth in range(11)]
    return [round(max(samples[first:last], default=0.0)) for first, last in itertools.pairwise(ends)]


def broken(folder: Path, names: dict[str, Path]) -> None:
    """Kill a worker, stop with Ctrl-C, run again; print what was lost, done twice or touched."""
    out = folder / "out"
    process = batch(folder / "photos", out, "--log-json")
    wait(process, out, len(names) // 5)
    os.kill(workers_below(process.pid)[0], signal.SIGKILL)
    wait(process, out, len(names) // 2)
    os.killpg(process.pid, signal.SIGINT)
    stopped = summary_of(process.communicate()[1])
    done = {row["folder"] for row in rows_of(out)}
    before = {path: path.stat().st_mtime_ns for name in done for path in (out / name).rglob("*")}
    show(run="worker killed, then Ctrl-C", status=process.returncode, rows=len(done), left=stopped["left"])
    process = batch(folder / "photos", out, "--log-json")
    wait(process, out, len(names) * 3 // 4)
    os.kill(workers_below(process.pid)[0], signal.SIGKILL)
    summary = summary_of(process.communicate()[1])
    touched = sum(path.stat().st_mtime_ns != when for path, when in before.items())
    show(run="the same again, worker killed", done=summary["done"], kept=summary["kept"], touched=touched)
    check(out, names)


def lost(folder: Path, names: dict[str, Path]) -> None:
    """Kill one of a cluster's two machines, here two nodes of one core; print what became of the pictures."""
    out = folder / "out"
    os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=secrets.token_hex(32))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with node("--head", f"--port={port}", "--include-dashboard=false", "--disable-usage-stats"):
        wait_for_cores(port, 1)
        with node(f"--address=127.0.0.1:{port}") as second:
            wait_for_cores(port, 2)
            process = batch(folder / "photos", out, "--log-json", "--address", f"127.0.0.1:{port}", "--workers", "2")
            wait(process, out, len(names) // 4)
            show(run="a machine is lost", its_workers=len(workers_below(second)), done=len(names) // 4)
        summary = summary_of(process.communicate()[1])
    show(run="and the other goes on", **times(summary))
    check(out, names)


def wait_for_cores(port: int, cores: int) -> None:
    status = [RAY, "status", f"--address=127.0.0.1:{port}"]
    while f"/{cores}.0 CPU" not in subprocess.run(status, capture_output=True, text=True, check=False).stdout:
        time.sleep(0.5)


@contextlib.contextmanager
def node(*arguments: str) -> Iterator[int]:
    """Yield a node of a Ray cluster as the number of its process; at the end it is killed with all that it started."""
    command = [RAY, "start", "--block", "--num-cpus=1", f"--object-store-memory={128 * 2**20}", *arguments]
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(command, stdout=quiet, stderr=quiet, start_new_session=True)
    try:
        yield process.pid
    finally:
        for number in [process.pid, *below(process.pid)]:
            with contextlib.suppress(OSError):
                os.kill(number, signal.SIGKILL)
        process.wait()


def check(out: Path, names: dict[str, Path]) -> None:
    """Print whether each picture has its row, and which kinds of picture failed."""
    rows = rows_of(out)
    counts = Counter(row["folder"] for row in rows)
    failed = sorted({names[row["folder"]].name for row in rows if row["error"]})
    cropped = {names[row["folder"]].name for row in rows if not row["error"]}
    whole = all(
        (out / row["folder"] / crop["file"]).is_file() for row in rows if not row["error"] for crop in row["crops"]
    )
    show(
        rows=len(rows),
        lost=len(names.keys() - counts.keys()),
        double=sum(number > 1 for number in counts.values()),
        failures=sum(bool(row["error"]) for row in rows),
        failed_always=sorted(set(failed) - cropped),
        failed_sometimes=sorted(set(failed) & cropped),
        errors=Counter(row["error"]["type"] for row in rows if row["error"]),
        files_there=whole,
    )


def batch(photos: Path, out: Path, *arguments: str, stderr: Any = subprocess.PIPE) -> subprocess.Popen[str]:
    command = [*CROP_CORE, "batch", str(photos), str(out), *REQUEST, *arguments]
    quiet = subprocess.DEVNULL
    return subprocess.Popen(command, text=True, start_new_session=True, stdout=quiet, stderr=stderr)


def timed(command: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - start


def summary_of(log: str) -> dict[str, Any]:
    (summary,) = [event for event in map(json.loads, log.splitlines()) if event["event"] == "summary"]
    return dict(summary)


def times(summary: dict[str, Any]) -> dict[str, Any]:
    return {name: summary[name] for name in ("done", "failed", "crops", "starting_seconds", "pictures_per_second")}


def rows_of(out: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(out / "results.parquet").to_pylist()
    return rows


def wait(process: subprocess.Popen[str], out: Path, number: int) -> None:
    while process.poll() is None and sum(1 for _ in out.rglob("detections.json")) < number:
        time.sleep(0.1)


def below(process: int) -> list[int]:
    """Return the processes that a process started, and those that they did."""
    found: list[int] = []
    todo = [process]
    while todo:
        with contextlib.suppress(OSError):
            number = todo.pop()
            for task in Path(f"/proc/{number}/task").iterdir():
                new = [int(child) for child in (task / "children").read_text().split()]
                found += new
                todo += new
    return found


def workers_below(process: int) -> list[int]:
    found = []
    for child in below(process):
        with contextlib.suppress(OSError):
            if b"MapWorker" in Path(f"/proc/{child}/cmdline").read_bytes():
                found.append(child)
    return found


def proportional_mib(process: int) -> float:
    """Return the process's memory, its part of what it shares with others."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) / 1024
    return 0.0


def show(**values: Any) -> None:
    rounded = {name: round(value, 2) if isinstance(value, float) else value for name, value in values.items()}
    print(json.dumps(rounded), flush=True)


if __name__ == "__main__":
    main()
