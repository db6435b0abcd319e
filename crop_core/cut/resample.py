"""Resampling: a part of a picture, which need not lie on its pixels, at a size of its own.

PyTorch resizes bytes several times as fast as Pillow, and to the same values, but only from a whole
pixel on. The crop is therefore begun some pixels of the result earlier, where that falls on a whole
pixel of the picture or before its border, and what was made too much is left out.
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from crop_core.geometry import Size, Window
from crop_core.photo.decode_on_gpu import means_of
from crop_core.photo.orientation import stored_points, stored_window, upright
from crop_core.photo.photo import Stored, as_tensor

MOST_LEAD = 64  # pixels of the result that may be made in vain before its first
# How far off a pixel of the picture the start may be. A fiftieth of a pixel moves no value by more than its noise.
CLOSE = 1 / 50
# How many times as many pixels as it makes, along each axis, the antialiased resize is given at least where a picture
# shrinks far. CUDA's keeps the weights of a pixel in 48 KiB of shared memory, and fails where a bicubic one shrinks by
# more than 47 (PyTorch, UpSampleBilinear2d.cu); means of whole pixels take what is beyond twice this.
KEPT = 16
ROWS = 256  # of a turned part that are made at once: their places take eight times the memory of the pixels
SUPPORT = 2  # pixels, of the coarser of both scales, that bicubic interpolation looks to either side

Part = tuple[float, float, float, float]  # x1, y1, x2, y2 in pixels of a decoded picture


class Source(Protocol):
    """What parts are cut from: a photo, on whatever device its pixels lie."""

    def stored_for(self, scale: float) -> Stored:
        """Return a decode that serves a part which shrinks by `scale`."""


def resampled(photo: Source, window: Window, size: Size) -> Tensor:
    """Return a part of the picture, upright, at a size of its own: bicubic, antialiased where it shrinks.

    Args:
        photo: The picture; the smallest decode that has pixels enough for the result serves.
        window: The part, in upright source pixels; it need not lie on the pixels of that decode.
        size: Width and height of the result.

    Returns:
        uint8 tensor [3 or 4, height, width], RGB or RGBA, where the picture's pixels lie.

    Raises:
        ImageError: The picture is broken.
    """
    stored = photo.stored_for(min(window.width / size.width, window.height / size.height))
    raw = stored_window(window, stored.size, stored.orientation)
    raw_size = (size.height, size.width) if stored.orientation >= 5 else (size.width, size.height)
    if stored.image is None:
        assert stored.pixels is not None
        return upright(_on_device(stored.pixels, raw, raw_size), stored.orientation)
    x1, y1, x2, y2 = (side / stored.reduction for side in raw.xyxy)
    if (x2 - x1, y2 - y1) == raw_size and x1.is_integer() and y1.is_integer():
        return upright(as_tensor(cut(stored.image, (int(x1), int(y1), int(x2), int(y2)))), stored.orientation)
    # The last pixel of a reduced decode may stand for fewer than `reduction` of the source's.
    box = (x1, y1, min(x2, stored.image.width), min(y2, stored.image.height))
    return upright(resampled_image(stored.image, box, raw_size, stored.pixels), stored.orientation)


def resampled_turned(photo: Source, frame: Window, angle: float, size: Size) -> tuple[Tensor, Tensor | None]:
    """Return a part of the picture that is turned, at a size of its own, by one bicubic resampling.

    Args:
        photo: As for `resampled`.
        frame: The part before it is turned about its middle, in upright source pixels; it may reach beyond the picture.
        angle: By how many degrees the picture is turned, clockwise.
        size: Width and height of the result.

    Returns:
        uint8 tensor [3 or 4, height, width], where the picture's pixels lie, its border going on beyond it; and how
        much of each pixel the picture has, float tensor [height, width], 0 to 1, or none where it has them all.

    Raises:
        ImageError: The picture is broken.
    """
    scale = min(frame.width / size.width, frame.height / size.height)
    stored = photo.stored_for(scale)
    pixels = stored.pixels if stored.pixels is not None else as_tensor(_whole(stored.image))
    cell = max(1, int(scale / stored.reduction))  # what shrinks far becomes means first; bicubic sees two pixels far
    values = pixels.float()
    if values.shape[0] == 4:
        values = torch.cat((values[:3] * values[3:] / 255, values[3:]))  # or hidden colours bleed into the edges
    if cell > 1:
        values = F.avg_pool2d(values, cell, ceil_mode=True, count_include_pad=False)
    more = 2 if scale > cell * stored.reduction else 1  # samples of each pixel of the result, along each side
    height, width = values.shape[-2:]
    raw = stored.size
    upright_wh = (raw.height, raw.width) if stored.orientation >= 5 else (raw.width, raw.height)
    (middle_x, middle_y), turn = frame.box.center, math.radians(angle)
    across = ((torch.arange(size.width * more, device=values.device) + 0.5) / (size.width * more) - 0.5) * frame.width
    down = ((torch.arange(size.height * more, device=values.device) + 0.5) / (size.height * more) - 0.5) * frame.height
    rows, inside = [], []
    for some in torch.split(down, ROWS * more):
        x = middle_x + across[None, :] * math.cos(turn) + some[:, None] * math.sin(turn)
        y = middle_y - across[None, :] * math.sin(turn) + some[:, None] * math.cos(turn)
        is_in = (x >= 0) & (y >= 0) & (x <= upright_wh[0]) & (y <= upright_wh[1])
        x, y = stored_points(x, y, raw, stored.orientation)
        step = stored.reduction * cell
        grid = torch.stack((2 * x / (step * width) - 1, 2 * y / (step * height) - 1), -1)
        part = F.grid_sample(values[None], grid[None], "bicubic", "border", align_corners=False)
        rows.append(F.avg_pool2d(part, more)[0])
        inside.append(F.avg_pool2d(is_in.float()[None], more)[0])
    result, there = torch.cat(rows, 1), torch.cat(inside)
    if result.shape[0] == 4:
        result[:3] = result[:3] * 255 / result[3:].clamp(min=1)
    return result.round_().clamp_(0, 255).to(torch.uint8), None if bool((there == 1).all()) else there


def _whole(image: Image.Image | None) -> Image.Image:
    assert image is not None
    return image


def _on_device(pixels: Tensor, window: Window, size: tuple[int, int]) -> Tensor:
    part = pixels[:, window.y1 : window.y2, window.x1 : window.x2]
    if (window.width, window.height) == size:
        return part
    cells = (max(1, window.height // (KEPT * size[1])), max(1, window.width // (KEPT * size[0])))
    if max(cells) > 1:
        part = means_of(part, cells)
    sides = [size[1], size[0]]
    if part.device.type == "cpu":
        return F.interpolate(part[None], sides, mode="bicubic", antialias=True)[0]
    # No other device resizes bytes; bicubic's values may lie beyond theirs.
    values = F.interpolate(part[None].float(), sides, mode="bicubic", antialias=True)[0]
    return values.clamp_(0, 255).round_().to(part.dtype)


def resampled_image(image: Image.Image, box: Part, size: tuple[int, int], pixels: Tensor | None = None) -> Tensor:
    """Return a part of the image at that size: bicubic, antialiased where it shrinks.

    Args:
        image: RGB or RGBA.
        box: The part, x1, y1, x2, y2 in pixels of the image, within it.
        size: Width and height of the result.
        pixels: The image as `as_tensor` returns it, where that is there: a part of it is cut several times as fast.

    Returns:
        uint8 tensor [3 or 4, height, width], RGB or RGBA.
    """
    x = _begun(box[0], box[2], size[0], image.width)
    y = _begun(box[1], box[3], size[1], image.height)
    if image.mode != "RGB" or x is None or y is None:
        return as_tensor(_by_pillow(image, box, size))
    left, top = max(x.first, 0), max(y.first, 0)
    if pixels is None:
        part = np.asarray(cut(image, (left, top, x.end, y.end)))
    else:
        part = pixels.permute(1, 2, 0).numpy()[top : y.end, left : x.end]
    # Before the border its own pixels go on. PyTorch's copy of the part would take eight times as long as numpy's.
    part = np.pad(part, ((top - y.first, 0), (left - x.first, 0), (0, 0)), mode="edge")
    # As a batch of one it keeps its memory's format: resized a third faster, and to what encoders take as it is.
    batch = torch.from_numpy(part)[None].permute(0, 3, 1, 2)
    larger = F.interpolate(batch, scale_factor=(y.factor, x.factor), mode="bicubic", antialias=True)[0]
    return larger[:, y.lead : y.lead + size[1], x.lead : x.lead + size[0]]


def cut(image: Image.Image, box: tuple[int, int, int, int]) -> Image.Image:
    """Return a part of the image that lies on its pixels."""
    # Image.crop would refuse parts beyond Pillow's own limit, which is lower than this package's.
    return image.transform((box[2] - box[0], box[3] - box[1]), Image.Transform.EXTENT, box)


def _by_pillow(image: Image.Image, box: Part, size: tuple[int, int]) -> Image.Image:
    """Return the part of the image at that size, its two halves made by two threads.

    There are two of them on every machine, since where the halves meet their rounding may differ
    from the whole's.
    """
    # Colours are weighted by alpha, or those hidden under transparent pixels bleed into the edges.
    source = image.convert("RGBa") if image.mode == "RGBA" else image
    width, height = size
    middle = height // 2
    edge = box[1] + (box[3] - box[1]) * middle / height
    result = Image.new(source.mode, size)

    def fill(top: int, bottom: int, y1: float, y2: float) -> None:
        if bottom > top:
            part = source.resize((width, bottom - top), Image.Resampling.BICUBIC, (box[0], y1, box[2], y2))
            result.paste(part, (0, top))

    with ThreadPoolExecutor(1) as pool:
        upper = pool.submit(fill, 0, middle, box[1], edge)
        fill(middle, height, edge, box[3])
        upper.result()
    return result if image is source else result.convert(image.mode)


class _Begun(NamedTuple):
    """Which part of an axis to resize.

    Attributes:
        first: Its first pixel; as many before the picture's as it is negative.
        end: The one behind its last.
        lead: How many pixels of the result come before the first wanted one.
        factor: Pixels of the result for each of the picture.
    """

    first: int
    end: int
    lead: int
    factor: float


def _begun(start: float, end: float, length: int, limit: int) -> _Begun | None:
    """Return where to begin so as to begin on a pixel; none where no such place is within reach.

    Args:
        start: Where the wanted part begins, in pixels of the picture.
        end: Where it ends.
        length: Pixels of the result.
        limit: Pixels of the picture.
    """
    scale = (end - start) / length
    reach = SUPPORT * max(scale, 1)
    last = min(limit, math.ceil(end + reach) + 1)
    found = None
    for lead in range(MOST_LEAD + 1):
        first = round(start - lead * scale)
        if found and first < 0:
            break
        if abs(start - lead * scale - first) <= CLOSE:
            # At the picture's end a start that is rounded up must not cost the last pixel of the result.
            found = _Begun(first, last, lead, max(1 / scale, (lead + length + 1e-3) / (last - first)))
            if start - first >= reach:  # so that the first pixel shows what it should of those before it
                break
    return found
