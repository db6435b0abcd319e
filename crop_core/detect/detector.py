"""Finds objects and faces: an object network and the face network on the same pixels, merged into one answer.

A `Detector` is loaded once and called for several pictures at a time. There is one class for each
family of object networks; `choose_detector` says which one a name means.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor, nn

from crop_core.detect import nanodet, torchvision_models, yunet
from crop_core.detect.candidates import Candidates, Glance
from crop_core.detect.engine import Engine
from crop_core.detect.merge_boxes import all_settled
from crop_core.detect.network_input import View
from crop_core.detect.parallel_networks import TwoThreads, cores_are_free
from crop_core.detect.second_look import counted, has_small_figures, is_clear, wanted
from crop_core.detection import Detection

# Pictures that a GPU gets at once: enough to keep it busy, and few enough to lie in its memory with all that is
# decoded ahead. torchvision's models take some 0.3 GB each.
SMALL_BATCH, LARGE_BATCH = 8, 2

First = TypeVar("First")
Second = TypeVar("Second")


class Detector(ABC):
    """Finds objects and faces in pictures.

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

    def __init__(self, faces: Engine, *, at_once: bool = False) -> None:
        """Keep the face network.

        Args:
            faces: YuNet.
            at_once: Whether the networks run side by side, where PyTorch has threads for both.
        """
        self._faces = faces
        self._two = TwoThreads() if at_once and torch.get_num_threads() > 1 else None

    @abstractmethod
    def look(self, views: Sequence[View]) -> list[Glance]:
        """Return what the object network says of each picture at first."""

    def look_again(self, glances: Sequence[Glance], clear: Sequence[Tensor]) -> list[Candidates]:
        """Return what it says at a second look; called only where it `looks_twice`.

        Args:
            glances: What `look` returned.
            clear: For each a boolean tensor []; where it is true, the first look counts alone.
        """
        raise AssertionError(f"{type(self).__name__} looks once: {len(glances)} pictures, {len(clear)} answers")

    def find_faces(self, views: Sequence[View], longest_side: int) -> list[Candidates]:
        """Return what the face network says of each picture at that longer side."""
        return yunet.propose_all(self._faces, views, longest_side)

    def detect_all(
        self, views: Sequence[View], score_threshold: float, iou_threshold: float
    ) -> list[tuple[Detection, ...]]:
        """Return what stands in each picture, in total order, in upright source pixels.

        Args:
            views: The pictures, at least one; those whose inputs have one shape go through a network together.
            score_threshold: 0 to 1.
            iou_threshold: 0 to 1, for NMS.

        Raises:
            DeviceError: The networks returned NaN.
        """
        return all_settled(self.candidates(views), score_threshold, iou_threshold)

    @torch.inference_mode()
    def candidates(self, views: Sequence[View]) -> list[Candidates]:
        """Return what the networks propose for each picture before NMS.

        Objects at a first look and faces that are large in the picture come first. What they leave open
        is then looked for: objects once more where no thing is clear, and small faces where there are
        people who would have some.
        """
        glances, near = self._both(partial(self.look, views), partial(self.find_faces, views, yunet.NEAR))
        clear = [is_clear(glance.candidates) for glance in glances]
        doubtful = wanted([~answer for answer in clear]) if self.looks_twice else []
        small = [has_small_figures(glance.candidates, view.size) for glance, view in zip(glances, views, strict=True)]
        distant = [i for i in wanted(small) if yunet.has_far_view(views[i].size)]

        def seen_again() -> list[Candidates]:
            return self.look_again([glances[i] for i in doubtful], [clear[i] for i in doubtful]) if doubtful else []

        def far_faces() -> list[Candidates]:
            return self.find_faces([views[i] for i in distant], yunet.FAR) if distant else []

        again, far = self._both(seen_again, far_faces) if doubtful and distant else (seen_again(), far_faces())
        objects = [glance.candidates for glance in glances]
        for i, candidates in zip(doubtful, again, strict=True):
            objects[i] = candidates
        faces = [[candidates] for candidates in near]
        for i, candidates in zip(distant, far, strict=True):
            faces[i].append(counted(candidates, small[i]))
        return [Candidates.joined((one, *several)) for one, several in zip(objects, faces, strict=True)]

    def _both(self, one: Callable[[], First], other: Callable[[], Second]) -> tuple[First, Second]:
        """Return what the two return, run side by side where that is faster; the values are the same."""
        # A caller that gives PyTorch one thread has a use for the other cores.
        if self._two is None or torch.get_num_threads() == 1 or cores_are_free():
            return one(), other()
        return self._two.run(partial(_inferred, one), partial(_inferred, other))


@torch.inference_mode()  # each thread has its own
def _inferred(work: Callable[[], First]) -> First:
    return work()


class NanoDetDetector(Detector):
    """NanoDet-g at one or two sizes; it looks again, at the mirror image, where nothing is clear."""

    longest_side = yunet.FAR
    looks_twice = True

    def __init__(self, objects: Engine, faces: Engine, sides: Sequence[int]) -> None:
        """Compose the two networks.

        Args:
            objects: NanoDet-g.
            faces: YuNet.
            sides: What a picture's longer side becomes for NanoDet-g, one look each.
        """
        on_cpu = objects.device.type == "cpu"
        # At two sizes the object network has several times the face network's work.
        super().__init__(faces, at_once=on_cpu and len(sides) == 1)
        self.name = "nanodet-g" if len(sides) == 1 else f"nanodet-g-{'-'.join(map(str, sides))}"
        # A CPU is busy with one picture, and several at once only wait for one another.
        self.batch = 1 if on_cpu else SMALL_BATCH
        self._objects, self._sides = objects, tuple(sides)

    def look(self, views: Sequence[View]) -> list[Glance]:
        """Return what NanoDet-g says of each picture at first."""
        return nanodet.look(self._objects, views, self._sides)

    def look_again(self, glances: Sequence[Glance], clear: Sequence[Tensor]) -> list[Candidates]:
        """Return what it says after a look at the mirror image."""
        return nanodet.look_again(self._objects, glances, clear)


class TorchvisionDetector(Detector):
    """One of torchvision's own COCO detectors; it looks once."""

    longest_side = torchvision_models.LONGEST_SIDE
    looks_twice = False

    def __init__(self, name: str, objects: nn.Module, faces: Engine) -> None:
        """Compose the two networks.

        Args:
            name: One of `torchvision_models.MODELS`.
            objects: The model, on the device of `faces`.
            faces: YuNet.
        """
        super().__init__(faces)
        self.name = name
        self.batch = 1 if faces.device.type == "cpu" else LARGE_BATCH
        self._objects = objects

    def look(self, views: Sequence[View]) -> list[Glance]:
        """Return what the model says of each picture."""
        found = torchvision_models.propose_all(self._objects, self._faces.device, self.name, views)
        return [Glance(candidates) for candidates in found]
