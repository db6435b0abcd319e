"""YuNet, a face detector with five landmarks (Wu, Peng and Yu, 2023; MIT).

The graph follows `face_detection_yunet_2023mar.onnx`: units of a 1x1 and a depthwise 3x3
convolution, a neck that adds upward (nearest), and four small heads per stride. This module
knows tensors, not pictures, and not which weights are the right ones.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from crop_core.detect.candidates import Candidates, best_candidates
from crop_core.detect.engine import Engine, run_each
from crop_core.detect.network_input import View, letterboxed, padded
from crop_core.detection import FACE, LABELS
from crop_core.geometry import Size

STRIDES = (8, 16, 32)
# The network sees faces of about 10 to 300 px (its authors, libfacedetection.train). At 320 px on the longer side
# it sees those that fill the frame, down to 3 % of that side; at 960 px down to 1 %, 12 px in a 1024 px photo.
NEAR, FAR = 320, 960
MAX_ENLARGEMENT = 2  # a thumbnail gains nothing from more
HEADS = {"cls": 1, "obj": 1, "bbox": 4, "kps": 10}  # name -> channels; kps: five (x, y)


def _halved(x: Tensor) -> Tensor:
    """Return the largest of every 2 x 2 cells; F.max_pool2d finds indices, too, and takes twice as long."""
    rows = torch.maximum(x[:, :, ::2], x[:, :, 1::2])
    return torch.maximum(rows[..., ::2], rows[..., 1::2])


class _Unit(nn.Module):
    """A 1x1 convolution, then a depthwise 3x3, with nothing in between."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.point = nn.Conv2d(channels_in, channels_out, 1)
        self.depth = nn.Conv2d(channels_out, channels_out, 3, padding=1, groups=channels_out)

    def forward(self, x: Tensor) -> Tensor:
        x = self.depth(self.point(x))
        assert isinstance(x, Tensor)
        return x


class _Pair(nn.Module):
    """Two units with ReLU behind each."""

    def __init__(self, channels_in: int, channels_mid: int, channels_out: int) -> None:
        super().__init__()
        self.units = nn.ModuleList((_Unit(channels_in, channels_mid), _Unit(channels_mid, channels_out)))

    def forward(self, x: Tensor) -> Tensor:
        for unit in self.units:
            x = F.relu(unit(x), inplace=True)
        return x


class YuNet(nn.Module):
    """The network: BGR pictures of 0 to 255 in, raw head outputs per stride out."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, 2, 1)
        self.stem_unit = _Unit(16, 16)
        self.pairs = nn.ModuleList(
            (_Pair(16, 16, 32), _Pair(32, 32, 64), _Pair(64, 64, 64), _Pair(64, 64, 64), _Pair(64, 64, 64))
        )
        self.laterals = nn.ModuleList(_Unit(64, 64) for _ in STRIDES)
        # The original has a unit for each head. One unit for all heads saves calling twelve
        # small convolutions.
        self.heads = nn.ModuleList(_Unit(64, sum(HEADS.values())) for _ in STRIDES)
        self.register_load_state_dict_pre_hook(_with_heads_side_by_side)  # type: ignore[no-untyped-call]

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return, per stride of `STRIDES`, a float tensor [N, 16, H / stride, W / stride], `HEADS` in turn.

        Nothing is decoded yet: `cls` and `obj` are logits.

        Args:
            x: Float tensor [N, 3, H, W] from `as_input`, H and W multiples of 32.
        """
        x = F.relu(self.stem_unit(F.relu(self.stem(x), inplace=True)), inplace=True)
        levels = []
        for index, pair in enumerate(self.pairs):
            if index != 1:  # the first two pairs share a resolution: strides 4, 4, 8, 16, 32
                x = _halved(x)
            x = pair(x)
            levels.append(x)
        c3, c4, c5 = levels[2:]
        p5 = F.relu(self.laterals[2](c5), inplace=True)
        p4 = F.relu(self.laterals[1](c4 + F.interpolate(p5, scale_factor=2.0, mode="nearest")), inplace=True)
        p3 = F.relu(self.laterals[0](c3 + F.interpolate(p4, scale_factor=2.0, mode="nearest")), inplace=True)
        return tuple(head(level) for head, level in zip(self.heads, (p3, p4, p5), strict=True))


def _with_heads_side_by_side(_network: nn.Module, tensors: dict[str, Tensor], *_: object) -> None:
    """Replace the tensors of the single heads, as the weights file has them, with those of the units that hold all."""
    for stride, _stride in enumerate(STRIDES):
        for layer in ("point", "depth"):
            for kind in ("weight", "bias"):
                names = [f"heads.{stride}.{name}.{layer}.{kind}" for name in HEADS]
                if all(name in tensors for name in names):
                    tensors[f"heads.{stride}.{layer}.{kind}"] = torch.cat([tensors.pop(name) for name in names])


def as_input(rgb: Tensor) -> Tensor:
    """Return the network's input for RGB pictures: BGR, 0 to 255, not normalised.

    Args:
        rgb: Tensor [N, 3, H, W], values 0 to 255, uint8 or float.
    """
    return rgb.flip(1)


def decoded(outputs: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Return the scores, boxes and landmarks of every cell of one picture.

    Source: OpenCV's FaceDetectorYN (modules/objdetect/src/face_detect.cpp): centres and landmarks
    are offsets from the cell's top left corner, sizes are exponents, all in strides. OpenCV's
    score is the root of class x objectness and wants thresholds of 0.6 to 0.9; here it is the
    product itself, the probability that both say (as in YOLOX, whose head this is), so that one
    threshold means about the same for faces and for objects.

    Args:
        outputs: What `YuNet` returned for a batch of one.

    Returns:
        Scores, float tensor [cells], 0 to 1; boxes, float tensor [cells, 4], xyxy, and landmarks,
        float tensor [cells, 10], x and y in turn, both in pixels of the network's input.
    """
    scores, boxes, landmarks = [], [], []
    for stride, heads in zip(STRIDES, outputs, strict=True):
        height, width = heads.shape[-2:]
        cells = heads[0].permute(1, 2, 0).reshape(height * width, -1).float()
        flat = dict(zip(HEADS, torch.split(cells, list(HEADS.values()), 1), strict=True))
        device = cells.device
        y, x = torch.meshgrid(torch.arange(height, device=device), torch.arange(width, device=device), indexing="ij")
        corner = torch.stack((x, y), -1).reshape(-1, 2).float()
        scores.append((flat["cls"].sigmoid() * flat["obj"].sigmoid())[:, 0])
        center = (corner + flat["bbox"][:, :2]) * stride
        half = flat["bbox"][:, 2:].exp() * (stride / 2)
        boxes.append(torch.cat((center - half, center + half), 1))
        landmarks.append((flat["kps"].reshape(-1, 5, 2) + corner[:, None]).reshape(-1, 10) * stride)
    return torch.cat(scores), torch.cat(boxes), torch.cat(landmarks)


def propose_all(engine: Engine, views: Sequence[View], longest_side: int) -> list[Candidates]:
    """Return the network's best candidates for each picture, in source pixels.

    Args:
        engine: The network; pixels that lie on another device come over at the size of its input.
        views: The pictures; inputs of one shape make one batch.
        longest_side: What a picture's longer side becomes in the input, as far as `side_for` lets it.
    """
    pictures = [letterboxed(view.pixels, side_for(view.size, longest_side)).to(engine.device) for view in views]
    inputs = [padded(as_input(picture), engine.input_dtype) for picture in pictures]
    label = torch.full((1,), LABELS.index(FACE), device=engine.device)
    found = []
    for outputs, picture, view in zip(run_each(engine, inputs), pictures, views, strict=True):
        scores, boxes, landmarks = decoded(outputs)
        input_hw = (picture.shape[-2], picture.shape[-1])
        found.append(best_candidates(boxes, scores[:, None], label, landmarks, view.size, input_hw))
    return found


def side_for(size: Size, longest_side: int) -> int:
    """Return what the picture's longer side becomes in the network's input, where that many pixels are asked for."""
    return min(longest_side, MAX_ENLARGEMENT * max(size.width, size.height))


def has_far_view(size: Size) -> bool:
    """Return whether the network sees more of the picture at `FAR` than at `NEAR`: not of a thumbnail."""
    return side_for(size, FAR) > side_for(size, NEAR)
