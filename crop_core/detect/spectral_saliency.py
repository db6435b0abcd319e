"""Where a picture draws the eye when no detector found anything.

Spectral residual (Hou and Zhang, "Saliency Detection: A Spectral Residual Approach", CVPR 2007):
what is left of the log amplitude spectrum after its local mean is taken away. Runs on the device
of the pixels, on a map of 64 cells on the longer side as in the paper.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms.v2 import functional as T

LONGEST_SIDE = 64  # cells; the paper's scale of 64 px
FLAT = 1 / 255  # a standard deviation of one gray level
SMALLEST_SIDE = 8  # cells; a strip of 40:1 would leave nothing to transform

Grid = tuple[tuple[float, ...], ...]


def saliency_grid(pixels: Tensor) -> Grid:
    """Return the saliency of the whole picture as rows of cells, non-negative, that add up to 1.

    Args:
        pixels: uint8 tensor [3, H, W], RGB.
    """
    height, width = pixels.shape[-2:]
    scale = LONGEST_SIDE / max(height, width)
    size = [max(SMALLEST_SIDE, round(height * scale)), max(SMALLEST_SIDE, round(width * scale))]
    gray = T.resize(pixels[None], size, antialias=True).float().mean(1, keepdim=True) / 255
    spectrum = torch.fft.fft2(gray)
    log_amplitude = (spectrum.abs() + 1e-8).log()
    residual = log_amplitude - F.avg_pool2d(F.pad(log_amplitude, (1, 1, 1, 1), mode="replicate"), 3, 1)
    saliency = torch.fft.ifft2(torch.polar(residual.exp(), spectrum.angle())).abs() ** 2
    smooth = T.gaussian_blur(saliency, [9, 9], [2.5, 2.5])[0, 0]
    # Where nothing stands out the spectrum of noise would say otherwise. No `if`: the host would wait for a GPU.
    smooth = torch.where(gray.std() < FLAT, torch.ones_like(smooth), smooth)
    return tuple(tuple(row) for row in (smooth / smooth.sum()).double().cpu().tolist())
