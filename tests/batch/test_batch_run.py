"""Whole runs of `crop-core batch`: real Ray, real processes, and what goes wrong with them."""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import fields
from functools import partial
from http.server import HTTPServer, SimpleHTTPRequestHandler
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pyarrow.parquet as pq
import pytest
from conftest import ROOT, SAMPLES, encoded
from objects import object_store
from PIL import Image

from crop_core import CropRequest
from crop_core.batch import run
from crop_core.batch.listed import Listed
from crop_core.batch.options import Options
from crop_core.batch.ray_cluster import pool
from crop_core.cli.main import _parser, main
from crop_core.errors import RequestError

pytestmark = pytest.mark.usefixtures("heeds_ctrl_c")

DEADLINE_S = 240
BATCH = [sys.executable, "-m", "crop_core.cli", "batch"]
FAST = ["--device", "cpu", "--detector", "fast"]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """41 small photos in several folders with names that meet, and three files that are no photos."""
    folder = tmp_path / "photos"
    small = encoded(Image.open(SAMPLES / "astronaut.jpg").reduce(2), "JPEG")
    names = [f"{year}/{month}/IMG_{number}.jpg" for year in (2024, 2025) for month in "ab" for number in range(10)]
    for name in (*names, "2024/a/IMG_0.JPEG"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(small)
    (folder / "empty.png").write_bytes(b"")
    (folder / "cut off.jpg").write_bytes(small[:1000])
    (folder / "text.jpg").write_text("no picture")
    return folder


BAD = {"empty.png", "cut off.jpg", "text.jpg"}


def started(*arguments: object, **options: Any) -> subprocess.Popen[str]:
    """Start the command in a process group of its own, as a shell does."""
    command = [*BATCH, *map(str, arguments), *FAST]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=ROOT, text=True, start_new_session=True, stdout=pipe, stderr=pipe, **options)


def ended(process: subprocess.Popen[str], status: int) -> tuple[str, str]:
    out, err = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == status, out + err
    return out, err


def rows_in(out: Path) -> dict[str, dict[str, Any]]:
    """Return the table's rows by their folder, each there once, and each folder as its row says."""
    rows: list[dict[str, Any]] = pq.read_table(out / "results.parquet").to_pylist(maps_as_pydicts="strict")
    by_folder = {row["folder"]: row for row in rows}
    assert len(by_folder) == len(rows)
    for folder, row in by_folder.items():
        if row["error"] is None:
            record = json.loads((out / folder / "detections.json").read_text())
            # A key that the request did not bring about is null in the table.
            crops = [
                {key: value for key, value in crop.items() if key in told or value is not None}
                for crop, told in zip(row["crops"], record["crops"], strict=True)
            ]
            assert {**{name: row[name] for name in record}, "crops": crops} == record
            assert all((out / folder / crop["file"]).is_file() for crop in row["crops"])
    return by_folder


def times_of(out: Path, folders: set[str]) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for folder in folders for path in (out / folder).rglob("*")}


def wait_for(condition: Any, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def below(process: int) -> list[int]:
    """Return the processes that a process started, and those that they did."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            children.setdefault(parent, []).append(int(entry.name))
    found: list[int] = []
    todo = [process]
    while todo:
        new = children.get(todo.pop(), [])
        found += new
        todo += new
    return found


def workers_below(process: int) -> list[int]:
    """Return the processes with the model loaded; Ray gives them the name of what they do."""
    names = {child: _typed(child) for child in below(process)}
    return [child for child, name in names.items() if name.startswith("ray::") and "MapWorker" in name]


def crops_in(out: Path) -> int:
    return len(list(out.rglob("detections.json")))


# ---- the way it goes


def test_a_worker_that_is_killed_loses_nothing_and_the_next_run_touches_nothing(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    process = started(photos, out, "--aspect-ratio", "1:1,16:9", "--workers", 2)
    wait_for(lambda: crops_in(out) >= 3, process)
    os.kill(workers_below(process.pid)[0], signal.SIGKILL)
    said, err = ended(process, 1)
    rows = rows_in(out)
    assert len(rows) == 44
    assert {folder for folder, row in rows.items() if row["error"]} == BAD
    assert rows["2024/a/IMG_0.jpg"]["source"] == str(photos / "2024/a/IMG_0.jpg")
    names = sorted(path.name for path in (out / "2024/a/IMG_0.JPEG").iterdir())
    assert [name.rpartition("_")[2] for name in names] == ["1x1.webp", "16x9.webp", "detections.json"]
    # Of Ray nothing is heard, also not of the worker's death.
    assert [line for line in err.splitlines() if " a second, " not in line] == [
        "crop-core: 44 pictures to crop, 0 done or refused already; starting Ray."
    ]
    failures = r"(  1 x ImageError: .*\n){3}" rf"The table of results is {out}/results\.parquet\.\n"
    assert re.fullmatch(
        r"44 pictures: 44 done now, 0 before, 3 failed\.\n82 crops in .* pictures a second\.\n" + failures, said
    )
    assert not (out / ".crop-core").exists()

    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    said, err = ended(started(photos, out, "--aspect-ratio", "1:1,16:9"), 1)
    assert re.fullmatch(r"44 pictures: 0 done now, 44 before, 3 failed\.\n" + failures, said)
    assert err == ""
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before


def test_after_ctrl_c_and_sigterm_the_same_command_does_the_rest_and_touches_nothing_that_was_done(
    photos: Path, tmp_path: Path
) -> None:
    for number in range(40):  # a run is not to end before it is stopped
        shutil.copy(photos / "2024/a/IMG_0.jpg", photos / f"2025/b/MORE_{number}.jpg")
    out = tmp_path / "out"
    done: set[str] = set()
    before: dict[Path, int] = {}
    for number in (signal.SIGINT, signal.SIGTERM):
        process = started(photos, out, "--workers", 1, "--log-json")
        enough = len(done) + 17  # two blocks at least, so that one has come back by now
        wait_for(lambda enough=enough: crops_in(out) >= enough, process)
        if number == signal.SIGINT:
            os.killpg(process.pid, number)  # as a terminal does: to all processes of the group
        else:
            process.send_signal(number)
        said, err = ended(process, 130)
        assert said == ""
        events = [json.loads(line) for line in err.splitlines()]
        stages = [event["event"] for event in events if event["event"] not in ("failed", "progress")]
        assert stages == ["plan", "note", "start", "summary"]
        assert events[0]["to_do"] == 84 - len(done)
        assert events[-1]["stopped"]
        rows = rows_in(out)
        assert done < set(rows)
        assert len(rows) < 84
        assert events[-1]["done"] == len(rows) - len(done)
        assert events[-1]["left"] == 84 - len(rows)
        assert (out / ".crop-core" / "begun").is_file()  # crops may lie there of which no row tells
        assert times_of(out, done) == before
        done = set(rows)
        before = times_of(out, done)

    said, _ = ended(started(photos, out, "--workers", 1), 1)
    assert said.startswith(f"84 pictures: {84 - len(done)} done now, {len(done)} before, 3 failed.\n")
    assert len(rows_in(out)) == 84
    assert not (out / ".crop-core").exists()
    assert times_of(out, done) == before


HOST = """
from types import SimpleNamespace
from crop_core.batch.ray_cluster import started_ray

with started_ray(SimpleNamespace(address=None)) as ray:
    print(ray.get_runtime_context().gcs_address, flush=True)
    input()
"""
# What `ray.init` asks before it joins; that itself would go on asking for twenty seconds.
STRANGER = """
import sys
from ray._raylet import GcsClient

print(GcsClient(address=sys.argv[1]).get_all_node_info(timeout=10))
"""


def test_a_run_of_its_own_lets_nobody_else_into_its_ray() -> None:
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", HOST], cwd=ROOT, text=True, stdin=pipe, stdout=pipe) as host:
        assert host.stdout
        address = host.stdout.readline().strip()
        assert re.fullmatch(r"[\d.]+:\d+", address)
        environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        stranger = [sys.executable, "-c", STRANGER, address]
        asked = subprocess.run(
            stranger, env=environment, text=True, capture_output=True, check=False, timeout=DEADLINE_S
        )
        host.communicate("\n", timeout=DEADLINE_S)
    assert host.returncode == 0
    assert asked.returncode != 0
    assert asked.stdout == ""
    assert "token" in asked.stderr


def _typed(process: int) -> str:
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


@contextmanager
def _cluster() -> Iterator[str]:
    """Yield the address of a Ray cluster of one machine that runs by itself and lets in who has its token."""
    ray = shutil.which("ray", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    assert ray
    port = 20_000 + os.getpid() % 10_000
    head = [ray, "start", "--head", "--block", f"--port={port}", "--num-cpus=2", "--include-dashboard=false"]
    head += ["--disable-usage-stats", f"--object-store-memory={128 * 2**20}"]
    quiet = subprocess.DEVNULL
    with patch.dict(os.environ, {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}):
        process = subprocess.Popen(head, cwd=ROOT, stdout=quiet, stderr=quiet, start_new_session=True)
        try:
            deadline = time.monotonic() + DEADLINE_S
            while not _answers(port):
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.2)
            yield f"127.0.0.1:{port}"
        finally:
            for child in below(process.pid):
                with suppress(ProcessLookupError):  # another's end may have ended it
                    os.kill(child, signal.SIGKILL)
            process.kill()
            process.wait()


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except OSError:
        return False
    return True


class _Web(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing."""


def test_a_cluster_crops_a_manifest_from_a_bucket_and_the_web_into_a_bucket(tmp_path: Path) -> None:
    web = HTTPServer(("127.0.0.1", 0), partial(_Web, directory=str(SAMPLES)))
    threading.Thread(target=web.serve_forever, daemon=True).start()
    page = f"http://127.0.0.1:{web.server_port}/rocket.jpg"
    with object_store() as store, _cluster() as address:
        store.fs.put_file(str(SAMPLES / "cat.jpg"), "photos/deep/cat.jpg")
        store.fs.put_file(str(SAMPLES / "coffee.jpg"), "photos/deep/coffee.jpg")
        lines = [
            {"image": "deep/cat.jpg", "aspect_ratio": "1:1"},
            {"image": "s3://photos/deep/coffee.jpg", "aspect_ratio": ["4:5", "1:1"], "width": 1000},
            {"image": page, "id": 7},
            {"image": "deep/gone.jpg"},
            {"image": "deep/cat.jpg", "width": "wide"},
        ]
        store.fs.pipe_file("photos/list.jsonl", "\n".join(map(json.dumps, lines)).encode() + b"\n{oops\n")
        said, err = ended(started("s3://photos/list.jsonl", "s3://crops/out", "--address", address), 1)
        assert "column id is not an input" in err
        assert said.startswith("6 pictures: 6 done now, 0 before, 3 failed.\n")
        assert "2 of 4 crops are smaller than asked" in said  # those of the row that asks for a width
        with store.fs.open("crops/out/results.parquet") as file:
            rows = pq.read_table(file).to_pylist()
        failed = {row["source"]: row["error"]["message"] for row in rows if row["error"]}
        assert failed == {
            "deep/gone.jpg": "The file is not there. Check its address.",
            "deep/cat.jpg": "width is a whole number from 1 to 8192, got 'wide'.",
            "s3://photos/list.jsonl, row 6": "The row is not a JSON object. Write one object per line.",
        }
        done = {row["folder"]: [crop["file"] for crop in row["crops"]] for row in rows if not row["error"]}
        host = page.split("/")[2]
        assert {folder: len(files) for folder, files in done.items()} == {
            "deep/cat.jpg": 1,
            "photos/deep/coffee.jpg": 2,
            f"{host}/rocket.jpg": 1,
        }
        written = {
            f"crops/out/{folder}/{file}" for folder, files in done.items() for file in (*files, "detections.json")
        }
        assert set(store.keys("crops")) == written | {"crops/out/results.parquet"}

        before = {name: info["LastModified"] for name, info in store.fs.find("crops", detail=True).items()}
        time.sleep(1.0)  # the store tells times in seconds
        said, _ = ended(started("s3://photos/list.jsonl", "s3://crops/out", "--address", address), 1)
        assert said.startswith("6 pictures: 1 done now, 5 before, 3 failed.\n")  # what is not there may be there now
        store.fs.invalidate_cache()
        after = {name: info["LastModified"] for name, info in store.fs.find("crops", detail=True).items()}
        assert {name for name in before | after if before.get(name) != after.get(name)} == {"crops/out/results.parquet"}
    web.shutdown()
    web.server_close()


POISONED = """
import os, sys
from crop_core.batch import ray_cluster
from crop_core.cli.main import main

class Dying(ray_cluster.Worker):
    def __init__(self, settings):
        self.settings = settings

    def __call__(self, block):
        if any("IMG_3.jpg" in work for work in block.column("work").to_pylist()):
            os._exit(1)
        super().__init__(self.settings)  # not before: who dies needs no networks, and to load them takes seconds
        return super().__call__(block)

if __name__ == "__main__":
    ray_cluster.Worker = Dying
    sys.exit(main(sys.argv[1:]))
"""


def test_a_picture_that_kills_its_worker_is_one_failure_and_costs_no_other(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "poisoned.py").write_text(POISONED)
    out = tmp_path / "out"
    few = tmp_path / "few"
    few.mkdir()
    for number in (2, 3, 4):
        shutil.copy(photos / f"2024/a/IMG_{number}.jpg", few)
    command = [sys.executable, str(tmp_path / "poisoned.py"), "batch", str(few), str(out), *FAST, "--workers", "1"]
    ran = subprocess.run(command, cwd=ROOT, text=True, capture_output=True, check=False, timeout=DEADLINE_S)
    assert ran.returncode == 1, ran.stderr
    rows = rows_in(out)
    assert len(rows) == 3
    assert {folder: row["error"]["type"] for folder, row in rows.items() if row["error"]} == {
        "IMG_3.jpg": "WorkerError"
    }


# ---- what can be asked for


def test_batch_takes_every_input_of_crop_with_the_same_defaults() -> None:
    crop, batch = (vars(_parser().parse_args([command, "in", "out"])) for command in ("crop", "batch"))
    inputs = {"aspect_ratio" if entry.name == "aspect_ratios" else entry.name for entry in fields(CropRequest)}
    assert inputs <= batch.keys()
    same = crop.keys() - {"command", "sources", "out", "json_target", "explain", "skip_done", "run"}
    assert same > inputs
    assert {name: batch[name] for name in same} == {name: crop[name] for name in same}


# ---- what is refused before Ray starts


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert main(["batch", *map(str, arguments)]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("crop-core: ")
    assert said.err.count("\n") == 1
    return said.err


def test_without_the_extra_one_sentence_says_how_to_install_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("crop_core.cli.batch.find_spec", lambda name: None)
    assert "pip install 'crop-core[batch]'" in refused(capsys, "in", "out")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["gone"], "There is no gone. Check the path."),
        (["--width", "0", "."], "width is a whole number from 1 to 8192, got 0."),
        (["--workers", "0", "."], "--workers is at least 1, got 0."),
        (["nope://bucket/photos"], "Addresses with nope:// are not read"),
    ],
    ids=["a source that is not there", "a request", "workers", "an address"],
)
def test_wrong_use_is_one_sentence(
    arguments: list[str], words: str, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert words in refused(capfd, *arguments, tmp_path / "out")


def test_a_limit_that_makes_no_sense_is_no_pictures_error(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CROP_CORE_MAX_BYTES", "many")
    assert "CROP_CORE_MAX_BYTES is a whole number" in refused(capfd, SAMPLES, tmp_path / "out")


def test_wrong_use_leaves_nothing_in_out(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    refused(capfd, "gone", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_program_reads_wrong_use_in_json_too(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["batch", "gone", str(tmp_path / "out"), "--log-json"]) == 2
    event = json.loads(capfd.readouterr().err)
    assert event["event"] == "error"
    assert event["error"] == {"type": "RequestError", "message": "There is no gone. Check the path."}


def test_ctrl_c_while_the_pictures_are_listed_says_that_nothing_was_done(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def listing(*_: object) -> Iterator[Any]:
        yield Listed("a", "/a.jpg", "a.jpg")
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "list_sources", listing)
    assert main(["batch", str(SAMPLES), str(tmp_path / "out")]) == 130
    assert capfd.readouterr().out == "Stopped before all pictures were listed. Nothing was done.\n"
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_that_comes_while_an_object_is_taken_away_stops_the_run_at_its_next_step(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class Dropped:
        def __del__(self) -> None:
            signal.raise_signal(signal.SIGINT)  # what its handler raises goes no further

    def listing(*_: object) -> Iterator[Listed]:
        with patch("sys.unraisablehook") as dropped:
            Dropped()
        assert dropped.called
        yield Listed("a", "/a.jpg", "a.jpg")
        pytest.fail("the run went on")

    monkeypatch.setattr(run, "list_sources", listing)
    assert main(["batch", str(SAMPLES), str(tmp_path / "out")]) == 130


def test_a_column_that_counts_before_an_option_is_said(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text(
        "image,width,height,wight\na.jpg,0,9,5\nb.jpg,0,9,5\n"
    )  # no worker starts for these
    assert main(["batch", str(tmp_path / "list.csv"), str(tmp_path / "out"), "--width", "300"]) == 1
    said = capfd.readouterr().err
    assert said.count("the manifest's column width overrides --width, which counts only for empty cells.") == 1
    assert said.count("the manifest's column wight is not an input of crop-core and is ignored.") == 1
    assert "column height" not in said


def test_a_folder_without_pictures_is_said(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    assert f"There are no pictures in {tmp_path}/in" in refused(capfd, tmp_path / "in", tmp_path / "out")


# ---- how many workers


def options(**values: Any) -> Options:
    default: dict[str, Any] = {"sources": (), "out": "", "inputs": {}, "endings": (), "column": "", "device": "auto"}
    default |= {
        "dry_run": False,
        "address": None,
        "workers": None,
        "cores": 1,
        "retry_failed": False,
        "log_json": False,
    }
    return Options(**(default | values))


@pytest.mark.parametrize(
    ("resources", "asked", "expected"),
    [
        ({"CPU": 2, "memory": 16e9}, {}, (2, 0)),
        ({"CPU": 64, "memory": 16 * 2**30}, {}, (16, 0)),
        ({"CPU": 8, "memory": 64e9}, {"cores": 2}, (4, 0)),
        ({"CPU": 16, "GPU": 1, "memory": 64e9}, {}, (4, 0.25)),
        ({"CPU": 16, "GPU": 4, "memory": 64e9}, {"workers": 6}, (6, 0.5)),
        ({"CPU": 16, "GPU": 1, "memory": 64e9}, {"device": "cpu"}, (16, 0)),
    ],
    ids=["a laptop", "more cores than memory", "two cores each", "a GPU", "several GPUs", "a GPU that is not wanted"],
)
def test_workers_take_whole_cores_and_share_gpus(
    resources: dict[str, float], asked: dict[str, Any], expected: tuple[int, float]
) -> None:
    assert pool(resources, options(**asked)) == expected


@pytest.mark.parametrize("asked", [{"workers": 3}, {"cores": 3}, {"device": "cuda"}])
def test_more_than_there_is_is_refused(asked: dict[str, Any]) -> None:
    with pytest.raises(RequestError):
        pool({"CPU": 2}, options(**asked))
