"""Resizes a part of a picture, also one that begins or ends between two pixels.

PyTorch resizes bytes several times as fast as Pillow, to the same values, but only from a whole pixel
on. So we start a few output pixels earlier, at a whole pixel of the picture, and trim the surplus.
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

MOST_LEAD = 64  # output pixels that may be made only to be trimmed
# How far the start may lie from a whole pixel of the picture. A fiftieth changes values less than noise does.
CLOSE = 1 / 50
# A picture that shrinks by more than twice this is first reduced by means of whole pixels; the antialiased resize does
# the rest, at least by this factor. CUDA's bicubic resize keeps a pixel's weights in 48 KiB of shared memory and fails
# beyond a factor of 47 (PyTorch, UpSampleBilinear2d.cu).
KEPT = 16
ROWS = 256  # of a turned part that are made at once: the sampling grid takes eight times the memory of the pixels
SUPPORT = 2  # pixels, at the coarser of both scales, that bicubic interpolation reads to either side

Part = tuple[float, float, float, float]  # x1, y1, x2, y2 in pixels of a decoded picture


class Source(Protocol):
    """A photo to cut parts from; its pixels may lie on any device."""

    def stored_for(self, scale: float) -> Stored:
        """Return a decode that is large enough for a part that shrinks by `scale`."""


def resampled(photo: Source, window: Window, size: Size) -> Tensor:
    """Return a part of the picture, upright, resized: bicubic, antialiased where it shrinks.

    Args:
        photo: The picture; the smallest decode that has enough pixels is used.
        window: The part, in upright source pixels; its sides may fall between pixels of the decode.
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
    # The last pixel of a reduced decode may cover fewer than `reduction` source pixels.
    box = (x1, y1, min(x2, stored.image.width), min(y2, stored.image.height))
    return upright(resampled_image(stored.image, box, raw_size, stored.pixels), stored.orientation)


def resampled_turned(photo: Source, frame: Window, angle: float, size: Size) -> tuple[Tensor, Tensor | None]:
    """Return a part of the turned picture, resized, in one bicubic resampling.

    Args:
        photo: As for `resampled`.
        frame: The part, in upright source pixels, before it is turned about its middle; may leave the picture.
        angle: By how many degrees the picture is turned, clockwise.
        size: Width and height of the result.

    Returns:
        uint8 tensor [3 or 4, height, width] on the picture's device, with border pixels repeated outside the picture;
        and how much of each pixel the picture covers, float tensor [height, width], 0 to 1, or none if it covers all.

    Raises:
        ImageError: The picture is broken.
    """
    scale = min(frame.width / size.width, frame.height / size.height)
    stored = photo.stored_for(scale)
    pixels = stored.pixels if stored.pixels is not None else as_tensor(_whole(stored.image))
    # Bicubic reads only two pixels to each side, so a large factor needs means first.
    cell = max(1, int(scale / stored.reduction))
    values = pixels.float()
    if values.shape[0] == 4:
        values = torch.cat((values[:3] * values[3:] / 255, values[3:]))  # or hidden colours would bleed into edges
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
    # Other devices resize no bytes, and bicubic overshoots 0 to 255.
    values = F.interpolate(part[None].float(), sides, mode="bicubic", antialias=True)[0]
    return values.clamp_(0, 255).round_().to(part.dtype)


def resampled_image(image: Image.Image, box: Part, size: tuple[int, int], pixels: Tensor | None = None) -> Tensor:
    """Return a part of the image, resized: bicubic, antialiased where it shrinks.

    Args:
        image: RGB or RGBA.
        box: The part, x1, y1, x2, y2 in pixels of the image, inside it.
        size: Width and height of the result.
        pixels: The image as `as_tensor` returns it, or none. Cutting from it is several times as fast.

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
    # Outside the picture border pixels are repeated. numpy copies the part several times as fast as PyTorch.
    part = np.pad(part, ((top - y.first, 0), (left - x.first, 0), (0, 0)), mode="edge")
    # A batch of one keeps channels-last memory, which is resized faster and which encoders take without a copy.
    batch = torch.from_numpy(part)[None].permute(0, 3, 1, 2)
    larger = F.interpolate(batch, scale_factor=(y.factor, x.factor), mode="bicubic", antialias=True)[0]
    return larger[:, y.lead : y.lead + size[1], x.lead : x.lead + size[0]]


def cut(image: Image.Image, box: tuple[int, int, int, int]) -> Image.Image:
    """Return a part of the image that begins and ends at whole pixels."""
    # Image.crop refuses parts above Pillow's own limit of pixels, which is lower than this package's.
    return image.transform((box[2] - box[0], box[3] - box[1]), Image.Transform.EXTENT, box)


def _by_pillow(image: Image.Image, box: Part, size: tuple[int, int]) -> Image.Image:
    """Return the part of the image, resized by Pillow, each half in its own thread.

    There are always two halves, on any number of cores: where they meet, rounding may differ from that
    of the whole, and every machine must make the same crop.
    """
    # Colours are weighted by alpha, or those hidden under transparent pixels would bleed into the edges.
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
        first: Its first pixel; negative if it lies before the picture.
        end: The pixel after its last.
        lead: How many pixels of the result to trim before the first wanted one.
        factor: Pixels of the result for each pixel of the picture.
    """

    first: int
    end: int
    lead: int
    factor: float


def _begun(start: float, end: float, length: int, limit: int) -> _Begun | None:
    """Return which part to resize so that it begins at a whole pixel; none if none is near enough.

    Args:
        start: Where the wanted part begins, in pixels of the picture.
        end: Where the wanted part ends.
        length: Pixels of the result on this axis.
        limit: Pixels of the picture on this axis.
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
            # If the start was rounded up at the picture's end, the result must still have its last pixel.
            found = _Begun(first, last, lead, max(1 / scale, (lead + length + 1e-3) / (last - first)))
            if start - first >= reach:  # far enough that the first wanted pixel sees all its neighbours
                break
    return found
