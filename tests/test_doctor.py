"""What the doctor says of a healthy machine, and of faults that can be made on one."""

from __future__ import annotations

import shutil
from importlib.resources import files
from pathlib import Path

import pytest
import torch

from crop_core import doctor, weights
from crop_core.cli import main
from crop_core.doctor import Finding, examine

# A device that is not there: no machine has both.
ABSENT = "mps" if torch.cuda.is_available() or not torch.backends.mps.is_available() else "cuda"


def finding(findings: list[Finding], what: str) -> Finding:
    (found,) = [one for one in findings if one.what.startswith(what)]
    return found


@pytest.fixture
def damaged_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Have the loader read a copy of the weights of which one file is cut off; return its name."""
    for name in weights.SHA256:
        shutil.copy(str(files(weights) / name), tmp_path / name)
    monkeypatch.setattr(weights, "files", lambda package: tmp_path)
    name = "yunet_2023mar.safetensors"
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:-1])
    return name


@pytest.mark.parametrize("arguments", [[], ["--device", "auto"], ["--device", "cpu"]], ids=str)
def test_doctor_finds_this_machine_well(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", *arguments]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 6  # versions, CUDA, device, nms, two weights files
    assert all(line.startswith("ok    ") for line in lines)
    for said in (torch.__version__, "torchvision.ops.nms", *weights.SHA256):
        assert sum(said in line for line in lines) == 1


@pytest.mark.gpu
def test_doctor_finds_the_gpu_well(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--device", "cuda"]) == 0
    assert torch.cuda.get_device_name() in capsys.readouterr().out


def test_device_that_is_not_there_is_wrong_with_a_remedy(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--device", ABSENT]) == 1
    *well, wrong, remedy = capsys.readouterr().out.splitlines()
    assert all(line.startswith("ok    ") for line in well)
    assert wrong.startswith(f"WRONG device: The device {ABSENT} was asked for")
    assert remedy.startswith("      Ask for another device")


def test_damaged_weights_are_wrong_and_the_rest_is_well(
    damaged_weights: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["doctor", "--device", "cpu"]) == 1
    wrong = finding([one for one in examine("cpu") if not one.ok], "weights")
    assert wrong.what == f"weights {damaged_weights}"
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith("WRONG")] == [f"WRONG {wrong.what}: {wrong.found}"]
    assert "SHA-256" in wrong.found
    assert f"      {wrong.remedy}" in lines


def test_builds_for_two_cudas_are_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.version, "cuda", "11.8")
    wrong = finding(examine("cpu"), "CUDA")
    assert not wrong.ok
    assert "11.8" in wrong.found
    assert "one index" in wrong.remedy


def test_operator_that_keeps_the_wrong_boxes_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "nms", lambda boxes, scores, iou_threshold: torch.arange(len(boxes)))
    wrong = finding(examine("cpu"), "torchvision.ops.nms")
    assert not wrong.ok
    assert "[0, 1, 2]" in wrong.found
    assert "[0, 2]" in wrong.found
    assert wrong.remedy == doctor.REINSTALL


def test_operator_that_is_not_built_for_the_device_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    # The meta device stands for a GPU: it is on every machine, and torchvision refuses to run the operator on it.
    monkeypatch.setattr(doctor, "resolve_device", lambda name: torch.device("meta"))
    wrong = finding(examine("cpu"), "torchvision.ops.nms")
    assert not wrong.ok
    assert wrong.remedy == doctor.REINSTALL


def test_gpu_that_does_not_answer_is_wrong_and_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(device: torch.device) -> str:
        raise RuntimeError("CUDA unknown error")

    monkeypatch.setattr(doctor, "resolve_device", lambda name: torch.device("cuda"))
    monkeypatch.setattr(torch.cuda, "get_device_name", fails)
    wrong = finding(examine("cuda"), "device")
    assert not wrong.ok
    assert "CUDA unknown error" in wrong.found
    assert wrong.remedy
