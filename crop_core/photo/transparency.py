"""Lays transparent pictures on white or gray."""

from __future__ import annotations

import torch
from torch import Tensor

WHITE = 255
OPAQUE = 128  # of 255; a pixel of at least this alpha counts as part of the object
# An object of more than this mean lightness would be lost on white, so it is laid on this gray.
LIGHT, GRAY = 190, 64
_LIGHTNESS = (0.299, 0.587, 0.114)  # of red, green and blue (ITU-R BT.601)


def on_white(pixels: Tensor) -> Tensor:
    """Return RGB pixels, laid on white: how JPEG stores a cut-out.

    Args:
        pixels: uint8 tensor [3 or 4, H, W].
    """
    return _on(pixels, WHITE)


def on_contrast(pixels: Tensor) -> Tensor:
    """Return RGB pixels, laid on white, or on gray if white would hide what is opaque.

    Detectors see the result: they have learned from things on white, but miss a white thing on it.

    Args:
        pixels: uint8 tensor [3 or 4, H, W].
    """
    if pixels.shape[0] == 3:
        return pixels
    alpha = pixels[3].float()
    lightness = sum(weight * pixels[channel].float() for channel, weight in enumerate(_LIGHTNESS))
    is_light = bool((lightness * alpha).sum() > LIGHT * alpha.sum())
    return _on(pixels, GRAY if is_light else WHITE)


def _on(pixels: Tensor, ground: int) -> Tensor:
    if pixels.shape[0] == 3:
        return pixels
    alpha = pixels[3:].float() / 255
    return pixels[:3].float().sub_(ground).mul_(alpha).add_(ground).round_().to(torch.uint8)
