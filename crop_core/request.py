"""What a caller can ask for, checked once, here. Standard library only.

Cog validates inputs only with a schema, and the command line passes on what was typed. So
`CropRequest` checks every value itself and says in one sentence what is wrong with it.

Descriptions, kinds and bounds stand beside the fields, in the form's order. predict.py repeats them
as the literals that Cog's parser needs, and tests/tools/inputs_table.py writes them into inputs.md;
tests compare all three.
"""

from __future__ import annotations

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
    did_you_mean,
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
        "Shape of the crops as width:height, such as 1:1, 4:5 or 16:9; several, comma-separated, give a crop each. "
        "match_input keeps the picture's own shape; free takes the shape that suits the subject. auto:1:1,4:5,16:9 "
        "picks the ratio that keeps most of the subject; closest:1:1,4:5,16:9 the one nearest to the picture's own.",
    )
    mode: str = an_input(
        "subject",
        str,
        "subject: one crop of what matters most. objects: one crop of each thing. faces: one crop of each face.",
        choices=("subject", "objects", "faces"),
    )
    labels: str = an_input(
        "",
        str,
        "What the crop may be about, comma-separated: person, dog, cat, car, bottle, chair … (COCO's 80 names), face, "
        "or salient for what merely stands out. Weights prefer one: dog:3,person:1. Empty: anything.",
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
        "0 keeps as much of the picture as the shape allows; 1 is as tight as the padding allows. "
        "Unset: 0 in mode subject, 1 in the others and with trim.",
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
        0.4,
        float,
        "Room for the hair above a face box, which ends at the forehead, as a fraction of the box's height.",
        ge=0,
        le=2,
    )
    position: str = POSITION
    output_format: str = an_input(
        "webp",
        str,
        "File format of the crops; match_input keeps the picture's own, or takes the nearest of the four.",
        choices=(MATCH_INPUT, "webp", "jpg", "png", "avif"),
    )
    output_quality: int = an_input(85, int, "Quality of WebP, JPEG and AVIF, 1 to 100. PNG ignores it.", ge=1, le=100)
    upscale: str = an_input(
        "never",
        str,
        "If a crop has fewer pixels than asked for. never: it stays smaller. allow: it is enlarged. "
        "pad: background fills it up to the size.",
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
        "If nothing is found. saliency: crop where people most likely would. center: crop the middle. full_image: keep "
        "the whole picture. empty: return no crop. error: fail.",
        choices=("saliency", "center", "full_image", "empty", "error"),
    )
    max_crops: int = an_input(20, int, "The most crops that are returned.", ge=1, le=100)
    order: str = an_input(
        "score",
        str,
        "Which objects or faces come first. score: the most confident. area: the largest. left_to_right: the leftmost.",
        choices=("score", "area", "left_to_right"),
    )
    preview: bool = an_input(
        False, bool, "Also return the picture with boxes and crop windows drawn, and the crops beside it."
    )
    detector: str = an_input(
        "auto",
        str,
        "fast: for a CPU. balanced: finds more small things, and takes longer. accurate: finds most, and needs a GPU "
        "and extra weights. auto: fast on a CPU; on a GPU accurate if its weights are there, else balanced.",
        choices=("auto", "fast", "balanced", "accurate"),
    )
    score_threshold: float = an_input(
        0.3,
        float,
        "The least confidence of a detection, 0 to 1. A lower value finds more things, and more false ones.",
        ge=0,
        le=1,
    )
    iou_threshold: float = an_input(
        0.5,
        float,
        "Two boxes of one label count as one thing if their intersection over union is above this, 0 to 1.",
        ge=0,
        le=1,
    )

    def __post_init__(self) -> None:
        for name, entry in inputs().items():
            value, kind = getattr(self, entry.name), entry.metadata["kind"]
            if isinstance(value, float) and kind is int and value.is_integer():
                value = int(value)  # JSON has one kind of number, so 12.0 counts as a whole one
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
        is_named = self.aspect_ratios != DEFAULT_RATIOS
        check_sizes(self.width, self.height, ratios, is_named, self.ratio_choice)
        check_buckets(self.width, self.height, self.multiple_of, self.max_pixels, self.if_none)
        check_combinations(self, ratios)

    @staticmethod
    def from_inputs(aspect_ratio: str = "1:1", **given: Any) -> CropRequest:
        """Return the request for inputs as the model and the command line receive them.

        Args:
            aspect_ratio: One or several ratios, comma-separated.
            given: The other inputs, by name.

        Raises:
            RequestError: A name is not an input's, or a value is wrong.
        """
        if not isinstance(aspect_ratio, str):
            raise RequestError(f"aspect_ratio is text such as 1:1 or 4:5,16:9, got {shown(aspect_ratio)}.")
        known = inputs().keys()
        for name in given:
            if name not in known:
                hint = did_you_mean(name, known) or f"The inputs are {', '.join(known)}."
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
        """Return where in the window the subject's middle belongs, as fractions; none for ``auto``."""
        return parse_position(self.position)

    @property
    def ratios(self) -> tuple[tuple[str, Fraction | None], ...]:
        """Return each wanted ratio's name and its width over height; none for `match_input` and `free`.

        A width and a height together set the only ratio.
        """
        if self.width is not None and self.height is not None:
            ratio = Fraction(self.width, self.height)
            return ((f"{ratio.numerator}:{ratio.denominator}", ratio),)
        return parse_ratios(self.aspect_ratios)

    @property
    def ratio_choice(self) -> str:
        """Return ``auto`` or ``closest`` if one of the ratios is picked; empty if each gives a crop."""
        return split_choice(self.aspect_ratios)[0]

    @property
    def is_portrait(self) -> bool:
        """Return whether `align`, `face_height` or `eye_line` is set."""
        return self.align != "none" or self.face_height is not None or self.eye_line is not None

    @property
    def hidden_labels(self) -> frozenset[str]:
        """Return the labels of what the crops must not show; empty if `redact` is ``none``."""
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
    """Return input name -> field of `CropRequest`, in the form's order. The field `aspect_ratios` is `aspect_ratio`."""
    return {"aspect_ratio" if entry.name == "aspect_ratios" else entry.name: entry for entry in fields(CropRequest)}


def value_of(entry: Field[Any], text: str) -> Any:
    """Return a text as a value of the field's kind; the text itself if it is none, so that the request refuses it.

    Args:
        entry: One of the fields of `inputs`.
        text: A cell of a manifest.
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
