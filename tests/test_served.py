"""The model as it is served: Cog's real HTTP server as a process, asked over HTTP.

The server runs without the schema that only `cog build` writes, so it validates nothing: what
refuses a bad input here is the core.
"""

from __future__ import annotations

import base64
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import Any, ClassVar

import pytest
from conftest import ROOT, SAMPLES
from PIL import Image

from crop_core import CropError, CropRequest, ImageError, Size
from crop_core.framing import plan_crops
from crop_core.photo import open_photo

START_TIMEOUT_S = 120  # it takes 3 s here; a loaded machine gets its time
ANSWER_TIMEOUT_S = 60
NO_PICTURE = "image is missing or is no upload: send the picture as an http(s) URL or as a data URI."  # predict.py's


@dataclass(frozen=True, slots=True)
class Server:
    """A running Cog server: where it listens, and the folder that it takes for temporary files."""

    port: int
    temporary: Path

    def ask(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        """Return status and JSON of one request."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=ANSWER_TIMEOUT_S)
        try:
            connection.request(method, path, json.dumps(body), {"Content-Type": "application/json"})
            response = connection.getresponse()
            return response.status, json.loads(response.read())
        finally:
            connection.close()

    def predict(self, **inputs: object) -> dict[str, Any]:
        """Return the answer to one prediction.

        The server takes one at a time, and is not free at once when it has answered: while it
        says so, it is asked again.
        """
        deadline = time.monotonic() + ANSWER_TIMEOUT_S
        while (sent := self.ask("POST", "/predictions", {"input": inputs}))[0] == 409 and time.monotonic() < deadline:
            time.sleep(0.01)
        status, answer = sent
        assert status == 200, answer
        assert isinstance(answer, dict)
        return answer


@contextmanager
def _running(log: Path, temporary: Path, *arguments: str, predictor: str = "predict.py") -> Iterator[Server]:
    """Run the Cog server until the block ends.

    `predictor` is the file with the class, seen from the root.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    temporary.mkdir()
    environment = os.environ | {
        "COG_PREDICT_TYPE_STUB": f"{predictor}:Predictor",
        "PORT": str(port),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",  # its worker is `python` from there
        "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH")))),
        "TMPDIR": str(temporary),
        "NO_PROXY": "127.0.0.1",
    }
    command = [sys.executable, "-m", "cog.server.http", "--host", "127.0.0.1", *arguments]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        server = Server(port, temporary)
        _wait_until_ready(server, process, log)
        yield server
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=10)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # the worker, too
        process.wait()


def _wait_until_ready(server: Server, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    status = "no answer"
    while time.monotonic() < deadline and process.poll() is None and status != "SETUP_FAILED":
        try:
            status = server.ask("GET", "/health-check")[1]["status"]
        except ConnectionError:
            status = "no answer"
        if status == "READY":
            return
        time.sleep(0.05)
    pytest.fail(f"the server is not ready ({status}):\n{log.read_text()}")


@contextmanager
def _printed_when_a_test_fails(log: Path, session: pytest.Session) -> Iterator[None]:
    before = session.testsfailed
    yield
    if session.testsfailed > before:
        print(log.read_text())  # noqa: T201 (pytest shows it beside the failure)


@pytest.fixture(scope="module")
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    with (
        _running(folder / "log", folder / "tmp") as server,
        _printed_when_a_test_fails(folder / "log", request.session),
    ):
        yield server


def _data_uri(data: bytes, mime: str = "image/jpeg") -> str:
    return f"data:{mime};base64,{base64.b64encode(data).decode()}"


def _decoded(uri: str) -> tuple[str, bytes]:
    """Return MIME type and bytes of a data URI."""
    head, _, data = uri.partition(";base64,")
    return head.removeprefix("data:"), base64.b64decode(data)


def _outputs(answer: dict[str, Any]) -> tuple[dict[str, Any], list[bytes]]:
    """Return the record and the other files of an answer that holds its files as data URIs."""
    assert answer["status"] == "succeeded", answer
    files = [_decoded(uri) for uri in answer["output"]]
    (record,) = [json.loads(data) for mime, data in files if mime == "application/json"]
    return record, [data for mime, data in files if mime != "application/json"]


def _size(data: bytes) -> list[int]:
    with Image.open(BytesIO(data)) as image:
        image.load()
        return list(image.size)


ASTRONAUT = _data_uri((SAMPLES / "astronaut.jpg").read_bytes())
PAIR = _data_uri((SAMPLES / "pair.jpg").read_bytes())
CAT_BYTES = (SAMPLES / "cat.jpg").read_bytes()
CAT = _data_uri(CAT_BYTES)
ROCKET = _data_uri((SAMPLES / "rocket.jpg").read_bytes())


# ---- what comes back


def test_the_server_is_ready_once_setup_is_done(server: Server) -> None:
    status, health = server.ask("GET", "/health-check")
    assert (status, health["status"], health["setup"]["status"]) == (200, "READY", "succeeded")


@pytest.mark.parametrize(
    ("inputs", "sizes"),
    [
        # 512x512, so 16:9 is at most 512x288 and the width is what was asked for.
        ({"image": ASTRONAUT, "aspect_ratio": "1:1,16:9", "width": 320}, [[320, 320], [320, 180]]),
        ({"image": ASTRONAUT, "width": 64, "height": 80}, [[64, 80]]),
        ({"image": CAT, "aspect_ratio": "match_input"}, [[451, 300]]),
        ({"image": ROCKET, "mode": "objects", "if_none": "empty"}, []),
        ({"image": PAIR, "mode": "faces", "width": 48, "height": 48}, [[48, 48]]),
        ({"image": ASTRONAUT, "mode": "faces", "aspect_ratio": "4:5,1:1", "width": 40}, [[40, 50], [40, 40]]),
        ({"image": ASTRONAUT, "mode": "objects", "labels": "person", "width": 60, "height": 90}, [[60, 90]]),
    ],
    ids=["ratios", "a size", "match_input", "nothing found", "faces", "faces in ratios", "objects"],
)
def test_the_crops_decode_to_the_sizes_asked_for(
    inputs: dict[str, object], sizes: list[list[int]], server: Server
) -> None:
    record, crops = _outputs(server.predict(**inputs))
    assert [crop["output_size"] for crop in record["crops"]] == sizes
    assert sorted(map(_size, crops)) == sorted(sizes)


@pytest.mark.parametrize(
    ("wanted", "mime", "decoder"),
    [("webp", "image/webp", "WEBP"), ("jpg", "image/jpeg", "JPEG"), ("png", "image/png", "PNG")],
    ids=["webp", "jpg", "png"],
)
def test_the_crop_is_in_the_format_asked_for_and_says_so(wanted: str, mime: str, decoder: str, server: Server) -> None:
    answer = server.predict(image=CAT, output_format=wanted)
    record, (crop,) = _outputs(answer)
    assert record["crops"][0]["file"].endswith(f".{wanted}")
    assert mime in [_decoded(uri)[0] for uri in answer["output"]]
    with Image.open(BytesIO(crop)) as image:
        assert image.format == decoder


def test_preview_adds_one_jpeg(server: Server) -> None:
    record, files = _outputs(
        server.predict(image=ASTRONAUT, aspect_ratio="1:1,16:9", output_format="png", preview=True)
    )
    assert len(record["crops"]) == 2
    formats = []
    for data in files:
        with Image.open(BytesIO(data)) as image:
            formats.append(image.format)
    assert sorted(filter(None, formats)) == ["JPEG", "PNG", "PNG"]


def test_the_metrics_hold_the_detections_of_the_record(server: Server) -> None:
    answer = server.predict(image=ASTRONAUT)
    detections = _outputs(answer)[0]["detections"]
    assert {"person", "face"} <= {detection["label"] for detection in detections}
    assert answer["metrics"]["detections"] == detections


def test_a_picture_gives_the_same_crops_before_and_after_another(server: Server) -> None:
    inputs: dict[str, object] = {"aspect_ratio": "1:1,4:5", "width": 200}
    first = _outputs(server.predict(image=ASTRONAUT, **inputs))
    other = _outputs(server.predict(image=CAT, **inputs))
    again = _outputs(server.predict(image=ASTRONAUT, **inputs))
    assert first[1] == again[1]  # byte for byte: one server, one machine, one order of additions
    assert first[0] | {"timings_ms": {}} == again[0] | {"timings_ms": {}}
    assert not set(first[1]) & set(other[1])


# ---- what is refused


def _sentence(refused: Callable[[], object]) -> str:
    """Return what the core says to this."""
    with pytest.raises(CropError) as caught:
        refused()
    return str(caught.value)


def _no_picture() -> None:
    raise ImageError(NO_PICTURE)


TEXT, CUT_OFF = b"Once upon a time there was no picture.", CAT_BYTES[: len(CAT_BYTES) // 2]


@pytest.mark.parametrize(
    ("inputs", "refused"),
    [
        ({"image": CAT, "padding": 9}, lambda: CropRequest.from_inputs(padding=9)),
        ({"image": CAT, "aspect_ratio": "banana"}, lambda: CropRequest.from_inputs(aspect_ratio="banana")),
        ({"image": CAT, "labels": "unicorn"}, lambda: CropRequest.from_inputs(labels="unicorn")),
        ({"image": CAT, "mode": "zzz"}, lambda: CropRequest.from_inputs(mode="zzz")),
        ({"image": CAT, "width": "abc"}, lambda: CropRequest.from_inputs(width="abc")),
        ({"image": CAT, "preview": "yes"}, lambda: CropRequest.from_inputs(preview="yes")),
        ({}, _no_picture),
        ({"image": None}, _no_picture),
        ({"image": 7}, _no_picture),
        ({"image": [CAT]}, _no_picture),
        ({"image": "/etc/hostname"}, _no_picture),
        ({"image": "file:///etc/hostname"}, _no_picture),
        ({"image": _data_uri(TEXT, "text/plain")}, lambda: open_photo(TEXT).pixels()),
        ({"image": _data_uri(TEXT)}, lambda: open_photo(TEXT).pixels()),
        ({"image": _data_uri(b"")}, lambda: open_photo(b"").pixels()),
        ({"image": _data_uri(CUT_OFF)}, lambda: open_photo(CUT_OFF).pixels()),
        (
            {"image": ROCKET, "mode": "faces", "if_none": "error"},
            lambda: plan_crops((), Size(640, 427), CropRequest(mode="faces", if_none="error")),
        ),
    ],
    ids=[
        "padding",
        "ratio",
        "label",
        "mode",
        "width",
        "preview",
        "no picture",
        "null",
        "a number",
        "a list",
        "a path",
        "a file URL",
        "a text",
        "a text called a picture",
        "an empty file",
        "half a JPEG",
        "nothing found",
    ],
)
def test_a_bad_input_fails_with_the_cores_sentence_and_the_next_request_succeeds(
    inputs: dict[str, object], refused: Callable[[], object], server: Server
) -> None:
    answer = server.predict(**inputs)
    assert answer["status"] == "failed"
    assert answer["error"].endswith(f"Error: {_sentence(refused)}")
    assert "output" not in answer
    assert len(_outputs(server.predict(image=CAT, width=32))[1]) == 1


@pytest.mark.parametrize("form", ["{}", "file://{}", "file:{}", "FILE://{}", "file://localhost{}", "local_file://{}"])
def test_a_file_of_the_server_is_never_read(form: str, server: Server, tmp_path: Path) -> None:
    for name, secret in (("notes.txt", b"the secret is 7f3a9c"), ("cat.jpg", CAT_BYTES)):
        (tmp_path / name).write_bytes(secret)
        answer = server.predict(image=form.format(tmp_path / name))
        assert answer["status"] == "failed"
        assert answer["error"].endswith(NO_PICTURE)
        assert "7f3a9c" not in json.dumps(answer)
        assert str(tmp_path) not in json.dumps(answer)


# ---- files: fetched, uploaded, removed


class _Quiet(BaseHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: pytest's output is for failures."""


class _Pictures(_Quiet):
    """Serves the samples, and under names that tell nothing."""

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        data = CAT_BYTES if path == "/no-name" else (SAMPLES / Path(path).name).read_bytes()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


class _Sink(_Quiet):
    """Takes uploads, each after a pause that is longer than a prediction needs to overwrite its files."""

    uploads: ClassVar[list[tuple[str, bytes]]] = []
    pause_s: ClassVar[float] = 0

    def do_PUT(self) -> None:
        data = self.rfile.read(int(self.headers["Content-Length"]))
        time.sleep(self.pause_s)
        self.uploads.append((self.path, data))
        self.send_response(201)
        self.send_header("Content-Length", "0")
        self.end_headers()


@contextmanager
def _listening(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """Serve until the block ends, and yield the address."""
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as http:
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"http://127.0.0.1:{http.server_port}"
        finally:
            http.shutdown()
            thread.join()


@pytest.fixture
def uploads() -> Iterator[list[tuple[str, bytes]]]:
    """What the sink has taken in this test."""
    _Sink.uploads.clear()
    _Sink.pause_s = 0
    yield _Sink.uploads
    _Sink.pause_s = 0


@pytest.fixture(scope="module")
def uploading_server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server as Replicate runs it: outputs go to an upload address."""
    folder = tmp_path_factory.mktemp("uploading_server")
    with (
        _listening(_Sink) as sink,
        _running(folder / "log", folder / "tmp", "--upload-url", f"{sink}/sink") as server,
        _printed_when_a_test_fails(folder / "log", request.session),
    ):
        yield server


def _check_uploads(answer: dict[str, Any], uploads: list[tuple[str, bytes]]) -> None:
    """Check that the files that the answer names came, whole, and are the ones that its record names."""
    assert answer["status"] == "succeeded", answer
    names = {Path(url).name for url in answer["output"]}
    records = [json.loads(data) for path, data in uploads if path == "/sink/detections.json"]
    (crops,) = [record["crops"] for record in records if {crop["file"] for crop in record["crops"]} <= names]
    assert {crop["file"] for crop in crops} == names - {"detections.json", "preview.jpg"}
    for crop in crops:
        (data,) = [data for path, data in uploads if path == f"/sink/{crop['file']}"]
        assert _size(data) == crop["output_size"]


def test_files_are_uploaded_under_names_that_say_what_they_are(
    uploading_server: Server, uploads: list[tuple[str, bytes]]
) -> None:
    answer = uploading_server.predict(image=ASTRONAUT, aspect_ratio="1:1,16:9", output_format="jpg", preview=True)
    names = ["00_person_1x1.jpg", "01_person_16x9.jpg", "detections.json", "preview.jpg"]
    assert sorted(path for path, _ in uploads) == [f"/sink/{name}" for name in names]
    assert sorted(Path(url).name for url in answer["output"]) == names
    _check_uploads(answer, uploads)


def test_a_slow_upload_is_whole_though_the_next_prediction_follows_at_once(
    uploading_server: Server, uploads: list[tuple[str, bytes]]
) -> None:
    _Sink.pause_s = 0.3
    answers: list[dict[str, Any]] = []

    def ask(ending: str, image: str) -> None:
        answers.append(uploading_server.predict(image=image, aspect_ratio="1:1,16:9", width=100, output_format=ending))

    threads = [threading.Thread(target=ask, args=pair) for pair in (("png", ASTRONAUT), ("jpg", CAT), ("webp", PAIR))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 3
    assert len(uploads) == 9
    for answer in answers:
        _check_uploads(answer, uploads)


@pytest.mark.parametrize(
    ("path", "source"),
    [("/cat.jpg", "cat.jpg"), ("/a/b/cat.jpg?width=7&v=2", "cat.jpg"), ("/no-name", "no-name")],
    ids=["plain", "with a query", "without an ending"],
)
def test_a_picture_is_fetched_from_its_address_and_keeps_its_name(path: str, source: str, server: Server) -> None:
    with _listening(_Pictures) as address:
        record, (crop,) = _outputs(server.predict(image=address + path))
    assert record["source"] == source
    assert _size(crop) == record["crops"][0]["output_size"]


def test_a_data_uri_has_no_name_but_what_the_server_calls_it(server: Server) -> None:
    assert _outputs(server.predict(image=CAT))[0]["source"] == "file.jpg"


def test_at_most_one_predictions_files_stay_behind(server: Server) -> None:
    for inputs in ({"image": CAT}, {"image": ASTRONAUT, "preview": True}, {"image": CAT, "padding": 9}, {"image": "x"}):
        server.predict(**inputs)
    # The input is removed after the answer is sent, so the folder is looked at until it is.
    deadline = time.monotonic() + ANSWER_TIMEOUT_S
    while (inputs_left := _temporary(server, "tmp")) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert inputs_left == []
    (outputs,) = _temporary(server, "crop-core-")
    names = sorted(path.name for path in (server.temporary / outputs).iterdir())
    assert names == ["00_person_match_input.webp", "detections.json", "preview.jpg"]


def _temporary(server: Server, prefix: str) -> list[str]:
    return sorted(path.name for path in server.temporary.iterdir() if path.name.startswith(prefix))


# ---- a device that is lost


def test_lost_device_fails_its_prediction_and_all_later_ones_and_the_server_says_that_it_is_unhealthy(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    with (
        _running(tmp_path / "log", tmp_path / "tmp", predictor="tests/lost_device.py") as server,
        _printed_when_a_test_fails(tmp_path / "log", request.session),
    ):
        assert server.ask("GET", "/health-check")[1]["status"] == "READY"
        answers = [server.predict(image=CAT) for _ in range(2)]
        for answer in answers:
            assert answer["status"] == "failed"
            assert "The device meta does not work any more" in answer["error"]
            assert "output" not in answer
        assert server.ask("GET", "/health-check")[1]["status"] == "UNHEALTHY"
