from __future__ import annotations

import os
import platform
import resource
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.response import addinfourl

import pytest
from conftest import SAMPLES

from crop_core.run.process_settings import DataOnce, Scratch, tune_process

PAGE_FAULTS = """
import resource, sys
from crop_core import Cropper
from crop_core.run.process_settings import keep_freed_memory
assert keep_freed_memory()
cropper, data = Cropper(device="cpu"), open(sys.argv[1], "rb").read()
for _ in range(12):
    cropper.crop(data)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    cropper.crop(data)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the setting is glibc's")
def test_the_next_picture_uses_the_memory_of_the_last() -> None:
    command = [sys.executable, "-c", PAGE_FAULTS, str(SAMPLES / "astronaut.jpg")]
    faults = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert faults < 5_000  # 0 to 1,805 measured for five pictures; without the setting up to 80,000


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


GAPS = """
import ctypes
from crop_core.run.process_settings import FreedMemory, _resident, keep_freed_memory
assert keep_freed_memory()
malloc, free, memset = (getattr(ctypes.CDLL(None), name) for name in ("malloc", "free", "memset"))
malloc.restype, malloc.argtypes, free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]
memset.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
freed = FreedMemory(32 * 2**20)
def hold():
    before, large = _resident(), []
    for _ in range(64):
        large.append(malloc(2**20))
        memset(large[-1], 1, 2**20)
        malloc(64)  # stays, and keeps the heap's end from falling
    return before, large
for given in (freed.give_back(), freed.give_back()):
    print(given)
for _ in range(2):
    before, large = hold()
    for address in large:
        free(address)
    full = _resident()
    print(full - before > 48 * 2**20, freed.give_back(), _resident() - before < 16 * 2**20)
"""


def test_freed_memory_between_what_stays_is_given_back_when_it_is_much() -> None:
    if platform.libc_ver()[0] != "glibc":
        pytest.skip("needs glibc's heap")
    run = subprocess.run([sys.executable, "-c", GAPS], capture_output=True, text=True, check=True)
    assert run.stdout.splitlines() == ["True", "False", "True True True", "True True True"]


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scratch]:
    """A process's folder; tempfile and the limit are put back."""
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(resource, "setrlimit", lambda which, limits: None)  # it could not be taken back
    scratch = Scratch()
    yield scratch
    assert resource.getrlimit(resource.RLIMIT_FSIZE) == limit


def test_a_new_temporary_file_takes_the_place_of_all_that_was_left(scratch: Scratch, tmp_path: Path) -> None:
    with tempfile.NamedTemporaryFile(delete=False) as left:
        assert Path(left.name).parent == scratch.folder
    scratch.outputs.mkdir()
    (scratch.outputs / "crop.webp").write_text("left")
    (scratch.folder / "link").symlink_to(tmp_path)
    (tmp_path / "mine").write_text("another's")
    with tempfile.NamedTemporaryFile(delete=False) as new:
        assert list(scratch.folder.iterdir()) == [Path(new.name)]
    assert (tmp_path / "mine").read_text() == "another's"


def test_a_temporary_file_elsewhere_clears_nothing(scratch: Scratch, tmp_path: Path) -> None:
    (scratch.folder / "download").write_text("in use")
    with tempfile.NamedTemporaryFile(dir=tmp_path):
        assert (scratch.folder / "download").read_text() == "in use"


def test_the_scratch_folder_is_removed_when_the_process_ends(tmp_path: Path) -> None:
    code = "from crop_core.run.process_settings import Scratch; s = Scratch(); s.outputs.mkdir(); print(s.folder)"
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert Path(run.stdout.strip()).parent == tmp_path
    assert list(tmp_path.iterdir()) == []


ENDLESS = """
from crop_core.run import process_settings as process
process._LARGEST_FILE = 100_000
scratch = process.Scratch()
with open(scratch.folder / "endless", "wb", buffering=0) as file:
    try:
        while True:
            file.write(bytes(10_000))
    except OSError as error:
        print(error.strerror)
"""


def test_a_file_without_end_is_stopped() -> None:
    run = subprocess.run([sys.executable, "-c", ENDLESS], capture_output=True, text=True, check=True)
    assert run.stdout == "File too large\n"


def test_a_data_uri_opened_twice_is_decoded_once_and_comes_out_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    decodings = []
    plain = urllib.request.DataHandler.data_open

    def counted(self: urllib.request.DataHandler, request: urllib.request.Request) -> addinfourl:
        decodings.append(request.full_url)
        return plain(self, request)

    monkeypatch.setattr(urllib.request.DataHandler, "data_open", counted)
    opener = urllib.request.build_opener(DataOnce)
    one, other = "data:image/png;base64,aGVsbG8=", "data:text/plain,hello%20there"
    read = []
    for uri in (one, one, other, other, one):
        with opener.open(uri) as response:
            read.append((response.headers.get_content_type(), response.read()))
    assert read == [("image/png", b"hello")] * 2 + [("text/plain", b"hello there")] * 2 + [("image/png", b"hello")]
    assert decodings == [one, other, one]


def test_a_broken_data_uri_is_refused_as_ever() -> None:
    with pytest.raises(ValueError, match="not enough values"):
        urllib.request.build_opener(DataOnce).open("data:image/png;base64")
