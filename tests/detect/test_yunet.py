"""The port of YuNet, held to the original that onnxruntime runs, and what its two scales find."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from conftest import SAMPLES
from PIL import Image
from torch import Tensor

from crop_core.detect.candidates import Candidates
from crop_core.detect.engine import TorchEngine
from crop_core.detect.merge_boxes import all_settled
from crop_core.detect.network_input import View
from crop_core.detect.weights.load import load_tensors
from crop_core.detect.yunet import FAR, HEADS, NEAR, STRIDES, YuNet, as_input, decoded, has_far_view, propose_all
from crop_core.detection import FACE, Detection
from crop_core.geometry import Box, Size

ORIGINAL = Path(__file__).parent / "data" / "yunet_2023mar.onnx"
ORIGINAL_SHA256 = "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4"

FACE_BOX = (180, 62, 271, 176)  # the astronaut's, drawn by eye: brow to chin, ear to ear
GRAY = (128, 128, 128)


@pytest.fixture(scope="module")
def network() -> YuNet:
    network = YuNet()
    network.load_state_dict(load_tensors("yunet_2023mar.safetensors"))
    return network.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def original() -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(ORIGINAL, providers=["CPUExecutionProvider"])


@pytest.fixture(scope="module")
def portrait(astronaut: bytes) -> Image.Image:
    return Image.open(BytesIO(astronaut)).convert("RGB")


def as_tensor(image: Image.Image) -> Tensor:
    """Return uint8 [3, H, W]."""
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def proposed(network: YuNet, pixels: Tensor, size: Size, longest_side: int) -> Candidates:
    """Return what the network says of one picture."""
    (found,) = propose_all(TorchEngine(network, torch.device("cpu")), [View(pixels, size)], longest_side)
    return found


def by_head(outputs: Sequence[Tensor]) -> list[dict[str, Tensor]]:
    """Return each stride's outputs by the name of their head."""
    return [dict(zip(HEADS, output.split(list(HEADS.values()), 1), strict=True)) for output in outputs]


def faces_in(network: YuNet, image: Image.Image) -> tuple[Detection, ...]:
    """Return the faces with the thresholds that a request has by default."""
    pixels, size = as_tensor(image), Size(*image.size)
    sides = (NEAR, FAR) if has_far_view(size) else (NEAR,)
    return all_settled([Candidates.joined(proposed(network, pixels, size, side) for side in sides)], 0.3, 0.5)[0]


def test_original_is_the_file_that_opencv_published() -> None:
    assert hashlib.sha256(ORIGINAL.read_bytes()).hexdigest() == ORIGINAL_SHA256


@pytest.mark.parametrize("memory_format", [torch.channels_last, torch.contiguous_format], ids=str)
@pytest.mark.parametrize("sample", sorted(path.name for path in SAMPLES.glob("*.jpg")))
def test_port_computes_what_the_original_computes(
    network: YuNet, original: onnxruntime.InferenceSession, sample: str, memory_format: torch.memory_format
) -> None:
    with Image.open(SAMPLES / sample) as image:
        batch = as_input(
            as_tensor(image.convert("RGB").resize((640, 640)))[None]
        ).float()  # the one size that the file takes
    names = [output.name for output in original.get_outputs()]
    expected = dict(zip(names, original.run(None, {"input": batch.numpy()}), strict=True))
    outputs = by_head(network(batch.contiguous(memory_format=memory_format)))
    for stride, heads in zip(STRIDES, outputs, strict=True):
        for name, head in heads.items():
            flat = head[0].permute(1, 2, 0).flatten(0, 1)
            found = flat.sigmoid() if name in ("cls", "obj") else flat  # the original ends with the sigmoid
            # The largest difference measured is 1.2e-5 (kps); half-precision weights would differ by 1e-2.
            np.testing.assert_allclose(found.numpy(), expected[f"{name}_{stride}"][0], rtol=0, atol=1e-4)


def slowly_decoded(outputs: Sequence[Tensor]) -> list[tuple[float, list[float], list[float]]]:
    """Return every cell's score, box and landmarks as OpenCV's face_detect.cpp computes them, one by one."""
    cells = []
    for stride, heads in zip(STRIDES, by_head(outputs), strict=True):
        maps = {name: head[0].tolist() for name, head in heads.items()}  # channel, row, column
        for row in range(len(maps["cls"][0])):
            for column in range(len(maps["cls"][0][0])):
                cls, obj, bbox, kps = (
                    [channel[row][column] for channel in maps[n]] for n in ("cls", "obj", "bbox", "kps")
                )
                score = 1 / (1 + math.exp(-cls[0])) / (1 + math.exp(-obj[0]))
                x, y = (column + bbox[0]) * stride, (row + bbox[1]) * stride
                width, height = math.exp(bbox[2]) * stride, math.exp(bbox[3]) * stride
                points = []
                for k in range(5):
                    points += [(kps[2 * k] + column) * stride, (kps[2 * k + 1] + row) * stride]
                cells.append((score, [x - width / 2, y - height / 2, x + width / 2, y + height / 2], points))
    return cells


@pytest.mark.parametrize("height_width", [(32, 32), (160, 128), (96, 192)], ids=str)
def test_decoded_agrees_with_a_slow_plain_decode(
    network: YuNet, portrait: Image.Image, height_width: tuple[int, int]
) -> None:
    height, width = height_width
    outputs = network(as_input(as_tensor(portrait.resize((width, height)))[None]).float())
    scores, boxes, landmarks = decoded(outputs)
    slow_scores, slow_boxes, slow_landmarks = zip(*slowly_decoded(outputs), strict=True)
    # Single against double precision: a few units in the last of seven digits, on numbers up to some hundred px.
    np.testing.assert_allclose(scores.numpy(), slow_scores, rtol=0, atol=1e-6)
    np.testing.assert_allclose(boxes.numpy(), slow_boxes, rtol=1e-6, atol=1e-4)
    np.testing.assert_allclose(landmarks.numpy(), slow_landmarks, rtol=1e-6, atol=1e-4)


def test_decoded_puts_a_cell_of_zeros_at_its_top_left_corner_one_stride_wide() -> None:
    outputs = [torch.zeros(1, sum(HEADS.values()), 32 // s, 64 // s) for s in STRIDES]
    scores, boxes, landmarks = decoded(outputs)
    assert scores.eq(0.25).all()  # two sigmoids of zero, multiplied
    assert boxes[1].tolist() == [4, -4, 12, 4]  # the second cell of stride 8 begins at (8, 0)
    assert landmarks[1].tolist() == [8, 0] * 5
    assert boxes[-1].tolist() == [16, -16, 48, 16]  # the last cell of stride 32 begins at (32, 0)


def test_as_input_turns_red_into_the_last_channel_and_normalises_nothing() -> None:
    red = torch.tensor([255, 0, 0], dtype=torch.uint8).view(1, 3, 1, 1)
    assert as_input(red).flatten().tolist() == [0, 0, 255]
    assert as_input(red).dtype == red.dtype


def iou(one: Box, other: Box) -> float:
    shared = one.intersection_area(other)
    return shared / (one.area + other.area - shared)


# How well a found box must fit the one drawn by eye. The worst of all cases below has 0.76, at 12 px;
# a box moved by a quarter of its sides would have 0.39.
FITS = 0.7


@pytest.mark.parametrize(
    "places",
    [[], [(0, 0)], [(478, 350)], [(956, 700)], [(3, 501), (211, 66), (502, 318), (777, 190), (951, 699)]],
    ids=["none", "top left", "middle", "bottom right", "five"],
)
def test_face_of_12_px_in_a_picture_of_1024_px_is_found_once(
    network: YuNet, portrait: Image.Image, places: list[tuple[int, int]]
) -> None:
    scale = 12 / (FACE_BOX[2] - FACE_BOX[0])
    small = portrait.resize((round(portrait.width * scale), round(portrait.height * scale)), Image.Resampling.LANCZOS)
    picture = Image.new("RGB", (1024, 768), GRAY)
    for place in places:
        picture.paste(small, place)
    faces = faces_in(network, picture)
    assert len(faces) == len(places)
    for x, y in places:
        expected = Box(*(side * scale + shift for side, shift in zip(FACE_BOX, (x, y, x, y), strict=True)))
        assert max(iou(face.box, expected) for face in faces) > FITS


@pytest.mark.parametrize("width", [91, 1024])
@pytest.mark.parametrize("margin", [0, 0.1, 0.3], ids="margin {}".format)
def test_face_that_fills_the_frame_is_found_once(
    network: YuNet, portrait: Image.Image, margin: float, width: int
) -> None:
    x1, y1, x2, y2 = FACE_BOX
    dx, dy = round(margin * (x2 - x1)), round(margin * (y2 - y1))
    face = portrait.crop((x1 - dx, y1 - dy, x2 + dx, y2 + dy))
    scale = width / face.width
    (found,) = faces_in(network, face.resize((width, round(face.height * scale)), Image.Resampling.BICUBIC))
    expected = Box(dx * scale, dy * scale, (dx + x2 - x1) * scale, (dy + y2 - y1) * scale)
    assert iou(found.box, expected) > FITS


@pytest.mark.parametrize("share", [0.02, 0.04, 0.08, 0.15, 0.25, 0.4, 0.55])
def test_face_of_any_share_of_the_frame_is_found_once_by_the_two_scales_together(
    network: YuNet, portrait: Image.Image, share: float
) -> None:
    scale = share * 1024 / (FACE_BOX[2] - FACE_BOX[0])
    side = round(portrait.width * scale)
    x, y = 512 - round(225 * scale), 512 - round(120 * scale)  # the middle of the face in the middle of the frame
    picture = Image.new("RGB", (1024, 1024), GRAY)
    picture.paste(portrait.resize((side, side), Image.Resampling.LANCZOS), (x, y))
    (found,) = faces_in(network, picture)
    expected = Box(*(side * scale + shift for side, shift in zip(FACE_BOX, (x, y, x, y), strict=True)))
    assert iou(found.box, expected) > FITS


@pytest.mark.parametrize("mirrored", [False, True])
def test_landmarks_lie_in_the_box_in_the_documented_order(
    network: YuNet, portrait: Image.Image, mirrored: bool
) -> None:
    picture = portrait.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if mirrored else portrait
    (face,) = faces_in(network, picture)
    assert face.label == FACE
    assert face.landmarks is not None
    left_eye, right_eye, nose, left_corner, right_corner = face.landmarks
    for x, y in face.landmarks:
        assert face.box.x1 < x < face.box.x2
        assert face.box.y1 < y < face.box.y2
    assert left_eye[0] < nose[0] < right_eye[0]  # left and right of the picture, not of the person
    assert left_corner[0] < nose[0] < right_corner[0]
    assert max(left_eye[1], right_eye[1]) < nose[1] < min(left_corner[1], right_corner[1])
    # Read off the picture by eye: good to 4 px of a face of 91.
    eyes = [(203, 101), (247, 103)]
    expected = [(512 - x, y) for x, y in reversed(eyes)] if mirrored else eyes
    assert [left_eye, right_eye] == [pytest.approx(point, abs=4) for point in expected]


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (Size(1, 1), False),
        (Size(32, 32), False),
        (Size(160, 100), False),
        (Size(161, 100), True),
        (Size(4000, 3000), True),
        (Size(1, 100_000), True),
    ],
    ids=str,
)
def test_all_but_thumbnails_have_a_far_view(size: Size, expected: bool) -> None:
    assert has_far_view(size) is expected


@pytest.mark.parametrize("side", [NEAR, FAR])
@pytest.mark.parametrize(
    "size", [Size(1, 1), Size(32, 32), Size(1024, 768), Size(4000, 3000), Size(100_000, 1)], ids=str
)
def test_cost_is_bounded_by_the_side_that_is_asked_for(network: YuNet, size: Size, side: int) -> None:
    shapes = []
    hook = network.register_forward_pre_hook(lambda _, inputs: shapes.append(tuple(inputs[0].shape)))
    try:
        proposed(network, torch.zeros((3, size.height, size.width), dtype=torch.uint8), size, side)
    finally:
        hook.remove()
    (shape,) = shapes
    assert max(shape[-2:]) <= side
    assert all(length % 32 == 0 for length in shape[-2:])


def test_pixels_at_half_the_scale_give_boxes_in_source_pixels(network: YuNet, portrait: Image.Image) -> None:
    half = portrait.resize((256, 256), Image.Resampling.BOX)
    ((face,),) = all_settled([proposed(network, as_tensor(half), Size(512, 512), FAR)], 0.3, 0.5)
    assert iou(face.box, Box(*FACE_BOX)) > FITS


def test_batch_of_two_equals_two_singles(network: YuNet, portrait: Image.Image) -> None:
    batch = torch.stack((as_tensor(portrait.resize((96, 64))), as_tensor(portrait.crop((0, 0, 96, 64)))))
    both = network(as_input(batch).float())
    singles = [network(as_input(batch[index : index + 1]).float()) for index in range(2)]
    for stride, _ in enumerate(STRIDES):
        # As for the original: 1e-4; measured here 4e-6.
        torch.testing.assert_close(both[stride], torch.cat([single[stride] for single in singles]), rtol=0, atol=1e-4)
