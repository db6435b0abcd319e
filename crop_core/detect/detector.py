"""The detectors, and which one a name means.

A `Detector` is loaded once and called per picture, or for several. It runs its object network and
the face network on the same pixels and settles what both say.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor, nn

from crop_core.detect import nanodet, torchvision_models, weights, yunet
from crop_core.detect.merge_boxes import Candidates, View, all_settled
from crop_core.detect.parallel_networks import Pair, cores_are_free
from crop_core.detect.second_look import Glance, counted, has_small_figures, is_clear, wanted
from crop_core.detection import Detection
from crop_core.device import precision
from crop_core.errors import RequestError
from crop_core.geometry import Size

NAMES = ("auto", "fast", "balanced", "accurate")
ACCURATE = "fasterrcnn_resnet50_fpn_v2"
# Pictures that a GPU gets at once: enough to keep it busy, and few enough to lie in its memory with all that is
# decoded ahead. torchvision's models take some 0.3 GB each.
SMALL_BATCH, LARGE_BATCH = 8, 2

Look = Callable[[Sequence[View]], list[Glance]]
LookAgain = Callable[[Sequence[Glance], Sequence[Tensor]], list[Candidates]]
FindFaces = Callable[[Sequence[View], int], list[Candidates]]
Network = TypeVar("Network", bound=nn.Module)
First = TypeVar("First")
Second = TypeVar("Second")


class Detector:
    """Finds objects and faces in pictures.

    Attributes:
        name: The object network's, as detections.json gives it.
        longest_side: How many pixels of the picture's longer side the networks can use.
        look: The object network's first look at pictures.
        look_again: Its second look, at what is not clear; none where it looks once.
        find_faces: The face network, at the longer side that it is told.
        batch: How many pictures to give it at once when there are many.
    """

    def __init__(
        self,
        name: str,
        longest_side: int,
        look: Look,
        look_again: LookAgain | None,
        find_faces: FindFaces,
        batch: int = 1,
        *,
        at_once: bool = False,
    ) -> None:
        """Compose a detector; call `load_detector`, which knows the networks.

        Args:
            name: As the attribute.
            longest_side: As the attribute.
            look: As the attribute.
            look_again: As the attribute.
            find_faces: As the attribute.
            batch: As the attribute.
            at_once: Whether the networks run side by side, where PyTorch has threads for both.
        """
        self.name = name
        self.longest_side = longest_side
        self.look = look
        self.look_again = look_again
        self.find_faces = find_faces
        self.batch = batch
        self._pair = Pair() if at_once and torch.get_num_threads() > 1 else None

    def detect(self, pixels: Tensor, size: Size, score_threshold: float, iou_threshold: float) -> tuple[Detection, ...]:
        """Return what stands in one picture; as `detect_all`."""
        return self.detect_all([View(pixels, size)], score_threshold, iou_threshold)[0]

    def detect_all(
        self, views: Sequence[View], score_threshold: float, iou_threshold: float
    ) -> list[tuple[Detection, ...]]:
        """Return what stands in each picture, in total order, in upright source pixels.

        Args:
            views: The pictures, at least one; those whose inputs have one shape go through a network together.
            score_threshold: 0 to 1.
            iou_threshold: 0 to 1, for NMS.

        Raises:
            DeviceError: What the networks say is no number.
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
        doubtful = wanted([~answer for answer in clear]) if self.look_again else []
        small = [has_small_figures(glance.candidates, view.size) for glance, view in zip(glances, views, strict=True)]
        distant = [i for i in wanted(small) if yunet.has_far_view(views[i].size)]

        def seen_again() -> list[Candidates]:
            if not self.look_again or not doubtful:
                return []
            return self.look_again([glances[i] for i in doubtful], [clear[i] for i in doubtful])

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
        if self._pair is None or torch.get_num_threads() == 1 or cores_are_free():
            return one(), other()
        return self._pair.run(partial(_inferred, one), partial(_inferred, other))


@torch.inference_mode()  # each thread has its own
def _inferred(work: Callable[[], First]) -> First:
    return work()


def resolve(name: str, device: torch.device) -> str:
    """Return the name that `auto` stands for on the device; any other name as it is.

    On a GPU the accurate detector where its weights are, else the balanced one; elsewhere the
    fast one.
    """
    if name != "auto":
        return name
    if device.type != "cuda":
        return "fast"
    return "accurate" if torchvision_models.weights_path(ACCURATE).is_file() else "balanced"


def load_detector(name: str, device: torch.device, dtype: torch.dtype | None = None) -> Detector:
    """Return the detector of that name, its weights loaded onto the device.

    Args:
        name: One of `NAMES` or of `torchvision_models.MODELS`.
        device: Where the networks run.
        dtype: What their convolutions compute with; the device's own `precision` when none.

    Raises:
        RequestError: No detector has that name.
        WeightsError: The weights are absent or not the ones expected.
    """
    dtype = dtype or precision(device)
    name = resolve(name, device)
    name = ACCURATE if name == "accurate" else name
    if name not in ("fast", "balanced", *torchvision_models.MODELS):
        raise RequestError(f"detector is one of {', '.join(NAMES + torchvision_models.MODELS)}; got {name!r}.")
    on_gpu = device.type != "cpu"  # a CPU is busy with one picture, and several at once only wait for one another
    faces = _ready(yunet.YuNet(), "yunet_2023mar.safetensors", device, dtype)

    def find_faces(views: Sequence[View], longest_side: int) -> list[Candidates]:
        return yunet.propose_all(faces, views, longest_side)

    if name in torchvision_models.MODELS:
        # Nobody has measured what bfloat16 costs these in precision, so a CPU computes them in single.
        narrow = dtype if device.type == "cuda" else torch.float32
        model = torchvision_models.converted(torchvision_models.load(name), device, narrow)

        def look_once(views: Sequence[View]) -> list[Glance]:
            return [Glance(candidates) for candidates in torchvision_models.propose_all(model, name, views)]

        batch = LARGE_BATCH if on_gpu else 1
        return Detector(name, torchvision_models.LONGEST_SIDE, look_once, None, find_faces, batch)
    objects = _ready(nanodet.NanoDet(), "nanodet_g.safetensors", device, dtype)
    sides = (416,) if name == "fast" else (416, 640)
    shown = "nanodet-g" if name == "fast" else "nanodet-g-416-640"
    return Detector(
        shown,
        yunet.FAR,
        partial(nanodet.look, objects, sides=sides),
        partial(nanodet.look_again, objects),
        find_faces,
        SMALL_BATCH if on_gpu else 1,
        at_once=name == "fast" and not on_gpu,  # the others' object network has several times the face network's work
    )


def _ready(network: Network, weights_name: str, device: torch.device, dtype: torch.dtype) -> Network:
    network.load_state_dict(weights.load_tensors(weights_name))
    network.eval().requires_grad_(False).to(device, dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks the three
    return network
