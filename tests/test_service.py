"""The real server with bad callers, bad addresses, bad upload sinks and a failing system."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, ClassVar

import pytest
import soak
from cog_server import ANSWER_TIMEOUT_S, Server, running
from conftest import SAMPLES
from serving import ASTRONAUT, CAT, CAT_BYTES, Quiet, data_uri, files_left, listening, outputs, served, size

from crop_core.bench.pictures import photo_like


@cache
def large() -> str:
    """Return a picture that keeps the server busy for a while."""
    return data_uri(photo_like(SAMPLES / "astronaut.jpg", 24))


def _ready(server: Server) -> bool:
    """Return whether the server crops, and is ready for the next one."""
    outputs_or_urls = server.predict(image=CAT, width=32)["output"]
    deadline = time.monotonic() + ANSWER_TIMEOUT_S
    while (status := server.health()) == "BUSY" and time.monotonic() < deadline:
        time.sleep(0.01)
    return len(outputs_or_urls) == 2 and status == "READY"


@contextmanager
def _asked(server: Server, name: str, **inputs: object) -> Iterator[list[tuple[int, Any]]]:
    """Run a prediction of that name while the block runs; yield the list that its answer is put into."""
    answers: list[tuple[int, Any]] = []
    thread = threading.Thread(
        target=lambda: answers.append(server.ask("PUT", f"/predictions/{name}", {"input": inputs}))
    )
    thread.start()
    deadline = time.monotonic() + ANSWER_TIMEOUT_S
    while server.health() != "BUSY" and thread.is_alive() and time.monotonic() < deadline:
        time.sleep(0.005)
    yield answers
    thread.join()


# ---- thousands of predictions, here some


def test_a_soak_holds_no_file_no_handle_and_answers_crops_or_clear_errors(server: Server) -> None:
    with soak.pictures() as address:
        inputs = soak.round_of_inputs(address)
        going = soak.soak(server, inputs, 100, 50)
        checkpoints = []
        while True:
            try:
                checkpoints.append(next(going))
            except StopIteration as end:
                kinds = end.value
                break
    assert kinds == {"crop": 60, "clear error": 40}
    assert [point.predictions for point in checkpoints] == [50, 100]
    assert [point.files for point in checkpoints] == [0, 0]
    # One connection that the front end has not closed yet is no leak.
    assert checkpoints[-1].handles <= checkpoints[0].handles + 2


# ---- addresses


class _Faulty(Quiet, BaseHTTPRequestHandler):
    """An address for everything that can be wrong with one."""

    def do_GET(self) -> None:
        match self.path:
            case "/missing" | "/broken-server" as path:
                self.answer({"/missing": 404, "/broken-server": 500}[path], b"<html>no</html>")
            case "/empty":
                self.answer(200)
            case "/page":
                self.answer(200, b"<html>not a picture</html>")
            case "/moved":
                self.answer(302, Location="/cat.jpg")
            case "/round":
                self.answer(302, Location="/round")
            case "/to-a-file":
                self.answer(302, Location=(SAMPLES / "cat.jpg").as_uri())
            case "/cut":
                self.send_response(200)
                self.send_header("Content-Length", str(len(CAT_BYTES)))
                self.end_headers()
                self.wfile.write(CAT_BYTES[: len(CAT_BYTES) // 2])
            case "/silent":
                self.connection.recv(1)  # until the other side gives up
                self.close_connection = True
            case "/slow":
                self.send_response(200)
                self.send_header("Content-Length", str(len(CAT_BYTES)))
                self.end_headers()
                try:
                    for start in range(0, len(CAT_BYTES), 4096):
                        self.wfile.write(CAT_BYTES[start : start + 4096])
                        time.sleep(0.1)
                except OSError:
                    pass  # the reader is gone
            case _:
                self.answer(200, CAT_BYTES)


@pytest.fixture(scope="module")
def faulty() -> Iterator[str]:
    with listening(_Faulty) as address:
        yield address


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/missing", "404 Client Error: Not Found"),
        ("/broken-server", "500 Server Error"),
        ("/empty", "The file is empty (0 bytes)"),
        ("/page", "ImageError: "),
        ("/round", "Exceeded 30 redirects"),
        ("/to-a-file", "No connection adapters were found for 'file:"),
        ("/cut", "Connection broken: IncompleteRead"),
        ("/silent", "Read timed out. (read timeout=10)"),
        (":1/", "Connection refused"),
    ],
)
def test_an_address_that_gives_no_picture_fails_in_one_line_and_leaves_no_file(
    path: str, words: str, faulty: str, server: Server
) -> None:
    answer = server.predict(image="http://127.0.0.1:1/" if path == ":1/" else faulty + path)
    assert answer["status"] == "failed"
    assert words in answer["error"]
    assert "\n" not in answer["error"]
    assert _ready(server)
    assert files_left(server) == ["00_cat_1x1.webp", "detections.json"]  # of the prediction after it


@pytest.mark.parametrize("path", ["/moved", "/slow"])
def test_a_picture_that_comes_late_or_from_elsewhere_is_cropped(path: str, faulty: str, server: Server) -> None:
    record, (crop,) = outputs(server.predict(image=faulty + path, width=32))
    assert size(crop) == record["crops"][0]["output_size"]


# ---- callers


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"\xff\xfe", 400),
        (b"null", 422),
        (b"[" * 100_000, 422),
        (b'{"input": {"image": "' + b"a" * (101 * 2**20) + b'"}}', 413),
    ],
    ids=["nothing", "half", "bytes", "null", "deep", "101 MiB"],
)
def test_a_body_that_is_no_request_is_refused(body: bytes, status: int, server: Server) -> None:
    connection = HTTPConnection("127.0.0.1", server.port, timeout=ANSWER_TIMEOUT_S)
    try:
        with suppress(BrokenPipeError):  # a server that has read enough answers and closes
            connection.request("POST", "/predictions", body, {"Content-Type": "application/json"})
        assert connection.getresponse().status == status
    finally:
        connection.close()
    assert _ready(server)


def test_callers_who_come_at_once_get_crops_or_are_told_to_wait(server: Server) -> None:
    assert _ready(server)
    answers: list[tuple[int, Any]] = []

    def ask() -> None:
        answers.append(server.ask("POST", "/predictions", {"input": {"image": ASTRONAUT, "width": 64}}))

    threads = [threading.Thread(target=ask) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    statuses = [status for status, _ in answers]
    assert len(statuses) == 12
    assert set(statuses) <= {200, 409}
    assert 200 in statuses
    for status, answer in answers:
        if status == 200:
            assert len(outputs(answer)[1]) == 1
        else:
            assert "busy" in answer["error"]
    assert _ready(server)


def test_a_caller_who_hangs_up_leaves_the_server_ready(server: Server) -> None:
    connection = HTTPConnection("127.0.0.1", server.port, timeout=ANSWER_TIMEOUT_S)
    body = json.dumps({"input": {"image": large()}})
    connection.request("POST", "/predictions", body, {"Content-Type": "application/json"})
    time.sleep(0.1)
    connection.close()
    assert _ready(server)


# ---- cancelling


@pytest.mark.parametrize("when", ["in the download", "in the crop"])
def test_a_cancelled_prediction_says_so_and_leaves_the_server_ready(when: str, faulty: str, server: Server) -> None:
    image = f"{faulty}/slow" if when == "in the download" else large()
    name = f"cancelled-{when.replace(' ', '-')}"
    with _asked(server, name, image=image, output_format="png") as answers:
        assert server.ask("POST", f"/predictions/{name}/cancel")[0] == 200
    ((status, answer),) = answers
    assert (status, answer["status"]) == (200, "canceled")
    assert _ready(server)
    assert files_left(server) == ["00_cat_1x1.webp", "detections.json"]


def test_cancelling_what_is_not_there_is_refused(server: Server) -> None:
    assert server.ask("POST", "/predictions/nobody/cancel")[0] == 404
    assert _ready(server)


# ---- sinks


class _FaultySink(Quiet, BaseHTTPRequestHandler):
    """A sink for uploads whose answers a test sets."""

    fault: ClassVar[str] = ""
    held: ClassVar[threading.Event] = threading.Event()
    released: ClassVar[threading.Event] = threading.Event()

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        match self.fault:
            case "full":
                self.answer(507)
            case "forbidden":
                self.answer(403)
            case "closes":
                self.connection.shutdown(socket.SHUT_RDWR)
            case "no HTTP":
                self.wfile.write(b"hello\r\n\r\n")
            case "never answers":
                self.held.set()
                self.released.wait(ANSWER_TIMEOUT_S)
            case _:
                self.answer(201)


@pytest.fixture(scope="module")
def faulty_uploading_server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("faulty_uploading_server")
    with listening(_FaultySink) as sink, served(folder, request.session, "--upload-url", sink) as server:
        yield server
        _FaultySink.released.set()


@pytest.fixture
def fault() -> Iterator[type[_FaultySink]]:
    yield _FaultySink
    _FaultySink.fault = ""


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("full", "upload returned status 507"),
        ("forbidden", "upload returned status 403"),
        ("closes", "upload request failed"),
        ("no HTTP", "upload request failed"),
    ],
)
def test_a_sink_that_fails_fails_the_prediction_and_not_the_next(
    kind: str, words: str, fault: type[_FaultySink], faulty_uploading_server: Server
) -> None:
    fault.fault = kind
    answer = faulty_uploading_server.predict(image=CAT)
    assert answer["status"] == "failed"
    assert words in answer["error"]
    assert "output" not in answer
    fault.fault = ""
    assert _ready(faulty_uploading_server)


def test_a_sink_that_never_answers_holds_one_prediction_until_it_is_cancelled(
    fault: type[_FaultySink], faulty_uploading_server: Server
) -> None:
    fault.fault = "never answers"
    with _asked(faulty_uploading_server, "stuck", image=CAT) as answers:
        assert fault.held.wait(ANSWER_TIMEOUT_S)
        assert faulty_uploading_server.ask("POST", "/predictions", {"input": {"image": CAT}})[0] == 409
        assert faulty_uploading_server.ask("POST", "/predictions/stuck/cancel")[0] == 200
    assert answers[0][1]["status"] == "canceled"
    fault.fault = ""
    assert _ready(faulty_uploading_server)


# ---- the end


def test_a_server_that_is_told_to_end_finishes_the_prediction_first(
    tmp_path: Path, faulty: str, request: pytest.FixtureRequest
) -> None:
    with served(tmp_path, request.session) as server:
        (worker,) = server.workers()
        with _asked(server, "last", image=f"{faulty}/slow", width=32) as answers:
            server.process.send_signal(signal.SIGTERM)
        ((status, answer),) = answers
        assert status == 200
        assert len(outputs(answer)[1]) == 1
        assert server.process.wait(ANSWER_TIMEOUT_S) == 0
        assert not Path(f"/proc/{worker}").exists()
        with pytest.raises(OSError, match="refused"):
            server.health()
    assert list(server.temporary.iterdir()) == []


def test_a_worker_that_is_killed_fails_its_prediction_and_the_health_check(
    tmp_path: Path, faulty: str, request: pytest.FixtureRequest
) -> None:
    with served(tmp_path, request.session) as server:
        (worker,) = server.workers()
        with _asked(server, "killed", image=f"{faulty}/slow") as answers:
            os.kill(worker, signal.SIGKILL)
        ((status, answer),) = answers
        assert (status, answer["status"], answer["error"]) == (200, "failed", "Worker crashed")
        assert server.health() == "UNHEALTHY"
        assert server.ask("POST", "/predictions", {"input": {"image": CAT}})[0] in (409, 503)
        assert server.health() == "UNHEALTHY"


def test_a_server_on_a_full_disk_says_so_and_goes_on(tmp_path: Path, small_disk: Path) -> None:
    with running(tmp_path / "log", small_disk, predictor="tests/unwarmed.py") as server:
        assert _ready(server)
        large_input = server.predict(image=ASTRONAUT)  # a 100 KB file on a disk of 64 KiB
        assert large_input["error"] == "Input validation error: [Errno 28] No space left on device"
        large_output = server.predict(image=CAT, output_format="png")
        assert large_output["error"].endswith(
            "OutputError: The crops cannot be written: No space left on device. Ask for fewer or smaller crops."
        )
        assert _ready(server)
    assert list(small_disk.iterdir()) == []
