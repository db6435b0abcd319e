"""Files by address: on a disk, on the web, on an object store that is a process of its own."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import fsspec
import pytest
from objects import ObjectStore, object_store

from crop_core import ImageError, RequestError
from crop_core.batch import storage
from crop_core.batch.storage import SourceError, TargetError, names_in, read_bytes, remove, remove_files, write_bytes
from crop_core.batch.table import Table


@pytest.fixture(scope="module")
def store() -> Iterator[ObjectStore]:
    with object_store() as started:
        yield started


class _Web(BaseHTTPRequestHandler):
    """Serves one file, an endless one, and fails now and then."""

    asked = 0

    def do_HEAD(self) -> None:
        self.send_response(200 if self.path != "/gone" else 404)
        self.end_headers()

    def do_GET(self) -> None:
        type(self).asked += 1
        if self.path == "/gone" or (self.path == "/moody" and self.asked % 2):
            self.send_error(404 if self.path == "/gone" else 503)
            return
        self.send_response(200)
        self.end_headers()
        try:
            for _ in range(300 if self.path == "/endless" else 1):
                self.wfile.write(b"picture" if self.path != "/endless" else bytes(2**20))
        except OSError:
            pass  # the reader has had enough

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def web() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), _Web)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


# ---- reading


def test_a_file_is_read_by_its_path_whatever_its_name(tmp_path: Path) -> None:
    for name in ("a.jpg", "s3::a.jpg", "a#b?c[1]*.jpg"):
        (tmp_path / name).write_bytes(b"picture")
        assert read_bytes(str(tmp_path / name)) == b"picture"


@pytest.mark.parametrize("address", ["/nowhere/a.jpg", "/nowhere\0.jpg"], ids=["missing", "impossible"])
def test_a_file_that_cannot_be_read_is_an_error_that_may_be_gone(address: str) -> None:
    with pytest.raises(SourceError, match=r"^The file (is not there|cannot be read: embedded null byte)\. Check"):
        read_bytes(address)


def test_what_is_no_file_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")  # opening it would wait for ever
    for path in (tmp_path, tmp_path / "pipe.jpg", Path("/dev/zero")):
        with pytest.raises(SourceError, match="This is a folder, a pipe or a device, not a file"):
            read_bytes(str(path))


def test_a_file_beyond_the_limit_is_not_read(tmp_path: Path) -> None:
    with open(tmp_path / "a.jpg", "wb") as file:
        file.truncate(257 * 2**20)
    with pytest.raises(ImageError, match="The file has 257 MiB"):
        read_bytes(str(tmp_path / "a.jpg"))


def test_a_page_of_the_web_is_read(web: str) -> None:
    assert read_bytes(f"{web}/a.jpg") == b"picture"


def test_of_an_endless_page_no_more_than_the_limit_is_read(web: str) -> None:
    with pytest.raises(ImageError, match=r"The file has 25[67] MiB"):
        read_bytes(f"{web}/endless")


def test_a_page_that_is_not_there_is_an_error_that_may_be_gone(web: str) -> None:
    with pytest.raises(SourceError, match="The file is not there"):
        read_bytes(f"{web}/gone")


def test_a_server_that_fails_once_is_asked_again(web: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "PAUSE_S", 0)
    _Web.asked = 0
    assert read_bytes(f"{web}/moody") == b"picture"
    assert _Web.asked == 2


@pytest.mark.parametrize("protocol", ["nope", "ftp", "sftp", "github", "hdfs", "memory", "zip"])
def test_a_kind_of_address_beyond_the_list_is_refused(protocol: str) -> None:
    with pytest.raises(RequestError, match=f"^Addresses with {protocol}:// are not read or written here. Use a"):
        read_bytes(f"{protocol}://a/b.jpg")


@pytest.mark.parametrize("out", ["https://example.com/crops", "http://example.com/crops"])
def test_the_web_takes_no_crops(out: str) -> None:
    with pytest.raises(RequestError, match=r"Crops cannot be written to https?://\. Choose a folder, s3:// or gs://\."):
        Table(out)


# ---- writing


def test_a_file_is_made_aside_and_nothing_is_left_there(tmp_path: Path) -> None:
    write_bytes(str(tmp_path / "out/a/b.webp"), b"crop", str(tmp_path / "aside"))
    assert (tmp_path / "out/a/b.webp").read_bytes() == b"crop"
    assert list((tmp_path / "aside").iterdir()) == []


def test_a_file_that_does_not_fit_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"a file where a folder should be")
    with pytest.raises(TargetError, match="The file cannot be written: File exists"):
        write_bytes(str(tmp_path / "a/b.webp"), b"crop", str(tmp_path / "aside"))
    (tmp_path / "full").mkdir()
    with pytest.raises(TargetError, match="Is a directory"):
        write_bytes(str(tmp_path / "full"), b"crop", str(tmp_path / "aside"))
    assert list((tmp_path / "aside").iterdir()) == []


def test_old_files_go_and_missing_ones_are_no_error(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"")
    remove_files(str(tmp_path), ["a", "b"])
    remove(str(tmp_path / "gone"))
    assert list(tmp_path.iterdir()) == []


def test_a_folders_own_files_are_named_on_a_disk_and_in_a_bucket(tmp_path: Path, store: ObjectStore) -> None:
    for folder in (str(tmp_path / "names"), "s3://photos/names"):
        assert names_in(folder) == []
        for name in ("a.webp", "b/c.webp"):
            write_bytes(f"{folder}/{name}", b"crop", str(tmp_path / "aside"))
        assert names_in(folder) == ["a.webp"]
    assert not fsspec.filesystem("s3").dircache  # of a million folders the listings would stay
    remove("s3://photos/names")


def test_an_object_is_written_read_and_removed(store: ObjectStore) -> None:
    write_bytes("s3://photos/deep/a::b [1].webp", b"crop", "")
    assert read_bytes("s3://photos/deep/a::b [1].webp") == b"crop"
    remove_files("s3://photos/deep", ["a::b [1].webp", "gone"])
    assert store.keys("photos") == []
    with pytest.raises(SourceError, match="The file is not there"):
        read_bytes("s3://photos/deep/a::b [1].webp")


def test_a_bucket_that_is_not_there_is_an_error_that_may_be_gone(store: ObjectStore) -> None:
    with pytest.raises(TargetError, match="The file cannot be written"):
        write_bytes("s3://nowhere/a.webp", b"crop", "")
