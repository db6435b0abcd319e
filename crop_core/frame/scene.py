"""What is known of a picture when its windows are decided; built once. Standard library only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from crop_core.detection import SALIENT, Composition, Detection
from crop_core.frame.focus import FocusAreas, focus_in
from crop_core.frame.mask_vote import Mask, is_denied, voted
from crop_core.frame.subjects import Thing, subjects_among, weightiest
from crop_core.geometry import Box, Size
from crop_core.request import CropRequest

# A detection this sure, where the mask does not deny it, is what the photo is about; what merely stands out is then
# no subject.
SURE_SCORE = 0.5


# A detection belongs to the object on a backdrop where this much of it lies in the object's box.
IN_OBJECT = 0.9


@dataclass(frozen=True, slots=True)
class Trim:
    """What `trim` took as the object.

    Attributes:
        found_by: ``backdrop``, ``mask`` or ``detection``; none where nothing was found.
        box: Its box, in upright source pixels.
    """

    found_by: str | None
    box: Box | None


@dataclass(frozen=True, slots=True)
class Scene:
    """What detection hands to framing.

    Attributes:
        size: The upright picture's.
        detections: In upright source pixels and total order; plans name them by their index here.
        subjects: What the request allows as a subject, in the request's order.
        voters: Things below the request's threshold. They have a say in where a window lies, by their little
            weight, and are no subjects.
        composition: Where a person would place a window; none if not given.
        focus: What the caller says the crop is about; none if not given.
        alone: Whether the one subject lies on a plain backdrop, which goes on beyond the picture.
        tilts: Of faces, by their index: by how many degrees the line between the eyes falls to the right.
    """

    size: Size
    detections: tuple[Detection, ...]
    subjects: tuple[Thing, ...]
    voters: tuple[Thing, ...] = ()
    composition: Composition | None = None
    focus: FocusAreas | None = None
    alone: bool = False
    tilts: Mapping[int, float] = field(default_factory=dict)

    def trimmed(self, backdrop: Box | None) -> tuple[Scene, Trim]:
        """Return the scene with one subject, and what that is.

        Args:
            backdrop: The box of what lies on a plain backdrop; without one the weightiest subject stands in.
        """
        if backdrop is not None:
            ids = tuple(i for i, one in enumerate(self.detections) if one.box.coverage(backdrop) >= IN_OBJECT)
            thing = Thing(ids, SALIENT, 1.0, backdrop, None, None, None, None, False, None, 1.0)
            return Scene(self.size, self.detections, (thing,), alone=True), Trim("backdrop", backdrop)
        if not self.subjects:
            return self, Trim(None, None)
        main = weightiest(self.subjects)
        found = "mask" if main.label == SALIENT else "detection"
        return Scene(self.size, self.detections, (main,)), Trim(found, main.box)

    @staticmethod
    def of(
        seen: Sequence[Detection],
        size: Size,
        request: CropRequest,
        composition: Composition | None = None,
        mask: Mask | None = None,
    ) -> Scene:
        """Return the scene for what a detector saw.

        Args:
            seen: In total order, also what is below the request's threshold.
            size: The upright picture's.
            request: What the caller wants.
            composition: Where a person would place a window.
            mask: What stands out, rows of cells over the whole picture, 0 to 1; none where there was no doubt.

        Raises:
            RequestError: The request's focus lies outside of the picture.
        """
        detections = tuple(one for one in seen if one.score >= request.score_threshold)
        weak = tuple(seen[len(detections) :]) if request.mode == "subject" else ()
        subjects = subjects_among(detections, size, request)
        voters = subjects_among(weak, size, request)
        asked_for = request.mode != "subject" or SALIENT in request.label_weights
        if not asked_for and any(_is_beyond_doubt(one, size, mask) for one in detections):
            subjects, voters = (tuple(one for one in some if one.label != SALIENT) for some in (subjects, voters))
        if mask is not None:
            subjects, voters = voted(subjects, size, mask), voted(voters, size, mask)
        return Scene(size, detections, subjects, voters, composition, focus_in(size, request))


def _is_beyond_doubt(detection: Detection, size: Size, mask: Mask | None) -> bool:
    sure = detection.label != SALIENT and detection.score >= SURE_SCORE
    return sure and not (mask is not None and is_denied(detection.label, detection.score, detection.box, size, mask))
