"""The detectors, and which one a name means.

A `Detector` is loaded once and called per picture. It runs its object network and the face
network on the same pixels and settles what both say.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn

from crop_core import weights
from crop_core.box import Size
from crop_core.detection import Detection
from crop_core.detectors import nanodet, torchvision, yunet
from crop_core.detectors.postprocess import Candidates, settled
from crop_core.device import precision
from crop_core.errors import RequestError

NAMES = ("auto", "fast", "balanced", "accurate")
ACCURATE = "fasterrcnn_resnet50_fpn_v2"

Propose = Callable[[Tensor, Size], Candidates]
Network = TypeVar("Network", bound=nn.Module)


class Detector:
    """Finds objects and faces in one picture.

    Attributes:
        name: The object network's, as detections.json gives it.
        longest_side: How many pixels of the picture's longer side the networks can use.
        passes: The networks, each from pixels and the source's size to candidates: objects, then faces.
    """

    def __init__(self, name: str, longest_side: int, passes: tuple[Propose, Propose]) -> None:
        """Compose a detector; call `load_detector`, which knows the networks."""
        self.name = name
        self.longest_side = longest_side
        self.passes = passes

    @torch.inference_mode()
    def detect(self, pixels: Tensor, size: Size, score_threshold: float, iou_threshold: float) -> tuple[Detection, ...]:
        """Return what stands in the picture, in total order, in upright source pixels.

        Args:
            pixels: uint8 tensor [3, H, W], RGB, upright, at any scale, on the detector's device.
            size: The upright source picture's.
            score_threshold: 0 to 1.
            iou_threshold: 0 to 1, for NMS.
        """
        return settled(
            Candidates.joined(propose(pixels, size) for propose in self.passes), score_threshold, iou_threshold
        )


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


def load_detector(name: str, device: torch.device) -> Detector:
    """Return the detector of that name, its weights loaded onto the device.

    Args:
        name: One of `NAMES` or of `torchvision.MODELS`.
        device: Where the networks run.

    Raises:
        RequestError: No detector has that name.
        WeightsError: The weights are absent or not the ones expected.
    """
    name = resolve(name, device)
    name = ACCURATE if name == "accurate" else name
    if name not in ("fast", "balanced", *torchvision.MODELS):
        raise RequestError(f"detector is one of {', '.join(NAMES + torchvision.MODELS)}; got {name!r}.")
    faces = _ready(yunet.YuNet(), "yunet_2023mar.safetensors", device)

    def face_pass(pixels: Tensor, size: Size) -> Candidates:
        return yunet.propose(faces, pixels, size)

    if name in torchvision.MODELS:
        model = torchvision.load(name).to(device)

        def model_pass(pixels: Tensor, size: Size) -> Candidates:
            return torchvision.propose(model, name, pixels, size)

        return Detector(name, torchvision.LONGEST_SIDE, (model_pass, face_pass))
    objects = _ready(nanodet.NanoDet(), "nanodet_g.safetensors", device)
    sides = (416,) if name == "fast" else (416, 640)

    def object_pass(pixels: Tensor, size: Size) -> Candidates:
        return Candidates.joined(nanodet.propose(objects, pixels, size, side) for side in sides)

    return Detector(
        "nanodet-g" if name == "fast" else "nanodet-g-416-640", max(yunet.LONGEST_SIDES), (object_pass, face_pass)
    )


def _ready(network: Network, weights_name: str, device: torch.device) -> Network:
    network.load_state_dict(weights.load_tensors(weights_name))
    network.eval().requires_grad_(False).to(device, precision(device), memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks the three
    return network
