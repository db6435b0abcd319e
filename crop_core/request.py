"""What a caller can ask for, checked once, here. Standard library only.

Cog validates nothing without the schema that only `cog build` writes, and the command line hands
over what was typed, so `CropRequest` looks at every value itself and says in one sentence what is
wrong with it. Help texts, kinds and bounds stand beside the fields; predict.py repeats them as the
literals that Cog's parser needs, and a test holds the two together. The fields' order is the form's.
"""

from __future__ import annotations

import difflib
from dataclasses import Field, dataclass, fields
from fractions import Fraction
from typing import Any

from crop_core import request_fields as more
from crop_core.detection import FACE
from crop_core.errors import RequestError
from crop_core.request_fields import an_input, check_choice, check_combinations, check_number
from crop_core.request_focus import FOCUS, POSITION, Focus, check_focus, parse_focus, parse_position
from crop_core.request_sizes import (
    MAX_ASKED_SIDE,
    MAX_OUTPUT_PIXELS,
    MAX_OUTPUT_SIDE,
    MAX_PIXELS,
    MULTIPLE_OF,
    check_buckets,
    check_sizes,
)
from crop_core.request_text import (
    FREE,
    MATCH_INPUT,
    MAX_TEXT,
    Filling,
    parse_background,
    parse_labels,
    parse_ratios,
    shown,
    split_choice,
)

__all__ = ["FREE", "MATCH_INPUT", "MAX_OUTPUT_PIXELS", "MAX_OUTPUT_SIDE", "CropRequest", "inputs", "value_of"]

DEFAULT_RATIOS = ("1:1",)


@dataclass(frozen=True, slots=True, kw_only=True)
class CropRequest:
    """One request; every field is an input of the model, with the same default.

    Raises:
        RequestError: A value is of the wrong kind, out of bounds, or contradicts another.
    """

    aspect_ratios: tuple[str, ...] = an_input(
        DEFAULT_RATIOS,
        str,
        "Shape of the crops, width:height: 1:1, 4:5, 16:9 or any other; several, comma-separated, give a crop each. "
        "match_input keeps the picture's own shape, free takes the shape that suits what is in it. auto:1:1,4:5,16:9 "
        "takes the one of the list that keeps most, closest:1:1,4:5,16:9 the one nearest to the picture's own.",
    )
    mode: str = an_input(
        "subject",
        str,
        "subject: one crop of what matters. objects: one crop of each thing. faces: one crop of each face.",
        choices=("subject", "objects", "faces"),
    )
    labels: str = an_input(
        "",
        str,
        "What the crop may be about, comma-separated: person, dog, cat, car, bicycle, bottle, chair … or face; with "
        "weights to prefer one: dog:3,person:1. Empty: anything.",
    )
    focus: str = FOCUS
    width: int | None = an_input(
        None,
        int,
        "Width of the crops in pixels. With height it also sets the shape; alone it keeps the shape.",
        ge=1,
        le=MAX_ASKED_SIDE,
    )
    height: int | None = an_input(
        None,
        int,
        "Height of the crops in pixels. With width it also sets the shape; alone it keeps the shape.",
        ge=1,
        le=MAX_ASKED_SIDE,
    )
    multiple_of: int = MULTIPLE_OF
    max_pixels: int | None = MAX_PIXELS
    zoom: float | None = an_input(
        None,
        float,
        "0 keeps as much of the picture as the shape allows, 1 is as tight as the padding allows. "
        "Unset: 0 in subject mode, 1 in the others.",
        ge=0,
        le=1,
    )
    padding: float = an_input(
        0.1,
        float,
        "Room around the subject, as a fraction of its sides; the picture's border limits it.",
        ge=0,
        le=2,
    )
    headroom: float = an_input(
        0.4, float, "Room above a face for the hair, as a fraction of the face's height.", ge=0, le=2
    )
    position: str = POSITION
    output_format: str = an_input(
        "webp",
        str,
        "File format of the crops; match_input keeps the picture's own where it can be written.",
        choices=(MATCH_INPUT, "webp", "jpg", "png", "avif"),
    )
    output_quality: int = an_input(85, int, "Quality of WebP, JPEG and AVIF, 1 to 100; PNG has none.", ge=1, le=100)
    upscale: str = an_input(
        "never",
        str,
        "When a crop has fewer pixels than asked for: never enlarge (it comes out smaller), "
        "allow enlarging, or pad to the size.",
        choices=("never", "allow", "pad"),
    )
    fit: str = more.FIT
    background: str = more.BACKGROUND
    align: str = more.ALIGN
    face_height: float | None = more.FACE_HEIGHT
    eye_line: float | None = more.EYE_LINE
    trim: bool = more.TRIM
    trim_threshold: int = more.TRIM_THRESHOLD
    redact: str = more.REDACT
    redact_labels: str = more.REDACT_LABELS
    if_none: str = an_input(
        "saliency",
        str,
        "When nothing is found: crop what stands out (saliency), the center, keep the full image, return nothing, "
        "or fail.",
        choices=("saliency", "center", "full_image", "empty", "error"),
    )
    max_crops: int = an_input(20, int, "The most crops that are returned.", ge=1, le=100)
    order: str = an_input(
        "score",
        str,
        "Which objects or faces come first: the surest, the largest, or from left to right.",
        choices=("score", "area", "left_to_right"),
    )
    preview: bool = an_input(False, bool, "Also return the picture with its boxes and crop windows drawn.")
    detector: str = an_input(
        "auto",
        str,
        "fast: about a tenth of a second on a CPU. balanced: finds more small things, in three times the time. "
        "accurate: needs a GPU and extra weights. auto: the best that this machine does quickly.",
        choices=("auto", "fast", "balanced", "accurate"),
    )
    score_threshold: float = an_input(
        0.3,
        float,
        "How confident the detector must be of a thing, 0 to 1; a lower value finds more, and more that is wrong.",
        ge=0,
        le=1,
    )
    iou_threshold: float = an_input(
        0.5,
        float,
        "Two boxes of one kind that share more than this part of their area (0 to 1) count as one thing.",
        ge=0,
        le=1,
    )

    def __post_init__(self) -> None:
        for name, entry in inputs().items():
            value, kind = getattr(self, entry.name), entry.metadata["kind"]
            if isinstance(value, float) and kind is int and value.is_integer():
                value = int(value)  # JSON knows one kind of number, so 12.0 is a whole one
                object.__setattr__(self, entry.name, value)
            if value is None and entry.default is None:
                continue
            if "choices" in entry.metadata:
                check_choice(name, value, entry.metadata["choices"])
            elif "ge" in entry.metadata:
                check_number(name, value, kind is int, entry.metadata["ge"], entry.metadata["le"])
            elif kind is bool and not isinstance(value, bool):
                raise RequestError(f"{name} is true or false, got {shown(value)}.")
        if self.label_weights and self.mode == "faces" and FACE not in self.label_weights:
            raise RequestError("mode faces crops faces only, and labels leaves them out. Leave labels empty.")
        ratios = parse_ratios(self.aspect_ratios)
        check_focus(self.focus, self.position, self.mode, self.trim, ratios)
        wished = self.aspect_ratios != DEFAULT_RATIOS
        check_sizes(self.width, self.height, ratios, wished, self.ratio_choice)
        check_buckets(self.width, self.height, self.multiple_of, self.max_pixels, self.if_none)
        check_combinations(self, ratios)

    @staticmethod
    def from_inputs(aspect_ratio: str = "1:1", **given: Any) -> CropRequest:
        """Return the request for inputs as the model and the command line receive them.

        Args:
            aspect_ratio: One or several ratios, comma-separated.
            given: The other fields, by name.

        Raises:
            RequestError: An input has no such name, or a value is wrong.
        """
        if not isinstance(aspect_ratio, str):
            raise RequestError(f"aspect_ratio is text such as 1:1 or 4:5,16:9, got {shown(aspect_ratio)}.")
        known = inputs().keys()
        for name in given:
            if name not in known:
                close = difflib.get_close_matches(name, known, n=1)
                hint = f"Did you mean {close[0]}?" if close else f"The inputs are {', '.join(known)}."
                raise RequestError(f"There is no input {name}. {hint}")
        return CropRequest(aspect_ratios=tuple(aspect_ratio[: MAX_TEXT + 1].split(",")), **given)

    @property
    def label_weights(self) -> dict[str, float]:
        """Return each wanted label's weight; empty when any label will do."""
        return parse_labels(self.labels)

    @property
    def foci(self) -> tuple[Focus, ...]:
        """Return the points and boxes of `focus`."""
        return parse_focus(self.focus)

    @property
    def place(self) -> tuple[float, float] | None:
        """Return where in the window the subject's middle belongs, as fractions; none where nobody says."""
        return parse_position(self.position)

    @property
    def ratios(self) -> tuple[tuple[str, Fraction | None], ...]:
        """Return each wanted ratio's name and its width over height; none for `match_input` and `free`.

        A width and a height together make the one ratio.
        """
        if self.width is not None and self.height is not None:
            ratio = Fraction(self.width, self.height)
            return ((f"{ratio.numerator}:{ratio.denominator}", ratio),)
        return parse_ratios(self.aspect_ratios)

    @property
    def ratio_choice(self) -> str:
        """Return how one of the ratios is taken: ``auto`` or ``closest``; empty where each gives a crop."""
        return split_choice(self.aspect_ratios)[0]

    @property
    def is_portrait(self) -> bool:
        """Return whether a face is laid out."""
        return self.align != "none" or self.face_height is not None or self.eye_line is not None

    @property
    def hidden_labels(self) -> frozenset[str]:
        """Return the labels of what the crops must not show; empty where `redact` is none."""
        return frozenset() if self.redact == "none" else frozenset(parse_labels(self.redact_labels, "redact_labels"))

    @property
    def filling(self) -> Filling:
        """Return what padding is filled with."""
        return parse_background(self.background)

    @property
    def effective_zoom(self) -> float:
        """Return `zoom`, or the mode's default where it is unset."""
        if self.zoom is not None:
            return self.zoom
        return 0.0 if self.mode == "subject" and not self.trim else 1.0


def inputs() -> dict[str, Field[Any]]:
    """Return every input's name, as the model and the command line have it, and its field, in the form's order."""
    return {"aspect_ratio" if entry.name == "aspect_ratios" else entry.name: entry for entry in fields(CropRequest)}


def value_of(entry: Field[Any], text: str) -> Any:
    """Return what a text means as a value of the field; the text itself where it means none, for the request to refuse.

    Args:
        entry: One of `inputs`.
        text: As it stands in a table.
    """
    kind = entry.metadata["kind"]
    if kind is bool:
        return {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}.get(
            text.strip().lower(), text
        )
    try:
        return kind(text)
    except ValueError:
        return text
