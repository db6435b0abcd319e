"""torchvision's own COCO detectors, for whoever has their weights.

They are larger and better than the shipped ones. The weights are torchvision's official files,
looked for where torchvision keeps them ($TORCH_HOME/hub/checkpoints) and nowhere else: nothing
is ever downloaded here. Their SHA-256 begins with the digits at the end of the file's name.
"""

from __future__ import annotations

import io
import pickle
from pathlib import Path

import torch
from torch import Tensor, nn
from torchvision.models import get_model, get_model_weights

from crop_core.box import Size
from crop_core.detection import COCO_LABELS
from crop_core.detectors.postprocess import Candidates, letterboxed
from crop_core.errors import WeightsError
from crop_core.weights import check_sha256

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


def weights_path(name: str) -> Path:
    """Return where torchvision keeps the model's official COCO weights; the file may be absent."""
    url: str = get_model_weights(name)["DEFAULT"].url
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
            f"The detector {name} needs torchvision's weights {path.name}, which are not on this machine. Download "
            'them into $TORCH_HOME/hub/checkpoints (by default ~/.cache/torch/hub/checkpoints): python -c "from '
            f"torchvision.models import get_model_weights as w; w('{name}').DEFAULT.get_state_dict(check_hash=True)\". "
            "Or ask for the detector fast or balanced, whose weights are shipped."
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
        model: nn.Module = get_model(name, weights=None, weights_backbone=None)
        model.load_state_dict(state)
    except _LOAD_ERRORS as error:
        raise WeightsError(
            f"The file {weights_path(name).name} does not hold the weights of {name} as torchvision publishes them. "
            "Download it again."
        ) from error
    own = getattr(model, "roi_heads", model)
    own.score_thresh, own.nms_thresh, own.detections_per_img = OWN_SCORE_THRESHOLD, OWN_NMS_THRESHOLD, OWN_DETECTIONS
    return model.eval()


def coco_indices(name: str) -> list[int]:
    """Return, for each class index of the model, the index in `COCO_LABELS`, or -1 for none."""
    categories = get_model_weights(name)["DEFAULT"].meta["categories"]
    return [COCO_LABELS.index(category) if category in COCO_LABELS else -1 for category in categories]


def propose(network: nn.Module, name: str, pixels: Tensor, size: Size) -> Candidates:
    """Return the model's candidates for one picture, in source pixels.

    The model resizes the picture itself. It does so without antialias, and fails on strips whose
    shorter side would come to less than a pixel; so what is larger than it can use is shrunk first.

    Args:
        network: What `load` returned for `name`, on the device of `pixels`.
        name: One of `MODELS`.
        pixels: uint8 tensor [3, H, W], upright, at any scale.
        size: The upright source picture's.
    """
    if max(pixels.shape) > LONGEST_SIDE:
        pixels = letterboxed(pixels, LONGEST_SIDE)[0]
    (found,) = network([pixels.float() / 255])
    scale = found["boxes"].new_tensor((size.width / pixels.shape[-1], size.height / pixels.shape[-2])).repeat(2)
    labels = torch.tensor(coco_indices(name), device=pixels.device)[found["labels"]]
    known = labels >= 0
    boxes, scores = (found["boxes"] * scale)[known], found["scores"][known]
    return Candidates(boxes, scores, labels[known], boxes.new_zeros((len(boxes), 10)))
