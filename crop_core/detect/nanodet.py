"""NanoDet-g, an object detector for the 80 COCO classes (RangiLyu/nanodet, Apache-2.0).

The graph follows the original's TensorFlow.js export, whose batch norms are folded into the
convolutions: a CSP backbone of strides 8, 16 and 32, a PAN that adds (bilinear, half-pixel
centres) and one head per stride that gives 80 class logits and, per side of the box, a
distribution over 11 distances. This module knows tensors, not pictures, and not which weights
are the right ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from crop_core.detect.candidates import Candidates, Glance, NetworkPass, best_candidates
from crop_core.detect.engine import Engine, run_each
from crop_core.detect.network_input import View, letterboxed, padded
from crop_core.detection import COCO_LABELS

STRIDES = (8, 16, 32)
TRAINED_SIDE = 416  # px on the longer side that the network was trained on
# Of what a look at a larger input says, only small boxes count: up to this share of the picture's longer side. The
# network was trained on 416 px, and takes large parts of a larger input for things that are not there; a range of sizes
# for each scale is the way of Singh and Davis, "An Analysis of Scale Invariance in Object Detection", 2018. Chosen by
# the composition head's training photos, among 0.25, 0.35, 0.5 and 0.65.
LARGEST_BOX_SHARE = 0.25
BINS = 11  # distances 0 to 10, in strides; the GFL head of nanodet-g.yml (reg_max: 10)
# nanodet-g.yml: BGR means and deviations, for values 0 to 255.
MEAN_BGR = (103.53, 116.28, 123.675)
STD_BGR = (57.375, 57.12, 58.395)


def _conv(channels_in: int, channels_out: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(channels_in, channels_out, kernel, stride, kernel // 2)


def _relu(x: Tensor) -> Tensor:
    return F.leaky_relu(x, 0.1, inplace=True)


class _CspBlock(nn.Module):
    """A cross-stage block of 3x3 convolutions: doubles the channels."""

    def __init__(self, channels: int, pairs: int, stride: int = 2) -> None:
        super().__init__()
        self.first = _conv(channels, channels, 3, stride)
        self.pairs = nn.ModuleList(
            nn.ModuleList((_conv(channels, channels // 2, 3), _conv(channels // 2, channels // 2, 3)))
            for _ in range(pairs)
        )
        self.last = _conv(channels, channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        first = y = _relu(self.first(x))
        for pair in self.pairs:
            a = _relu(pair[0](y))  # type: ignore[index]  # ModuleList items are typed as Module
            y = torch.cat((_relu(pair[1](a)), a), 1)  # type: ignore[index]
        return torch.cat((_relu(self.last(y)), first), 1)


def _resized_like(x: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(x, size=like.shape[-2:], mode="bilinear", align_corners=False)


class NanoDet(nn.Module):
    """The network: normalised BGR pictures in, raw head outputs per stride out."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = _conv(3, 32, 3, stride=2)
        self.stages = nn.ModuleList(
            (_CspBlock(32, 1, stride=1), _CspBlock(64, 2), _CspBlock(128, 2), _CspBlock(256, 3))
        )
        self.laterals = nn.ModuleList(_conv(channels, 128, 1) for channels in (128, 256, 512))
        self.heads = nn.ModuleList(
            nn.Sequential(
                _conv(128, 128, 3),
                nn.LeakyReLU(0.1, inplace=True),
                _conv(128, len(COCO_LABELS) + 4 * BINS, 1),
            )
            for _ in STRIDES
        )

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return a float tensor [N, 80 + 4 x 11, H / stride, W / stride] per stride of `STRIDES`, and two of features.

        The first 80 channels are class logits; the rest are, side by side (left, top, right,
        bottom), the logits of `BINS` distances.

        Args:
            x: Float tensor [N, 3, H, W] from `normalized`, H and W multiples of 32.
        """
        x = F.max_pool2d(_relu(self.stem(x)), 3, 2, 1)
        levels = []
        for stage in self.stages:
            x = stage(x)
            levels.append(x)
        p3, p4, p5 = (lateral(level) for lateral, level in zip(self.laterals, levels[1:], strict=True))
        p4 = p4 + _resized_like(p5, p4)
        p3 = p3 + _resized_like(p4, p3)
        p4 = p4 + _resized_like(p3, p4)
        p5 = p5 + _resized_like(p4, p5)
        heads = tuple(head(level) for head, level in zip(self.heads, (p3, p4, p5), strict=True))
        return (*heads, *levels[2:])


def normalized(rgb: Tensor) -> Tensor:
    """Return the network's input for RGB pictures: BGR floats, less the mean, over the deviation.

    The one place that knows of BGR and of the constants.

    Args:
        rgb: Tensor [N, 3, H, W], values 0 to 255, uint8 or float.
    """
    mean, std = _mean_and_std(rgb.device)
    return (rgb.flip(1).float() - mean) / std


@cache
def _mean_and_std(device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the constants, float tensors [3, 1, 1]; kept, since the host would wait for a GPU to take them."""
    return torch.tensor(MEAN_BGR, device=device).view(3, 1, 1), torch.tensor(STD_BGR, device=device).view(3, 1, 1)


def decoded(outputs: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Return the scores and boxes of every cell of one picture.

    A side lies stride x (expected bin) from the cell's centre (Li et al., "Generalized Focal
    Loss", 2020).

    Args:
        outputs: What `NanoDet` returned for a batch of one; its features are not read.

    Returns:
        Scores, float tensor [cells, 80], 0 to 1; boxes, float tensor [cells, 4], xyxy in pixels
        of the network's input.
    """
    scores, boxes = [], []
    for stride, output in zip(STRIDES, outputs[: len(STRIDES)], strict=True):
        height, width = output.shape[-2:]
        flat = output[0].permute(1, 2, 0).reshape(height * width, -1)
        scores.append(flat[:, : len(COCO_LABELS)].sigmoid())
        bins = flat[:, len(COCO_LABELS) :].reshape(-1, 4, BINS).softmax(-1)
        distances = (bins * torch.arange(BINS, device=flat.device, dtype=flat.dtype)).sum(-1) * stride
        boxes.append(_around(_centers(height, width, stride, flat.device), distances))
    return torch.cat(scores), torch.cat(boxes)


def _centers(height: int, width: int, stride: int, device: torch.device) -> Tensor:
    """Return the middles of the cells, float tensor [height x width, 2] of (x, y), row by row."""
    y, x = torch.meshgrid(torch.arange(height, device=device), torch.arange(width, device=device), indexing="ij")
    return (torch.stack((x, y), -1).reshape(-1, 2).float() + 0.5) * stride


def _around(centers: Tensor, distances: Tensor) -> Tensor:
    return torch.cat((centers - distances[:, :2], centers + distances[:, 2:]), 1)


def _mirrored(output: Tensor) -> Tensor:
    """Return what the network would have said of the mirrored picture: cells from right to left, sides swapped."""
    flipped = output.flip(-1)
    classes, sides = flipped[:, : len(COCO_LABELS)], flipped[:, len(COCO_LABELS) :]
    left, top, right, bottom = sides.chunk(4, 1)
    return torch.cat((classes, right, top, left, bottom), 1)


def look(engine: Engine, views: Sequence[View], sides: Sequence[int]) -> list[Glance]:
    """Return what the network says at first of each picture, its best candidates in source pixels.

    Args:
        engine: The network; pixels that lie on another device come over at the size of its input.
        views: The pictures; inputs of one shape make one batch.
        sides: What a picture's longer side becomes in the inputs, one after the other; 416 is what the
            network was trained on.
    """
    return [_glance(passes) for passes in zip(*(passes_of(engine, views, side) for side in sides), strict=True)]


def look_again(engine: Engine, glances: Sequence[Glance], clear: Sequence[Tensor]) -> list[Glance]:
    """Return what the network says of each picture after a second look, at its mirror image.

    The two looks are averaged cell by cell: two err less than one.

    Args:
        engine: As `look` had it.
        glances: What that returned.
        clear: For each a boolean tensor []; where it is true, the first look counts alone.

    Returns:
        Each with the means as outputs, and with the features of the mirror image, from right to left.
    """
    passes = [one for glance in glances for one in glance.passes]
    alone = [answer for glance, answer in zip(glances, clear, strict=True) for _ in glance.passes]
    means = []
    for one, first_only, outputs in zip(
        passes, alone, run_each(engine, [one.input.flip(-1) for one in passes]), strict=True
    ):
        both = zip(one.outputs[: len(STRIDES)], map(_mirrored, outputs[: len(STRIDES)]), strict=True)
        mean = tuple(torch.where(first_only, plain, (plain + mirrored) / 2) for plain, mirrored in both)
        means.append(replace(one, outputs=(*mean, *outputs[len(STRIDES) :])))
    seen = iter(means)
    return [_glance([next(seen) for _ in glance.passes]) for glance in glances]


def passes_of(engine: Engine, views: Sequence[View], longest_side: int) -> list[NetworkPass]:
    """Return what goes in and comes out for each picture at that longer side."""
    pictures = [letterboxed(view.pixels, longest_side).to(engine.device) for view in views]
    inputs = [padded(normalized(picture), engine.input_dtype) for picture in pictures]
    return [
        NetworkPass(outputs, given, (picture.shape[-2], picture.shape[-1]), view.size)
        for outputs, given, picture, view in zip(run_each(engine, inputs), inputs, pictures, views, strict=True)
    ]


def _glance(passes: Sequence[NetworkPass]) -> Glance:
    found = []
    for number, one in enumerate(passes):
        scores, boxes = decoded(one.outputs)
        if number:  # a look at a larger input
            sides = boxes[:, 2:] - boxes[:, :2]
            scores = scores * (sides.amax(1) <= LARGEST_BOX_SHARE * max(one.input_hw))[:, None]
        labels = torch.arange(len(COCO_LABELS), device=scores.device)
        found.append(best_candidates(boxes, scores, labels, None, one.size, one.input_hw))
    return Glance(Candidates.joined(found), tuple(passes))
