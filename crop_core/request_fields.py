"""How a field of a request is declared and checked, and some of the fields. Standard library only.

These fields belong to `CropRequest`. They stand here to keep request.py short.
"""

from __future__ import annotations

from dataclasses import field
from fractions import Fraction
from typing import Any

from crop_core.errors import RequestError
from crop_core.request_text import FREE, MATCH_INPUT, did_you_mean, parse_background, parse_labels, shown


def an_input(default: Any, kind: type, help: str, **rules: Any) -> Any:
    """Return a field of `CropRequest`.

    Args:
        default: Its default.
        kind: The type of its values: int, float, bool or str.
        help: Its description in the form, in --help and in inputs.md.
        rules: ``choices``, or the bounds ``ge`` and ``le``.
    """
    return field(default=default, metadata={"kind": kind, "help": help, **rules})


FIT = an_input(
    "crop",
    str,
    "What happens to what the shape has no room for. crop: it is cut off. pad: the whole picture (with zoom, the "
    "subject) is kept, and background fills the rest. auto: crop if nothing that matters is cut, else pad.",
    choices=("crop", "pad", "auto"),
)
BACKGROUND = an_input(
    "auto",
    str,
    "What fills the padding: a CSS colour (white, #f5f5f5), which also lies behind transparent parts, edge (the "
    "colour of the picture's border), blur (the picture itself, blurred) or transparent. auto: white, or transparent "
    "if the picture has transparency.",
)

ALIGN = an_input(
    "none",
    str,
    "eyes: turn the picture, by at most 30 degrees, until the eyes are level; in mode faces, or for a single face. "
    "No corner stays empty: the window shrinks, or with fit pad background fills it.",
    choices=("none", "eyes"),
)
FACE_HEIGHT = an_input(
    None,
    float,
    "How much of the crop's height the head takes, from chin to crown; 0.75 for a passport picture. In mode faces, "
    "or for a single face. It replaces zoom.",
    ge=0.05,
    le=1,
)
EYE_LINE = an_input(
    None,
    float,
    "How far from the top of the crop the eyes lie, as a fraction of its height. In mode faces, or for a single face.",
    ge=0,
    le=1,
)
TRIM = an_input(
    False,
    bool,
    "Crop to the one object on a plain backdrop, to the pixel, instead of to what a detector finds. If the backdrop is "
    "not plain, the object is what stands out, or what is detected.",
)
TRIM_THRESHOLD = an_input(
    12,
    int,
    "How far a pixel must differ from the backdrop, of 255, to count as the object. A small number includes the "
    "shadow; a large one leaves it out.",
    ge=1,
    le=254,
)
REDACT = an_input(
    "none",
    str,
    "Hide what redact_labels names, in the crops and the preview: blur it or pixelate it. What the detector misses "
    "stays visible.",
    choices=("none", "blur", "pixelate"),
)
REDACT_LABELS = an_input("face", str, "What redact hides, comma-separated: face, person, car, tv, laptop …")

Ratios = tuple[tuple[str, Fraction | None], ...]


def check_combinations(request: Any, ratios: Ratios) -> None:
    """Refuse inputs that contradict each other.

    Args:
        request: A `CropRequest` whose single values are valid.
        ratios: Its parsed ratios.

    Raises:
        RequestError: Two inputs contradict each other.
    """
    check_filling(request.fit, request.background, request.upscale, request.output_format, ratios, request.trim)
    check_portrait(request, ratios)
    check_trimming(request.trim, request.trim_threshold, request.mode, request.labels)
    check_redacting(request.redact, request.redact_labels)


def check_portrait(request: Any, ratios: Ratios) -> None:
    """Refuse `align`, `face_height` and `eye_line` if another input contradicts them.

    Raises:
        RequestError: One does.
    """
    given = {"align": request.align != "none", "face_height": request.face_height is not None}
    given["eye_line"] = request.eye_line is not None
    name = next((name for name in ("face_height", "eye_line", "align") if given[name]), None)
    if name is None:
        return
    if request.mode == "objects":
        raise RequestError(f"{name} lays out a face, and mode objects crops things. Set mode to faces or subject.")
    if request.trim:
        raise RequestError(f"{name} lays out a face, and trim takes an object on a backdrop. Leave one out.")
    if any(ratio_name == FREE for ratio_name, _ in ratios):
        raise RequestError(f"{name} lays out a face in a shape, and aspect_ratio free has none. Ask for a ratio.")
    if request.focus:
        raise RequestError(f"{name} lays out a face, and focus says what the crop is about. Leave one out.")
    if request.position != "auto" and name != "align":
        raise RequestError(f"{name} says where the face lies in the crop, and so does position. Leave one out.")
    if request.face_height is not None and request.zoom is not None:
        raise RequestError("face_height sets how tight the crop is, and so does zoom. Leave one out.")


def check_filling(fit: str, background: str, upscale: str, output_format: str, ratios: Ratios, trim: bool) -> None:
    """Refuse `fit` and `background` if another input contradicts them.

    Raises:
        RequestError: One does, or `background` is no filling.
    """
    filling = parse_background(background)
    if fit == "crop" and upscale != "pad" and filling != "auto":
        raise RequestError(
            "background fills padding, and nothing is padded. Set fit to pad or auto, or upscale to pad, or leave "
            f"background {shown(background)} out."
        )
    if fit != "crop" and not trim and any(name == FREE for name, _ in ratios):
        raise RequestError(
            f"fit {fit} fills a shape, and aspect_ratio free takes the shape of what it keeps. Ask for a ratio."
        )
    if isinstance(filling, tuple) and filling[3] < 255 and output_format not in (MATCH_INPUT, "webp", "png", "avif"):
        raise RequestError(
            f"{output_format} has no transparency for background {shown(background)}. Set output_format to png, webp "
            "or avif, or take another background."
        )


def check_trimming(trim: bool, threshold: int, mode: str, labels: str) -> None:
    """Refuse `trim` and `trim_threshold` if another input contradicts them.

    Raises:
        RequestError: One does.
    """
    if not trim and threshold != TRIM_THRESHOLD.default:
        raise RequestError("trim_threshold is for trim, and trim is false. Set trim to true, or leave it out.")
    if trim and mode != "subject":
        raise RequestError(f"trim takes the picture's one object, and mode {mode} makes a crop of each. Leave one out.")
    if trim and labels.strip():
        raise RequestError("trim takes whatever lies on the backdrop, and labels names what to take. Leave one out.")


def check_redacting(redact: str, labels: str) -> None:
    """Refuse `redact_labels` that name nothing, have weights, or stand there without `redact`.

    Raises:
        RequestError: A label is unknown, or there is nothing to hide.
    """
    named = parse_labels(labels, "redact_labels")
    if redact == "none" and labels != REDACT_LABELS.default:
        raise RequestError("redact_labels says what to hide, and redact is none. Set redact to blur or pixelate.")
    if not named:
        raise RequestError("redact_labels names nothing to hide. Name for instance face or face,person.")
    if ":" in labels:
        raise RequestError(f"redact_labels takes labels without weights, got {shown(labels)}. Leave the weights out.")


def check_choice(name: str, value: Any, choices: tuple[str, ...]) -> None:
    """Refuse a value that is not among the choices.

    Raises:
        RequestError: It is not.
    """
    if value not in choices:
        hint = did_you_mean(value, choices) if isinstance(value, str) else ""
        raise RequestError(f"{name} is one of {', '.join(choices)}; got {shown(value)}. {hint}".rstrip())


def check_number(name: str, value: Any, whole: bool, low: float, high: float) -> None:
    """Refuse a value that is not a number from `low` to `high`.

    Raises:
        RequestError: It is not.
    """
    kind = "a whole number" if whole else "a number"
    number = isinstance(value, int if whole else (int, float)) and not isinstance(value, bool)
    if not number or not low <= value <= high:
        raise RequestError(f"{name} is {kind} from {low} to {high}, got {shown(value)}.")
