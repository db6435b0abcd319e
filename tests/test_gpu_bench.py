"""tests/bench/gpu.py on a CPU: a part that fails does not stop the others, and each part's findings are written."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import warnings
from importlib import import_module
from io import BytesIO
from pathlib import Path

import gpu
import gpu_figures
import gpu_parts
import pytest
import torch
from conftest import encoded
from PIL import Image

from crop_core import Cropper, CropRequest

# What stands for the parts: each fails in its own way, most after they have found something.
PARTS = """
import os, time

def good(device, quick):
    yield "device", device
    yield "quick", quick

def wrong(device, quick):
    yield "first", 1
    raise ValueError("this is what went wrong")

def dies(device, quick):
    yield "first", 2
    os.abort()

def hangs(device, quick):
    time.sleep(60)
    yield "never", 0
"""


@pytest.fixture
def parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Replace the real parts by these, and return the folder for the report."""
    (tmp_path / "stand_ins.py").write_text(PARTS)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    stand_ins = {name: (f"stand_ins:{name}", 60) for name in ("wrong", "dies", "good")}
    monkeypatch.setattr(gpu, "PARTS", {**stand_ins, "hangs": ("stand_ins:hangs", 1), "last": ("stand_ins:good", 60)})
    return tmp_path / "out"


def run(out: Path, *arguments: str) -> tuple[int, dict[str, dict[str, object]]]:
    status = gpu.main(["--device", "cpu", "--out", str(out), *arguments])
    return status, json.loads((out / "gpu.json").read_text())


def is_running(process: int) -> bool:
    """Return whether the process runs; a zombie does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_part_that_fails_keeps_what_it_found_and_the_next_runs(parts: Path) -> None:
    status, report = run(parts, "--quick")
    assert status == 1
    assert list(report) == ["wrong", "dies", "good", "hangs", "last"]
    assert "ValueError: this is what went wrong" in str(report["wrong"]["failed"])
    assert report["wrong"]["first"] == 1
    assert "ended with status -6" in str(report["dies"]["failed"])
    assert report["dies"]["first"] == 2
    assert str(report["hangs"]["failed"]).startswith("not done within 1 s")
    for name in ("good", "last"):
        assert "failed" not in report[name]
        assert (report[name]["device"], report[name]["quick"]) == ("cpu", True)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")
def test_what_a_part_started_ends_with_it() -> None:
    child = [sys.executable, "-c", "import time; time.sleep(60)"]
    code = f"import subprocess, time; print(subprocess.Popen({child!r}).pid, flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, start_new_session=True) as process:
        assert process.stdout
        started = int(process.stdout.readline())
        assert is_running(started)
        gpu._end_all_of(process)
    for _ in range(1000):  # a process that was sent SIGKILL takes a moment
        if not is_running(started):
            return
        time.sleep(0.02)
    pytest.fail("what the process started runs on")


def test_good_parts_give_the_status_zero_and_leave_two_files(parts: Path) -> None:
    status, report = run(parts, "--only", "good")
    assert status == 0
    assert list(report) == ["good"]
    assert sorted(path.name for path in parts.iterdir()) == ["gpu.json", "gpu.md"]


def test_no_part_is_begun_when_the_time_for_all_is_spent(parts: Path) -> None:
    status, report = run(parts, "--only", "good,last", "--seconds", "0")
    assert status == 1
    assert all(str(part["failed"]).startswith("not begun") for part in report.values())


def test_an_unknown_part_is_refused_by_name(parts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run(parts, "--only", "nothing")
    assert "there is no part nothing; the parts are wrong" in capsys.readouterr().err


def test_every_part_is_a_function_that_is_there() -> None:
    for part, seconds in gpu.PARTS.values():
        module, _, function = part.partition(":")
        assert callable(getattr(import_module(module), function))
        assert seconds > gpu.LEAST


def test_the_table_has_a_line_for_each_figure_found() -> None:
    report = {
        "environment": {"gpu": "NVIDIA H100", "seconds": 1.0},
        "tests": {"failed": "not done within 130 s", "seconds": 130.0},
        "speed": {"fast": {"1": {"ms": 30.7}, "12": {"ms": 46.3}}, "failed": "not done", "seconds": 1.0},
        "rate": {"fast jpg": {"photos_a_second": 46.4}, "seconds": 1.0},
        "agreement": {"fast": {"windows": 280, "within_2_px": 0.9357, "within_1_percent": 0.9786}, "seconds": 1.0},
        "waits": {"fast": {"waits": 7}, "seconds": 1.0},
        "memory": {"fast": {"1": {"reserved_mb": 113.2}, "12": {"reserved_mb": 291.5}}, "seconds": 1.0},
        "codec": {"cat": {"decode_db": 45.2, "encode_db": 40}, "pair": {"decode_db": 44, "encode_db": 41}},
    }
    assert gpu.table(report).splitlines() == [
        "| NVIDIA H100 | |",
        "|---|---|",
        "| one photo, `fast`, ms | 1 MP 31, 12 MP 46 |",
        "| 3 MP photos a second, `fast`, jpg | 46.4 |",
        "| 280 windows as on the CPU, `fast` | 93.6% within 2 px, 97.9% within 1 % of the picture |",
        "| waits of the host a picture, `fast` | 7 |",
        "| most memory of the GPU, `fast`, MB | 1 MP 113, 12 MP 292 |",
        "| least PSNR beside Pillow over the samples, dB | JPEG decoded 44.0, encoded at 95 40.0 |",
    ]
    assert "memory" not in gpu.table({"memory": {"fast": {"1": {"host_mb": 723}}}}), "a CPU has none of its own"
    assert gpu.table({}) == "| on a GPU | |\n|---|---|\n"


def test_codec_part_runs_in_its_own_process_on_a_cpu(tmp_path: Path) -> None:
    status, report = run(tmp_path, "--quick", "--only", "codec")
    assert status == 0, report
    found = [one for name, one in report["codec"].items() if name != "seconds"]
    assert len(found) == 2
    for one in found:
        assert isinstance(one, dict)
        assert one["decoded_there"]
        assert one["threads_differ"] == 0
        assert one["decode_db"] > 40
        assert one["encode_db"] > 30
    assert "JPEG decoded" in (tmp_path / "gpu.md").read_text()


def test_equal_results_agree_and_a_moved_window_is_named(cropper: Cropper, astronaut: bytes, cat: bytes) -> None:
    request = CropRequest(aspect_ratios=("9:16",))
    one, other = (cropper.crop(data, request, dry_run=True) for data in (astronaut, cat))
    same = gpu_parts.compared({"a": (one, one)})
    assert (same["within_2_px"], same["largest_move"], same["worst"]) == (1, 0, [])
    assert same["boxes"] == len(one.detections) > 0
    assert (same["boxes_without_partner"], same["score_difference_largest"]) == (0, 0)
    differ = gpu_parts.compared({"a": (one, one), "b": (one, other)})
    assert differ["within_2_px"] == 0.5
    assert [text.partition(":")[0] for text in differ["worst"]] == ["b 9"]
    assert differ["boxes_without_partner"] > 0


def test_only_waits_are_counted_and_each_place_is_named() -> None:
    def said(text: str, filename: str, line: int) -> warnings.WarningMessage:
        return warnings.WarningMessage(UserWarning(text), UserWarning, filename, line)

    # PyTorch's own words; the first is said once in a process, when the mode is set.
    mode = "Synchronization debug mode is a prototype feature and does not yet detect all synchronizing operations"
    wait = "called a synchronizing CUDA operation (Triggered internally at CUDAFunctions.cpp:126.)"
    told = [said(mode, "torch/cuda/__init__.py", 1270), *[said(wait, "of/crop_core/detect/merge_boxes.py", 67)] * 2]
    assert gpu_figures.places_of(told) == {"detect/merge_boxes.py:67": 2}


def test_work_on_a_cpu_calls_nothing_of_cuda() -> None:
    done = []
    assert gpu_figures.calls_of(lambda: done.append(torch.ones(2).sum().item())) == {}
    assert done == [2]


def test_junit_is_counted_and_what_failed_is_named() -> None:
    junit = """<testsuites><testsuite><testcase name="a"/><testcase name="b[1]"><failure>why</failure></testcase>
    <testcase name="c"><skipped>no GPU</skipped></testcase><testcase name="d"><error>fixture</error></testcase>
    </testsuite></testsuites>"""
    assert gpu_parts.counts_of(junit) == {"passed": 1, "skipped": 1, "failed": ["b[1]", "d"]}


def test_psnr_is_that_of_the_mean_square() -> None:
    black = torch.zeros(3, 4, 4, dtype=torch.uint8)
    assert gpu_parts.psnr(black, black) == 99
    assert gpu_parts.psnr(black, black + 255) == 0
    assert gpu_parts.psnr(black, black + 1) == pytest.approx(48.13, abs=0.01)


@pytest.mark.parametrize("seed", range(4))
def test_a_drawn_scene_is_the_same_each_time_and_of_its_shape(seed: int) -> None:
    data = gpu_parts.drawn_scene(seed)
    assert data == gpu_parts.drawn_scene(seed)
    assert len(data) > len(encoded(Image.new("RGB", gpu_parts.SHAPES[seed]), "JPEG", quality=90))
    with Image.open(BytesIO(data)) as image:
        assert image.size == gpu_parts.SHAPES[seed]
