"""What `crop-core crop` says of its pictures: a line for each."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from crop_core.frame.explain import NOTHING_CUT, without_subject
from crop_core.frame.plan import FOCUS
from crop_core.result import CropResult


def line_of(result: CropResult, folder: Path | None) -> str:
    """Return what was found in a picture, what was done if that was nothing, and where its crops are.

    Args:
        result: The picture's.
        folder: Where the crops are; none in a dry run.
    """
    found = ", ".join(f"{n} {label}" for label, n in Counter(d.label for d in result.detections).most_common())
    crops = "1 crop" if len(result.crops) == 1 else f"{len(result.crops)} crops"
    place = f" in {folder}" if folder else ""
    return f"{result.source}: {found or 'nothing found'}{_instead(result)}; {crops}{place}"


def _instead(result: CropResult) -> str:
    """Return what was cropped in place of a detection; empty if one was the subject."""
    if how := without_subject(result.crops[0].plan) if result.crops else NOTHING_CUT:
        return f"{', but nothing that was asked for' if result.detections else ''}, so {how}"
    if result.detections:
        return ""
    crop = result.crops[0]
    if crop.on_backdrop:
        return " by a detector, so it was cut to the object on the backdrop"
    return ", so it was cut to the focus" if crop.plan.rule == FOCUS else ""
