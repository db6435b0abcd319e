"""U²-Net-p, a mask of the object that stands out, whatever it is (Qin et al., 2020; Apache-2.0).

The graph follows the original (xuebinqin/U-2-Net, `u2netp`), batch norms folded into the convolutions: eleven
small U-nets in the shape of a U. Only the fused map is computed; the six side maps are its inputs. This module
knows tensors, not pictures, and not which weights are the right ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from crop_core.detect.engine import Engine, run_each
from crop_core.detect.network_input import resized

SIDE = 192  # px; the original was trained at 320, and 192 is about as good and faster
MIDDLE, WIDE = 16, 64  # channels inside a small U-net, and between two of them
# ImageNet's means and deviations, for values 0 to 1, as the original's `data_loader.py` has them.
MEAN_RGB = (0.485, 0.456, 0.406)
STD_RGB = (0.229, 0.224, 0.225)


class _Step(nn.Module):
    """A 3x3 convolution and ReLU."""

    def __init__(self, channels_in: int, channels_out: int, dilation: int = 1) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(channels_in, channels_out, 3, padding=dilation, dilation=dilation)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.convolution(x), inplace=True)


def _like(x: Tensor, other: Tensor) -> Tensor:
    return F.interpolate(x, size=other.shape[-2:], mode="bilinear", align_corners=False)


def _halved(x: Tensor) -> Tensor:
    return F.max_pool2d(x, 2, 2, ceil_mode=True)


class _SmallU(nn.Module):
    """A U-net of `depth` steps down and as many up, added to its own first step (RSU in the paper)."""

    def __init__(self, channels_in: int, depth: int) -> None:
        super().__init__()
        self.first = _Step(channels_in, WIDE)
        down = [_Step(WIDE, MIDDLE), *(_Step(MIDDLE, MIDDLE) for _ in range(depth - 2)), _Step(MIDDLE, MIDDLE, 2)]
        self.down = nn.ModuleList(down)
        self.up = nn.ModuleList([*(_Step(2 * MIDDLE, MIDDLE) for _ in range(depth - 2)), _Step(2 * MIDDLE, WIDE)])

    def forward(self, x: Tensor) -> Tensor:
        x = first = self.first(x)
        levels = []
        *steps, last = self.down
        for number, step in enumerate(steps):
            x = step(_halved(x) if number else x)
            levels.append(x)
        x = last(x)
        for step in self.up:
            level = levels.pop()
            x = step(torch.cat((x if x.shape == level.shape else _like(x, level), level), 1))
        result: Tensor = x + first
        return result


class _SmallFlatU(nn.Module):
    """The same without halving: its steps see farther by dilation (RSU-4F in the paper)."""

    def __init__(self, channels_in: int) -> None:
        super().__init__()
        self.first = _Step(channels_in, WIDE)
        self.down = nn.ModuleList((_Step(WIDE, MIDDLE), *(_Step(MIDDLE, MIDDLE, dilation) for dilation in (2, 4, 8))))
        self.up = nn.ModuleList(
            (_Step(2 * MIDDLE, MIDDLE, 4), _Step(2 * MIDDLE, MIDDLE, 2), _Step(2 * MIDDLE, WIDE, 1))
        )

    def forward(self, x: Tensor) -> Tensor:
        x = first = self.first(x)
        levels = []
        for step in self.down:
            x = step(x)
            levels.append(x)
        levels.pop()
        for step in self.up:
            x = step(torch.cat((x, levels.pop()), 1))
        result: Tensor = x + first
        return result


class SalientObject(nn.Module):
    """The network: normalised RGB pictures in, a map of what stands out."""

    def __init__(self) -> None:
        super().__init__()
        self.encoders = nn.ModuleList(
            (_SmallU(3, 7), _SmallU(WIDE, 6), _SmallU(WIDE, 5), _SmallU(WIDE, 4), _SmallFlatU(WIDE), _SmallFlatU(WIDE))
        )
        self.decoders = nn.ModuleList((_SmallFlatU(2 * WIDE), *(_SmallU(2 * WIDE, depth) for depth in (4, 5, 6, 7))))
        self.sides = nn.ModuleList(nn.Conv2d(WIDE, 1, 3, padding=1) for _ in range(6))
        self.fuse = nn.Conv2d(6, 1, 1)

    def forward(self, x: Tensor) -> tuple[Tensor]:
        """Return the fused map, float tensor [N, 1, H, W], 0 to 1.

        Args:
            x: Float tensor [N, 3, H, W] from `normalized`.
        """
        levels = []
        for number, encoder in enumerate(self.encoders):
            x = encoder(_halved(x) if number else x)
            levels.append(x)
        maps = [levels.pop()]
        for decoder in self.decoders:
            level = levels.pop()
            maps.append(decoder(torch.cat((_like(maps[-1], level), level), 1)))
        whole = maps[-1]
        sides = [side(one) for side, one in zip(self.sides, reversed(maps), strict=True)]
        fused = self.fuse(torch.cat([sides[0], *(_like(side, whole) for side in sides[1:])], 1))
        return (fused.sigmoid(),)


def normalized(rgb: Tensor) -> Tensor:
    """Return the network's input for RGB pictures, each divided by its largest value, then normalised.

    Args:
        rgb: Tensor [N, 3, H, W], values 0 to 255, uint8 or float.
    """
    mean, std = _mean_and_std(rgb.device)
    values = rgb.float()
    return (values / values.amax((1, 2, 3), keepdim=True).clamp(min=1) - mean) / std


@cache
def _mean_and_std(device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the constants, float tensors [3, 1, 1]; kept, since the host would wait for a GPU to take them."""
    return torch.tensor(MEAN_RGB, device=device).view(3, 1, 1), torch.tensor(STD_RGB, device=device).view(3, 1, 1)


def masks_of(engine: Engine, pictures: Sequence[Tensor]) -> list[Tensor]:
    """Return what stands out in each picture, float tensor [SIDE, SIDE], 0 to 1, on the engine's device.

    Args:
        engine: The network.
        pictures: uint8 tensors [3, H, W], RGB, upright, whole; each is squashed to a square, as in the original.
    """
    squares = [resized(picture[None], (SIDE, SIDE)).to(engine.device) for picture in pictures]
    return [one[0][0, 0] for one in run_each(engine, [normalized(one).to(engine.input_dtype) for one in squares])]
