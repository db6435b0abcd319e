"""Fills the parts of a crop that the picture does not cover: with a colour, the picture's edge, or a blur."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from crop_core.errors import RequestError
from crop_core.geometry import Size, Window
from crop_core.photo.color import from_srgb
from crop_core.photo.transparency import WHITE
from crop_core.request import CropRequest
from crop_core.request_text import Filling

# The picture is reduced to this many pixels on its longer side and blurred there, so that all crops look alike.
BLUR_SIDE, BLUR_SIGMA, BLUR_KERNEL = 64, 2.5, 15


def filling_for(request: CropRequest, output_format: str, icc_profile: bytes | None) -> Filling:
    """Return what fills the crops; a CSS colour, which is sRGB, is converted to the picture's own profile.

    Args:
        request: The request.
        output_format: The crops' format.
        icc_profile: The picture's profile, or none for sRGB.

    Raises:
        RequestError: The colour is transparent, and the format has no transparency.
    """
    filling = request.filling
    if not isinstance(filling, tuple):
        return filling
    if filling[3] < 255 and output_format == "jpg":
        raise RequestError(
            "output_format match_input makes this picture's crops JPEGs, which have no transparency for background. "
            "Set output_format to png, webp or avif, or take another background."
        )
    return from_srgb(filling, icc_profile) if icc_profile else filling


def laid_on(pixels: Tensor, filling: Filling) -> Tensor:
    """Return the pixels with a colour behind their transparent parts; unchanged if the filling is no colour.

    Args:
        pixels: uint8 tensor [3 or 4, H, W].
        filling: As `CropRequest.filling`, a colour in the pixels' own colours.
    """
    if pixels.shape[0] == 3 or not isinstance(filling, tuple) or filling[3] == 0:
        return pixels
    color = torch.tensor(filling, device=pixels.device).float().view(-1, 1, 1)
    mixed = _premultiplied(pixels.float()) + _premultiplied(color) * (1 - pixels[3:] / 255)
    mixed[:3] = mixed[:3] * 255 / mixed[3:]  # never 0: the colour is not transparent
    return mixed.round_().to(torch.uint8)


def filled(content: Tensor, at: Window, size: Size, filling: Filling, there: Tensor | None = None) -> Tensor:
    """Return the content on a larger canvas, with everything around it filled.

    Args:
        content: uint8 tensor [3 or 4, h, w].
        at: Where the content lies on the canvas.
        size: The canvas's size.
        filling: As `CropRequest.filling`; a colour is in the content's own profile.
        there: How much of each pixel the picture covers, float tensor [h, w], 0 to 1; none if it covers all.

    Returns:
        uint8 tensor [3 or 4, height, width] on the content's device; with alpha if the content or the colour has it.
    """
    if isinstance(filling, tuple) and filling[3] < 255:
        content = with_alpha(content)
    if there is not None:
        content = _filled_within(content, there, filling)
    channels = content.shape[0]
    if filling == "auto":
        return F.pad(content, _around(at, size), value=WHITE if channels == 3 else 0)
    if filling == "blur":
        canvas = blurred(content, size)
    elif isinstance(filling, tuple):
        canvas = torch.tensor(filling[:channels], dtype=torch.uint8, device=content.device)
        canvas = canvas.view(-1, 1, 1).repeat(1, size.height, size.width)
    else:
        return _with_edges(content, at, size)
    canvas[:, at.y1 : at.y2, at.x1 : at.x2] = content
    return canvas


def _filled_within(content: Tensor, there: Tensor, filling: Filling) -> Tensor:
    """Return the content, filled where the picture does not cover it.

    Args:
        content: uint8 tensor [3 or 4, h, w]; outside the picture its border pixels are repeated.
        there: Float tensor [h, w], 0 to 1.
        filling: As for `filled`.
    """
    channels = content.shape[0]
    if filling == "blur":
        behind = blurred(content, Size(content.shape[-1], content.shape[-2])).float()
    elif filling == "edge":
        behind = content[:, there < 1].float().median(1).values.view(-1, 1, 1)
    elif isinstance(filling, tuple):
        behind = torch.tensor(filling[:channels], device=content.device).float().view(-1, 1, 1)
    else:
        behind = torch.full((channels, 1, 1), float(WHITE if channels == 3 else 0), device=content.device)
    # Colours are weighted by alpha, or those hidden under transparent pixels would show.
    mixed = _premultiplied(content.float()) * there + _premultiplied(behind) * (1 - there)
    if channels == 4:
        mixed[:3] = mixed[:3] * 255 / mixed[3:].clamp(min=1)
    return mixed.round_().clamp_(0, 255).to(torch.uint8)


def with_alpha(pixels: Tensor) -> Tensor:
    """Return the pixels with an alpha channel; an added one is opaque.

    Args:
        pixels: uint8 tensor [3 or 4, H, W].
    """
    return pixels if pixels.shape[0] == 4 else torch.cat((pixels, torch.full_like(pixels[:1], 255)))


def blurred(pixels: Tensor, size: Size) -> Tensor:
    """Return the middle of the pixels, enlarged to cover the size, and blurred beyond recognition.

    Args:
        pixels: uint8 tensor [3 or 4, h, w].
        size: Width and height of the result.

    Returns:
        uint8 tensor [3 or 4, height, width].
    """
    height, width = pixels.shape[-2:]
    scale = max(size.width / width, size.height / height)
    from torchvision.transforms.v2 import functional as T  # here: its import is slow, and only blur needs it

    part_w, part_h = max(1, min(width, round(size.width / scale))), max(1, min(height, round(size.height / scale)))
    left, top = (width - part_w) // 2, (height - part_h) // 2
    part = pixels[:, top : top + part_h, left : left + part_w]
    shrink = BLUR_SIDE / max(size.width, size.height)
    small_hw = [max(1, round(size.height * shrink)), max(1, round(size.width * shrink))]
    # Colours are weighted by alpha, or those hidden under transparent pixels would show.
    small = T.resize(_premultiplied(part.float())[None], small_hw, antialias=True)
    border = BLUR_KERNEL // 2
    small = F.pad(small, (border,) * 4, mode="replicate")
    small = T.gaussian_blur(small, [BLUR_KERNEL, BLUR_KERNEL], [BLUR_SIGMA, BLUR_SIGMA])[
        ..., border:-border, border:-border
    ]
    large = F.interpolate(small, size=(size.height, size.width), mode="bicubic", align_corners=False)[0]
    if pixels.shape[0] == 4:
        large[:3] = large[:3] * 255 / large[3:].clamp(min=1)
    return large.round_().clamp_(0, 255).to(torch.uint8)


def _premultiplied(pixels: Tensor) -> Tensor:
    if pixels.shape[0] == 3:
        return pixels
    return torch.cat((pixels[:3] * pixels[3:] / 255, pixels[3:]))


def _with_edges(content: Tensor, at: Window, size: Size) -> Tensor:
    """Return the content on the canvas, each side filled with the median colour of the content's border there."""
    canvas = F.pad(content, _around(at, size))
    rows = canvas[:, at.y1 : at.y2]
    rows[..., : at.x1] = _median(content[..., :1])
    rows[..., at.x2 :] = _median(content[..., -1:])
    canvas[:, : at.y1] = _median(content[:, :1])
    canvas[:, at.y2 :] = _median(content[:, -1:])
    return canvas


def _median(pixels: Tensor) -> Tensor:
    """Return the median of each channel, uint8 tensor [channels, 1, 1]."""
    return pixels.flatten(1).float().median(1).values.to(torch.uint8)[:, None, None]


def _around(at: Window, size: Size) -> tuple[int, int, int, int]:
    """Return how many pixels to add left, right, above and below, in the order of `F.pad`."""
    return at.x1, size.width - at.x2, at.y1, size.height - at.y2
