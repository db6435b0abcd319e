"""Hiding parts of a crop, so that nothing in them can be told or brought back."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn import functional as F

from crop_core.geometry import Box, Size

# How much farther than its box a thing is hidden, as a fraction of the box's sides: a face's box ends at the forehead,
# and a side of it may be 15 % off.
MARGIN = 0.35
# A hidden part keeps the means of so many cells along its shorter side, and no cell is smaller than this. The
# colours of the cells come as near to their mean. The face network goes by little: of 161 faces in 54 photos it found 1
# again with these, of 17 it found 4 with three cells at full contrast.
CELLS, LEAST_CELL, CONTRAST = 2, 4, 0.2


@torch.inference_mode()
def hidden(pixels: Tensor, boxes: Iterable[Box], how: str) -> Tensor:
    """Return the pixels with what lies in the boxes, and a margin around it, hidden.

    Both ways keep a few means of the part and nothing else of it.

    Args:
        pixels: uint8 tensor [3 or 4, H, W]; alpha stays as it is.
        boxes: In these pixels; what of them lies outside counts for nothing.
        how: ``pixelate`` (cells of one colour) or ``blur`` (the same, one running into the next).

    Returns:
        uint8 tensor [3 or 4, H, W], the same where there is nothing to hide.
    """
    size = Size(pixels.shape[-1], pixels.shape[-2])
    copied = False
    for box in boxes:
        whole = box.with_margin(MARGIN)
        part = whole.clipped(size)
        if part.area <= 0:
            continue
        if not copied:
            pixels, copied = pixels.clone(), True
        window = part.outward()
        cell = max(min(whole.width, whole.height) / CELLS, LEAST_CELL)
        here = pixels[:, window.y1 : window.y2, window.x1 : window.x2]
        here[:3] = _coarse(here, (max(1, round(window.height / cell)), max(1, round(window.width / cell))), how)
    return pixels


def _coarse(pixels: Tensor, cells: tuple[int, int], how: str) -> Tensor:
    """Return the colours of the pixels as so many rows and columns of means, uint8 tensor [3, H, W]."""
    colors = pixels[:3].float()
    if pixels.shape[0] == 3:
        means = F.adaptive_avg_pool2d(colors, cells)
    else:  # what is transparent has no say
        alpha = pixels[3:].float()
        means = F.adaptive_avg_pool2d(colors * alpha, cells) / F.adaptive_avg_pool2d(alpha, cells).clamp(min=1e-3)
    middle = means.mean((1, 2), keepdim=True)
    means = middle + CONTRAST * (means - middle)
    if how == "pixelate":
        large = F.interpolate(means[None], size=pixels.shape[-2:], mode="nearest-exact")[0]
    else:
        large = F.interpolate(means[None], size=pixels.shape[-2:], mode="bilinear", align_corners=False)[0]
    return large.round_().clamp_(0, 255).to(torch.uint8)
