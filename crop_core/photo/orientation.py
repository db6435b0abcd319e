"""EXIF orientation: turns stored pixels upright, and maps upright points and windows to stored ones."""

from __future__ import annotations

from torch import Tensor

from crop_core.geometry import Size, Window


def upright(pixels: Tensor, orientation: int) -> Tensor:
    """Return the pixels turned as the EXIF orientation asks.

    Args:
        pixels: Tensor [C, H, W].
        orientation: 1 to 8.
    """
    if orientation >= 5:
        pixels = pixels.transpose(1, 2)
    # The axes that are left to flip; of orientation 6, the transposed picture's x axis.
    flips = {2: (2,), 3: (1, 2), 4: (1,), 6: (2,), 7: (1, 2), 8: (1,)}.get(orientation)
    return pixels.flip(flips) if flips else pixels


def stored_points(x: Tensor, y: Tensor, stored: Size, orientation: int) -> tuple[Tensor, Tensor]:
    """Return where points of the upright picture lie in the picture as it is stored.

    Args:
        x: In upright pixels.
        y: In upright pixels.
        stored: The size of the picture as it is stored.
        orientation: 1 to 8.
    """
    if orientation >= 5:
        x, y = y, x
    if orientation in (2, 3, 7, 8):
        x = stored.width - x
    if orientation in (3, 4, 6, 7):
        y = stored.height - y
    return x, y


def stored_window(window: Window, stored: Size, orientation: int) -> Window:
    """Return where the upright window lies in the picture as it is stored.

    Args:
        window: In upright pixels.
        stored: The size of the picture as it is stored.
        orientation: 1 to 8.
    """
    width, height = stored.width, stored.height
    x1, y1, x2, y2 = window.xyxy
    match orientation:
        case 2:
            return Window(width - x2, y1, width - x1, y2)
        case 3:
            return Window(width - x2, height - y2, width - x1, height - y1)
        case 4:
            return Window(x1, height - y2, x2, height - y1)
        case 5:
            return Window(y1, x1, y2, x2)
        case 6:
            return Window(y1, height - x2, y2, height - x1)
        case 7:
            return Window(width - y2, height - x2, width - y1, height - x1)
        case 8:
            return Window(width - y2, x1, width - y1, x2)
    return window
