"""Finds objects and faces: an object network and the face network on the same pixels, merged into one answer.

A `Detector` is loaded once and called for several pictures at a time. There is one class for each
family of object networks; `choose_detector` says which one a name means.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from crop_core.detect import nanodet, torchvision_models, yunet
from crop_core.detect.candidates import Candidates, Glance
from crop_core.detect.composition_head import CompositionHead
from crop_core.detect.engine import Engine
from crop_core.detect.merge_boxes import all_settled
from crop_core.detect.network_input import View
from crop_core.detect.parallel_networks import TwoThreads, cores_are_free
from crop_core.detect.salient_object import masks_of
from crop_core.detect.second_look import counted, has_small_figures, is_clear, wanted
from crop_core.detect.seen import EXPLAINING_SCORE, Seen, seen_in
from crop_core.detection import Detection

# Pictures that a GPU gets at once: enough to keep it busy, and few enough to lie in its memory with all that is
# decoded ahead. torchvision's models take some 0.3 GB each.
SMALL_BATCH, LARGE_BATCH = 8, 2

First = TypeVar("First")
Second = TypeVar("Second")


@dataclass(frozen=True, slots=True)
class Common:
    """What every family of detectors has beside its object network.

    Attributes:
        faces: YuNet.
        salient: U²-Net-p.
        head: The composition head.
    """

    faces: Engine
    salient: Engine
    head: CompositionHead


class Detector(ABC):
    """Finds objects, faces and what stands out in pictures, and says where people would place a window.

    Attributes:
        name: The object network's, as detections.json gives it.
        longest_side: How many pixels of the picture's longer side the networks can use.
        batch: How many pictures to give it at once when there are many.
        looks_twice: Whether a picture in which nothing is clear gets a second look.
    """

    name: str
    longest_side: int
    batch: int
    looks_twice: bool

    def __init__(self, common: Common, *, at_once: bool = False) -> None:
        """Keep the networks that all families have.

        Args:
            common: Those networks.
            at_once: Whether the networks run side by side, where PyTorch has threads for both.
        """
        self.common = common
        self._two = TwoThreads() if at_once and torch.get_num_threads() > 1 else None

    @abstractmethod
    def look(self, views: Sequence[View]) -> list[Glance]:
        """Return what the object network says of each picture at first.

        The first pass of each is NanoDet-g's at 416 px, whose features the composition head reads.
        """

    def look_again(self, glances: Sequence[Glance], clear: Sequence[Tensor]) -> list[Glance]:
        """Return what it says at a second look; called only where it `looks_twice`.

        Args:
            glances: What `look` returned.
            clear: For each a boolean tensor []; where it is true, the first look counts alone.
        """
        raise AssertionError(f"{type(self).__name__} looks once: {len(glances)} pictures, {len(clear)} answers")

    def find_faces(self, views: Sequence[View], longest_side: int) -> list[Candidates]:
        """Return what the face network says of each picture at that longer side."""
        return yunet.propose_all(self.common.faces, views, longest_side)

    def see_all(self, views: Sequence[View], score_threshold: float, iou_threshold: float) -> list[Seen]:
        """Return what stands in each picture, what stands out, and where people would place a window.

        Args:
            views: The pictures, at least one; those whose inputs have one shape go through a network together.
            score_threshold: 0 to 1.
            iou_threshold: 0 to 1, for NMS.

        Raises:
            DeviceError: The networks returned NaN.
        """
        found = self._looked(views)
        # A thing below the caller's threshold still explains what stands out there.
        detections = all_settled(found.candidates, min(score_threshold, EXPLAINING_SCORE), iou_threshold)
        compositions = found.compositions.cpu().tolist()  # the device has finished, so this waits only for the copy
        masks = self._masks_of(found)
        return [
            seen_in(view.size, ours, composition, mask, score_threshold)
            for view, ours, composition, mask in zip(views, detections, compositions, masks, strict=True)
        ]

    def detect_all(
        self, views: Sequence[View], score_threshold: float, iou_threshold: float
    ) -> list[tuple[Detection, ...]]:
        """Return what stands in each picture, in total order, in upright source pixels; as `see_all`."""
        return [seen.detections for seen in self.see_all(views, score_threshold, iou_threshold)]

    def candidates(self, views: Sequence[View]) -> list[Candidates]:
        """Return what the networks propose for each picture before NMS."""
        return self._looked(views).candidates

    def _masks_of(self, found: _Looked) -> list[NDArray[np.float32] | None]:
        """Return the masks of the pictures that are in doubt, float arrays [SIDE, SIDE]."""
        masks: list[NDArray[np.float32] | None] = [None] * len(found.candidates)
        if found.doubtful:
            whole = torch.stack(found.masks).float().cpu().numpy()
            clear = torch.stack([found.clear[i] for i in found.doubtful]).cpu().tolist()
            for place, i in enumerate(found.doubtful):
                if not clear[place]:
                    masks[i] = whole[place]
        return masks

    @torch.inference_mode()
    def _looked(self, views: Sequence[View]) -> _Looked:
        """Return what the networks say of each picture, on their device.

        Objects at a first look and faces that are large in the picture come first. What they leave open
        is then looked for: objects once more where no thing is clear, and small faces where there are
        people who would have some. What stands out is looked for where no thing is clear.
        """
        glances, near = self._both(partial(self.look, views), partial(self.find_faces, views, yunet.NEAR))
        clear = [is_clear(glance.candidates) for glance in glances]
        unclear = wanted([~answer for answer in clear])
        doubtful = unclear if self.looks_twice else []
        small = [has_small_figures(glance.candidates, view.size) for glance, view in zip(glances, views, strict=True)]
        distant = [i for i in wanted(small) if yunet.has_far_view(views[i].size)]

        def seen_again() -> list[Glance]:
            return self.look_again([glances[i] for i in doubtful], [clear[i] for i in doubtful]) if doubtful else []

        def far_faces() -> list[Candidates]:
            return self.find_faces([views[i] for i in distant], yunet.FAR) if distant else []

        again, far = self._both(seen_again, far_faces) if doubtful and distant else (seen_again(), far_faces())
        objects = [glance.candidates for glance in glances]
        placed = self.common.head.placed([glance.passes[0] for glance in glances])
        if again:
            mirrored = self.common.head.placed_in_mirrored([glance.passes[0] for glance in again])
            rows = list(placed)
            for i, glance, row in zip(doubtful, again, mirrored, strict=True):
                objects[i] = glance.candidates
                rows[i] = torch.where(clear[i], rows[i], (rows[i] + row) / 2)
            placed = torch.stack(rows)
        faces = [[candidates] for candidates in near]
        for i, candidates in zip(distant, far, strict=True):
            faces[i].append(counted(candidates, small[i]))
        return _Looked(
            [Candidates.joined((one, *several)) for one, several in zip(objects, faces, strict=True)],
            placed,
            clear,
            unclear,
            masks_of(self.common.salient, [views[i].pixels for i in unclear]),
        )

    def _both(self, one: Callable[[], First], other: Callable[[], Second]) -> tuple[First, Second]:
        """Return what the two return, run side by side where that is faster; the values are the same."""
        # A caller that gives PyTorch one thread has a use for the other cores.
        if self._two is None or torch.get_num_threads() == 1 or cores_are_free():
            return one(), other()
        return self._two.run(partial(_inferred, one), partial(_inferred, other))


@dataclass(frozen=True, slots=True, eq=False)
class _Looked:
    """What the networks say of several pictures, on their device.

    Attributes:
        candidates: For each picture, before NMS.
        compositions: Float tensor [pictures, 6]: a window and a middle, fractions of the sides.
        clear: For each a boolean tensor [], whether one thing is beyond doubt what it shows.
        doubtful: The positions of those that have a mask.
        masks: For each of those a float tensor [SIDE, SIDE].
    """

    candidates: list[Candidates]
    compositions: Tensor
    clear: list[Tensor]
    doubtful: list[int]
    masks: list[Tensor]


@torch.inference_mode()  # each thread has its own
def _inferred(work: Callable[[], First]) -> First:
    return work()


class NanoDetDetector(Detector):
    """NanoDet-g at one or two sizes; it looks again, at the mirror image, where nothing is clear."""

    longest_side = yunet.FAR
    looks_twice = True

    def __init__(self, objects: Engine, common: Common, sides: Sequence[int]) -> None:
        """Compose the networks.

        Args:
            objects: NanoDet-g.
            common: The other networks.
            sides: What a picture's longer side becomes for NanoDet-g, one look each, 416 px first.
        """
        on_cpu = objects.device.type == "cpu"
        # At two sizes the object network has several times the face network's work.
        super().__init__(common, at_once=on_cpu and len(sides) == 1)
        self.name = "nanodet-g" if len(sides) == 1 else f"nanodet-g-{'-'.join(map(str, sides))}"
        # A CPU is busy with one picture, and several at once only wait for one another.
        self.batch = 1 if on_cpu else SMALL_BATCH
        self._objects, self._sides = objects, tuple(sides)

    def look(self, views: Sequence[View]) -> list[Glance]:
        """Return what NanoDet-g says of each picture at first."""
        return nanodet.look(self._objects, views, self._sides)

    def look_again(self, glances: Sequence[Glance], clear: Sequence[Tensor]) -> list[Glance]:
        """Return what it says after a look at the mirror image."""
        return nanodet.look_again(self._objects, glances, clear)


class TorchvisionDetector(Detector):
    """One of torchvision's own COCO detectors; it looks once."""

    longest_side = torchvision_models.LONGEST_SIDE
    looks_twice = False

    def __init__(self, name: str, objects: nn.Module, nanodet_g: Engine, common: Common) -> None:
        """Compose the networks.

        Args:
            name: One of `torchvision_models.MODELS`.
            objects: The model, on the device of the others.
            nanodet_g: NanoDet-g, for its features alone.
            common: The other networks.
        """
        super().__init__(common)
        self.name = name
        self.batch = 1 if nanodet_g.device.type == "cpu" else LARGE_BATCH
        self._objects, self._nanodet = objects, nanodet_g

    def look(self, views: Sequence[View]) -> list[Glance]:
        """Return what the model says of each picture."""
        found = torchvision_models.propose_all(self._objects, self._nanodet.device, self.name, views)
        passes = nanodet.passes_of(self._nanodet, views, nanodet.TRAINED_SIDE)
        return [Glance(candidates, (one,)) for candidates, one in zip(found, passes, strict=True)]
