"""The object on a plain backdrop, by its pixels alone: a product on white, on gray, on a soft gradient.

The backdrop is what the picture's border shows: a surface of second degree in x and y for each channel, fitted to it.
What differs from that by more than a threshold is the object.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from crop_core.geometry import Box

# The border that is looked at, as a fraction of the shorter side, and how many of its pixels are at most.
BORDER, MOST_BORDER, SAMPLES = 0.01, 16, 8192
# How far a pixel of a plain border may be off the surface, of 255 (what light JPEG noise does), and how many may be
# farther off: the object or its shadow may touch the border.
NOISE, MOST_OFF = 10, 0.3
# A pixel of the object differs by this many times what the border's own noise does, and one beside it does as well.
ABOVE_NOISE = 1.5
ROWS = 256  # that are looked at together: a picture of 100 megapixels would take gigabytes


@torch.inference_mode()
def object_on_backdrop(pixels: Tensor, threshold: int) -> Box | None:
    """Return the box of what lies on the backdrop, to the pixel; none where the backdrop is not plain, or empty.

    Args:
        pixels: uint8 tensor [3 or 4, H, W], the whole picture at its full scale; where it has alpha, transparent is a
            backdrop, too.
        threshold: By how much of 255 a pixel must differ from the backdrop in one channel.

    Returns:
        In the pixels given.
    """
    surface = _surface(pixels)
    if surface is None:
        return None
    coefficients, noise = surface
    limit = max(float(threshold), ABOVE_NOISE * noise)
    height, width = pixels.shape[-2:]
    columns = torch.zeros(width, dtype=torch.bool, device=pixels.device)
    rows = torch.zeros(height, dtype=torch.bool, device=pixels.device)
    x = torch.linspace(-1, 1, width, device=pixels.device)
    y = torch.linspace(-1, 1, height, device=pixels.device)
    for top in range(0, height, ROWS):
        bottom = min(top + ROWS, height)
        first, last = max(top - 1, 0), min(bottom + 1, height)  # a pixel's neighbours count
        backdrop = _at(x[None, :], y[first:last, None], coefficients)
        differs = ((_values(pixels[:, first:last]) - backdrop).abs_().amax(0) > limit).float()
        together = F.avg_pool2d(differs[None], 3, stride=1, padding=1, divisor_override=1)[0]
        found = ((differs > 0) & (together >= 2))[top - first : bottom - first]
        rows[top:bottom] = found.any(1)
        columns |= found.any(0)
    across, down = columns.nonzero()[:, 0].tolist(), rows.nonzero()[:, 0].tolist()
    return Box(across[0], down[0], across[-1] + 1, down[-1] + 1) if across else None


def _surface(pixels: Tensor) -> tuple[Tensor, float] | None:
    """Return the backdrop's coefficients, float tensor [channels, 6], and its noise; none where it is not plain."""
    height, width = pixels.shape[-2:]
    border = max(1, min(MOST_BORDER, round(BORDER * min(height, width))))
    y, x = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
    strips = [(slice(0, border), slice(None)), (slice(-border, None), slice(None))]
    strips += [(slice(None), slice(0, border)), (slice(None), slice(-border, None))]
    values = torch.cat([_values(pixels[:, rows, columns]).flatten(1).cpu() for rows, columns in strips], 1).double()
    at_x, at_y = (torch.cat([one[strip].flatten() for strip in strips]).double() for one in (x, y))
    step = -(-values.shape[1] // SAMPLES)
    values, at_x, at_y = values[:, ::step], at_x[::step], at_y[::step]
    basis = torch.stack((torch.ones_like(at_x), at_x, at_y, at_x**2, at_y**2, at_x * at_y), 1)
    plain = torch.ones(len(at_x), dtype=torch.bool)
    for _ in range(6):
        # The pseudo-inverse, since a picture of a few pixels leaves more than one surface.
        coefficients = values[:, plain] @ torch.linalg.pinv(basis[plain]).T
        off = (values - coefficients @ basis.T).abs().amax(0)
        plain = off <= max(NOISE, 2.5 * float(off.median()))
    plain = off <= NOISE
    if plain.double().mean() < 1 - MOST_OFF:
        return None
    return coefficients.float().to(pixels.device), float(off[plain].max())


def _at(x: Tensor, y: Tensor, coefficients: Tensor) -> Tensor:
    """Return the surface at these places, float tensor [channels, rows, columns]."""
    c = coefficients[:, :, None, None]
    return c[:, 0] + c[:, 1] * x + c[:, 3] * x**2 + (c[:, 2] * y + c[:, 4] * y**2) + c[:, 5] * (x * y)


def _values(pixels: Tensor) -> Tensor:
    """Return the pixels as floats; what is transparent has one colour."""
    values = pixels.float()
    return values if pixels.shape[0] == 3 else torch.cat((values[:3] * values[3:] / 255, values[3:]))
