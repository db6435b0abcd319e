"""An object store as a process of its own: moto's server, which speaks S3."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import fsspec

BUCKETS = ("photos", "crops")
START_S = 60


@dataclass(frozen=True)
class ObjectStore:
    """A running store; the process's environment points to it while it runs."""

    fs: Any

    def keys(self, bucket: str) -> list[str]:
        """Return the names of a bucket's objects, with the bucket's."""
        self.fs.invalidate_cache()
        return sorted(self.fs.find(bucket))


@contextmanager
def object_store() -> Iterator[ObjectStore]:
    """Yield a store with the buckets, empty."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    environment = {
        "AWS_ENDPOINT_URL": address,
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-p", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + START_S
        while True:
            try:
                urllib.request.urlopen(f"{address}/moto-api/", timeout=5).close()
                break
            except OSError:
                assert server.poll() is None, "the object store did not start"
                assert time.monotonic() < deadline
                time.sleep(0.1)
        with patch.dict(os.environ, environment):
            fs = fsspec.filesystem("s3", skip_instance_cache=True)
            type(fs).clear_instance_cache()  # one made before would know another server
            for bucket in BUCKETS:
                fs.mkdir(bucket)
            yield ObjectStore(fs)
            type(fs).clear_instance_cache()
    finally:
        server.terminate()
        server.wait()
