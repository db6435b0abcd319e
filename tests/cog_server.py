"""Cog's HTTP server as a process: what the container runs, without the container."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from crop_core.errors import CropError

ROOT = Path(__file__).parents[1]
START_TIMEOUT_S = 120  # it takes 3 s; a loaded machine gets its time
ANSWER_TIMEOUT_S = 180
IMAGE_ENVIRONMENT = {"MALLOC_ARENA_MAX": "1"}  # what cog.yaml sets in the image


def children_of(process: str) -> list[str]:
    """Return the ids of its children; Linux only."""
    found = []
    for task in Path(f"/proc/{process}/task").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):  # a thread that has ended meanwhile
            found += (task / "children").read_text().split()
    return found


@dataclass(frozen=True, slots=True)
class Server:
    """A running Cog server.

    Attributes:
        process: The front end, which speaks HTTP; the worker, which crops, is its child.
        port: Where it listens, at 127.0.0.1.
        temporary: The folder that it takes for temporary files.
    """

    process: subprocess.Popen[bytes]
    port: int
    temporary: Path

    def ask(
        self, method: str, path: str, body: object = None, headers: dict[str, str] | None = None
    ) -> tuple[int, Any]:
        """Return status and JSON of one request; its body is JSON already where it is bytes.

        Raises:
            OSError: The server does not answer.
        """
        connection = HTTPConnection("127.0.0.1", self.port, timeout=ANSWER_TIMEOUT_S)
        try:
            sent = {"Content-Type": "application/json"} | (headers or {})
            connection.request(method, path, body if isinstance(body, bytes) else json.dumps(body), sent)
            response = connection.getresponse()
            return response.status, json.loads(response.read())
        finally:
            connection.close()

    def predict(self, **inputs: object) -> dict[str, Any]:
        """Return the answer to one prediction, be it a success or a failure; as `answer`."""
        return self.answer(json.dumps({"input": inputs}).encode())

    def answer(self, body: bytes) -> dict[str, Any]:
        """Return the answer to the body of one prediction.

        The server takes one at a time, and is not free at once when it has answered: while it
        says so, it is asked again.

        Raises:
            CropError: The server takes no prediction.
            OSError: It does not answer.
        """
        deadline = time.monotonic() + ANSWER_TIMEOUT_S
        while (sent := self.ask("POST", "/predictions", body))[0] == 409 and time.monotonic() < deadline:
            time.sleep(0.002)
        status, answer = sent
        if status != 200 or not isinstance(answer, dict):
            raise CropError(f"The Cog server answered {status}: {answer}.")
        return answer

    def health(self) -> str:
        """Return what the server says of itself, such as READY."""
        return str(self.ask("GET", "/health-check")[1]["status"])

    def workers(self) -> list[int]:
        """Return the ids of the processes that the front end has started; Linux only."""
        return [int(child) for child in children_of(str(self.process.pid))]


@contextmanager
def running(
    log: Path, temporary: Path, *arguments: str, predictor: str = "predict.py", folder: Path = ROOT
) -> Iterator[Server]:
    """Run the Cog server until the block ends, and yield it when it is ready.

    Args:
        log: The file that takes what it prints.
        temporary: The folder that it is to take for temporary files.
        arguments: More of the server's own, such as ``--upload-url``.
        predictor: The file with the class `Predictor`, seen from the folder.
        folder: Where the server runs; it looks there for a schema, `.cog/openapi_schema.json`.

    Raises:
        CropError: It does not become ready.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {
        **IMAGE_ENVIRONMENT,
        **os.environ,
        "COG_PREDICT_TYPE_STUB": f"{predictor}:Predictor",
        "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), str(ROOT / "tests"), os.environ.get("PYTHONPATH")))),
        "PORT": str(port),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",  # its worker is `python` from there
        "TMPDIR": str(temporary),
        "NO_PROXY": "127.0.0.1",
    }
    command = [sys.executable, "-m", "cog.server.http", "--host", "127.0.0.1", *arguments]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        server = Server(process, port, temporary)
        _wait_until_ready(server)
        yield server
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=10)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # the worker, too
        process.wait()


def _wait_until_ready(server: Server) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    status = "no answer"
    while time.monotonic() < deadline and server.process.poll() is None and status != "SETUP_FAILED":
        with suppress(OSError):
            status = server.health()
        if status == "READY":
            return
        time.sleep(0.02)
    raise CropError(f"The Cog server does not become ready ({status}); run python -m cog.server.http to see why.")
