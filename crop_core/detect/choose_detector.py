"""Which detector a name means, loaded onto a device."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from crop_core.detect import nanodet, torchvision_models, yunet
from crop_core.detect.composition_head import CompositionHead
from crop_core.detect.detector import Common, Detector, NanoDetDetector, TorchvisionDetector
from crop_core.detect.engine import Engine, TorchEngine
from crop_core.detect.openvino_engine import OpenVinoEngine, openvino
from crop_core.detect.salient_object import SalientObject
from crop_core.detect.weights.load import load_tensors
from crop_core.device import precision
from crop_core.errors import RequestError

NAMES = ("auto", "fast", "balanced", "accurate")
ACCURATE = "fasterrcnn_resnet50_fpn_v2"
SIDES = {
    "fast": (nanodet.TRAINED_SIDE,),
    "balanced": (nanodet.TRAINED_SIDE, 640),
}  # px on the longer side that NanoDet-g sees


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
        dtype: What their convolutions compute with, PyTorch's then; when none, what is best on the device: OpenVINO
            on a CPU where it is there, else PyTorch in the device's own `precision`.

    Raises:
        RequestError: No detector has that name.
        WeightsError: The weights are absent or not the ones expected.
    """
    by_openvino = device.type == "cpu" and dtype is None and openvino() is not None
    dtype = dtype or precision(device)
    name = resolve(name, device)
    name = ACCURATE if name == "accurate" else name
    if name not in (*SIDES, *torchvision_models.MODELS):
        raise RequestError(f"detector is one of {', '.join(NAMES + torchvision_models.MODELS)}; got {name!r}.")
    # bfloat16 makes the mask clearly worse, so a CPU computes it in float32.
    salient_dtype = dtype if device.type == "cuda" else torch.float32

    def shipped(make: Callable[[], nn.Module], weights: str, dtype: torch.dtype) -> Engine:
        if by_openvino:
            return OpenVinoEngine(weights)
        network = make()
        network.load_state_dict(load_tensors(f"{weights}.safetensors"))
        return TorchEngine(network, device, dtype)

    common = Common(
        shipped(yunet.YuNet, "yunet_2023mar", dtype),
        shipped(SalientObject, "u2netp", salient_dtype),
        CompositionHead(load_tensors("composition.safetensors"), device),
    )
    objects = shipped(nanodet.NanoDet, "nanodet_g", dtype)
    if name in SIDES:
        return NanoDetDetector(objects, common, SIDES[name])
    # Nobody has measured what bfloat16 costs these in precision, so a CPU computes them in single.
    narrow = dtype if device.type == "cuda" else torch.float32
    model = torchvision_models.converted(torchvision_models.load(name), device, narrow)
    return TorchvisionDetector(name, model, objects, common)
