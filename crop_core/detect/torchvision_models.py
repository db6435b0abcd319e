"""torchvision's own COCO detectors, for whoever has their weights.

They are larger and better than the shipped ones. The weights are torchvision's official files,
looked for where torchvision keeps them ($TORCH_HOME/hub/checkpoints) and nowhere else: nothing
is ever downloaded here. Their SHA-256 begins with the digits at the end of the file's name.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from crop_core.detect.candidates import Candidates
from crop_core.detect.network_input import View, by_shape, letterboxed
from crop_core.detect.weights.load import check_sha256
from crop_core.detection import COCO_LABELS
from crop_core.errors import WeightsError

MODELS = (
    "fasterrcnn_resnet50_fpn_v2",  # 46.7 mAP, 43.7 M parameters
    "fcos_resnet50_fpn",  # 39.2
    "fasterrcnn_mobilenet_v3_large_fpn",  # 32.8
    "ssdlite320_mobilenet_v3_large",  # 21.3
)
# The models apply NMS and a score threshold of their own; these leave the caller's to decide.
OWN_SCORE_THRESHOLD = 0.02
OWN_NMS_THRESHOLD = 0.9
OWN_DETECTIONS = 500
CONVOLUTIONS = ("backbone", "head", "box_head")  # of a model, of its `rpn` and of its `roi_heads`: nearly all the work
LONGEST_SIDE = 1333  # px; the most that torchvision's Faster R-CNN and FCOS resize a picture to

# What reading a file that holds something else raises: all but OSError came up in a thousand damaged files.
_LOAD_ERRORS = (
    pickle.UnpicklingError,
    EOFError,
    RuntimeError,
    TypeError,
    ValueError,
    LookupError,
    AttributeError,
    AssertionError,
    OSError,
)


def _models() -> Any:
    """Return `torchvision.models`; whoever asks for none of them does not wait for its import.

    Raises:
        WeightsError: torchvision does not load.
    """
    try:
        return import_module("torchvision.models")
    except (ImportError, OSError, RuntimeError) as error:
        raise WeightsError(
            f"torchvision does not load ({str(error).partition(chr(10))[0]}), and the detector is one of its models. "
            "Ask for the detector fast or balanced. On the machine itself, crop-core doctor says what repairs it."
        ) from error


def weights_path(name: str) -> Path:
    """Return where torchvision keeps the model's official COCO weights; the file may be absent."""
    url: str = _models().get_model_weights(name)["DEFAULT"].url
    return Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[-1]


def checked_file(name: str) -> bytes:
    """Return the bytes of the model's official file, checked against the digits in its name.

    Raises:
        WeightsError: The file is absent, or its SHA-256 is not the one in its name.
    """
    path = weights_path(name)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise WeightsError(
            f"The detector {name} needs torchvision's weights {path.name}, which are not on this machine. "
            "Ask for the detector fast or balanced, whose weights are shipped. To have these on a machine of your own, "
            "see crop_core/doctor/README.md."
        ) from error
    check_sha256(path.name, data, path.stem.rsplit("-", 1)[-1])
    return data


def load(name: str) -> nn.Module:
    """Return the model with its official weights, in evaluation mode.

    Raises:
        WeightsError: The file is absent, its SHA-256 is not the one in its name, or it holds
            something else than this model's weights.
    """
    data = checked_file(name)
    try:
        state = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
        model: nn.Module = _models().get_model(name, weights=None, weights_backbone=None)
        model.load_state_dict(state)
    except _LOAD_ERRORS as error:
        raise WeightsError(
            f"The file {weights_path(name).name} does not hold the weights of {name} as torchvision publishes them. "
            "Ask for the detector fast or balanced."
        ) from error
    own = getattr(model, "roi_heads", model)
    own.score_thresh, own.nms_thresh, own.detections_per_img = OWN_SCORE_THRESHOLD, OWN_NMS_THRESHOLD, OWN_DETECTIONS
    return model.eval()


def converted(model: nn.Module, device: torch.device, dtype: torch.dtype) -> nn.Module:
    """Return the model on the device, in channels-last memory, its convolutions in that type.

    What decodes boxes stays in single precision: in half of it numbers from 1024 on are whole pixels.
    """
    model = model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks it
    for owner in (model, getattr(model, "rpn", model), getattr(model, "roi_heads", model)):
        for name in CONVOLUTIONS:
            if dtype != torch.float32 and isinstance(getattr(owner, name, None), nn.Module):
                setattr(owner, name, _Narrow(getattr(owner, name), dtype))
    return model


class _Narrow(nn.Module):
    """Computes in a narrower type than that of what goes in and comes out, single precision."""

    def __init__(self, inner: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.inner = inner.to(dtype)
        self.dtype = dtype

    def forward(self, *values: Any) -> Any:
        return _as(self.inner(*(_as(value, self.dtype) for value in values)), torch.float32)


def _as(value: Any, dtype: torch.dtype) -> Any:
    """Return the value with every tensor in it, however deep, of that type."""
    if isinstance(value, Tensor):
        return value.to(dtype)
    if isinstance(value, dict):
        return {key: _as(item, dtype) for key, item in value.items()}
    return [_as(item, dtype) for item in value]


def coco_indices(name: str) -> list[int]:
    """Return, for each class index of the model, the index in `COCO_LABELS`, or -1 for none."""
    categories = _models().get_model_weights(name)["DEFAULT"].meta["categories"]
    return [COCO_LABELS.index(category) if category in COCO_LABELS else -1 for category in categories]


def propose_all(network: nn.Module, device: torch.device, name: str, views: Sequence[View]) -> list[Candidates]:
    """Return the model's candidates for each picture, in source pixels.

    The model resizes the pictures itself. It does so without antialias, and fails on strips whose
    shorter side would come to less than a pixel; so what is larger than it can use is shrunk first.

    Args:
        network: What `load` returned for `name`.
        device: Where it lies.
        name: One of `MODELS`.
        views: The pictures, on any device; of one shape they make one batch, in which none is padded.
    """
    pictures = [
        letterboxed(view.pixels, LONGEST_SIDE)[0] if max(view.pixels.shape) > LONGEST_SIDE else view.pixels
        for view in views
    ]
    inputs = [picture.to(device).float() / 255 for picture in pictures]
    labels_of = torch.tensor(coco_indices(name), device=device)
    candidates = {}
    for group in by_shape(inputs):
        for i, found in zip(group, network([inputs[i] for i in group]), strict=True):
            height, width = inputs[i].shape[-2:]
            scale = found["boxes"].new_tensor((views[i].size.width / width, views[i].size.height / height)).repeat(2)
            labels = labels_of[found["labels"]]
            known = labels >= 0
            boxes, scores = (found["boxes"] * scale)[known], found["scores"][known]
            candidates[i] = Candidates(boxes, scores, labels[known], boxes.new_zeros((len(boxes), 10)))
    return [candidates[i] for i in range(len(views))]
