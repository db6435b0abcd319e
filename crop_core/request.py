"""What a caller can ask for, checked once, here.

Cog validates nothing without the schema that only `cog build` writes, and the command line hands
over what was typed, so `CropRequest` looks at every value itself and says in one sentence what is
wrong with it. Help texts and bounds stand beside the fields; predict.py repeats them as the
literals that Cog's parser needs, and a test holds the two together.
"""

from __future__ import annotations

import difflib
import math
import re
from dataclasses import dataclass, field, fields
from fractions import Fraction
from typing import Any

from crop_core.detection import FACE, LABELS
from crop_core.errors import RequestError

MATCH_INPUT = "match_input"
FREE = "free"

MAX_ASKED_SIDE = 8192  # px; 8192 x 8192 is a 200 MB tensor, enough for a poster
MAX_OUTPUT_SIDE = 16_383  # px; WebP's own limit
MAX_OUTPUT_PIXELS = MAX_ASKED_SIDE**2  # an encoder takes some 40 bytes for each, and WebP fails beyond some 100 million
MAX_RATIO = 100  # to 1, either way
MAX_RATIOS = 20
MAX_TEXT = 2000  # characters of `labels` or `aspect_ratio`

_RATIO = re.compile(r"(\d{1,6}(?:\.\d{1,6})?):(\d{1,6}(?:\.\d{1,6})?)")


def _input(default: Any, help: str, **rules: Any) -> Any:
    return field(default=default, metadata={"help": help, **rules})


@dataclass(frozen=True, slots=True, kw_only=True)
class CropRequest:
    """One request; every field is an input of the model, with the same default.

    Raises:
        RequestError: A value is of the wrong kind, out of bounds, or contradicts another.
    """

    mode: str = _input(
        "subject",
        "subject: one composed crop of what matters. objects: one crop per object. faces: one crop per face.",
        choices=("subject", "objects", "faces"),
    )
    labels: str = _input(
        "",
        "What may be a subject: comma-separated COCO names or face, with optional weights (dog:3,person:1). "
        "Empty: anything.",
    )
    aspect_ratios: tuple[str, ...] = _input(
        (MATCH_INPUT,),
        "Shape of the crops: match_input, free, or any width:height such as 1:1, 4:5 or 16:9; "
        "several, comma-separated, give a crop each.",
    )
    width: int | None = _input(
        None,
        "Width of the crops in pixels. With height it also sets the ratio; alone it keeps the ratio.",
        ge=1,
        le=MAX_ASKED_SIDE,
    )
    height: int | None = _input(
        None,
        "Height of the crops in pixels. With width it also sets the ratio; alone it keeps the ratio.",
        ge=1,
        le=MAX_ASKED_SIDE,
    )
    zoom: float | None = _input(
        None,
        "0 keeps as much of the scene as the ratio allows, 1 is as tight as the padding allows. "
        "Unset: 0 in subject mode, 1 in the others.",
        ge=0,
        le=1,
    )
    padding: float = _input(
        0.1, "Room around the subject, as a fraction of its sides; the picture's border limits it.", ge=0, le=2
    )
    headroom: float = _input(
        0.4, "Room kept above a face box, which ends at the forehead, as a fraction of its height.", ge=0, le=2
    )
    score_threshold: float = _input(
        0.3, "How sure the detector must be of a box, 0 to 1; lower finds more and errs more.", ge=0, le=1
    )
    iou_threshold: float = _input(
        0.5,
        "Of two boxes of one label that overlap by more than this (intersection over union, 0 to 1), "
        "the better one stays.",
        ge=0,
        le=1,
    )
    max_crops: int = _input(20, "The most crops that are returned.", ge=1, le=100)
    order: str = _input(
        "score",
        "Which objects or faces come first: the surest, the largest, or from left to right.",
        choices=("score", "area", "left_to_right"),
    )
    if_none: str = _input(
        "saliency",
        "When nothing is found: crop what stands out, the center, keep the full image, return nothing, or fail.",
        choices=("saliency", "center", "full_image", "empty", "error"),
    )
    upscale: str = _input(
        "never",
        "When a crop has fewer pixels than asked for: never enlarge (it comes out smaller), "
        "allow enlarging, or pad to the size.",
        choices=("never", "allow", "pad"),
    )
    detector: str = _input(
        "auto",
        "fast: NanoDet-g at 416 pixels. balanced: at 416 and 640 pixels. accurate: Faster R-CNN v2, "
        "where its weights are. auto: the best that costs nothing noticeable.",
        choices=("auto", "fast", "balanced", "accurate"),
    )
    output_format: str = _input(
        "webp",
        "File format of the crops; match_input keeps the picture's own where it can be written.",
        choices=(MATCH_INPUT, "webp", "jpg", "png", "avif"),
    )
    output_quality: int = _input(85, "Quality of WebP, JPEG and AVIF, 1 to 100; ignored for PNG.", ge=1, le=100)
    preview: bool = _input(False, "Also return the picture with its boxes and crop windows drawn.")

    def __post_init__(self) -> None:
        for entry in fields(self):
            value = getattr(self, entry.name)
            if isinstance(value, float) and "int" in str(entry.type) and value.is_integer():
                value = int(value)  # JSON knows one kind of number, so 12.0 is a whole one
                object.__setattr__(self, entry.name, value)
            name = "aspect_ratio" if entry.name == "aspect_ratios" else entry.name
            kind = str(entry.type)
            if value is None and "None" in kind:
                continue
            if "choices" in entry.metadata:
                _check_choice(name, value, entry.metadata["choices"])
            elif "ge" in entry.metadata:
                _check_number(name, value, "int" in kind, entry.metadata["ge"], entry.metadata["le"])
            elif kind == "bool" and not isinstance(value, bool):
                raise RequestError(f"{name} is true or false, got {_shown(value)}.")
        parse_labels(self.labels, self.mode)
        ratios = parse_ratios(self.aspect_ratios)
        self._check_sizes(ratios)

    @staticmethod
    def from_inputs(aspect_ratio: str = MATCH_INPUT, **inputs: Any) -> CropRequest:
        """Return the request for inputs as the model and the command line receive them.

        Args:
            aspect_ratio: One or several ratios, comma-separated.
            inputs: The other fields, by name.
        """
        if not isinstance(aspect_ratio, str):
            raise RequestError(f"aspect_ratio is text such as 1:1 or 4:5,16:9, got {_shown(aspect_ratio)}.")
        return CropRequest(aspect_ratios=tuple(aspect_ratio[: MAX_TEXT + 1].split(",")), **inputs)

    @property
    def label_weights(self) -> dict[str, float]:
        """Return each wanted label's weight; empty when any label will do."""
        return parse_labels(self.labels, self.mode)

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
    def effective_zoom(self) -> float:
        """Return `zoom`, or the mode's default where it is unset."""
        if self.zoom is not None:
            return self.zoom
        return 0.0 if self.mode == "subject" else 1.0

    def _check_sizes(self, ratios: tuple[tuple[str, Fraction | None], ...]) -> None:
        for name, ratio in ratios:
            if self.width is not None and self.height is not None:
                if name == FREE or (
                    ratio is not None and abs(self.width - self.height * ratio) > max(Fraction(1), ratio)
                ):
                    raise RequestError(
                        f"width {self.width} and height {self.height} set the ratio, and aspect_ratio asks for {name}. "
                        "Leave out one of the three."
                    )
            elif ratio is not None and (self.width or self.height):
                other = self.width / ratio if self.width else (self.height or 0) * ratio
                if other > MAX_OUTPUT_SIDE:
                    raise RequestError(
                        f"aspect_ratio {name} with {'width' if self.width else 'height'} {self.width or self.height} "
                        f"makes a crop of more than {MAX_OUTPUT_SIDE} pixels a side. Ask for fewer pixels."
                    )
        if self.width and self.height and not 1 <= MAX_RATIO * Fraction(self.width, self.height) <= MAX_RATIO**2:
            raise RequestError(
                f"width {self.width} by height {self.height} is beyond {MAX_RATIO}:1. Bring the two closer together."
            )


def parse_labels(labels: str, mode: str) -> dict[str, float]:
    """Return label -> weight for text like ``dog:3,person:1``; empty for empty text.

    Raises:
        RequestError: A label is unknown, a weight is no number above 0 and up to 1000, or the
            labels leave out faces in faces mode.
    """
    if not isinstance(labels, str) or len(labels) > MAX_TEXT:
        raise RequestError(f"labels is text of at most {MAX_TEXT} characters such as dog:3,person:1.")
    weights: dict[str, float] = {}
    for part in labels.split(",") if labels.strip() else []:
        name, colon, number = part.partition(":")
        label = " ".join(name.split()).lower()
        if label not in LABELS:
            close = difflib.get_close_matches(label, LABELS, n=1)
            hint = f"Did you mean {close[0]}?" if close else "Use COCO's 80 names (person, dog, car, …) or face."
            raise RequestError(f"labels names {_shown(name.strip())}, which no detector here knows. {hint}")
        try:
            weight = float(number) if colon else 1.0
        except ValueError:
            weight = math.nan
        if not 0 < weight <= 1000:
            raise RequestError(
                f"labels gives {label} the weight {_shown(number)}; a weight is a number above 0 and up to 1000, "
                f"as in {label}:3."
            )
        weights[label] = weight
    if mode == "faces" and weights and FACE not in weights:
        raise RequestError("mode faces crops faces only, and labels leaves them out. Leave labels empty.")
    return weights


def parse_ratios(texts: tuple[str, ...]) -> tuple[tuple[str, Fraction | None], ...]:
    """Return name and width over height of each ratio; repeats count once.

    Raises:
        RequestError: One is neither `match_input`, `free` nor a ratio between 1:100 and 100:1.
    """
    if not isinstance(texts, tuple) or not all(isinstance(text, str) for text in texts):
        raise RequestError(f"aspect_ratios is a tuple of texts such as ('1:1', '16:9'), got {_shown(texts)}.")
    if not 1 <= len(texts) <= MAX_RATIOS:
        raise RequestError(f"aspect_ratio takes 1 to {MAX_RATIOS} ratios, got {len(texts)}.")
    ratios: dict[str, Fraction | None] = {}
    for text in texts:
        name = text.strip()
        match = _RATIO.fullmatch(name)
        if name in (MATCH_INPUT, FREE):
            ratios[name] = None
            continue
        if not match:
            raise RequestError(
                f"aspect_ratio is match_input, free or width:height such as 1:1 or 16:9, got {_shown(name)}."
            )
        width, height = Fraction(match[1]), Fraction(match[2])
        if not width or not height or not 1 <= MAX_RATIO * width / height <= MAX_RATIO**2:
            raise RequestError(f"aspect_ratio lies between 1:{MAX_RATIO} and {MAX_RATIO}:1, got {_shown(name)}.")
        ratios[name] = width / height
    return tuple(ratios.items())


def _check_choice(name: str, value: Any, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise RequestError(f"{name} is one of {', '.join(choices)}; got {_shown(value)}.")


def _check_number(name: str, value: Any, whole: bool, low: float, high: float) -> None:
    kind = "a whole number" if whole else "a number"
    number = isinstance(value, int if whole else (int, float)) and not isinstance(value, bool)
    if not number or not low <= value <= high:
        raise RequestError(f"{name} is {kind} from {low} to {high}, got {_shown(value)}.")


def _shown(value: object) -> str:
    """Return the value as a message may quote it: one line, at most 60 characters."""
    if isinstance(value, int) and abs(value) > 10**50:
        return "a number of more than 50 digits"
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
