"""Shared by the tests of the served model: pictures as data URIs, answers read, servers to fetch pictures from."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import Any, ClassVar

import pytest
from cog_server import ANSWER_TIMEOUT_S, Server, running
from conftest import SAMPLES
from PIL import Image

from crop_core.errors import CropError


def data_uri(data: bytes, mime: str = "image/jpeg") -> str:
    return f"data:{mime};base64,{base64.b64encode(data).decode()}"


CAT_BYTES = (SAMPLES / "cat.jpg").read_bytes()
CAT = data_uri(CAT_BYTES)
ASTRONAUT = data_uri((SAMPLES / "astronaut.jpg").read_bytes())
PAIR = data_uri((SAMPLES / "pair.jpg").read_bytes())
ROCKET = data_uri((SAMPLES / "rocket.jpg").read_bytes())


def decoded(uri: str) -> tuple[str, bytes]:
    """Return MIME type and bytes of a data URI."""
    head, _, data = uri.partition(";base64,")
    return head.removeprefix("data:"), base64.b64decode(data)


def outputs(answer: dict[str, Any]) -> tuple[dict[str, Any], list[bytes]]:
    """Return the record and the other files of an answer that holds its files as data URIs."""
    assert answer["status"] == "succeeded", answer
    files = [decoded(uri) for uri in answer["output"]]
    (record,) = [json.loads(data) for mime, data in files if mime == "application/json"]
    return record, [data for mime, data in files if mime != "application/json"]


def size(data: bytes) -> list[int]:
    with Image.open(BytesIO(data)) as image:
        image.load()
        return list(image.size)


def files_left(server: Server) -> list[str]:
    """Return the names of the server's temporary files, once the last input is removed: after the answer is sent."""
    deadline = time.monotonic() + ANSWER_TIMEOUT_S
    while True:
        found = sorted(path.name for path in server.temporary.rglob("*") if path.is_file())
        if time.monotonic() > deadline or not any(name.startswith("tmp") for name in found):
            return found
        time.sleep(0.02)


@contextmanager
def served(
    folder: Path, session: pytest.Session, *arguments: str, predictor: str = "tests/unwarmed.py"
) -> Iterator[Server]:
    """Run the model's server in the folder; what it printed is shown when a test fails meanwhile."""
    log, temporary, before = folder / "log", folder / "tmp", session.testsfailed
    temporary.mkdir()
    try:
        with running(log, temporary, *arguments, predictor=predictor) as server:
            yield server
    except CropError as error:
        pytest.fail(f"{error}\n{log.read_text()}")
    if session.testsfailed > before:
        print(log.read_text())  # noqa: T201 (pytest shows it beside the failure)


class Quiet(BaseHTTPRequestHandler):
    """A handler that says nothing: pytest's output is for failures."""

    def log_message(self, format: str, *args: object) -> None:
        pass

    def answer(self, status: int, data: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(data))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)


class Pictures(Quiet):
    """Serves the samples, also under names without a meaning."""

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        data = CAT_BYTES if path == "/no-name" else (SAMPLES / Path(path).name).read_bytes()
        self.answer(200, data)


class Sink(Quiet):
    """Takes uploads, each after a pause that is longer than a prediction needs to overwrite its files."""

    uploads: ClassVar[list[tuple[str, bytes]]] = []
    pause_s: ClassVar[float] = 0

    def do_PUT(self) -> None:
        data = self.rfile.read(int(self.headers["Content-Length"]))
        time.sleep(self.pause_s)
        self.uploads.append((self.path, data))
        self.answer(201)


@contextmanager
def listening(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """Serve until the block ends, and yield the address."""
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as http:
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"http://127.0.0.1:{http.server_port}"
        finally:
            http.shutdown()
            thread.join()


@pytest.fixture(scope="session")
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The model's server, shared by all tests that do not change it."""
    with served(tmp_path_factory.mktemp("server"), request.session, predictor="predict.py") as server:
        yield server


@pytest.fixture(scope="session")
def uploading_server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server as Replicate runs it: outputs go to an upload address."""
    folder = tmp_path_factory.mktemp("uploading_server")
    with listening(Sink) as sink, served(folder, request.session, "--upload-url", f"{sink}/sink") as server:
        yield server


@pytest.fixture
def uploads() -> Iterator[list[tuple[str, bytes]]]:
    """What the sink has taken in this test."""
    Sink.uploads.clear()
    Sink.pause_s = 0
    yield Sink.uploads
    Sink.pause_s = 0
