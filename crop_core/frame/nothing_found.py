"""What is cropped where nothing was found: the request's `if_none`. Standard library only."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction

from crop_core.errors import ImageError
from crop_core.frame.scene import Scene
from crop_core.frame.window import largest_size
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
        scene: With a saliency grid where the policy is ``saliency``.
        ratio: Width over height; none for free.
    """
    size = scene.size
    if policy == "full_image":
        return Window(0, 0, size.width, size.height)
    largest = largest_size(size, ratio)
    x1, y1 = (size.width - largest.width) // 2, (size.height - largest.height) // 2
    if policy == "saliency":
        grid = scene.saliency
        if grid is None:
            raise ValueError("a saliency grid is needed where nothing was found")
        x1 = _most_salient([sum(column) for column in zip(*grid, strict=True)], size.width, largest.width)
        y1 = _most_salient([sum(row) for row in grid], size.height, largest.height)
    return Window(x1, y1, x1 + largest.width, y1 + largest.height)


def _most_salient(cells: Sequence[float], extent: int, length: int) -> int:
    """Return where a window of `length` on an axis of `extent` pixels holds most of the cells' sum.

    The sum is piecewise linear in the offset, so its largest value lies where an edge of the
    window meets an edge of a cell. Ties go to the middle.
    """
    room = extent - length
    if room == 0:
        return 0
    cell = extent / len(cells)
    before = [0.0]
    for value in cells:
        before.append(before[-1] + value)

    def up_to(x: float) -> float:
        index = min(int(x / cell), len(cells) - 1)
        return before[index] + cells[index] * (x / cell - index)

    edges: Iterable[int] = (round(i * cell) for i in range(len(cells) + 1))
    offsets = {min(max(offset, 0), room) for edge in edges for offset in (edge, edge - length)} | {room // 2}
    return max(sorted(offsets), key=lambda x: (round(up_to(x + length) - up_to(x), 9), -abs(x - room / 2)))
