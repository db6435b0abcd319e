from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest
from conftest import SAMPLES

from crop_core.process import tune_process

CROP_TWICE = """
import resource, sys
from crop_core import Cropper
from crop_core.process import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
cropper, data = Cropper(device="cpu"), open(sys.argv[2], "rb").read()
for _ in range(3):
    cropper.crop(data)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    cropper.crop(data)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the setting is glibc's")
def test_the_next_picture_uses_the_memory_of_the_last() -> None:
    def page_faults(word: str) -> int:
        command = [sys.executable, "-c", CROP_TWICE, word, str(SAMPLES / "astronaut.jpg")]
        return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    # Measured: 61,000 without and none with it, for five pictures.
    assert page_faults("keep") < page_faults("leave") / 10


@pytest.mark.parametrize(
    ("environment", "expected"),
    [({}, "1000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "PASSIVE"}, None)],
    ids=["nothing-set", "a-count-set", "a-policy-set"],
)
def test_what_the_environment_says_of_idle_threads_stands(
    environment: dict[str, str], expected: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.setenv(name, "")  # so that it is put back as it was
        monkeypatch.delenv(name)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    tune_process()
    assert os.environ.get("GOMP_SPINCOUNT") == expected
