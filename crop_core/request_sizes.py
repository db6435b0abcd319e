"""How large crops may be asked for: `width`, `height`, `multiple_of`, `max_pixels`. Standard library only.

These fields belong to `CropRequest`. They stand here to keep request.py short.
"""

from __future__ import annotations

from fractions import Fraction

from crop_core.errors import RequestError
from crop_core.request_fields import an_input
from crop_core.request_text import FREE, MAX_RATIO

MAX_ASKED_SIDE = 8192  # px; 8192 x 8192 is a 200 MB tensor, enough for a poster
MAX_OUTPUT_SIDE = 16_383  # px; WebP's own limit
MAX_OUTPUT_PIXELS = MAX_ASKED_SIDE**2  # WebP fails beyond some 100 million; an encoder takes some 40 bytes for each

MULTIPLE_OF = an_input(
    1,
    int,
    "Width and height of the crops are multiples of this number, as training needs: 8, 16, 32, 64. The shape is the "
    "nearest possible, and nothing is distorted.",
    ge=1,
    le=64,
)
MAX_PIXELS = an_input(
    None,
    int,
    "The most pixels of a crop, width times height, such as 1048576. With upscale allow or pad, smaller crops are "
    "brought up to it.",
    ge=1024,
    le=MAX_OUTPUT_PIXELS,
)

Ratios = tuple[tuple[str, Fraction | None], ...]


def check_sizes(width: int | None, height: int | None, ratios: Ratios, is_named: bool, choice: str) -> None:
    """Refuse a width and a height that contradict the ratios, or that make a crop too long.

    Args:
        width: As asked for, in pixels.
        height: As asked for, in pixels.
        ratios: Their names, and width over height.
        is_named: Whether the caller named the ratios; if not, width and height replace the default ratio.
        choice: ``auto`` or ``closest`` if one of the ratios is picked; empty if each gives a crop.

    Raises:
        RequestError: They do.
    """
    for name, ratio in ratios:
        if width is not None and height is not None:
            if choice or name == FREE or (ratio is not None and is_named and _differs(width, height, ratio)):
                raise RequestError(
                    f"width {width} and height {height} set the ratio, and aspect_ratio asks for "
                    f"{choice + ':' if choice else ''}{name}. Leave out one of the three."
                )
        elif ratio is not None and (width or height):
            other = width / ratio if width else (height or 0) * ratio
            if other > MAX_OUTPUT_SIDE:
                raise RequestError(
                    f"aspect_ratio {name} with {'width' if width else 'height'} {width or height} "
                    f"makes a crop of more than {MAX_OUTPUT_SIDE} pixels a side. Ask for fewer pixels."
                )
    if width and height and not 1 <= MAX_RATIO * Fraction(width, height) <= MAX_RATIO**2:
        raise RequestError(f"width {width} by height {height} is beyond {MAX_RATIO}:1. Bring the two closer together.")


def _differs(width: int, height: int, ratio: Fraction) -> bool:
    return abs(width - height * ratio) > max(Fraction(1), ratio)


def check_buckets(
    width: int | None, height: int | None, multiple_of: int, max_pixels: int | None, if_none: str
) -> None:
    """Refuse `multiple_of` and `max_pixels` if no crop can have them beside the other inputs.

    Raises:
        RequestError: No crop can.
    """
    for name, side in (("width", width), ("height", height)):
        if side is not None and max_pixels is not None:
            raise RequestError(f"{name} sets the crops' size, and max_pixels bounds it. Leave out one of the two.")
        if side is not None and side % multiple_of:
            below = side - side % multiple_of
            near = f"{below} or {below + multiple_of}" if below else f"{multiple_of}"
            raise RequestError(f"{name} {side} is not a multiple of multiple_of {multiple_of}. Set {name} to {near}.")
    if max_pixels is not None and multiple_of**2 > max_pixels:
        raise RequestError(
            f"multiple_of {multiple_of} makes crops of at least {multiple_of**2} pixels, and max_pixels allows "
            f"{max_pixels}. Raise max_pixels, or lower multiple_of."
        )
    if multiple_of > 1 and if_none == "full_image":
        raise RequestError(
            f"if_none full_image keeps the picture's own sides, which may not be multiples of {multiple_of}. "
            "Choose another if_none, or leave multiple_of out."
        )
