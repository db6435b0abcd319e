"""torchvision's detectors from files in the official form: keys and name as downloaded, values random."""

from __future__ import annotations

import hashlib
import pickle
import re
from collections.abc import Callable
from copy import deepcopy
from functools import partial
from io import BytesIO
from pathlib import Path

import pytest
import torch
from conftest import ROOT, SAMPLES, encoded
from PIL import Image
from torch import Tensor, nn
from torchvision.models import get_model

from crop_core import Cropper, CropRequest
from crop_core.bench.pictures import photo_like
from crop_core.detect import torchvision_models as models
from crop_core.detect.candidates import Candidates
from crop_core.detect.choose_detector import ACCURATE, load_detector, resolve
from crop_core.detect.network_input import View
from crop_core.detection import COCO_LABELS
from crop_core.errors import WeightsError
from crop_core.geometry import Size
from crop_core.photo.photo import open_photo

SMALLEST = "ssdlite320_mobilenet_v3_large"
FROZEN = "fasterrcnn_mobilenet_v3_large_fpn"
RESNET = "fcos_resnet50_fpn"
DOG = 18  # COCO's own number of dog; torchvision's classes keep COCO's gaps
GAP = 12  # the first number that COCO's 80 classes leave out: "N/A"

# How a file in torch's form of before 2020 begins.
OLD_FORM = b"".join(pickle.dumps(value, protocol=2) for value in (torch.serialization.MAGIC_NUMBER, 1001, {}))

Put = Callable[[str, bytes], Path]


def proposed(network: nn.Module, name: str, pixels: Tensor, size: Size) -> Candidates:
    """Return what the model says of one picture."""
    (found,) = models.propose_all(network, torch.device("cpu"), name, [View(pixels, size)])
    return found


@pytest.fixture
def put(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Put:
    """Return what puts a model's file where torchvision keeps it, under a name with the file's own digits."""

    def put_file(name: str, data: bytes) -> Path:
        path = tmp_path / f"{name}_coco-{hashlib.sha256(data).hexdigest()[:8]}.pth"
        path.write_bytes(data)
        monkeypatch.setattr(models, "weights_path", lambda asked: path if asked == name else None)
        return path

    return put_file


def pickled(value: object) -> bytes:
    buffer = BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def published() -> bytes:
    """Return a file of random weights whose every box is a dog with a score of about a half, and a gap as often."""
    torch.manual_seed(0)
    model = get_model(SMALLEST, weights=None, weights_backbone=None)
    for anchors in model.head.classification_head.module_list:
        biases = anchors[-1].bias.detach().view(-1, 91)  # per anchor, the classes
        biases[:] = 0.0
        biases[:, (DOG, GAP)] = 10.0
    return pickled(model.state_dict())


@pytest.fixture(scope="module")
def picture(astronaut: bytes) -> Tensor:
    return open_photo(astronaut).pixels()


@pytest.mark.parametrize("name", models.MODELS)
def test_weights_are_looked_for_by_their_official_name(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    path = models.weights_path(name)
    assert path.parent == tmp_path / "hub" / "checkpoints"
    assert re.fullmatch(rf"{name}(_coco)?-[0-9a-f]{{8}}\.pth", path.name)


@pytest.mark.parametrize("name", models.MODELS)
def test_labels_are_mapped_by_name(name: str) -> None:
    indices = models.coco_indices(name)
    assert len(indices) == 91
    assert indices[0] == -1  # the background
    assert indices[1] == COCO_LABELS.index("person") == 0
    assert indices[DOG] == COCO_LABELS.index("dog")
    assert indices[GAP] == -1
    assert sorted(index for index in indices if index >= 0) == list(range(len(COCO_LABELS)))


def test_official_file_goes_through_load_and_propose(put: Put, published: bytes, picture: Tensor) -> None:
    put(SMALLEST, published)
    network = models.load(SMALLEST)
    assert not network.training
    size = Size(picture.shape[-1], picture.shape[-2])
    with torch.inference_mode():
        found = proposed(network, SMALLEST, picture, size)
    assert len(found.boxes) > 10  # what follows is said of something
    assert set(found.labels.tolist()) == {COCO_LABELS.index("dog")}  # the gap is no label, and nobody's box
    assert found.scores.min() >= models.OWN_SCORE_THRESHOLD
    assert found.scores.max() <= 1
    assert found.boxes.min() >= 0
    assert found.boxes.max() <= 512
    assert not found.landmarks.any()
    assert found.landmarks.shape == (len(found.boxes), 10)


def test_boxes_come_in_source_pixels(put: Put, published: bytes, picture: Tensor) -> None:
    put(SMALLEST, published)
    network = models.load(SMALLEST)
    with torch.inference_mode():
        same = proposed(network, SMALLEST, picture, Size(512, 512))
        source = proposed(network, SMALLEST, picture, Size(1024, 2048))
    torch.testing.assert_close(source.boxes, same.boxes * torch.tensor([2.0, 4.0, 2.0, 4.0]))


def test_own_thresholds_leave_the_callers_to_decide(put: Put, published: bytes) -> None:
    put(SMALLEST, published)
    network = models.load(SMALLEST)
    assert (network.score_thresh, network.nms_thresh, network.detections_per_img) == (0.02, 0.9, 500)


def test_detector_runs_the_model_beside_the_face_network(put: Put, published: bytes, picture: Tensor) -> None:
    put(SMALLEST, published)
    detector = load_detector(SMALLEST, torch.device("cpu"))
    assert detector.name == SMALLEST
    labels = {d.label for d in detector.detect_all([View(picture, Size(512, 512))], 0.3, 0.5)[0]}
    assert labels - {"salient"} == {"dog", "face"}


def test_accurate_detector_is_loaded_from_its_official_file_and_named(put: Put, cat: bytes) -> None:
    torch.manual_seed(0)
    state = get_model(ACCURATE, weights=None, weights_backbone=None).state_dict()
    put(ACCURATE, pickled(state))
    assert resolve("auto", torch.device("cuda")) == "accurate"
    cropper = Cropper("cpu", "accurate")
    # The model makes 800 px of a picture's shorter side, but no more than 1333 of the longer one: a strip is cheap.
    with Image.open(BytesIO(cat)) as image:
        strip = encoded(image.resize((1333, 32)), "JPEG")
    result = cropper.crop(strip, CropRequest(if_none="center", output_format="jpg"))
    assert result.detector == ACCURATE
    assert len(result.crops) == 1
    assert cropper.crop(cat, CropRequest(detector="fast")).detector == "nanodet-g"


@pytest.mark.gpu
def test_accurate_detector_crops_12_megapixels_on_cuda_within_3_gb(put: Put) -> None:
    torch.manual_seed(0)
    put(ACCURATE, pickled(get_model(ACCURATE, weights=None, weights_backbone=None).state_dict()))
    torch.cuda.reset_peak_memory_stats()
    result = Cropper("cuda").crop(photo_like(SAMPLES / "cat.jpg", 12), CropRequest(output_format="jpg"))
    assert (result.detector, result.note) == (ACCURATE, "")
    assert torch.cuda.max_memory_reserved() <= 3e9


def test_file_of_frozen_batch_norms_loads(put: Put) -> None:
    """The official file holds FrozenBatchNorm2d's state: version 1, and no count of batches."""
    model = get_model(FROZEN, weights=None, weights_backbone=None)
    state = model.state_dict()
    norms = [name for name, module in model.backbone.body.named_modules() if isinstance(module, nn.BatchNorm2d)]
    assert norms
    for name in norms:
        del state[f"backbone.body.{name}.num_batches_tracked"]
        state._metadata[f"backbone.body.{name}"] = {"version": 1}
    put(FROZEN, pickled(state))
    loaded = models.load(FROZEN)
    heads = loaded.roi_heads
    assert (heads.score_thresh, heads.nms_thresh, heads.detections_per_img) == (0.02, 0.9, 500)
    for name, tensor in state.items():
        assert torch.equal(loaded.state_dict()[name], tensor)


class _Recording(nn.Module):
    """Keeps what it is given, and finds one box: all of it."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Tensor] = []

    def forward(self, images: list[Tensor]) -> list[dict[str, Tensor]]:
        (image,) = images
        height, width = image.shape[-2:]
        self.seen.append(image)
        return [
            {
                "boxes": torch.tensor([[0.0, 0.0, width, height]]),
                "scores": torch.tensor([0.9]),
                "labels": torch.tensor([DOG]),
            }
        ]


@pytest.mark.parametrize(
    ("size", "seen"),
    [
        (Size(1, 1), (1, 1)),
        (Size(640, 480), (480, 640)),
        (Size(1333, 10), (10, 1333)),
        (Size(4000, 3000), (1000, 1333)),
        (Size(60_000, 1), (1, 1333)),
        (Size(1, 60_000), (1333, 1)),
    ],
    ids=lambda value: f"{value.width}x{value.height}" if isinstance(value, Size) else "",
)
def test_model_sees_at_most_1333_px(size: Size, seen: tuple[int, int]) -> None:
    network = _Recording()
    pixels = torch.zeros((3, size.height, size.width), dtype=torch.uint8)
    found = proposed(network, SMALLEST, pixels, size)
    assert [tuple(image.shape) for image in network.seen] == [(3, *seen)]
    assert found.boxes[0].tolist() == pytest.approx([0, 0, size.width, size.height], rel=1e-6)


def test_model_sees_rgb_from_0_to_1() -> None:
    network = _Recording()
    proposed(network, SMALLEST, torch.tensor([255, 51, 0], dtype=torch.uint8).view(3, 1, 1), Size(1, 1))
    assert network.seen[0].flatten().tolist() == pytest.approx([1.0, 0.2, 0.0])


@pytest.mark.parametrize("size", [Size(1, 1), Size(5000, 1), Size(1, 5000)], ids=str)
def test_strip_of_a_picture_is_a_picture_for_a_model_that_resizes(size: Size) -> None:
    # torchvision's own resize makes a side of 0 px of such a strip and fails.
    torch.manual_seed(0)
    network = get_model(FROZEN, weights=None, weights_backbone=None).eval()
    pixels = torch.zeros((3, size.height, size.width), dtype=torch.uint8)
    with torch.inference_mode():
        found = proposed(network, FROZEN, pixels, size)
    assert len(found.boxes) == len(found.scores)


def test_absent_file_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(WeightsError) as error:
        models.load(SMALLEST)
    message = str(error.value)
    assert models.weights_path(SMALLEST).name in message
    assert "fast or balanced" in message
    assert "see crop_core/doctor/README.md" in message
    assert "$TORCH_HOME/hub/checkpoints" in (ROOT / "crop_core" / "doctor" / "README.md").read_text()
    assert str(tmp_path) not in message


@pytest.mark.parametrize(
    "damaged",
    [
        lambda data: b"",
        lambda data: data[:-1],
        lambda data: data[: len(data) // 2],
        lambda data: data[:5000] + bytes([data[5000] ^ 1]) + data[5001:],
        lambda data: pickled({"another": torch.zeros(1)}),
    ],
    ids=["empty", "a byte short", "half of it", "one bit turned", "swapped"],
)
def test_file_that_is_not_the_one_in_its_name_is_refused(
    put: Put, published: bytes, damaged: Callable[[bytes], bytes]
) -> None:
    path = put(SMALLEST, published)
    path.write_bytes(damaged(published))
    with pytest.raises(WeightsError, match="SHA-256"):
        models.load(SMALLEST)


class _Trap:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("write", [pickled, partial(pickle.dumps, protocol=2)], ids=["in torch's form", "bare"])
def test_code_in_a_file_is_refused_and_not_run(put: Put, tmp_path: Path, write: Callable[[object], bytes]) -> None:
    trap = tmp_path / "sprung"
    data = write({"weights": _Trap(trap)})
    torch.load(BytesIO(data), weights_only=False) if write is pickled else pickle.loads(data)
    assert trap.exists()  # it is a trap
    trap.unlink()
    put(SMALLEST, data)
    with pytest.raises(WeightsError, match="does not hold"):
        models.load(SMALLEST)
    assert not trap.exists()


@pytest.mark.parametrize(
    "garbage",
    [
        b"",
        b"<html>404</html>",
        b"\x80\x02.",  # an empty stack
        b"\x80\x02\xff\xfe\xfd",
        b"\x80\x02h\x07.",  # what was never memoised
        b"\x80\x02X\x02\x00\x00\x00\xff\xff.",  # text that is none
        OLD_FORM + b"\x80\x02K\x01Q.",  # a tensor's storage by the name of 1
        b"PK\x03\x04" + bytes(100),
        pickled([1, 2, 3]),
        pickled(3),
        pickled({}),
        pickled({1: torch.zeros(1)}),
        pickled({"another": torch.zeros(1)}),
    ],
    ids=[
        "empty",
        "a web page",
        "empty stack",
        "unknown opcodes",
        "no memo",
        "no text",
        "no storage",
        "half a zip",
        "a list",
        "a number",
        "no tensors",
        "numbers for names",
        "another network's",
    ],
)
def test_garbage_under_the_right_digits_is_refused(put: Put, garbage: bytes) -> None:
    path = put(SMALLEST, garbage)
    with pytest.raises(WeightsError, match="does not hold") as error:
        models.load(SMALLEST)
    assert path.name in str(error.value)
    assert str(path.parent) not in str(error.value)


def test_file_of_other_shapes_is_refused(put: Put) -> None:
    state = get_model(SMALLEST, weights=None, weights_backbone=None, num_classes=5).state_dict()
    put(SMALLEST, pickled(state))
    with pytest.raises(WeightsError, match="does not hold"):
        models.load(SMALLEST)


@pytest.mark.parametrize("name", [SMALLEST, FROZEN, RESNET, ACCURATE])
def test_convolutions_are_halved_and_what_decodes_boxes_is_not(name: str) -> None:
    torch.manual_seed(0)
    small = {} if name == SMALLEST else {"min_size": 96, "max_size": 128}
    if name == ACCURATE:
        small["rpn_post_nms_top_n_test"] = 20  # a CPU imitates half precision, slowly
    plain = get_model(name, weights=None, weights_backbone=None, **small).eval()
    other = deepcopy(plain)
    half = models.converted(other, torch.device("cpu"), torch.float16)
    kinds = {key.replace(".inner", ""): value.dtype for key, value in half.named_parameters()}
    assert {kinds[key] for key in kinds if key.startswith("backbone")} == {torch.float16}
    x = [torch.rand((3, 96, 128))]
    with torch.inference_mode():
        features, narrow = (list(model.backbone(torch.stack(x)).values()) for model in (plain, half))
        (found,) = half(x)
    assert {value.dtype for value in (*narrow, found["boxes"], found["scores"])} == {torch.float32}
    if name in (RESNET, ACCURATE):  # random weights of the others leave nothing of the picture
        for one, two in zip(features, narrow, strict=True):
            # Half precision has 11 bits, and the errors of fifty layers add up.
            assert (one - two).abs().max() <= 0.02 * one.abs().max()


def test_model_in_single_precision_stays_as_it_is() -> None:
    model = get_model(SMALLEST, weights=None, weights_backbone=None)
    before = [type(module) for module in model.modules()]
    assert models.converted(model, torch.device("cpu"), torch.float32) is model
    assert [type(module) for module in model.modules()] == before


def test_pictures_of_one_shape_are_given_to_the_model_together_and_each_gets_its_own(
    put: Put, published: bytes, picture: Tensor
) -> None:
    put(SMALLEST, published)
    network = models.load(SMALLEST)
    other = picture.flip(-1)[:, :300]
    views = [View(picture, Size(512, 512)), View(other, Size(1024, 600)), View(picture.flip(1), Size(512, 512))]
    with torch.inference_mode():
        together = models.propose_all(network, torch.device("cpu"), SMALLEST, views)
        for view, found in zip(views, together, strict=True):
            alone = proposed(network, SMALLEST, view.pixels, view.size)
            torch.testing.assert_close(found.scores, alone.scores, atol=1e-5, rtol=0)
            torch.testing.assert_close(found.boxes, alone.boxes, atol=0.01, rtol=0)
