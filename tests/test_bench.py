from __future__ import annotations

import json
from io import BytesIO
from pathlib import Path

import pytest
from conftest import SAMPLES
from PIL import Image

from crop_core.bench.inside import STAGES, Times, in_turn
from crop_core.bench.pictures import photo_like
from crop_core.cli.main import main
from crop_core.errors import RequestError


@pytest.mark.parametrize("megapixels", [0.5, 2])
def test_a_photo_has_the_size_asked_for_and_the_bytes_of_a_camera(megapixels: float) -> None:
    data = photo_like(SAMPLES / "astronaut.jpg", megapixels)
    with Image.open(BytesIO(data)) as photo:
        assert abs(photo.width * photo.height / 1e6 / megapixels - 1) < 0.01
        assert abs(photo.width / photo.height - 4 / 3) < 0.01
    assert 0.2 < len(data) / (megapixels * 1e6) < 0.4  # bytes a pixel: phones write 0.25 to 0.35


def test_a_sample_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="--picture"):
        photo_like(tmp_path / "none.jpg", 1)


def test_contenders_run_in_turn_after_one_warm_up_each() -> None:
    calls: list[str] = []
    times = in_turn({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, 3)
    assert calls == ["a", "b", "a", "b", "a", "b", "a", "b"]
    assert times["a"].runs == times["b"].runs == 3


def test_times_are_the_median_and_what_nearly_all_stay_below() -> None:
    assert Times.of([float(n) for n in range(1, 102)]) == Times(51, 96, 101)
    assert Times.of([4.0]) == Times(4, 4, 1)


def test_the_command_measures_what_it_is_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "figures.json"
    only = "stages,throughput,memory"
    picture = str(SAMPLES / "astronaut.jpg")
    arguments = [
        "bench",
        "--device",
        "cpu",
        "--detector",
        "balanced",
        "--megapixels",
        "0.3",
        "--runs",
        "1",
        "--only",
        only,
    ]
    assert main([*arguments, "--picture", picture, "--json", str(target)]) == 0
    figures = json.loads(target.read_text())
    parts = {
        "stages_ms",
        "whole_ms",
        "doubtful_stages_ms",
        "doubtful_whole_ms",
        "pictures_a_second",
        "peak_mb",
        "device_mb",
    }
    assert set(figures) == {"machine", "bytes", *parts}
    assert figures["machine"]["detector"] == "nanodet-g-416-640"  # on a GPU it is no default: each has figures to reach
    assert figures["device_mb"] == {"0.3": None}  # a CPU has none of its own, and the bench says so
    assert set(figures["stages_ms"]["0.3"]) == set(STAGES)
    assert {stage for stage, times in figures["stages_ms"]["0.3"].items() if times["p50"] == 0} == {"salient"}
    assert all(times["p50"] > 0 for times in figures["doubtful_stages_ms"]["0.3"].values())
    printed = capsys.readouterr().out
    assert "0.3 MP" in printed
    assert "peak MB of the GPU: none in use here, so not measured" in printed


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--megapixels", "0"], "--megapixels"),
        (["--megapixels", "nan"], "--megapixels"),
        (["--megapixels", "one"], "--megapixels"),
        (["--runs", "0"], "--runs"),
        (["--only", "speed"], "--only"),
        (["--detector", "accurate", "--megapixels", "0.3"], "fasterrcnn_resnet50_fpn_v2"),
        (["--picture", "none.jpg"], "--picture"),
    ],
)
def test_wrong_use_is_one_sentence(
    arguments: list[str],
    named: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    assert main(["bench", *arguments]) == 2
    error = capsys.readouterr().err
    assert named in error
    assert error.count("\n") == 1
