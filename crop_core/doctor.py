"""Is this torch and torchvision pair healthy on this device? Says so, and why not.

`from torchvision import _C` is no such check: it raises ``ImportError: dynamic module does not
define module export function (PyInit__C)`` on every healthy Linux install, because `_C.so` is an
operator library that torchvision loads by `torch.ops.load_library` (pytorch/vision,
torchvision/csrc/vision.cpp, defines PyInit__C on Windows alone). What counts is whether the
operators run on the device that will be used.
"""

from __future__ import annotations

import platform
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
import torchvision
from torchvision.ops import nms

from crop_core.device import resolve_device
from crop_core.errors import CropError
from crop_core.weights import SHA256, load_tensors


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the diagnosis: what was examined, whether it is well, what was found, what mends it."""

    what: str
    ok: bool
    found: str
    remedy: str = ""


REINSTALL = "Install the pair anew: pip install --force-reinstall -r requirements.txt"


def examine(device: str = "auto") -> list[Finding]:
    """Return the findings for the device, in the order in which they matter."""
    findings = [
        Finding(
            "versions",
            True,
            f"Python {platform.python_version()}, torch {torch.__version__}, torchvision {torchvision.__version__}",
        ),
        _cuda_builds(),
    ]
    try:
        resolved = resolve_device(device)
    except CropError as error:
        return [*findings, Finding("device", False, str(error), "Ask for another device, or install its driver.")]
    findings.append(_tried("device", partial(_named, resolved), "Restart the machine, or mend its driver."))
    findings.append(_tried("torchvision.ops.nms on the device", partial(_check_nms, resolved), REINSTALL))
    findings += [
        _tried(f"weights {file}", partial(_check_weights, file), "Install crop-core again.") for file in SHA256
    ]
    return findings


def _tried(what: str, check: Callable[[], str], remedy: str) -> Finding:
    try:
        return Finding(what, True, check())
    except (CropError, RuntimeError, AssertionError, ImportError, OSError) as error:  # a torch without CUDA asserts
        return Finding(what, False, f"{type(error).__name__}: {error}", remedy)


def _cuda_builds() -> Finding:
    """Compare the CUDA versions that torch and torchvision were built for."""
    number = torch.ops.torchvision._cuda_version()  # 12080 for 12.8, -1 for a build without CUDA
    vision = "none" if number < 0 else f"{number // 1000}.{number % 1000 // 10}"
    own = torch.version.cuda or "none"
    remedy = f"torch is built for CUDA {own}, torchvision for {vision}: they must come from one index. {REINSTALL}"
    return Finding("CUDA of torch and of torchvision", own == vision, f"{own} and {vision}", remedy)


def _named(device: torch.device) -> str:
    """Return what the device is called; asking a GPU for its name is the first thing that fails when it hangs."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor()
    return f"{device.type} ({name})" if name else device.type


def _check_nms(device: torch.device) -> str:
    boxes = torch.tensor([[0.0, 0, 10, 10], [1, 1, 11, 11], [20, 20, 30, 30]], device=device)
    kept = nms(boxes, torch.tensor([0.9, 0.8, 0.7], device=device), 0.5).tolist()
    if kept != [0, 2]:
        raise RuntimeError(f"it kept boxes {kept} where [0, 2] is right")
    return "runs, and keeps the right boxes"


def _check_weights(file: str) -> str:
    return f"{sum(tensor.numel() for tensor in load_tensors(file).values()) / 1e6:.2f} M parameters, SHA-256 as shipped"
