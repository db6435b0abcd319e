"""Checks the device: the driver, the kernels, and whether the operators return the right values there."""

from __future__ import annotations

import ctypes
import os
import platform
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crop_core.device import resolve_device
from crop_core.doctor.finding import REPAIR_PAIR, Finding, runnable, tried
from crop_core.doctor.probe import probe
from crop_core.errors import CropError

if TYPE_CHECKING:
    import torch

PIXEL_TOLERANCE = 3.0  # mean difference, of 255; decoders differ in how they enlarge the colour planes


def is_for_gpu(device: str) -> bool:
    """Return whether the device of that name is a GPU that PyTorch finds."""
    try:
        return resolve_device(device).type != "cpu"
    except CropError:
        return False


def device_findings(device: str, torchvision: bool = True) -> list[Finding]:
    """Return the findings on the device of that name.

    Args:
        device: One of `DEVICES`.
        torchvision: Whether to check torchvision's operators, too.
    """
    import torch

    driver = _driver_cuda()
    trouble = cuda_trouble(torch.version.cuda, driver, os.environ.get("CUDA_VISIBLE_DEVICES"))
    try:
        resolved = resolve_device(device)
    except CropError as error:
        remedy = " ".join(trouble) if device == "cuda" else "Ask for another device: --device auto"
        return [Finding("device", False, str(error), remedy)]
    findings = []
    if driver is not None and resolved.type == "cpu" and device == "auto" and torch.version.cuda:
        # There is a driver, but no GPU answers: the model runs on the CPU, which its owner may not want.
        findings.append(
            Finding("GPU", False, "a driver is there, but PyTorch finds no GPU", " ".join(trouble), needed=False)
        )
    findings.append(tried("device", partial(_named, resolved), "Restart the machine, or repair its driver."))
    if resolved.type == "cuda" and findings[-1].ok:
        findings.append(judged_kernels(torch.cuda.get_device_capability(resolved), torch.cuda.get_arch_list()))
    if not runnable(findings):
        return findings
    if resolved.type == "cuda":
        findings.append(_cudnn())
    checks = [("a convolution", _check_convolution)]
    if torchvision:
        checks += [("torchvision.ops.nms", _check_nms), ("torchvision.ops.roi_align", _check_roi_align)]
    remedy = REPAIR_PAIR
    if cudnn_fault := next((one for one in findings if one.what == "cuDNN" and not one.ok), None):
        remedy = f"{cudnn_fault.found}. {cudnn_fault.remedy}"  # the likely cause of what fails below
    findings += [tried(f"{name} on {resolved.type}", partial(check, resolved), remedy) for name, check in checks]
    if not torchvision:
        return findings
    where = resolved.type if resolved.type == "cuda" else "cpu"  # there is no JPEG decoder for MPS
    remedy = f"The CPU decodes instead, more slowly. {REPAIR_PAIR}"
    decoder = partial(_check_decoder, torch.device(where))
    findings.append(tried(f"JPEG decoder on {where}", decoder, remedy, needed=False))
    return findings


def cuda_trouble(build: str | None, driver: int | None, visible: str | None) -> tuple[str, str]:
    """Return why PyTorch finds no CUDA device, and the remedy.

    Args:
        build: The CUDA version that torch is built for, or none.
        driver: The newest CUDA version that the driver supports, 12080 for 12.8; none without a driver.
        visible: The environment's CUDA_VISIBLE_DEVICES.
    """
    if build is None:
        return "This torch is built for the CPU alone.", REPAIR_PAIR
    if driver is None:
        return (
            "There is no NVIDIA driver (libcuda.so.1).",
            "Install a driver that supports CUDA " + build + "; in a container: docker run --gpus all …",
        )
    major = int(build.partition(".")[0])
    if driver // 1000 < major:  # an older driver of the same major version works (CUDA's minor version compatibility)
        return (
            f"The driver supports at most CUDA {driver // 1000}.{driver % 1000 // 10}, and torch is built for {build}.",
            f"Install a driver for CUDA {major}, or a pair that is built for CUDA {driver // 1000}.",
        )
    if visible is not None:
        return (
            f"CUDA_VISIBLE_DEVICES is {visible!r} and may hide the GPU.",
            "Repair it with: unset CUDA_VISIBLE_DEVICES",
        )
    return "The driver is there, but no GPU answers.", "Look at nvidia-smi; in a container: docker run --gpus all …"


def judged_kernels(capability: tuple[int, int], built: Sequence[str]) -> Finding:
    """Return whether the wheel has kernels for a device of that compute capability.

    Compiled kernels (sm_86) run on the same major version from their minor version on, PTX (compute_90) on
    everything newer, and what ends in an a (sm_90a) on that version only.

    Args:
        capability: The device's: (8, 6).
        built: What torch is built for: sm_70, sm_86, compute_90.
    """
    major, minor = capability
    said = f"compute capability {major}.{minor}; the wheel has {', '.join(built)}"
    for name in built:
        match = re.fullmatch(r"(sm|compute)_(\d+)(\d)(a?)", name)
        if match is None:
            continue
        theirs = (int(match[2]), int(match[3]))
        if theirs == capability or (
            theirs < capability and not match[4] and (match[1] == "compute" or theirs[0] == major)
        ):
            return Finding("kernels", True, said)
    remedy = (
        "This torch has no kernels for this GPU. Use a GPU with a compute capability on the list, or a torch and "
        "torchvision that have kernels for this one."
    )
    return Finding("kernels", False, said, remedy)


def _driver_cuda() -> int | None:
    """Return the newest CUDA version that the driver supports, 12080 for 12.8; none without a driver."""
    version = ctypes.c_int()
    try:
        status = ctypes.CDLL("nvcuda.dll" if os.name == "nt" else "libcuda.so.1").cuDriverGetVersion(
            ctypes.byref(version)
        )
    except (OSError, AttributeError):
        return None
    return version.value if status == 0 else None


def _named(device: torch.device) -> str:
    """Return the device's name; on a GPU that hangs, asking for it already fails."""
    import torch

    if device.type != "cuda":
        name = platform.processor() or platform.machine()
        return f"{device.type} ({name}), {torch.get_num_threads()} threads" if device.type == "cpu" else device.type
    properties, driver = torch.cuda.get_device_properties(device), _driver_cuda() or 0
    return (
        f"cuda ({properties.name}, {properties.total_memory / 2**30:.0f} GiB), driver for CUDA "
        f"{driver // 1000}.{driver % 1000 // 10}"
    )


def _cudnn() -> Finding:
    """Return which cuDNN is loaded. A wrong one is not fatal here: whether a convolution runs is checked separately."""
    import torch

    if not torch.backends.cudnn.is_available():  # type: ignore[no-untyped-call]  # torch's own
        return Finding("cuDNN", True, "not in this build of PyTorch", needed=False)
    # Not torch.backends.cudnn.version(): for a wrong cuDNN it raises only the first time.
    cudnn: Any = torch._C._cudnn  # PyTorch has no public name
    compiled, loaded = cudnn.getCompileVersion(), cudnn.getRuntimeVersion()
    return judged_cudnn(compiled, loaded, _loaded_libraries("libcudnn"))


def judged_cudnn(compiled: tuple[int, ...], loaded: tuple[int, ...], libraries: Sequence[Path]) -> Finding:
    """Return whether PyTorch works with the loaded cuDNN; if not, where it lies and the remedy.

    It must have the major version that PyTorch was compiled with, and not be older (NVIDIA's rule for cuDNN 9).

    Args:
        compiled: The version that PyTorch was compiled with: (9, 10, 2).
        loaded: The version that this process has loaded.
        libraries: The cuDNN libraries that this process has loaded.
    """
    wanted, found = (".".join(map(str, version)) for version in (compiled, loaded))
    if loaded[0] == compiled[0] and loaded[1] >= compiled[1]:
        return Finding("cuDNN", True, f"version {found}", needed=False)
    foreign = [path.parent for path in libraries if "site-packages" not in path.parts]
    where = f" from {foreign[0]}" if foreign else ""
    return Finding(
        "cuDNN",
        False,
        f"PyTorch was compiled with cuDNN {wanted} and brings it along, but cuDNN {found} is loaded{where}",
        "Take that folder out of LD_LIBRARY_PATH, or remove the libcudnn* files there.",
        needed=False,
    )


def _loaded_libraries(name: str) -> list[Path]:
    """Return the libraries of that name that this process has loaded; none if the system does not say."""
    try:
        maps = Path("/proc/self/maps").read_text()
    except OSError:
        return []
    return sorted({Path(line.split(maxsplit=5)[5]) for line in maps.splitlines() if f"/{name}" in line})


def _check_convolution(device: torch.device) -> str:
    import torch
    from torch.nn.functional import conv2d

    ramp = torch.arange(64.0, device=device).view(1, 1, 8, 8)
    got = conv2d(ramp, torch.ones(1, 1, 3, 3, device=device))[0, 0, 0].tolist()
    right = [9 * (9.0 + x) for x in range(6)]  # nine times the ramp, x + 8 y, at the middle of each 3x3 cells
    if any(abs(a - b) > 0.5 for a, b in zip(got, right, strict=True)):
        raise RuntimeError(f"it returned {got} where {right} is right")
    return "runs, and returns the right values"


def _check_nms(device: torch.device) -> str:
    import torch
    from torchvision.ops import nms

    boxes = torch.tensor([[0.0, 0, 10, 10], [1, 1, 11, 11], [20, 20, 30, 30]], device=device)
    kept = nms(boxes, torch.tensor([0.9, 0.8, 0.7], device=device), 0.5).tolist()
    if kept != [0, 2]:
        raise RuntimeError(f"it kept boxes {kept} where [0, 2] is right")
    return "runs, and keeps the right boxes"


def _check_roi_align(device: torch.device) -> str:
    import torch
    from torchvision.ops import roi_align

    ramp = torch.arange(64.0, device=device).view(1, 1, 8, 8)
    boxes = torch.tensor([[0.0, 1, 1, 5, 5]], device=device)
    got = roi_align(ramp, boxes, (2, 2), sampling_ratio=2, aligned=True)[0, 0].tolist()
    right = [[13.5, 15.5], [29.5, 31.5]]  # the ramp, x + 8 y, at the bins' middles (1.5, 1.5), (3.5, 1.5), …
    if any(abs(a - b) > 1e-3 for row, true in zip(got, right, strict=True) for a, b in zip(row, true, strict=True)):
        raise RuntimeError(f"it returned {got} where {right} is right")
    return "runs, and returns the right values"


def _check_decoder(device: torch.device) -> str:
    import torch
    from torchvision.io import ImageReadMode, decode_jpeg

    from crop_core.photo.photo import open_photo

    data = torch.frombuffer(bytearray(probe()), dtype=torch.uint8)
    ours = decode_jpeg(data, ImageReadMode.RGB, device=device).cpu().float()
    difference = (ours - open_photo(probe()).pixels().float()).abs().mean().item()
    if difference > PIXEL_TOLERANCE:
        raise RuntimeError(f"its pixels are {difference:.1f} of 255 away from Pillow's")
    return f"runs; {difference:.1f} of 255 away from Pillow's pixels"
