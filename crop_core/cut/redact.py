"""Hides parts of a crop so that nothing in them can be recognised or restored."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn import functional as F

from crop_core.geometry import Box, Size

# The margin that is hidden around a box, as a fraction of the box's sides: a face's box ends at the forehead, and its
# sides are not exact.
MARGIN = 0.35
# A hidden part keeps this many means along its shorter side. No cell is smaller than LEAST_CELL pixels, and the cells'
# contrast is reduced to this fraction. With more cells or contrast the face network still finds the hidden faces.
CELLS, LEAST_CELL, CONTRAST = 2, 4, 0.2


@torch.inference_mode()
def hidden(pixels: Tensor, boxes: Iterable[Box], how: str) -> Tensor:
    """Return the pixels with the boxes, and a margin around each, hidden.

    Both ways keep only a few mean colours of each part.

    Args:
        pixels: uint8 tensor [3 or 4, H, W]; alpha stays as it is.
        boxes: In these pixels; parts outside are ignored.
        how: ``pixelate`` (cells of one colour) or ``blur`` (the same, one running into the next).

    Returns:
        uint8 tensor [3 or 4, H, W]; the same object if there is nothing to hide.
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
    """Return the pixels' colours reduced to `cells` rows and columns of means, uint8 tensor [3, H, W]."""
    colors = pixels[:3].float()
    if pixels.shape[0] == 3:
        means = F.adaptive_avg_pool2d(colors, cells)
    else:  # transparent pixels do not count
        alpha = pixels[3:].float()
        means = F.adaptive_avg_pool2d(colors * alpha, cells) / F.adaptive_avg_pool2d(alpha, cells).clamp(min=1e-3)
    middle = means.mean((1, 2), keepdim=True)
    means = middle + CONTRAST * (means - middle)
    if how == "pixelate":
        large = F.interpolate(means[None], size=pixels.shape[-2:], mode="nearest-exact")[0]
    else:
        large = F.interpolate(means[None], size=pixels.shape[-2:], mode="bilinear", align_corners=False)[0]
    return large.round_().clamp_(0, 255).to(torch.uint8)
