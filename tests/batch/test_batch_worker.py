"""One worker, without Ray around it: a block of pictures becomes files and rows."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from conftest import ROOT, SAMPLES
from objects import object_store

from crop_core import cropper
from crop_core.batch.ledger import Ledger, Row
from crop_core.batch.sources import Listed
from crop_core.batch.table import TABLE, Table, rows_of, table_of
from crop_core.batch.table_schema import NUMBER, SCHEMA
from crop_core.batch.worker import LOST, WORK, Settings, Worker
from crop_core.errors import RequestError
from crop_core.run.memory_fallback import attempts

Crop = Callable[..., list[dict[str, Any]]]


@pytest.fixture(scope="module")
def crop_into() -> Callable[..., Crop]:
    """Return what makes a function that sends a block of works to the worker; the networks are loaded once."""
    workers: list[Worker] = []
    threads = torch.get_num_threads()

    def into(
        out: str, dry_run: bool = False, sweep: bool = False, sidecars: tuple[str, ...] = (), **environment: str
    ) -> Crop:
        aside = f"{out}/.crop-core/aside"
        settings = Settings(out, aside, "cpu", "fast", threads, dry_run, sweep, environment, sidecars)
        worker = Worker(settings)
        if workers:
            worker._cropper = workers[0]._cropper
        workers.append(worker)

        def crop(*works: dict[str, Any]) -> list[dict[str, Any]]:
            full = [{"size": None, "key": "k", "request": "{}", **work} for work in works]
            block = pa.table({NUMBER: range(len(full)), WORK: [json.dumps(work) for work in full]})
            rows: list[dict[str, Any]] = worker(block).to_pylist(maps_as_pydicts="strict")
            assert [row.pop(NUMBER) for row in rows] == list(range(len(works)))
            return rows

        return crop

    return into


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture
def crop(out: Path, crop_into: Callable[..., Crop]) -> Crop:
    return crop_into(str(out), False)


def work(name: str, **more: Any) -> dict[str, Any]:
    return {"source": name, "address": str(SAMPLES / name), "folder": name, **more}


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# ---- a worker


def test_a_row_holds_the_object_of_the_record_beside_the_crops(crop: Crop, out: Path) -> None:
    (row,) = crop(work("cat.jpg", request='{"aspect_ratio": "1:1,16:9"}'))
    record = json.loads((out / "cat.jpg" / "detections.json").read_text())
    assert {name: row[name] for name in record if name != "crops"} | {"crops": record["crops"]} == record
    for one, told in zip(row["crops"], record["crops"], strict=True):
        assert {key: value for key, value in one.items() if key in told or value is not None} == told
    assert row["note"] is None
    assert [crop["file"] for crop in row["crops"]] == ["00_cat_1x1.webp", "01_cat_16x9.webp"]
    assert row["crop_core"]
    assert set(row) == set(SCHEMA.names)


def test_a_caption_is_written_beside_each_crop_and_is_known_to_a_later_run(
    tmp_path: Path, crop_into: Callable[..., Crop]
) -> None:
    photo = tmp_path / "cat.jpg"
    photo.write_bytes((SAMPLES / "cat.jpg").read_bytes())
    photo.with_suffix(".txt").write_text("a cat")
    crop = crop_into(str(tmp_path / "out"), sidecars=("txt", "caption"))
    (row,) = crop({**work("cat.jpg"), "address": str(photo)})
    assert files(tmp_path / "out" / "cat.jpg") == ["00_cat_1x1.txt", "00_cat_1x1.webp", "detections.json"]
    assert row["sidecars"] == ["txt"]
    row |= {"timings_ms": [], "crops": [{**one, "coverage": []} for one in row["crops"]]}
    (known,) = rows_of(table_of([row]).to_batches()[0])
    assert set(known.files) == {"00_cat_1x1.txt", "00_cat_1x1.webp", "detections.json"}
    swept = crop_into(str(tmp_path / "out"), sweep=True, sidecars=("txt",))
    photo.with_suffix(".txt").unlink()
    swept({**work("cat.jpg"), "address": str(photo)})
    assert files(tmp_path / "out" / "cat.jpg") == ["00_cat_1x1.webp", "detections.json"]


def test_more_pictures_than_are_read_ahead_keep_their_order(crop: Crop, out: Path) -> None:
    names = [f"{number}/{name}" for number in range(4) for name in ("cat.jpg", "rocket.jpg", "coffee.jpg")]
    rows = crop(*(work(name.split("/")[1], folder=name) for name in names))
    assert [row["folder"] for row in rows] == names
    assert all((out / name / "detections.json").is_file() for name in names)


def test_failures_are_rows_and_the_pictures_beside_them_are_cropped(crop: Crop, out: Path, tmp_path: Path) -> None:
    (tmp_path / "cut.jpg").write_bytes((SAMPLES / "cat.jpg").read_bytes()[:5000])
    (tmp_path / "no.jpg").write_text("no picture")
    (out / "taken.jpg").mkdir(parents=True)
    (out / "taken.jpg" / "detections.json").mkdir()
    rows = crop(
        work("cut.jpg", address=str(tmp_path / "cut.jpg")),
        work("no.jpg", address=str(tmp_path / "no.jpg")),
        work("gone.jpg"),
        work("cat.jpg", folder="taken.jpg"),
        work("cat.jpg", request='{"detector": "accurate"}', folder="weights"),
        work("cat.jpg"),
    )
    kinds = [row["error"] and row["error"]["type"] for row in rows]
    assert kinds == ["ImageError", "ImageError", "SourceError", "TargetError", "WeightsError", None]
    assert all(row["crops"] == [] and row["source"] for row in rows[:5])
    assert files(out) == [".crop-core", "cat.jpg", "taken.jpg"]


def test_an_input_that_is_none_is_a_row(crop: Crop) -> None:
    (row, other) = crop(work("cat.jpg", request='{"no such input": 1}'), work("cat.jpg"))
    assert row["error"]["type"] == "RequestError"
    assert other["error"] is None


def test_another_request_leaves_no_file_of_the_one_before(crop: Crop, out: Path) -> None:
    crop(work("cat.jpg", request='{"aspect_ratio": "1:1,16:9", "preview": true}'))
    old = files(out / "cat.jpg")
    assert old == ["00_cat_1x1.webp", "01_cat_16x9.webp", "detections.json", "preview.jpg"]
    crop(work("cat.jpg", request='{"aspect_ratio": "9:16"}', old_files=old))
    assert files(out / "cat.jpg") == ["00_cat_9x16.webp", "detections.json"]


def test_a_picture_that_fails_now_keeps_no_crops_of_before(crop: Crop, out: Path) -> None:
    crop(work("cat.jpg"))
    crop(work("cat.jpg", request='{"detector": "accurate"}', old_files=files(out / "cat.jpg")))
    assert files(out / "cat.jpg") == []


def test_crops_of_which_no_row_tells_go_where_a_run_was_broken_off(out: Path, crop_into: Callable[..., Crop]) -> None:
    for folder in ("cat.jpg", "gone.jpg"):
        crop_into(str(out))(work("cat.jpg", folder=folder, request='{"aspect_ratio": "1:1", "preview": true}'))
        (out / folder / "mine.webp").write_text("no crop of ours")
    rows = crop_into(str(out), sweep=True)(
        work("cat.jpg", request='{"aspect_ratio": "9:16"}'), work("gone.jpg"), work("rocket.jpg")
    )
    assert [bool(row["error"]) for row in rows] == [False, True, False]
    assert files(out / "cat.jpg") == ["00_cat_9x16.webp", "detections.json", "mine.webp"]
    assert files(out / "gone.jpg") == ["mine.webp"]


def test_crops_of_a_broken_run_go_from_a_bucket_too(crop_into: Callable[..., Crop]) -> None:
    with object_store() as store:
        crop_into("s3://crops/out")(work("cat.jpg", request='{"aspect_ratio": "1:1"}'))
        crop_into("s3://crops/out", sweep=True)(work("cat.jpg", request='{"aspect_ratio": "9:16"}'), work("coffee.jpg"))
        assert [name for name in store.keys("crops") if "/cat.jpg/" in name] == [
            "crops/out/cat.jpg/00_cat_9x16.webp",
            "crops/out/cat.jpg/detections.json",
        ]


def test_the_note_of_a_picture_that_went_another_way_is_in_its_row(
    crop: Crop, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cropper, "attempts", lambda device: (replace(attempts(device)[0], note="The CPU did it."),))
    (row,) = crop(work("cat.jpg"))
    assert row["note"] == json.loads((out / "cat.jpg" / "detections.json").read_text())["note"] == "The CPU did it."


def test_a_worker_whose_device_is_lost_ends_and_takes_no_picture_with_it(out: Path) -> None:
    code = (
        "import json, sys, torch, pyarrow as pa\n"
        "from crop_core.batch.worker import Settings, Worker\n"
        "worker = Worker(Settings(sys.argv[1], sys.argv[1] + '/aside', 'cpu', 'fast', 1, False))\n"
        "worker._cropper.device = torch.device('meta')\n"  # answers nothing, as a GPU after a fault
        "work = {'source': '', 'address': sys.argv[2], 'folder': 'a', 'size': None, 'key': '', 'request': '{}'}\n"
        "print(worker(pa.table({'number': [1], 'work': [json.dumps(work)]})).column('error').to_pylist())\n"
    )
    command = [sys.executable, "-c", code, str(out), str(SAMPLES / "cat.jpg")]
    run = subprocess.run(command, cwd=ROOT, text=True, capture_output=True, check=False)
    assert (run.returncode, run.stdout) == (LOST, ""), run.stderr


def test_the_commands_limits_hold_for_a_worker_whose_machine_sets_none(
    out: Path, crop_into: Callable[..., Crop], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CROP_CORE_MAX_BYTES", "1000000")  # put back at the end
    (row,) = crop_into(str(out), CROP_CORE_MAX_BYTES="1000")(work("cat.jpg"))
    assert row["error"]["message"].startswith("The file has")


def test_a_dry_run_writes_nothing(out: Path, crop_into: Callable[..., Crop]) -> None:
    (row,) = crop_into(str(out), True)(work("cat.jpg"))
    assert row["crops"][0]["file"] is None
    assert not out.exists()


# ---- the table


def seen(rows: pa.Table) -> list[Row]:
    return [row for batch in rows.to_batches() for row in rows_of(batch)]


def test_the_table_knows_the_files_of_a_row(crop: Crop, out: Path, crop_into: Callable[..., Crop]) -> None:
    rows = crop(work("cat.jpg", request='{"preview": true}'), work("gone.jpg"))
    rows += crop(work("cat.jpg", folder="empty", request='{"labels": "zebra", "if_none": "empty"}'))
    rows += crop_into(str(out), True)(work("cat.jpg", folder="dry"))
    table = pa.Table.from_pylist(
        [{**row, "crops": [{**c, "coverage": []} for c in row["crops"]], "timings_ms": []} for row in rows], SCHEMA
    )
    assert {row.folder: sorted(row.files) for row in seen(table)} == {
        "cat.jpg": files(out / "cat.jpg"),
        "gone.jpg": [],
        "empty": ["detections.json"],
        "dry": [],
    }


def rows(*folders: str, error: str | None = None, key: str = "k") -> pa.Table:
    reason = error and {"type": error, "message": "…"}
    return pa.Table.from_pylist(
        [{"folder": f, "key": key, "request": "{}", "error": reason, "crops": []} for f in folders], SCHEMA
    )


def folders_in(table: Path) -> list[tuple[str, str]]:
    found = pq.read_table(table).to_pylist()
    return [(row["folder"], row["key"]) for row in found]


def ran(out: str, *appended: pa.Table, finish: bool = True, planned: tuple[str, ...] = ()) -> None:
    """Do what a run does with the table."""
    with closing(Table(out)) as table, closing(Ledger({}, False, False)) as ledger:
        table.open(ledger)
        for name in planned:
            ledger.add(Listed(name, f"/in/{name}", name))
        for some in appended:
            table.append(some, ledger)
        if finish:
            table.finish(ledger)


def test_rows_of_all_runs_become_one_table_and_the_latest_of_a_folder_counts(tmp_path: Path) -> None:
    ran(str(tmp_path), rows("a", "b"), rows("c"))
    ran(str(tmp_path), rows("b", key="new"))
    assert folders_in(tmp_path / TABLE) == [("a", "k"), ("c", "k"), ("b", "new")]
    assert files(tmp_path) == [TABLE]


def test_rows_that_were_kept_before_a_hard_end_are_found_by_the_next_run(tmp_path: Path) -> None:
    ran(str(tmp_path), rows("a"), rows("b"), finish=False)
    ran(str(tmp_path), rows("c"))
    assert folders_in(tmp_path / TABLE) == [("a", "k"), ("b", "k"), ("c", "k")]


def test_an_end_between_the_new_table_and_the_old_rows_doubles_nothing(tmp_path: Path) -> None:
    ran(str(tmp_path), rows("a"), rows("b"), finish=False)
    shutil.copytree(tmp_path / ".crop-core", tmp_path / "copy")
    ran(str(tmp_path))
    shutil.move(tmp_path / "copy", tmp_path / ".crop-core")
    ran(str(tmp_path), rows("c"))
    assert folders_in(tmp_path / TABLE) == [("a", "k"), ("b", "k"), ("c", "k")]


def test_the_failure_of_a_picture_that_is_gone_leaves_the_table_and_crops_stay(tmp_path: Path) -> None:
    ran(str(tmp_path), rows("bad", "worse", error="ImageError"), rows("good"), planned=("bad", "worse", "good"))
    ran(str(tmp_path), planned=("worse",))
    assert folders_in(tmp_path / TABLE) == [("worse", "k"), ("good", "k")]


def test_a_table_from_before_a_crop_had_all_of_its_keys_is_gone_on_with(tmp_path: Path) -> None:
    ran(str(tmp_path), rows("a"))
    table = pq.read_table(tmp_path / TABLE)
    at = table.schema.get_field_index("crops")
    early = pa.list_(pa.struct(list(SCHEMA.field("crops").type.value_type)[:7]))
    old = [{"file": "00_cat_1x1.webp", "aspect_ratio": "1:1", "window": [0, 0, 9, 9], "rule": "subject"}]
    pq.write_table(table.set_column(at, pa.field("crops", early), pa.array([old], early)), tmp_path / TABLE)
    ran(str(tmp_path), rows("b"))
    found = pq.read_table(tmp_path / TABLE)
    assert found.schema == SCHEMA
    crops = {row["folder"]: row["crops"] for row in found.to_pylist()}
    assert [(crop["file"], crop["window"], crop["frame"]) for crop in crops["a"]] == [
        ("00_cat_1x1.webp", [0, 0, 9, 9], None)
    ]


def test_the_table_has_what_a_row_of_a_manifest_asked_for_beyond_the_plain_crop(crop: Crop, tmp_path: Path) -> None:
    asked = {"mode": "faces", "align": "eyes", "face_height": 0.5, "fit": "pad", "background": "#fff", "redact": "blur"}
    (row,) = crop(work("astronaut.jpg", request=json.dumps(asked)))
    (plain,) = crop(work("cat.jpg", folder="plain"))
    (trimmed,) = crop(work("cat.jpg", folder="trimmed", request='{"trim": true}'))
    made = []
    for one in (row, plain, trimmed):
        crops = [{**cut, "coverage": list(cut["coverage"].items())} for cut in one["crops"]]
        made.append({**one, "timings_ms": list(one["timings_ms"].items()), "crops": crops})
    ran(str(tmp_path), table_of(made), planned=("astronaut.jpg", "plain", "trimmed"))
    face, nothing, cat = (found["crops"][0] for found in pq.read_table(tmp_path / TABLE).to_pylist())
    assert (len(face["redacted"]), face["face_height"]) == (1, pytest.approx(0.5, abs=0.01))
    assert abs(face["angle"]) <= 30
    assert cat["trim"] == "detection"
    assert {nothing[key] for key in ("frame", "angle", "face_height", "eye_line", "trim")} == {None}


def test_a_run_that_changes_nothing_leaves_the_table_alone(tmp_path: Path) -> None:
    ran(str(tmp_path), rows("a"))
    before = (tmp_path / TABLE).stat()
    ran(str(tmp_path))
    after = (tmp_path / TABLE).stat()
    assert (before.st_mtime_ns, before.st_ino) == (after.st_mtime_ns, after.st_ino)
    assert files(tmp_path) == [TABLE]


def test_pandas_reads_the_table_as_it_is(crop: Crop, tmp_path: Path) -> None:
    found = crop(work("cat.jpg", request='{"aspect_ratio": "1:1"}'), work("gone.jpg"))
    for row in found:
        row["timings_ms"], row["crops"] = (
            list(row["timings_ms"].items()),
            [{**cut, "coverage": list(cut["coverage"].items())} for cut in row["crops"]],
        )
    ran(str(tmp_path), table_of(found), planned=("cat.jpg", "gone.jpg"))
    frame = pandas.read_parquet(tmp_path / TABLE)
    assert list(frame.columns) == SCHEMA.names
    assert list(frame["folder"]) == ["cat.jpg", "gone.jpg"]
    assert frame["crops"][0][0]["file"] == "00_cat_1x1.webp"
    assert dict(frame["timings_ms"][0]).keys() == {"decode", "detect", "frame", "render", "encode"}
    assert [error and error["type"] for error in frame["error"]] == [None, "SourceError"]


def test_a_table_of_before_a_column_came_is_read_and_gets_it(tmp_path: Path) -> None:
    pq.write_table(rows("a", "b").drop_columns(["note", "crop_core"]), tmp_path / TABLE)
    ran(str(tmp_path), rows("b", key="new"))
    assert folders_in(tmp_path / TABLE) == [("a", "k"), ("b", "new")]
    assert pq.read_schema(tmp_path / TABLE).equals(SCHEMA)


@pytest.mark.parametrize("there", [False, True], ids=["a new OUT", "a folder that was there"])
def test_a_run_in_which_nothing_was_begun_leaves_out_as_it_was(there: bool, tmp_path: Path) -> None:
    out = tmp_path / "out"
    if there:
        out.mkdir()
    with closing(Table(str(out))) as table, closing(Ledger({}, False, False)) as ledger:
        table.open(ledger)
    assert list(tmp_path.iterdir()) == ([out] if there else [])
    assert not there or files(out) == []


@pytest.mark.parametrize("bucket", [False, True], ids=["a disk", "a bucket"])
def test_a_run_that_was_broken_off_is_known_until_one_is_whole(bucket: bool, tmp_path: Path) -> None:
    def ran(whole: bool | None) -> bool:
        with closing(Table(out)) as table, closing(Ledger({}, False, False)) as ledger:
            table.open(ledger)
            table.begin()
            table.append(rows("a"), ledger)
            if whole is not None:
                table.finish(ledger, whole)
            return table.broken_off

    with object_store() if bucket else nullcontext():
        out = "s3://crops/out" if bucket else str(tmp_path / "out")
        assert [ran(whole) for whole in (None, False, True, True)] == [False, True, True, False]
        assert bucket or files(tmp_path / "out") == [TABLE]


def test_what_a_killed_writer_left_aside_is_thrown_away(tmp_path: Path) -> None:
    aside = tmp_path / ".crop-core" / "aside"
    aside.mkdir(parents=True)
    (aside / "half").write_bytes(b"half a crop")
    ran(str(tmp_path))
    assert files(tmp_path) == []


def test_a_second_run_into_the_same_out_is_refused_until_the_first_is_gone(tmp_path: Path) -> None:
    with closing(Table(str(tmp_path))) as first, closing(Ledger({}, False, False)) as ledger:
        first.open(ledger)
        with pytest.raises(RequestError, match=r"Another run is writing to .* Wait for its end"):
            ran(str(tmp_path), rows("a"))
    ran(str(tmp_path), rows("a"))
    assert folders_in(tmp_path / TABLE) == [("a", "k")]


def test_an_out_that_takes_no_files_or_holds_another_table_is_refused_before_anything_is_done(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RequestError, match=r"OUT .* cannot be used"):
        ran(str(tmp_path / "file" / "out"))
    pq.write_table(pa.table({"other": [1]}), tmp_path / TABLE)
    with pytest.raises(RequestError, match=r"is not a table of crop-core batch"):
        ran(str(tmp_path))


def test_the_table_lies_in_a_bucket_as_it_does_on_a_disk() -> None:
    with object_store() as store:
        ran("s3://crops/out", rows("a"), rows("b"), finish=False)
        ran("s3://crops/out", rows("b", key="new"))
        assert store.keys("crops") == ["crops/out/results.parquet"]
        with store.fs.open("crops/out/results.parquet") as file:
            assert pq.read_table(file).column("key").to_pylist() == ["k", "new"]
