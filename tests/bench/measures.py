"""How much of what matters crops keep, as numbers.

Boxes and windows are x1, y1, x2, y2, half-open, in pixels of the upright picture. What made a crop
is unknown here, and nothing is taken from crop_core: a fault of its geometry must not hide itself.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Window = tuple[float, float, float, float]
Measures = dict[str, float | None]

WHOLE_SHARE = 0.95  # of an object's area counts as all of it: boxes drawn by people are not exact to the pixel
FACE_SLACK = 1.0  # px that a face may stick out of a crop, for the same reason
HEADROOM = 0.4  # of a face's height: its box ends at the forehead, the head does not
RATIO_TOLERANCE = 0.02  # and one pixel; what whole pixels and multiples of eight do to a ratio
RESAMPLES = 2000


@dataclass(frozen=True, slots=True)
class Scene:
    """One picture's size and the boxes of what is in it, at least one."""

    name: str
    width: int
    height: int
    boxes: tuple[Window, ...]

    def __post_init__(self) -> None:
        if not self.boxes:
            raise ValueError(f"a scene without boxes has nothing to keep, got {self}")


def scenes_in(coco: Mapping[str, Any]) -> tuple[Scene, ...]:
    """Return the pictures of a ground truth in COCO form, by name, without crowd boxes and empty ones.

    A crowd box stands for a region of many things; no crop keeps or cuts it. Pictures without any
    other box are left out.

    Raises:
        KeyError: It is not in COCO form.
    """
    boxes = defaultdict(list)
    for annotation in coco["annotations"]:
        x, y, width, height = annotation["bbox"]
        if not annotation.get("iscrowd") and width > 0 and height > 0:
            boxes[annotation["image_id"]].append((x, y, x + width, y + height))
    images = sorted(coco["images"], key=lambda image: image["file_name"])
    return tuple(
        Scene(image["file_name"], image["width"], image["height"], tuple(boxes[image["id"]]))
        for image in images
        if image["id"] in boxes
    )


def largest_size(scene: Scene, ratio: Fraction) -> tuple[int, int]:
    """Return width and height of the largest crop of the ratio."""
    if scene.width >= scene.height * ratio:
        return max(1, round(scene.height * ratio)), scene.height
    return scene.width, max(1, round(scene.width / ratio))


def centre_window(scene: Scene, ratio: Fraction) -> Window:
    """Return the largest window of the ratio in the middle: the baseline."""
    width, height = largest_size(scene, ratio)
    x, y = (scene.width - width) // 2, (scene.height - height) // 2
    return x, y, x + width, y + height


def oracle_window(scene: Scene, ratio: Fraction, faces: bool) -> Window:
    """Return the largest window of the ratio that keeps most, by the ground truth: the ceiling.

    Of objects, most of the main subject, then of all; of faces, most of them whole, then most heads,
    so it is no ceiling of `big`, which may cost two small faces.
    What is kept changes its slope only where an edge of the window passes an edge of a box, so
    those places and the middle are all there is to try.
    """
    boxes, (width, height) = _array(scene.boxes), largest_size(scene, ratio)
    heads = _heads(scene)
    edges = np.concatenate((boxes, heads)) if faces else boxes
    xs = _offsets(edges[:, 0], edges[:, 2], scene.width, width)
    ys = _offsets(edges[:, 1], edges[:, 3], scene.height, height)
    middle = centre_window(scene, ratio)

    def merit(window: Window) -> tuple[float, float, float]:
        off_centre = abs(window[0] - middle[0]) + abs(window[1] - middle[1])
        if faces:
            return _whole(boxes, window).sum(), _whole(heads, window).sum(), -off_centre
        kept, area = _kept_area(boxes, window), _area(boxes)
        main = area.argmax()
        # Rounded, so that the last bits of a float do not outweigh the next in rank.
        return round(kept[main] / area[main], 9), round(kept.sum() / area.sum(), 9), -off_centre

    return max(((x, y, x + width, y + height) for x, y in product(xs, ys)), key=merit)


def is_bad(scene: Scene, window: Window, ratio: Fraction) -> bool:
    """Return whether the window is empty, leaves the picture, or is off the ratio by more than 2 % and a pixel."""
    x1, y1, x2, y2 = window
    width, height = x2 - x1, y2 - y1
    if x1 < -0.5 or y1 < -0.5 or x2 > scene.width + 0.5 or y2 > scene.height + 0.5 or width < 1 or height < 1:
        return True
    off_by_a_pixel = abs(width - height * ratio) > 1 and abs(height - width / ratio) > 1
    return off_by_a_pixel and abs(width / height / float(ratio) - 1) > RATIO_TOLERANCE


def main_shares(scenes: Sequence[Scene], windows: Mapping[str, Window], ratio: Fraction) -> Array:
    """Return the kept share (0 to 1) of each scene's main subject, the largest box, [N]."""
    shares = []
    for scene in scenes:
        boxes = _array(scene.boxes)
        main = _area(boxes).argmax()
        shares.append(_kept_area(boxes, _valid(scene, windows, ratio))[main] / _area(boxes)[main])
    return np.array(shares)


def object_measures(scenes: Sequence[Scene], windows: Mapping[str, Window], ratio: Fraction) -> Measures:
    """Return the measures of one ratio's crops where the boxes are objects; none where nothing could be counted.

    A picture without a crop, or with a bad one, keeps nothing.

    main: Mean kept share of the main subject, the largest box.
    all: Mean of the kept area of all boxes over their area.
    fit: Pictures whose main subject fits the largest crop by 95 % or more.
    main95: Of those, the share whose main subject is kept by 95 % or more.
    """
    main, every, fits = main_shares(scenes, windows, ratio), [], []
    for scene in scenes:
        boxes, size = _array(scene.boxes), largest_size(scene, ratio)
        area = _area(boxes)
        every.append(_kept_area(boxes, _valid(scene, windows, ratio)).sum() / area.sum())
        subject = boxes[area.argmax()]
        best = math.prod(np.minimum(subject[2:] - subject[:2], size))
        fits.append(bool(best >= WHOLE_SHARE * area.max()))
    return {
        "main": _mean(main),
        "all": _mean(every),
        "fit": sum(fits),
        "main95": _mean(main[np.array(fits, bool)] >= WHOLE_SHARE),
        **_window_measures(scenes, windows, ratio),
    }


def face_measures(scenes: Sequence[Scene], windows: Mapping[str, Window], ratio: Fraction) -> Measures:
    """Return the measures of one ratio's crops where the boxes are faces; none where nothing could be counted.

    A picture without a crop, or with a bad one, keeps nothing.

    faces: Share of all faces that are whole.
    facesF: The same of the faces that fit the largest crop.
    imgAll: Of the pictures whose faces fit it all together (fitI), the share with every face whole.
    heads: The same of heads (fitH), a face box grown upward by 0.4 of its height.
    big: Of the pictures whose largest face fits (fitB), the share that keeps it whole.
    """
    whole, fitting, together, heads_together, largest = [], [], [], [], []
    for scene in scenes:
        boxes, heads, size = _array(scene.boxes), _heads(scene), largest_size(scene, ratio)
        window = _valid(scene, windows, ratio)
        whole_here = _whole(boxes, window)
        fits = np.all(boxes[:, 2:] - boxes[:, :2] <= size, axis=1)
        whole.append(whole_here)
        fitting.append(whole_here[fits])
        if _fit_together(boxes, size):
            together.append(whole_here.all())
        if _fit_together(heads, size):
            heads_together.append(_whole(heads, window).all())
        main = _area(boxes).argmax()
        if fits[main]:
            largest.append(whole_here[main])
    return {
        "faces": _mean(np.concatenate(whole)),
        "fitF": sum(map(len, fitting)),
        "facesF": _mean(np.concatenate(fitting)),
        "fitI": len(together),
        "imgAll": _mean(together),
        "fitH": len(heads_together),
        "heads": _mean(heads_together),
        "fitB": len(largest),
        "big": _mean(largest),
        **_window_measures(scenes, windows, ratio),
    }


def bootstrap_interval(differences: Array) -> tuple[float, float]:
    """Return the 95 % interval of the mean of paired differences [N], by drawing pictures with replacement.

    The draw is the same for every row, so a row's interval does not hang on which others there are.
    """
    draws = np.random.default_rng(0).integers(0, len(differences), (RESAMPLES, len(differences)))
    low, high = np.percentile(differences[draws].mean(axis=1), (2.5, 97.5))
    return float(low), float(high)


def _window_measures(scenes: Sequence[Scene], windows: Mapping[str, Window], ratio: Fraction) -> Measures:
    """Return what holds for any ground truth.

    size: Mean area of the crops over that of the largest; less than 1 is a needless loss. No crop has no area.
    bad: Windows that are none, see `is_bad`.
    miss: Pictures without a crop.
    """
    given = [(scene, windows[scene.name]) for scene in scenes if scene.name in windows]
    sizes = [
        _area(_array([window]))[0] / math.prod(largest_size(scene, ratio))
        for scene, window in given
        if not is_bad(scene, window, ratio)
    ]
    return {"size": sum(sizes) / len(scenes), "bad": len(given) - len(sizes), "miss": len(scenes) - len(given)}


def _valid(scene: Scene, windows: Mapping[str, Window], ratio: Fraction) -> Window | None:
    window = windows.get(scene.name)
    return None if window is None or is_bad(scene, window, ratio) else window


def _heads(scene: Scene) -> Array:
    """Return the face boxes grown upward to where a head ends, within the picture, [N, 4]."""
    heads = _array(scene.boxes)
    heads[:, 1] -= HEADROOM * (heads[:, 3] - heads[:, 1])
    return np.clip(heads, 0, (scene.width, scene.height) * 2)


def _array(boxes: Sequence[Window]) -> Array:
    return np.array(boxes, float)


def _area(boxes: Array) -> Array:
    return np.asarray((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]))


def _kept_area(boxes: Array, window: Window | None) -> Array:
    if window is None:
        return np.zeros(len(boxes))
    sides = np.minimum(boxes[:, 2:], window[2:]) - np.maximum(boxes[:, :2], window[:2])
    return np.asarray(np.prod(np.clip(sides, 0, None), axis=1))


def _whole(boxes: Array, window: Window | None) -> Flags:
    if window is None:
        return np.zeros(len(boxes), bool)
    begins, ends = np.array(window[:2]) - FACE_SLACK, np.array(window[2:]) + FACE_SLACK
    return np.asarray(np.all((boxes[:, :2] >= begins) & (boxes[:, 2:] <= ends), axis=1))


def _fit_together(boxes: Array, size: tuple[int, int]) -> bool:
    return bool(np.all(boxes[:, 2:].max(axis=0) - boxes[:, :2].min(axis=0) <= size))


def _offsets(begins: Array, ends: Array, extent: int, length: int) -> list[int]:
    """Return where, on one axis, a window of `length` begins or ends with a box, and the middle."""
    offsets = np.concatenate((begins, ends - length))
    whole = np.concatenate((np.floor(offsets), np.ceil(offsets), [(extent - length) // 2]))
    return sorted({int(offset) for offset in np.clip(whole, 0, extent - length)})


def _mean(values: Iterable[Any]) -> float | None:
    numbers = np.asarray(list(values), float)
    return float(numbers.mean()) if numbers.size else None
