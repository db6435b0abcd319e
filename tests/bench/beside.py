"""crop-core beside other croppers, in turn in one process, and beside itself behind HTTP.

    python tests/bench/beside.py peers --megapixels 12 --runs 15
    python tests/bench/beside.py http

The extra `bench` brings the other croppers, the extra `serve` the server.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))  # where cog_server lies

from cog_server import Server, running
from other_croppers import installed

from crop_core import Cropper
from crop_core.bench.inside import SIDE, in_turn, square_request
from crop_core.bench.pictures import SAMPLE, photo_like
from crop_core.bench.run import machine, say, table
from crop_core.errors import CropError
from crop_core.run.process_settings import tune_process

OURS = "crop-core"


def beside(cropper: Cropper, data: bytes, runs: int) -> dict[str, Any]:
    """Return the times of crop-core and of every other cropper that is installed, in turn."""
    contenders: dict[str, Callable[[], object]] = {OURS: partial(cropper.crop, data, square_request())}
    contenders |= {name: partial(peer, data, SIDE) for name, peer in installed().items()}
    return {name: asdict(times) for name, times in in_turn(contenders, runs).items()}


@contextmanager
def busy_core() -> Iterator[None]:
    """Keep one core busy until the block ends, as a neighbour does."""
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as neighbour:
        try:
            yield
        finally:
            neighbour.kill()


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


def http(cropper: Cropper, photos: dict[float, bytes], detector: str, runs: int) -> dict[str, Any]:
    """Return the seconds until the server is ready, and what HTTP adds to a crop."""
    with served(detector) as (ready_s, predict):
        rows = {
            size: in_turn(
                {"http": partial(predict, data), "in process": partial(cropper.crop, data, square_request())}, runs
            )
            for size, data in photos.items()
        }
    return {
        "ready_s": round(ready_s, 2),
        "http_ms": {size: row["http"].p50 for size, row in rows.items()},
        "in_process_ms": {size: row["in process"].p50 for size, row in rows.items()},
        "overhead_ms": {size: round(row["http"].p50 - row["in process"].p50, 1) for size, row in rows.items()},
    }


def main() -> None:
    """Measure what is asked for, and print it."""
    parser = argparse.ArgumentParser(description="Measure crop-core beside other croppers, or behind HTTP.")
    parser.add_argument("part", choices=("peers", "busy", "http"), help="busy: peers with one core taken")
    parser.add_argument("--detector", default="fast")
    parser.add_argument("--megapixels", default="12", metavar="LIST")
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--picture", type=Path, default=SAMPLE)
    options = parser.parse_args()
    tune_process()
    photos = {float(size): photo_like(options.picture, float(size)) for size in options.megapixels.split(",")}
    cropper = Cropper(detector=options.detector)
    cropper.warm_up()
    say(", ".join(f"{key} {value}" for key, value in machine(cropper).items()))
    if options.part == "http":
        say(f"Cog server: {http(cropper, photos, options.detector, options.runs)}")
        return
    with busy_core() if options.part == "busy" else tempfile.TemporaryDirectory():
        rows = {size: beside(cropper, data, options.runs) for size, data in photos.items()}
    names = (OURS, *installed())
    table("ms, in turn", rows, names)
    for name in names[1:]:
        ratios = (f"{row[OURS]['p50'] / row[name]['p50']:.2f}" for row in rows.values())
        say(f"{OURS} / {name}: {', '.join(ratios)}")


if __name__ == "__main__":
    main()
