"""What is cropped where nothing was found: the request's `if_none`. Standard library only."""

from __future__ import annotations

from fractions import Fraction

from crop_core.errors import ImageError
from crop_core.frame.scene import Scene
from crop_core.frame.window import free_window, largest_size
from crop_core.geometry import Window
from crop_core.request import CropRequest


def refuse_if_asked(request: CropRequest) -> None:
    """Raise the error that the request wants where nothing was found.

    Raises:
        ImageError: `if_none` is ``error``.
    """
    if request.if_none != "error":
        return
    what = "No face" if request.mode == "faces" else f"Nothing of {request.labels}" if request.labels else "Nothing"
    raise ImageError(
        f"{what} was found in the picture at score_threshold {request.score_threshold:g}. "
        "Lower it, or set if_none to saliency, center or full_image."
    )


def fallback_window(policy: str, scene: Scene, ratio: Fraction | None) -> Window:
    """Return the window of a scene without a subject.

    Args:
        policy: ``full_image``, ``center`` or ``saliency``.
        scene: Where its composition is, ``saliency`` goes; without one it is ``center``.
        ratio: Width over height; none for free.
    """
    size = scene.size
    if policy == "full_image":
        return Window(0, 0, size.width, size.height)
    composition = scene.composition if policy == "saliency" else None
    if ratio is None and composition is not None:
        return free_window((), composition.box, size)
    largest = largest_size(size, ratio)
    middle_x, middle_y = composition.middle if composition else (size.width / 2, size.height / 2)
    x1 = min(max(int(middle_x - largest.width / 2), 0), size.width - largest.width)
    y1 = min(max(int(middle_y - largest.height / 2), 0), size.height - largest.height)
    return Window(x1, y1, x1 + largest.width, y1 + largest.height)
