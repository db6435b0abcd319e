"""Two threads with half of PyTorch's threads each."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from threading import Barrier, get_ident

import pytest
import torch
from conftest import SAMPLES

from crop_core.detect.choose_detector import load_detector
from crop_core.detect.network_input import View
from crop_core.detect.parallel_networks import TwoThreads, cores_are_free
from crop_core.photo.photo import open_photo

# In a process of its own: the number of threads is the whole process's.
COUNTS = """
import threading, torch
from crop_core.detect.network_input import View
from crop_core.detect.parallel_networks import TwoThreads
for threads in (1, 2, 3, 8):
    torch.set_num_threads(threads)
    pair = TwoThreads()
    counts = [*pair.run(torch.get_num_threads, torch.get_num_threads), torch.get_num_threads()]
    later = threading.Thread(target=lambda: counts.append(torch.get_num_threads()))
    later.start()
    later.join()
    print(counts)
"""


def test_each_thread_of_a_pair_has_half_and_all_others_keep_theirs() -> None:
    printed = subprocess.run([sys.executable, "-c", COUNTS], check=True, capture_output=True, text=True).stdout
    assert printed.splitlines() == ["[1, 1, 1, 1]", "[1, 1, 2, 2]", "[1, 1, 3, 3]", "[4, 4, 8, 8]"]


def test_the_two_run_at_the_same_time() -> None:
    meeting = Barrier(2)
    assert sorted(TwoThreads().run(lambda: meeting.wait(30), lambda: meeting.wait(30))) == [0, 1]


def test_what_one_of_the_two_raises_is_raised() -> None:
    pair = TwoThreads()
    with pytest.raises(ZeroDivisionError):
        pair.run(lambda: 1, lambda: 1 // 0)
    assert pair.run(lambda: 1, lambda: 2) == (1, 2)


@pytest.mark.parametrize(
    ("text", "free"),
    [
        ("0.10 0.20 0.30 1/233 4711", True),
        ("0.10 0.20 0.30 2/233 4711", False),
        ("0.10", False),
        ("a b c d e", False),
        (None, False),
    ],
    ids=["alone", "another runs", "cut off", "no numbers", "no such file"],
)
def test_cores_are_free_where_nothing_else_runs(tmp_path: Path, text: str | None, free: bool) -> None:
    file = tmp_path / "loadavg"
    if text is not None:
        file.write_text(text)
    assert cores_are_free(file) is free


@pytest.mark.parametrize("free", [True, False])
def test_busy_cores_have_the_networks_side_by_side(monkeypatch: pytest.MonkeyPatch, free: bool) -> None:
    photo = open_photo((SAMPLES / "pair.jpg").read_bytes())
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        detector = load_detector("fast", torch.device("cpu"))
        threads: set[int] = set()
        find = detector.find_faces
        monkeypatch.setattr(
            detector, "find_faces", lambda views, side: (threads.add(get_ident()), find(views, side))[1]
        )
        monkeypatch.setattr("crop_core.detect.detector.cores_are_free", lambda: free)
        detector.detect_all([View(photo.pixels(), photo.size)], 0.3, 0.5)
    finally:
        torch.set_num_threads(before)
    assert (threads == {get_ident()}) is free


def test_networks_side_by_side_find_what_they_find_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crop_core.detect.detector.cores_are_free", lambda: False)
    photo = open_photo((SAMPLES / "pair.jpg").read_bytes())
    view = View(photo.pixels(), photo.size)
    before, found = torch.get_num_threads(), []
    try:
        for threads in (4, 1):  # with one, they run in turn
            torch.set_num_threads(threads)
            found.append(load_detector("fast", torch.device("cpu")).detect_all([view], 0.3, 0.5))
    finally:
        torch.set_num_threads(before)
    assert found[0] == found[1]
    assert found[0][0]
