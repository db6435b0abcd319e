"""Cuts a photo where the plan says, and returns the crop's pixels on the device."""

from __future__ import annotations

import torch
from torch import Tensor

from crop_core.cut.background import filled, laid_on
from crop_core.cut.resample import Source, resampled, resampled_turned
from crop_core.frame.plan import CropPlan
from crop_core.request_text import Filling


@torch.inference_mode()
def render(photo: Source, plan: CropPlan, device: torch.device, filling: Filling = "auto") -> Tensor:
    """Return the crop at its output size.

    Args:
        photo: The picture.
        plan: Where to cut.
        device: Where the result lies.
        filling: What fills the padding; ``auto`` is white, or transparent if the picture has alpha.

    Returns:
        uint8 tensor [3 or 4, height, width] on the device, RGB or RGBA.

    Raises:
        ImageError: The picture is broken.
    """
    at = plan.shown_in
    if plan.angle:
        turned, there = resampled_turned(photo, plan.frame or plan.window, plan.angle, at.size)
        turned = laid_on(turned.to(device), filling)
        if there is None and at.size == plan.output_size:
            return turned
        return filled(turned, at, plan.output_size, filling, None if there is None else there.to(device))
    content = laid_on(resampled(photo, plan.window, at.size).to(device), filling)
    return content if at.size == plan.output_size else filled(content, at, plan.output_size, filling)
