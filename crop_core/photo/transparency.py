"""Transparency laid on white."""

from __future__ import annotations

import torch
from torch import Tensor

WHITE = 255


def on_white(pixels: Tensor) -> Tensor:
    """Return RGB pixels, transparency laid on white: how detectors see a cut-out, and how JPEG stores it.

    Args:
        pixels: uint8 tensor [3 or 4, H, W].
    """
    if pixels.shape[0] == 3:
        return pixels
    alpha = pixels[3:].float() / 255
    return pixels[:3].float().sub_(WHITE).mul_(alpha).add_(WHITE).round_().to(torch.uint8)
