"""What there is to crop: folders, globs and manifests become a list of pictures."""

from __future__ import annotations

import gzip
import json
import os
import re
import threading
from collections.abc import Iterator
from functools import partial
from http.server import HTTPServer, SimpleHTTPRequestHandler
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from objects import ObjectStore, object_store

from crop_core import CropRequest, RequestError
from crop_core.batch import remote_sources
from crop_core.batch.sources import Listed, list_sources
from crop_core.batch.storage import absolute
from crop_core.picture_files import PICTURE_ENDINGS


def listed(*names: str | Path, out: str | Path = "/nowhere/out", column: str = "image") -> list[Listed]:
    return list(list_sources([str(s) for s in names], str(out), PICTURE_ENDINGS, column, lambda _: None))


def folders(*names: str | Path, out: str | Path = "/nowhere/out") -> list[str]:
    return sorted(entry.folder for entry in listed(*names, out=out))


def made(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    return root


# ---- folders, globs, files


def test_an_empty_folder_has_no_pictures(tmp_path: Path) -> None:
    assert listed(tmp_path) == []


def test_a_folders_pictures_keep_their_relative_paths_and_their_endings(tmp_path: Path) -> None:
    made(tmp_path, "a.jpg", "a.png", "deep/er/a.jpg", "notes.txt", ".hidden/a.jpg", "deep/.a.jpg")
    assert folders(tmp_path) == ["a.jpg", "a.png", "deep/er/a.jpg"]


def test_several_folders_go_below_their_own_names(tmp_path: Path) -> None:
    made(tmp_path, "one/a.jpg", "two/a.jpg")
    assert folders(tmp_path / "one", tmp_path / "two") == ["one/a.jpg", "two/a.jpg"]


def test_the_crops_of_an_earlier_run_are_no_pictures(tmp_path: Path) -> None:
    made(tmp_path, "a.jpg", "out/a.jpg/00_person_1x1.webp")
    assert folders(tmp_path, out=tmp_path / "out") == ["a.jpg"]


@pytest.mark.parametrize("out", [".", ".."], ids=["the source itself", "above it"])
def test_crops_that_would_go_among_the_pictures_are_refused(out: str, tmp_path: Path) -> None:
    made(tmp_path / "in", "a.jpg")
    with pytest.raises(RequestError, match="Choose an OUT beside the source or in it"):
        listed(tmp_path / "in", out=tmp_path / "in" / out)


def test_a_globs_matches_keep_their_paths_below_its_fixed_part(tmp_path: Path) -> None:
    made(tmp_path, "2024/a.jpg", "2025/a.jpg", "2025/b.png")
    assert folders(tmp_path / "*" / "*.jpg") == ["2024/a.jpg", "2025/a.jpg"]


GLOB_TREE = ("a.jpg", "x/a.jpg", "x/b.png", "x/y/a.jpg", "y/a1.jpg", "y/.a.jpg", "y/n.txt")


@pytest.mark.parametrize(
    "pattern",
    [
        "*.jpg",
        "*/*.jpg",
        "x/*",
        "?/a[0-9].jpg",
        "**/*.jpg",
        "x/**",
        "*/y/*",
        "**/y/*.jpg",
        "[!x]/*",
        "gone/*",
        "x/**/b.*",
    ],
)
def test_a_glob_means_what_fsspec_means_by_it(pattern: str, tmp_path: Path) -> None:
    made(tmp_path, *GLOB_TREE)
    expected = sorted(path for path in fsspec.filesystem("file").glob(f"{tmp_path}/{pattern}") if os.path.isfile(path))
    try:
        found = sorted(entry.address for entry in listed(tmp_path / pattern))
    except RequestError:
        found = []
    assert found == expected


def test_a_glob_looks_into_no_folder_that_it_cannot_mean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made(tmp_path, "2024/a.jpg", "2025/deep/a.jpg", "other/a.jpg")
    opened: list[str] = []
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: opened.append(os.path.relpath(path, tmp_path)) or scandir(path))
    assert folders(tmp_path / "20*" / "*.jpg") == ["2024/a.jpg"]
    assert sorted(opened) == [".", "2024", "2025"]


def test_a_glob_that_makes_no_sense_is_refused_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"is not a pattern: \*\* stands only for whole folders"):
        listed(tmp_path / "a**b.jpg")


@pytest.mark.parametrize("below", [".", "**/*.jpg"], ids=["of a folder", "of a glob"])
def test_a_folder_that_is_closed_is_named_and_the_others_are_listed(
    below: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made(tmp_path, "a.jpg", "closed/b.jpg")
    scandir = os.scandir

    def closed(path: str) -> Any:  # chmod closes nothing to root, as whom tests may run
        if path.endswith("closed"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", closed)
    found = listed(tmp_path / below)
    (failed,) = [one for one in found if one.error]
    assert "The folder cannot be read: Permission denied" in (failed.error or "")
    assert failed.source.endswith("closed")
    assert [os.path.basename(one.source) for one in found if not one.error] == ["a.jpg"]


def test_a_folder_whose_name_looks_like_a_glob_is_a_folder(tmp_path: Path) -> None:
    assert folders(made(tmp_path / "cats [old]", "a.jpg")) == ["a.jpg"]


@pytest.mark.parametrize("name", ["gone", "gone/*.jpg", "gone.csv"])
def test_a_source_that_is_not_there_is_named(name: str, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="gone"):
        listed(tmp_path / name)


def test_a_changed_file_has_another_mark(tmp_path: Path) -> None:
    made(tmp_path, "a.jpg")
    before = listed(tmp_path)
    os.utime(tmp_path / "a.jpg", (1, 1))
    assert (listed(tmp_path)[0].mark, listed(tmp_path)[0].address) != (before[0].mark, before[0].address)


def test_a_name_in_no_encoding_is_reported_in_ascii_and_opened_as_it_is(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path) + b"/\xff.jpg"
    with open(path, "wb") as file:
        file.write(b"x")
    (entry,) = listed(tmp_path)
    assert entry.folder == r"\udcff.jpg"
    assert os.fsencode(entry.address) == path


# ---- an object store


@pytest.fixture(scope="module")
def store() -> Iterator[ObjectStore]:
    with object_store() as started:
        names = (
            "a.jpg",
            "a.png",
            "deep/er/a.jpg",
            "notes.txt",
            ".hidden/a.jpg",
            "deep/",
            "out/a.jpg/00_person_1x1.webp",
        )
        for name in names:
            started.fs.pipe_file(f"photos/in/{name}", b"x" * len(name))
        started.fs.pipe_file("photos/beside.jpg", b"")
        yield started


@pytest.mark.parametrize("at_once", [1, 3, 1_000], ids=["each by itself", "a few", "all at once"])
def test_a_buckets_folder_is_listed_as_one_on_a_disk_is(
    store: ObjectStore, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote_sources, "LISTED_AT_ONCE", at_once)
    found = {entry.folder: entry for entry in listed("s3://photos/in", out="s3://photos/in/out")}
    assert set(found) == {"a.jpg", "a.png", "deep/er/a.jpg"}
    assert found["deep/er/a.jpg"].address == found["deep/er/a.jpg"].source == "s3://photos/in/deep/er/a.jpg"
    assert found["deep/er/a.jpg"].size == len("deep/er/a.jpg")
    assert found["a.jpg"].mark != found["deep/er/a.jpg"].mark != ""
    assert "beside.jpg" in folders("s3://photos")


def test_a_glob_over_a_bucket_keeps_the_paths_below_its_fixed_part(store: ObjectStore) -> None:
    assert folders("s3://photos/in/*.jpg") == ["a.jpg"]
    assert folders("s3://photos/in/**/a.*", out="s3://photos/in/out") == [
        ".hidden/a.jpg",
        "a.jpg",
        "a.png",
        "deep/er/a.jpg",
    ]


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("in/*", ["a.jpg", "a.png", "notes.txt"]),
        ("in/**", [".hidden/a.jpg", "a.jpg", "a.png", "deep/er/a.jpg", "notes.txt"]),
        ("in/*/*/*.jpg", ["deep/er/a.jpg"]),
        ("i?/d*/er/*", ["in/deep/er/a.jpg"]),
        ("*.jpg", ["beside.jpg"]),
    ],
)
def test_a_glob_over_a_bucket_finds_what_it_means_page_by_page(
    store: ObjectStore, pattern: str, found: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote_sources, "LISTED_AT_ONCE", 2)
    assert folders(f"s3://photos/{pattern}", out="s3://photos/in/out") == found


def test_a_million_objects_of_a_glob_are_not_kept(store: ObjectStore) -> None:
    store.fs.invalidate_cache()
    assert folders("s3://photos/in/*.jpg") == ["a.jpg"]
    assert not list(store.fs.dircache)
    assert not list(fsspec.filesystem("s3").dircache)


def test_one_object_is_a_source(store: ObjectStore) -> None:
    assert folders("s3://photos/in/deep/er/a.jpg") == ["a.jpg"]


@pytest.mark.parametrize(
    "address", ["s3://photos/gone", "s3://photos/gone/*.jpg", "s3://nowhere/in", "s3://photos/gone.csv"]
)
def test_a_folder_of_a_bucket_that_is_not_there_is_named(store: ObjectStore, address: str) -> None:
    with pytest.raises(RequestError, match=re.escape(address)):
        listed(address)


# ---- manifests


def written(path: Path, rows: list[dict[str, object]]) -> Path:
    """Write the rows as the manifest that the file's name says."""
    if path.name.endswith(".parquet"):
        pq.write_table(pa.Table.from_pylist(rows), path)
        return path
    if ".csv" in path.name:
        lines = [",".join(rows[0]), *(",".join(map(str, row.values())) for row in rows)]
    else:
        lines = [json.dumps(row) for row in rows]
    data = "\n".join(lines).encode()
    path.write_bytes(gzip.compress(data) if path.name.endswith(".gz") else data)
    return path


KINDS = ("list.csv", "list.jsonl", "list.ndjson", "list.parquet", "list.csv.gz", "list.jsonl.gz")


@pytest.mark.parametrize("name", KINDS)
def test_a_manifest_gives_each_row_its_own_inputs(name: str, tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [
        {"image": "in/a.jpg", "width": 300, "zoom": 0.5, "aspect_ratio": "1:1", "preview": True}
    ]
    (entry,) = listed(written(tmp_path / name, rows))
    assert entry.inputs == {"width": 300, "zoom": 0.5, "aspect_ratio": "1:1", "preview": True}


def test_a_row_says_what_its_picture_is_about_and_in_which_bucket_it_goes(tmp_path: Path) -> None:
    columns = "image,focus,position,aspect_ratio,multiple_of,max_pixels"
    row = 'a.jpg,"0.4,0.3;10px,20px,30px,40px",north,"closest:1:1,4:3",64,1048576'
    (tmp_path / "list.csv").write_text(f"{columns}\n{row}\nb.jpg,,,,,\n")
    one, other = listed(tmp_path / "list.csv")
    request = CropRequest.from_inputs(**one.inputs)
    assert [focus.numbers for focus in request.foci] == [(0.4, 0.3), (10, 20, 30, 40)]
    assert (request.position, request.ratio_choice) == ("north", "closest")
    assert (request.multiple_of, request.max_pixels) == (64, 1_048_576)
    assert CropRequest.from_inputs(**other.inputs) == CropRequest()


def test_a_manifests_relative_path_is_meant_from_its_own_folder(tmp_path: Path) -> None:
    (entry,) = listed(written(tmp_path / "list.csv", [{"image": "in/a.jpg"}]))
    assert (entry.source, entry.address, entry.folder) == ("in/a.jpg", str(tmp_path / "in/a.jpg"), "in/a.jpg")


@pytest.mark.parametrize("host", ["", "localhost"])
def test_a_files_url_is_decoded(host: str, tmp_path: Path) -> None:
    made(tmp_path, "a b/c%20d.jpg", "a b/ä.jpg")
    url = f"file://{host}" + (tmp_path / "a b").as_uri().removeprefix("file://")
    names = [f"{url}/c%2520d.jpg", f"{url}/%C3%A4.jpg", f"{url}/ä.jpg"]
    addresses = [str(tmp_path / "a b" / name) for name in ("c%20d.jpg", "ä.jpg", "ä.jpg")]
    rows = listed(written(tmp_path / "list.csv", [{"image": name} for name in names]))
    assert [entry.address for entry in rows] == addresses
    assert all(entry.mark for entry in rows)  # it was found, so its time is known
    assert sorted(entry.address for entry in listed(url)) == sorted(addresses[:2])
    assert absolute(url) == str(tmp_path / "a b")


@pytest.mark.parametrize(
    ("path", "folder"),
    [
        ("s3://bucket/deep/a.jpg", "bucket/deep/a.jpg"),
        ("https://example.com/deep/a%20b.jpg?v=2", "example.com//deep/a b.jpg?v=2"),
        ("/mnt/disk/a.jpg", "/mnt/disk/a.jpg"),
    ],
    ids=["a bucket", "the web", "a disk"],
)
def test_an_absolute_address_keeps_its_whole_path(path: str, folder: str, tmp_path: Path) -> None:
    (entry,) = listed(written(tmp_path / "list.csv", [{"image": path}]))
    assert (entry.address, entry.folder) == (path, folder)


def test_empty_cells_leave_the_inputs_to_the_command(tmp_path: Path) -> None:
    table = pa.table({"image": ["a.jpg", "b.jpg"], "width": pa.array([float("nan"), 200.0]), "mode": [None, ""]})
    pq.write_table(table, tmp_path / "list.parquet")
    assert [entry.inputs for entry in listed(tmp_path / "list.parquet")] == [{}, {"width": 200.0}]


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Manifests of every kind on the web, behind addresses that are signed."""
    folder = tmp_path_factory.mktemp("web")
    for name in KINDS:
        written(folder / name, [{"image": "in/a.jpg", "width": 300}])
    handler = partial(SimpleHTTPRequestHandler, directory=str(folder))
    with HTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("query", ["", "?sign=a/b.csv"], ids=["plain", "signed"])
def test_a_manifest_on_the_web_is_known_by_its_path_and_its_rows_lie_beside_it(name: str, query: str, web: str) -> None:
    (entry,) = listed(f"{web}/{name}{query}")
    assert (entry.address, entry.inputs) == (f"{web}/in/a.jpg", {"width": 300})


@pytest.mark.parametrize("name", ["x.csv.d/list.jsonl", "LIST.CSV", "LIST.CSV.GZ"])
def test_a_manifests_kind_is_told_by_its_ending_alone_in_any_case(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    written(path.with_name("list" + "".join(path.suffixes).lower()), [{"image": "a.jpg"}]).rename(path)
    assert folders(path) == ["a.jpg"]


def test_bad_rows_are_failures_of_their_own_and_the_rest_goes_on(tmp_path: Path) -> None:
    (tmp_path / "list.jsonl").write_text('{"image": "a.jpg"}\n{oops\n\n[1]\n{"image": 7}\n{"image": "b.jpg"}\n')
    entries = listed(tmp_path / "list.jsonl")
    assert [entry.error for entry in entries] == [
        None,
        "The row is not a JSON object. Write one object per line.",
        "The row is not a JSON object. Write one object per line.",
        "The row's column image is empty. Give it a path or an address.",
        None,
    ]
    assert entries[1].source.endswith("list.jsonl, row 2")


def test_a_csv_row_with_too_many_cells_is_a_failure(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("image,width\na.jpg,1,2\nb.jpg\n")
    first, second = listed(tmp_path / "list.csv")
    assert first.error is not None
    assert "more cells than the 2" in first.error
    assert second.error is None


def test_a_spreadsheets_byte_order_mark_is_no_part_of_the_first_column(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_bytes(b"\xef\xbb\xbfimage\na.jpg\n")
    assert folders(tmp_path / "list.csv") == ["a.jpg"]


def test_a_manifest_without_the_column_of_paths_says_which_it_has(tmp_path: Path) -> None:
    for name in ("list.csv", "list.parquet"):
        with pytest.raises(
            RequestError, match=r"no column image; its columns are path, width. Name the column .* --column"
        ):
            listed(written(tmp_path / name, [{"path": "a.jpg", "width": 1}]))
        assert len(listed(tmp_path / name, column="path")) == 1


@pytest.mark.parametrize("name", ["list.parquet", "list.csv", "list.csv.gz"])
def test_a_manifest_that_is_none_is_refused_in_one_sentence(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"\xff\xfe\x00garbage")
    with pytest.raises(RequestError, match=rf"{name} (cannot be read as a manifest|is not in UTF-8)"):
        listed(tmp_path / name)


def test_columns_that_nobody_reads_are_named_once(tmp_path: Path) -> None:
    path = written(
        tmp_path / "list.csv", [{"image": "a.jpg", "aspect_ration": "1:1"}, {"image": "b", "aspect_ration": "1:1"}]
    )
    told: list[str] = []
    list(list_sources([str(path)], "/nowhere/out", PICTURE_ENDINGS, "image", told.append))
    assert told == ["aspect_ration"]


def test_a_manifests_version_is_part_of_the_mark(tmp_path: Path) -> None:
    one, other = (listed(written(tmp_path / f"{v}.jsonl", [{"image": "s3://b/a.jpg", "version": v}])) for v in "12")
    assert one[0].mark != other[0].mark
