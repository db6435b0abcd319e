"""OpenVINO says what the torch modules say, the same on every run, with any number of threads, and is not needed."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from conftest import ROOT, SAMPLES
from torch import Tensor, nn

from crop_core.detect import choose_detector, nanodet, yunet
from crop_core.detect.choose_detector import load_detector
from crop_core.detect.engine import Engine, TorchEngine, run_each
from crop_core.detect.network_input import View, letterboxed, padded
from crop_core.detect.openvino_engine import OpenVinoEngine
from crop_core.detect.salient_object import SIDE, SalientObject, normalized
from crop_core.detect.weights.load import load_tensors
from crop_core.detection import Detection
from crop_core.photo.photo import open_photo

CPU = torch.device("cpu")
here = pytest.mark.skipif(find_spec("openvino") is None, reason="needs OpenVINO, which this machine lacks")
NETWORKS: dict[str, type[nn.Module]] = {
    "nanodet_g": nanodet.NanoDet,
    "yunet_2023mar": yunet.YuNet,
    "u2netp": SalientObject,
}
EVERY_SAMPLE = sorted(path.name for path in SAMPLES.glob("*.jpg"))


def pixels_of(sample: str) -> Tensor:
    return open_photo((SAMPLES / sample).read_bytes()).pixels()


def input_of(name: str, sample: str) -> Tensor:
    """Return the sample as the network takes it."""
    pixels = pixels_of(sample)
    if name == "nanodet_g":
        return padded(nanodet.normalized(letterboxed(pixels, nanodet.TRAINED_SIDE)))
    if name == "yunet_2023mar":
        return padded(yunet.as_input(letterboxed(pixels, yunet.NEAR)))
    return normalized(nn.functional.interpolate(pixels[None].float(), (SIDE, SIDE)))


def by_torch(name: str) -> TorchEngine:
    network = NETWORKS[name]()
    network.load_state_dict(load_tensors(f"{name}.safetensors"))
    return TorchEngine(network, CPU)


def asked(engine: Engine, value: Tensor, threads: int) -> tuple[Tensor, ...]:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        return engine.run(value)
    finally:
        torch.set_num_threads(before)


def equal(ones: tuple[Tensor, ...], others: tuple[Tensor, ...]) -> bool:
    return len(ones) == len(others) and all(torch.equal(one, other) for one, other in zip(ones, others, strict=True))


# One for all samples.
loaded, torch_engine, openvino_engine = cache(load_detector), cache(by_torch), cache(OpenVinoEngine)


def found_in(sample: str, dtype: torch.dtype | None = None) -> tuple[Detection, ...]:
    pixels = pixels_of(sample)
    size = open_photo((SAMPLES / sample).read_bytes()).size
    return loaded("fast", CPU, dtype).detect_all([View(pixels, size)], 0.3, 0.5)[0]


@here
@pytest.mark.parametrize("name", ["yunet_2023mar", "u2netp"])
@pytest.mark.parametrize("sample", ["astronaut.jpg", "pair.jpg"])
def test_a_network_in_single_precision_says_what_the_torch_module_says(name: str, sample: str) -> None:
    value = input_of(name, sample)
    for one, other in zip(OpenVinoEngine(name).run(value), by_torch(name).run(value), strict=True):
        assert one.shape == other.shape
        assert torch.allclose(one, other, rtol=1e-4, atol=1e-4)


@here
@pytest.mark.parametrize("sample", EVERY_SAMPLE)
def test_8_bits_score_every_cell_almost_as_single_precision_does(sample: str) -> None:
    value = input_of("nanodet_g", sample)
    (scores, _), (theirs, _) = (
        nanodet.decoded(engine.run(value)) for engine in (openvino_engine("nanodet_g"), torch_engine("nanodet_g"))
    )
    assert scores.shape == theirs.shape
    assert (scores - theirs).abs().max() < 0.06
    assert (scores - theirs).abs().mean() < 1e-3


@here
@pytest.mark.parametrize("sample", EVERY_SAMPLE)
def test_what_is_sure_is_found_by_either_engine(sample: str) -> None:
    ours, theirs = found_in(sample), found_in(sample, torch.float32)
    assert [one.label for one in ours if one.score > 0.6] == [one.label for one in theirs if one.score > 0.6]
    for one in ours:
        assert one.score < 0.4 or any(
            one.label == other.label and abs(one.score - other.score) < 0.06 for other in theirs
        )


@here
@pytest.mark.parametrize("name", NETWORKS)
def test_one_picture_gives_the_same_numbers_with_any_number_of_threads_and_on_every_run(name: str) -> None:
    value, engine = input_of(name, "astronaut.jpg"), OpenVinoEngine(name)
    first = asked(engine, value, 1)
    for threads in (2, 4, 1, 2):
        assert equal(asked(engine, value, threads), first), threads
    assert equal(asked(OpenVinoEngine(name), value, 2), first)


@here
def test_one_picture_gives_the_same_numbers_whatever_was_asked_before_and_what_else_is_in_the_batch() -> None:
    engine = OpenVinoEngine("nanodet_g")
    alone = {sample: OpenVinoEngine("nanodet_g").run(input_of("nanodet_g", sample)) for sample in EVERY_SAMPLE}
    inputs = [input_of("nanodet_g", sample) for sample in EVERY_SAMPLE] * 2
    assert len({value.shape for value in inputs}) < len(inputs)  # some go together
    for sample, outputs in zip(EVERY_SAMPLE * 2, run_each(engine, inputs), strict=True):
        assert equal(outputs, alone[sample])


@here
def test_threads_that_ask_at_once_get_what_each_would_get_alone() -> None:
    engine = OpenVinoEngine("yunet_2023mar")
    inputs = [input_of("yunet_2023mar", sample) for sample in EVERY_SAMPLE] * 4
    alone = [OpenVinoEngine("yunet_2023mar").run(value) for value in inputs[: len(EVERY_SAMPLE)]] * 4
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(engine.run, inputs))
    assert all(equal(one, other) for one, other in zip(together, alone, strict=True))


@here
def test_outputs_stay_as_they_are_when_the_engine_is_asked_again() -> None:
    engine = OpenVinoEngine("yunet_2023mar")
    first = engine.run(input_of("yunet_2023mar", "astronaut.jpg"))
    kept = tuple(output.clone() for output in first)
    engine.run(input_of("yunet_2023mar", "astronaut.jpg").flip(-1))
    assert equal(first, kept)


@here
def test_a_cpu_asks_openvino_and_another_device_pytorch() -> None:
    assert isinstance(load_detector("fast", CPU).common.faces, OpenVinoEngine)
    assert isinstance(load_detector("fast", torch.device("meta")).common.faces, TorchEngine)


# In a process of its own: what is imported there is seen by all tests after it.
WITHOUT = """
import sys
sys.modules["openvino"] = None
from pathlib import Path
from crop_core import Cropper
from crop_core.doctor.report import environment
result = Cropper(device="cpu").crop(Path("samples/astronaut.jpg").read_bytes())
print(*sorted(one.label for one in result.detections if one.score > 0.6))
print(*(one.found for one in environment("cpu") if one.what == "engine"))
"""


def test_without_openvino_pytorch_runs_the_networks_and_the_doctor_says_what_that_costs() -> None:
    run = subprocess.run([sys.executable, "-c", WITHOUT], cwd=ROOT, capture_output=True, text=True, check=True)
    found, said = run.stdout.splitlines()
    assert found == "face person"
    assert "OpenVINO, which is faster, is not installed" in said
    assert "pip install openvino" in said


def test_pytorch_runs_the_networks_where_openvino_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choose_detector, "openvino", lambda: None)
    assert isinstance(load_detector("fast", CPU).common.faces, TorchEngine)


# Python's own audit events: a connection, a process, a file that is written.
QUIET = """
import sys
heard = []
def hook(event, args):
    if event.startswith(("socket.connect", "socket.getaddrinfo", "subprocess.", "os.mkdir", "os.posix_spawn")):
        heard.append((event, str(args)))
sys.addaudithook(hook)
from crop_core.detect.openvino_engine import openvino
assert openvino() is not None
assert not [name for name in sys.modules if name.startswith("openvino_telemetry")]
assert not [event for event in heard if "__pycache__" not in event[1] and "ldconfig" not in event[1]], heard
"""


@here
def test_openvino_tells_nobody_that_it_was_started(tmp_path: Path) -> None:
    environment = os.environ | {"HOME": str(tmp_path), "CI": ""}
    run = subprocess.run([sys.executable, "-c", QUIET], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert list(tmp_path.iterdir()) == []
