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

from crop_core import weights
from crop_core.box import Size
from crop_core.detection import Detection
from crop_core.detectors import nanodet, torchvision, yunet
from crop_core.detectors.pair import Pair
from crop_core.detectors.postprocess import Candidates, View, all_settled
from crop_core.device import precision
from crop_core.errors import RequestError

NAMES = ("auto", "fast", "balanced", "accurate")
ACCURATE = "fasterrcnn_resnet50_fpn_v2"
# Pictures that a GPU gets at once: enough to keep it busy, and few enough to lie in its memory with all that is
# decoded ahead. torchvision's models take some 0.3 GB each.
SMALL_BATCH, LARGE_BATCH = 8, 2

Propose = Callable[[Sequence[View]], list[Candidates]]
Network = TypeVar("Network", bound=nn.Module)


class Detector:
    """Finds objects and faces in pictures.

    Attributes:
        name: The object network's, as detections.json gives it.
        longest_side: How many pixels of the picture's longer side the networks can use.
        passes: The networks, each from pictures to candidates: objects, then faces.
        batch: How many pictures to give it at once when there are many.
    """

    def __init__(
        self, name: str, longest_side: int, passes: tuple[Propose, Propose], batch: int = 1, *, at_once: bool = False
    ) -> None:
        """Compose a detector; call `load_detector`, which knows the networks.

        Args:
            name: As the attribute.
            longest_side: As the attribute.
            passes: As the attribute.
            batch: As the attribute.
            at_once: Whether the networks run side by side, where PyTorch has threads for both.
        """
        self.name = name
        self.longest_side = longest_side
        self.passes = passes
        self.batch = batch
        self._pair = Pair() if at_once and torch.get_num_threads() > 1 else None

    def detect(self, pixels: Tensor, size: Size, score_threshold: float, iou_threshold: float) -> tuple[Detection, ...]:
        """Return what stands in one picture; as `detect_all`."""
        return self.detect_all([View(pixels, size)], score_threshold, iou_threshold)[0]

    @torch.inference_mode()
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
        objects, faces = (partial(_inferred, propose, views) for propose in self.passes)
        # A caller that gives PyTorch one thread has a use for the other cores.
        pair = self._pair if torch.get_num_threads() > 1 else None
        proposed = zip(*(pair.run(objects, faces) if pair else (objects(), faces())), strict=True)
        return all_settled([Candidates.joined(parts) for parts in proposed], score_threshold, iou_threshold)


@torch.inference_mode()  # each thread has its own
def _inferred(propose: Propose, views: Sequence[View]) -> list[Candidates]:
    return propose(views)


def resolve(name: str, device: torch.device) -> str:
    """Return the name that `auto` stands for on the device; any other name as it is.

    On a GPU the accurate detector where its weights are, else the balanced one; elsewhere the
    fast one.
    """
    if name != "auto":
        return name
    if device.type != "cuda":
        return "fast"
    return "accurate" if torchvision.weights_path(ACCURATE).is_file() else "balanced"


def load_detector(name: str, device: torch.device, dtype: torch.dtype | None = None) -> Detector:
    """Return the detector of that name, its weights loaded onto the device.

    Args:
        name: One of `NAMES` or of `torchvision.MODELS`.
        device: Where the networks run.
        dtype: What their convolutions compute with; the device's own `precision` when none.

    Raises:
        RequestError: No detector has that name.
        WeightsError: The weights are absent or not the ones expected.
    """
    dtype = dtype or precision(device)
    name = resolve(name, device)
    name = ACCURATE if name == "accurate" else name
    if name not in ("fast", "balanced", *torchvision.MODELS):
        raise RequestError(f"detector is one of {', '.join(NAMES + torchvision.MODELS)}; got {name!r}.")
    on_gpu = device.type != "cpu"  # a CPU is busy with one picture, and several at once only wait for one another
    faces = _ready(yunet.YuNet(), "yunet_2023mar.safetensors", device, dtype)

    def face_pass(views: Sequence[View]) -> list[Candidates]:
        return yunet.propose_all(faces, views)

    if name in torchvision.MODELS:
        # Nobody has measured what bfloat16 costs these in precision, so a CPU computes them in single.
        narrow = dtype if device.type == "cuda" else torch.float32
        model = torchvision.converted(torchvision.load(name), device, narrow)

        def model_pass(views: Sequence[View]) -> list[Candidates]:
            return torchvision.propose_all(model, name, views)

        return Detector(name, torchvision.LONGEST_SIDE, (model_pass, face_pass), LARGE_BATCH if on_gpu else 1)
    objects = _ready(nanodet.NanoDet(), "nanodet_g.safetensors", device, dtype)
    sides = (416,) if name == "fast" else (416, 640)

    def object_pass(views: Sequence[View]) -> list[Candidates]:
        by_side = [nanodet.propose_all(objects, views, side) for side in sides]
        return [Candidates.joined(parts) for parts in zip(*by_side, strict=True)]

    shown = "nanodet-g" if name == "fast" else "nanodet-g-416-640"
    at_once = name == "fast" and not on_gpu  # the others' object network has several times the work of the face network
    return Detector(
        shown, max(yunet.LONGEST_SIDES), (object_pass, face_pass), SMALL_BATCH if on_gpu else 1, at_once=at_once
    )


def _ready(network: Network, weights_name: str, device: torch.device, dtype: torch.dtype) -> Network:
    network.load_state_dict(weights.load_tensors(weights_name))
    network.eval().requires_grad_(False).to(device, dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks the three
    return network
