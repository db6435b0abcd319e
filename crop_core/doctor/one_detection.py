"""Checks a whole detection on the device against the same one on the CPU."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from crop_core.detection import Detection
from crop_core.doctor.finding import Finding, tried
from crop_core.doctor.probe import PROBE_LABELS, probe

if TYPE_CHECKING:
    import torch

    from crop_core.cropper import Cropper
    from crop_core.detect.detector import Detector

# How far the device's detections may differ from the CPU's: the two add in another order and precision. Both get
# pixels that the CPU decoded, since two decoders differ by more.
SCORE_TOLERANCE = 0.03
BOX_TOLERANCE = 2.0  # px
LEAST_SCORE = 0.6


def check_detection(device: str, cropper: Cropper | None) -> str:
    """Detect the probe's person and face; on another device than the CPU, compare with the CPU.

    Args:
        device: The device's name.
        cropper: A loaded cropper, or none to load one.

    Raises:
        RuntimeError: Something else was found.
    """
    import torch

    from crop_core.cropper import Cropper
    from crop_core.detect.choose_detector import load_detector

    cropper = cropper or Cropper(device=device, detector="fast")
    seen = _seen_by(cropper.detector("fast"), cropper.device)
    if {detection.label for detection in seen} != PROBE_LABELS:
        raise RuntimeError(f"it found {_listed(seen)}, but the picture shows a person and a face")
    if cropper.device.type == "cpu":
        return _listed(seen)
    cpu = torch.device("cpu")  # by PyTorch in float32: OpenVINO's 8 bits are farther from a GPU's float16
    on_cpu = _seen_by(load_detector("fast", cpu, torch.float32), cpu)
    if not agree(seen, on_cpu):
        raise RuntimeError(f"it found {_listed(seen)}, and the CPU {_listed(on_cpu)}")
    return f"{_listed(seen)}, as on the CPU"


def _seen_by(detector: Detector, device: torch.device) -> tuple[Detection, ...]:
    """Return what the networks find in the probe, which the CPU decodes."""
    from crop_core.detect.network_input import View
    from crop_core.photo.photo import open_photo

    photo = open_photo(probe())
    view = View(photo.pixels().to(device), photo.size)
    (found,) = detector.detect_all([view], LEAST_SCORE, 0.5)
    return found


def agree(ours: Sequence[Detection], theirs: Sequence[Detection]) -> bool:
    """Return whether two devices found the same, within the tolerances."""
    return len(ours) == len(theirs) and all(
        one.label == other.label
        and abs(one.score - other.score) <= SCORE_TOLERANCE
        and max(abs(a - b) for a, b in zip(one.box.xyxy, other.box.xyxy, strict=True)) <= BOX_TOLERANCE
        for one, other in zip(ours, theirs, strict=True)
    )


def _listed(found: Sequence[Detection]) -> str:
    return ", ".join(f"{one.label} {one.score:.2f}" for one in found) or "nothing"


def accurate_weights(device: str) -> Finding:
    """Check the weights that `auto` uses on a GPU if they are there; a CPU does not need them."""
    import torch

    from crop_core.detect import torchvision_models as torchvision
    from crop_core.detect.choose_detector import ACCURATE

    what = f"weights of {ACCURATE}"
    path = torchvision.weights_path(ACCURATE)
    if not path.is_file():
        return Finding(what, True, "absent; only the detector accurate needs them")
    return tried(
        what,
        lambda: f"{len(torchvision.checked_file(ACCURATE)) / 1e6:.0f} MB, SHA-256 as in its name",
        f"Download the file again, or remove {path}",
        needed=device in ("auto", "cuda") and torch.cuda.is_available(),
    )
