"""Which detector a name means, loaded onto a device."""

from __future__ import annotations

import torch

from crop_core.detect import nanodet, torchvision_models, yunet
from crop_core.detect.detector import Detector, NanoDetDetector, TorchvisionDetector
from crop_core.detect.engine import TorchEngine
from crop_core.detect.weights.load import load_tensors
from crop_core.device import precision
from crop_core.errors import RequestError

NAMES = ("auto", "fast", "balanced", "accurate")
ACCURATE = "fasterrcnn_resnet50_fpn_v2"
SIDES = {"fast": (416,), "balanced": (416, 640)}  # px on the longer side that NanoDet-g sees


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
    if name not in (*SIDES, *torchvision_models.MODELS):
        raise RequestError(f"detector is one of {', '.join(NAMES + torchvision_models.MODELS)}; got {name!r}.")
    faces = _shipped(yunet.YuNet(), "yunet_2023mar.safetensors", device, dtype)
    if name in SIDES:
        objects = _shipped(nanodet.NanoDet(), "nanodet_g.safetensors", device, dtype)
        return NanoDetDetector(objects, faces, SIDES[name])
    # Nobody has measured what bfloat16 costs these in precision, so a CPU computes them in single.
    narrow = dtype if device.type == "cuda" else torch.float32
    model = torchvision_models.converted(torchvision_models.load(name), device, narrow)
    return TorchvisionDetector(name, model, faces)


def _shipped(
    network: nanodet.NanoDet | yunet.YuNet, weights: str, device: torch.device, dtype: torch.dtype
) -> TorchEngine:
    network.load_state_dict(load_tensors(weights))
    return TorchEngine(network, device, dtype)
