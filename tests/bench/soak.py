"""The served model under thousands of predictions, good and bad: memory, handles and files at checkpoints.

    python tests/bench/soak.py --predictions 2000 --json soak.json

The predictions come in rounds of one order, so that every checkpoint stands at the same place of
a round. What a picture is answered is a crop, a clear error, or neither; there must be none of the
last. Linux only: what a process holds is read from /proc.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import re
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import Any

from cog_server import Server, running
from PIL import Image

from crop_core.bench.pictures import SAMPLE, photo_like

SAMPLES = Path(__file__).parents[2] / "samples"
# Where Cog makes a folder for every prediction, and leaves it (replicate/cog, crates/coglet/src/service.rs).
COG_FOLDERS = Path("/tmp/coglet/predictions")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What the server holds after so many predictions.

    Attributes:
        predictions: How many it has answered.
        worker_mb: Resident memory of the process that crops.
        front_mb: The same of the process that speaks HTTP.
        handles: Open files, pipes and sockets of both.
        files: Temporary files.
        cog_folders: Folders that Cog has made for the predictions so far.
    """

    predictions: int
    worker_mb: float
    front_mb: float
    handles: int
    files: int
    cog_folders: int


def round_of_inputs(address: str) -> list[dict[str, object]]:
    """Return the inputs of one round: 50 predictions, 20 of them bad.

    Args:
        address: Where `_Pictures` listens.
    """
    sample = {path.stem: path.read_bytes() for path in sorted(SAMPLES.glob("*.jpg"))}
    large, huge = photo_like(SAMPLE, 3), photo_like(SAMPLE, 12)
    good: list[dict[str, object]] = [
        {"image": _uri(data), "aspect_ratio": ratio, "width": 320, "output_format": ending}
        for data, ratio, ending in zip(
            [*sample.values(), *sample.values()][:8],
            ("1:1", "4:5", "16:9", "9:16", "match_input", "free", "1:1,16:9,4:5", "2:3"),
            ("webp", "jpg", "png", "jpg", "webp", "png", "jpg", "match_input"),
            strict=True,
        )
    ]
    good += [
        {"image": _uri(_as(sample["astronaut"], kind)), "width": 200, "output_format": "match_input"}
        for kind in ("PNG", "GIF", "BMP", "TIFF", "WEBP", "AVIF")
    ]
    good += [
        {"image": _uri(large), "width": 1080, "height": 1080, "output_format": "jpg"},
        {"image": _uri(huge), "width": 1080, "height": 1080, "output_format": "jpg"},
        {"image": _uri(large), "preview": True, "output_format": "jpg"},
        {"image": _uri(large), "width": 64, "output_format": "png", "preview": True},
        {"image": _uri(sample["pair"]), "mode": "faces", "width": 48, "height": 48},
        {"image": _uri(sample["astronaut"]), "mode": "objects", "max_crops": 3},
        {"image": _uri(sample["rocket"]), "if_none": "saliency", "aspect_ratio": "1:1", "width": 100},
        {"image": _uri(sample["rocket"]), "mode": "objects", "if_none": "empty"},
        {"image": _uri(sample["cat"]), "detector": "balanced", "width": 100},
        {"image": _uri(sample["cat"]), "upscale": "pad", "width": 900, "height": 900, "output_format": "jpg"},
        {"image": _uri(_as(sample["cat"], "PNG", "L")), "width": 90},
        {"image": _uri(_as(sample["cat"], "PNG", "RGBA")), "width": 90, "output_format": "png"},
        {"image": f"{address}/cat.jpg", "width": 90},
        {"image": f"{address}/moved", "width": 90},
        {"image": _uri(sample["astronaut"]), "aspect_ratio": "100:1", "output_format": "jpg"},
        {"image": _uri(sample["astronaut"]), "zoom": 1, "padding": 0, "output_format": "jpg"},
    ]
    cat = sample["cat"]
    bad: list[dict[str, object]] = [
        {},
        {"image": None},
        {"image": "/etc/hostname"},
        {"image": _uri(b"")},
        {"image": _uri(b"Once upon a time there was no picture.")},
        {"image": _uri(cat[: len(cat) // 2])},
        {"image": _uri(large[: len(large) // 2])},
        {"image": _uri(_as(cat, "PNG")[:-5000])},
        {"image": _uri(cat), "padding": 9},
        {"image": _uri(cat), "aspect_ratio": "banana"},
        {"image": _uri(cat), "labels": "unicorn"},
        {"image": _uri(cat), "width": "abc"},
        {"image": _uri(cat), "width": -1},
        {"image": _uri(cat), "mode": "zzz"},
        {"image": _uri(sample["rocket"]), "mode": "faces", "if_none": "error"},
        {"image": f"{address}/missing"},
        {"image": f"{address}/empty"},
        {"image": f"{address}/round"},
        {"image": f"{address}/broken"},
        {"image": _uri(cat), "detector": "accurate"},
    ]
    assert len(good) == 30
    assert len(bad) == 20
    return [inputs for k in range(10) for inputs in (*good[3 * k : 3 * k + 3], *bad[2 * k : 2 * k + 2])]


def soak(
    server: Server, inputs: Sequence[dict[str, object]], predictions: int, every: int
) -> Generator[Checkpoint, None, Counter[str]]:
    """Ask for that many predictions, in rounds; yield a `Checkpoint` whenever so many more are done.

    Returns:
        How many answers were of each kind: ``crop``, ``clear error``, or what else came.
    """
    kinds: Counter[str] = Counter()
    before = _cog_folders()
    for number in range(1, predictions + 1):
        kinds[kind(server.predict(**inputs[(number - 1) % len(inputs)]))] += 1
        if number % every == 0 or number == predictions:
            yield checkpoint(server, number, before)
    return kinds


def kind(answer: dict[str, Any]) -> str:
    """Return what an answer is: ``crop``, ``clear error``, or itself as text."""
    if answer["status"] == "succeeded" and any("application/json" in uri for uri in answer["output"]):
        return "crop"
    # The core's own sentence, or what Cog says of an address that it cannot fetch.
    clear = r"Prediction failed: .*(Image|Request|Weights)Error: [^\n]{10,500}\.|Input validation error: [^\n]{10,500}"
    if answer["status"] == "failed" and re.fullmatch(clear, answer["error"]):
        return "clear error"
    return json.dumps(answer)[:500]


def checkpoint(server: Server, predictions: int, folders_before: int = 0) -> Checkpoint:
    """Return what the server holds now."""
    (worker,) = server.workers()
    handles = sum(len(os.listdir(f"/proc/{process}/fd")) for process in (worker, server.process.pid))
    files = sum(path.is_file() for path in server.temporary.rglob("*"))
    made = _cog_folders() - folders_before
    return Checkpoint(predictions, _resident_mb(worker), _resident_mb(server.process.pid), handles, files, made)


def _resident_mb(process: int) -> float:
    status = Path(f"/proc/{process}/status").read_text()
    (found,) = re.findall(r"VmRSS:\s+(\d+) kB", status)
    return round(int(found) / 1024, 1)


def _cog_folders() -> int:
    return len(os.listdir(COG_FOLDERS)) if COG_FOLDERS.is_dir() else 0


def _uri(data: bytes) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(data).decode()


def _as(data: bytes, format: str, mode: str = "RGB") -> bytes:
    buffer = BytesIO()
    with Image.open(BytesIO(data)) as image:
        image.convert(mode).save(buffer, format)
    return buffer.getvalue()


class _Pictures(BaseHTTPRequestHandler):
    """Serves the samples, and what can be wrong with an address."""

    def do_GET(self) -> None:
        path = SAMPLES / Path(self.path).name
        data = path.read_bytes() if path.is_file() else b""
        moved = {"/moved": "/cat.jpg", "/round": "/round"}.get(self.path)
        if moved:
            self.send_response(302)
            self.send_header("Location", moved)
        else:
            self.send_response(200 if data or self.path in ("/empty", "/broken") else 404)
        self.send_header("Content-Length", "1000" if self.path == "/broken" else str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing: the figures are for reading."""


@contextmanager
def pictures() -> Iterator[str]:
    """Serve pictures until the block ends, and yield the address."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Pictures) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the soak and print its figures; the exit status is 1 where an answer was neither crop nor clear error."""
    parser = argparse.ArgumentParser(description="Thousands of predictions, good and bad, to the Cog server.")
    parser.add_argument("--predictions", type=int, default=2000, metavar="N", help="how many (2000)")
    parser.add_argument("--every", type=int, default=200, metavar="N", help="how many between checkpoints (200)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures there")
    options = parser.parse_args(arguments)
    rows = []
    with tempfile.TemporaryDirectory() as folder, pictures() as address:
        temporary = Path(folder, "tmp")
        temporary.mkdir()
        with running(Path(folder, "log"), temporary) as server:
            print("predictions  worker MB  front MB  handles  files  Cog's folders")
            going = soak(server, round_of_inputs(address), options.predictions, options.every)
            while True:
                try:
                    row = next(going)
                except StopIteration as end:
                    kinds = end.value
                    break
                rows.append(row)
                print("{:>11}  {:>9}  {:>8}  {:>7}  {:>5}  {:>13}".format(*asdict(row).values()), flush=True)
    for what, count in kinds.most_common():
        print(f"{count} x {what}")
    total = [row.worker_mb + row.front_mb for row in rows]
    print(f"growth from {rows[0].predictions} to {rows[-1].predictions}: {(total[-1] / total[0] - 1) * 100:+.1f} %")
    if options.json:
        options.json.write_text(json.dumps({"checkpoints": [asdict(row) for row in rows], "answers": kinds}, indent=1))
    return 0 if set(kinds) <= {"crop", "clear error"} else 1


if __name__ == "__main__":
    sys.exit(main())
