"""What is known of a picture when its windows are decided; built once. Standard library only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from crop_core.detection import Detection
from crop_core.frame.subjects import Thing, subjects_among
from crop_core.geometry import Size
from crop_core.request import CropRequest

SaliencyGrid = Sequence[Sequence[float]]


@dataclass(frozen=True, slots=True)
class Scene:
    """What detection hands to framing.

    Attributes:
        size: The upright picture's.
        detections: In upright source pixels and total order; plans name them by their index here.
        subjects: What the request allows as a subject, in the request's order.
        voters: Things below the request's threshold. They have a say in where a window lies, by their little
            weight, and are no subjects.
        saliency: What stands out, rows of cells over the whole picture; for where there is no subject.
    """

    size: Size
    detections: tuple[Detection, ...]
    subjects: tuple[Thing, ...]
    voters: tuple[Thing, ...] = ()
    saliency: SaliencyGrid | None = None

    @staticmethod
    def of(seen: Sequence[Detection], size: Size, request: CropRequest) -> Scene:
        """Return the scene for what a detector saw.

        Args:
            seen: In total order, also what is below the request's threshold.
            size: The upright picture's.
            request: What the caller wants.
        """
        detections = tuple(one for one in seen if one.score >= request.score_threshold)
        weak = seen[len(detections) :] if request.mode == "subject" else ()
        return Scene(size, detections, subjects_among(detections, size, request), subjects_among(weak, size, request))
