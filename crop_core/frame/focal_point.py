"""What a web page needs to crop by itself: a focal point, and CSS `object-position`. Standard library only."""

from __future__ import annotations

from crop_core.frame.scene import Scene
from crop_core.frame.subjects import weightiest
from crop_core.geometry import Size, Window

Point = tuple[float, float]


def focal_point(scene: Scene) -> Point:
    """Return the point that a crop of any shape should show, as fractions of the upright picture.

    That is the caller's focus; else the faces, by their weight, unless something outweighs them; else the weightiest
    thing; else the middle of the window that a person would draw, or of the picture.
    """
    x, y = scene.focus.middle if scene.focus else _middle_of_subjects(scene)
    return x / scene.size.width, y / scene.size.height


def _middle_of_subjects(scene: Scene) -> Point:
    if not scene.subjects:
        return scene.composition.middle if scene.composition else (scene.size.width / 2, scene.size.height / 2)
    main = weightiest(scene.subjects)
    faces = [(thing.face.center, thing.weight) for thing in scene.subjects if thing.sure_face and thing.face]
    together = sum(weight for _, weight in faces)
    if not faces or main.weight > together:
        return (main.face or main.box).center
    x = sum(x * weight for (x, _), weight in faces) / together
    return x, sum(y * weight for (_, y), weight in faces) / together


def object_position(window: Window, size: Size) -> str | None:
    """Return the CSS `object-position` with which `object-fit: cover` shows the window in a box of its ratio.

    None where nothing does: a browser shows the largest window of a ratio, and this one is smaller.

    Args:
        window: In upright source pixels.
        size: The picture's.
    """
    if window.width != size.width and window.height != size.height:
        return None
    across = _percent(window.x1, size.width - window.width)
    return f"{across} {_percent(window.y1, size.height - window.height)}"


def _percent(offset: int, room: int) -> str:
    """Return the share of the room before the window; a half where there is none, as it does not matter."""
    return f"{100 * offset / room if room else 50:.4f}".rstrip("0").rstrip(".") + "%"
