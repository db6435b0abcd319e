"""Which detector a name means, and that the shipped ones find what stands in the samples."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
import torch
from conftest import SAMPLES

from crop_core.detect import torchvision_models as torchvision
from crop_core.detect.choose_detector import ACCURATE, NAMES, load_detector, resolve
from crop_core.detect.detector import Detector
from crop_core.detect.network_input import View
from crop_core.detection import Detection
from crop_core.device import precision
from crop_core.errors import RequestError, WeightsError
from crop_core.geometry import Size
from crop_core.photo.photo import open_photo

CPU = torch.device("cpu")
CPU_FLAGS = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
EVERY_SAMPLE = sorted(path.name for path in SAMPLES.glob("*.jpg"))
CUDA = torch.device("cuda")  # a name; nothing here asks whether there is one


@pytest.fixture
def torch_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder in which torchvision looks for weights: an empty one."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture(scope="module", params=["fast", "balanced"])
def detector(request: pytest.FixtureRequest) -> Detector:
    return load_detector(request.param, CPU)


loaded = cache(load_detector)  # one for all samples


def found_in(detector: Detector, sample: str, device: torch.device = CPU) -> tuple[Detection, ...]:
    """Return what stands in the sample, with the thresholds that a request has by default."""
    photo = open_photo((SAMPLES / sample).read_bytes())
    return detector.detect_all([View(photo.pixels().to(device), photo.size)], 0.3, 0.5)[0]


@pytest.mark.parametrize("device", [CPU, CUDA], ids=str)
@pytest.mark.parametrize("name", ["", "fast", "balanced", "accurate", ACCURATE, "yolo"])
def test_every_name_but_auto_means_itself(name: str, device: torch.device) -> None:
    assert resolve(name, device) == name


@pytest.mark.parametrize(
    ("device", "has_weights", "expected"),
    [
        (CPU, False, "fast"),
        (CPU, True, "fast"),
        (torch.device("mps"), True, "fast"),
        (CUDA, False, "balanced"),
        (CUDA, True, "accurate"),
        (torch.device("cuda", 1), True, "accurate"),
    ],
    ids=str,
)
def test_auto_is_the_best_that_costs_nothing_noticeable(
    torch_home: Path, device: torch.device, has_weights: bool, expected: str
) -> None:
    if has_weights:
        (torch_home / torchvision.weights_path(ACCURATE).name).touch()
    assert resolve("auto", device) == expected


@pytest.mark.parametrize("name", ["", "yolo", "Fast", "nanodet-g", "resnet50"])
def test_unknown_name_is_refused_with_the_names_there_are(name: str) -> None:
    with pytest.raises(RequestError) as error:
        load_detector(name, CPU)
    for known in (*NAMES, *torchvision.MODELS, repr(name)):
        assert known in str(error.value)


def test_auto_loads_what_it_means() -> None:
    assert load_detector("auto", CPU).name == "nanodet-g"


@pytest.mark.parametrize("name", ["accurate", *torchvision.MODELS])
def test_detector_without_its_weights_is_refused_with_what_to_do(torch_home: Path, name: str) -> None:
    with pytest.raises(WeightsError, match="fast or balanced") as error:
        load_detector(name, CPU)
    assert str(torch_home) not in str(error.value)  # no path of the machine


@pytest.mark.parametrize(("name", "expected"), [("fast", "nanodet-g"), ("balanced", "nanodet-g-416-640")])
def test_detector_says_which_network_it_is(name: str, expected: str) -> None:
    detector = load_detector(name, CPU)
    assert detector.name == expected
    assert detector.longest_side == 960  # the larger scale of the face network


def test_rocket_shows_nothing(detector: Detector) -> None:
    assert found_in(detector, "rocket.jpg") == ()


def test_astronaut_is_a_person_with_a_face(detector: Detector) -> None:
    detections = found_in(detector, "astronaut.jpg")
    best = {label: next(d for d in detections if d.label == label) for label in ("person", "face")}
    # Drawn by eye, to the sides' tenth: that is how well the networks' boxes lie on hair and cloth.
    assert best["face"].box.xyxy == pytest.approx((180, 62, 271, 176), abs=10)
    assert best["person"].box.xyxy == pytest.approx((20, 14, 365, 512), abs=35)
    assert best["person"].score > 0.65
    assert best["face"].score > 0.85


def test_faces_are_found_once_among_the_objects(detector: Detector) -> None:
    labels = [d.label for d in found_in(detector, "pair.jpg")]
    assert labels.count("face") == 1
    assert "person" in labels
    assert "cat" in labels


@pytest.mark.parametrize("sample", ["astronaut.jpg", "pair.jpg"])
def test_repeated_runs_give_equal_detections(detector: Detector, sample: str) -> None:
    first = found_in(detector, sample)
    found_in(detector, "coffee.jpg")
    assert found_in(detector, sample) == first
    assert found_in(load_detector({"nanodet-g": "fast"}.get(detector.name, "balanced"), CPU), sample) == first


def test_higher_threshold_gives_the_surer_part_of_the_same(detector: Detector) -> None:
    photo = open_photo((SAMPLES / "pair.jpg").read_bytes())
    view = View(photo.pixels(), photo.size)
    (low,), (high,) = (detector.detect_all([view], threshold, 0.5) for threshold in (0.3, 0.6))
    assert high == tuple(d for d in low if d.score >= 0.6)
    assert 0 < len(high) < len(low)


def test_one_pixel_is_a_picture(detector: Detector) -> None:
    pixels = torch.zeros((3, 1, 1), dtype=torch.uint8)
    photo = open_photo((SAMPLES / "rocket.jpg").read_bytes())
    assert detector.detect_all([View(pixels, photo.size)], 0.3, 0.5) == [()]


@pytest.mark.parametrize("name", ["fast", "balanced"])
def test_networks_never_wait_for_their_device(name: str) -> None:
    """Tensors of the device `meta` have no values: whatever asked for one would fail."""
    meta = torch.device("meta")
    detector = load_detector(name, meta)
    sizes = [Size(640, 480), Size(480, 640), Size(640, 480)]
    views = [View(torch.empty((3, size.height, size.width), dtype=torch.uint8, device=meta), size) for size in sizes]
    assert [found.boxes.shape[1] for found in detector.candidates(views)] == [4, 4, 4]


def assert_agree(one: tuple[Detection, ...], other: tuple[Detection, ...], least_score: float) -> None:
    """Hold detections to scores within 0.02 and boxes within 2 px of one another.

    What lies as close to the threshold may stand on one side alone, so the least score is above it.
    """
    for ours, theirs in ((one, other), (other, one)):
        for detection in ours:
            if detection.score >= least_score:
                assert any(
                    near.label == detection.label
                    and near.score == pytest.approx(detection.score, abs=0.02)
                    and near.box.xyxy == pytest.approx(detection.box.xyxy, abs=2)
                    for near in theirs
                ), f"{detection} has no like"


@cache
def exactly_found(name: str, sample: str) -> tuple[Detection, ...]:
    """Return what single precision sees, once for both halves."""
    return found_in(loaded(name, CPU, torch.float32), sample)


# The networks of `fast` are those of `balanced`, which looks once more at another scale: three samples tell of it.
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize(
    ("name", "sample"),
    [*(("balanced", sample) for sample in EVERY_SAMPLE), *(("fast", sample) for sample in EVERY_SAMPLE[:3])],
)
def test_half_the_precision_sees_the_same(name: str, sample: str, dtype: torch.dtype) -> None:
    """What a GPU and some processors compute with, which every CPU can imitate."""
    half = found_in(loaded(name, CPU, dtype), sample)
    assert_agree(
        exactly_found(name, sample), half, least_score=0.4
    )  # of several weak boxes on one thing another may win


def test_half_precision_is_cudas_and_that_of_processors_made_for_it() -> None:
    assert precision(torch.device("cuda")) is torch.float16
    assert precision(torch.device("mps")) is torch.float32
    assert precision(CPU) is (torch.bfloat16 if " avx512_bf16" in CPU_FLAGS else torch.float32)


@pytest.mark.parametrize("name", ["fast", "balanced"])
def test_pictures_of_one_shape_and_others_are_seen_together_as_alone(name: str) -> None:
    detector = load_detector(name, CPU, torch.float32)
    photos = [open_photo((SAMPLES / f"{name}.jpg").read_bytes()) for name in ("astronaut", "cat", "astronaut", "pair")]
    views = [View(photo.pixels(), photo.size) for photo in photos]
    together = detector.detect_all(views, 0.3, 0.5)
    assert len(together) == len(views)
    for found, view in zip(together, views, strict=True):
        (alone,) = detector.detect_all([view], 0.3, 0.5)
        assert [one.label for one in found] == [one.label for one in alone]
        for one, other in zip(found, alone, strict=True):
            # The convolutions of a batch add in another order: 1e-7 of score were measured.
            assert one.score == pytest.approx(other.score, abs=1e-5)
            assert one.box.xyxy == pytest.approx(other.box.xyxy, abs=0.01)


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["fast", "balanced"])
@pytest.mark.parametrize("sample", EVERY_SAMPLE)
def test_cpu_and_cuda_agree(name: str, sample: str) -> None:
    assert_agree(
        found_in(load_detector(name, CPU), sample), found_in(load_detector(name, CUDA), sample, CUDA), least_score=0.32
    )  # the two resize and multiply in other orders and precisions
