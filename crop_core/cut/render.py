"""Cutting: a photo and a plan in, the crop's pixels out, on the device.

This module cuts where the plan says and knows nothing of why.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from crop_core.cut.resample import Source, resampled
from crop_core.frame.plan import CropPlan
from crop_core.geometry import Size
from crop_core.photo.transparency import WHITE


@torch.inference_mode()
def render(photo: Source, plan: CropPlan, device: torch.device) -> Tensor:
    """Return the crop at its output size.

    Padding is white, or transparent where the picture has alpha.

    Returns:
        uint8 tensor [3 or 4, height, width] on the device, RGB or RGBA.

    Raises:
        ImageError: The picture is broken.
    """
    content = resampled(photo, plan.window, plan.content_size).to(device)
    return _padded(content, plan.output_size) if plan.output_size != plan.content_size else content


def _padded(pixels: Tensor, size: Size) -> Tensor:
    """Return the pixels in the middle of a canvas of `size`."""
    height, width = pixels.shape[-2:]
    left, top = (size.width - width) // 2, (size.height - height) // 2
    sides = (left, size.width - width - left, top, size.height - height - top)
    return F.pad(pixels, sides, value=WHITE if pixels.shape[0] == 3 else 0)
