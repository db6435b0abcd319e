"""Cutting: a photo and a plan in, the crop's pixels out, on the device.

This module cuts where the plan says and knows nothing of why.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as T

from crop_core.box import Size, Window
from crop_core.framing import CropPlan
from crop_core.photo import Photo

WHITE = 255


@torch.inference_mode()
def render(photo: Photo, plan: CropPlan, device: torch.device) -> Tensor:
    """Return the crop at its output size.

    Padding is white, or transparent where the picture has alpha.

    Returns:
        uint8 tensor [3 or 4, height, width] on the device, RGB or RGBA.

    Raises:
        ImageError: The picture is broken.
    """
    reduction = _reduction_that_serves(photo, plan.window, plan.content_size)
    pixels = photo.pixels(reduction, plan.window, device)
    content = _resized(pixels, plan.content_size)
    return _padded(content, plan.output_size) if plan.output_size != plan.content_size else content


def _reduction_that_serves(photo: Photo, window: Window, size: Size) -> int:
    """Return the strongest reduction that leaves enough pixels and on which the window's edges lie exactly."""
    whole = (*window.xyxy, photo.size.width, photo.size.height)
    serving = (
        n
        for n in photo.reductions
        if window.width >= n * size.width and window.height >= n * size.height and not any(v % n for v in whole)
    )
    return max(serving, default=1)


def _resized(pixels: Tensor, size: Size) -> Tensor:
    if tuple(pixels.shape[-2:]) == (size.height, size.width):
        return pixels
    if pixels.shape[0] == 3:
        return _bicubic(pixels, size)
    # Colours are weighted by alpha, or those hidden under transparent pixels bleed into the edges. In place: a
    # large cut-out in floats has gigabytes.
    weighted = pixels.float()
    weighted[:3] *= weighted[3:] / 255
    weighted = _bicubic(weighted, size).clamp(0, 255)
    color = (weighted[:3] * 255 / weighted[3:].clamp(min=1e-3)).clamp(0, 255)
    return torch.cat((color, weighted[3:])).round().to(torch.uint8)


def _bicubic(pixels: Tensor, size: Size) -> Tensor:
    resized: Tensor = T.resize(pixels, [size.height, size.width], InterpolationMode.BICUBIC, antialias=True)
    return resized


def _padded(pixels: Tensor, size: Size) -> Tensor:
    """Return the pixels in the middle of a canvas of `size`."""
    height, width = pixels.shape[-2:]
    left, top = (size.width - width) // 2, (size.height - height) // 2
    sides = (left, size.width - width - left, top, size.height - height - top)
    return F.pad(pixels, sides, value=WHITE if pixels.shape[0] == 3 else 0)


def on_white(pixels: Tensor) -> Tensor:
    """Return RGB pixels, transparency laid on white: how detectors see a cut-out, and how JPEG stores it.

    Args:
        pixels: uint8 tensor [3 or 4, H, W].
    """
    if pixels.shape[0] == 3:
        return pixels
    alpha = pixels[3:].float() / 255
    return pixels[:3].float().sub_(WHITE).mul_(alpha).add_(WHITE).round_().to(torch.uint8)  # in place: see _resized
