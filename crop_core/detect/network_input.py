"""A picture as a network takes it: at the side that it was trained on, padded, in batches of one shape."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from crop_core.geometry import Size

PAD_TO = 32  # px; the coarsest stride of both networks


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """What a detector is given of one picture.

    Attributes:
        pixels: uint8 tensor [3, H, W], RGB, upright, at any scale.
        size: The upright source picture's.
    """

    pixels: Tensor
    size: Size


def letterboxed(pixels: Tensor, longest_side: int) -> Tensor:
    """Return the picture with its longest side at `longest_side`, its ratio kept, antialiased.

    Small pictures are enlarged: the networks know things of a certain size.

    Args:
        pixels: uint8 tensor [3, H, W].
        longest_side: Pixels.

    Returns:
        uint8 tensor [1, 3, h, w].
    """
    height, width = pixels.shape[-2:]
    scale = longest_side / max(height, width)
    size = [max(1, round(height * scale)), max(1, round(width * scale))]
    return resized(pixels[None], size)


def resized(batch: Tensor, size: Sequence[int]) -> Tensor:
    """Return the pictures at another size, bilinear, antialiased, to the value as torchvision's `resize`.

    Args:
        batch: uint8 tensor [N, 3, H, W].
        size: Height and width.

    Returns:
        uint8 tensor [N, 3, height, width].
    """
    if batch.device.type == "cpu":
        return F.interpolate(batch, list(size), mode="bilinear", antialias=True)
    # No other device resizes bytes.
    return F.interpolate(batch.float(), list(size), mode="bilinear", antialias=True).round_().to(batch.dtype)


def padded(batch: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return the network's input with zeros at the right and the bottom, to multiples of 32.

    Args:
        batch: Tensor [N, 3, H, W], normalised already, so that zero is the mean.
        dtype: What the network computes with.
    """
    count, channels, height, width = batch.shape
    shape = (count, channels, height + -height % PAD_TO, width + -width % PAD_TO)
    result = torch.empty(shape, dtype=dtype, device=batch.device, memory_format=torch.channels_last)
    result[..., :height, :width] = batch
    result[..., height:, :] = 0
    result[..., width:] = 0
    return result


def by_shape(inputs: Sequence[Tensor]) -> list[list[int]]:
    """Return the positions of the inputs that have one shape, and so make one batch, together."""
    groups: dict[torch.Size, list[int]] = {}
    for position, tensor in enumerate(inputs):
        groups.setdefault(tensor.shape, []).append(position)
    return list(groups.values())
