"""Can the model run here, and if not: why, and what mends it.

Starts where torch and torchvision are absent or do not match, so it imports neither before it has
looked at what is installed.

`from torchvision import _C` is no sign of anything: it raises ``ImportError: dynamic module does
not define module export function (PyInit__C)`` on every healthy Linux install, because `_C.so` is
an operator library that torchvision loads by `torch.ops.load_library` (pytorch/vision,
torchvision/csrc/vision.cpp, defines PyInit__C on Windows alone). What counts is whether the
operators run on the device that will be used, and say there what they say on the CPU.
"""

from __future__ import annotations

import ctypes
import os
import platform
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from importlib.metadata import Distribution, distributions
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from crop_core.detect.weights.load import SHA256, checked_bytes
from crop_core.detection import Detection
from crop_core.device import resolve_device
from crop_core.errors import CropError, DeviceError

if TYPE_CHECKING:
    import torch

    from crop_core import Cropper, CropResult

PAIR = ("torch==2.10.0", "torchvision==0.25.0")  # as in requirements.txt; a test holds them together
MEND_PAIR = f"Mend it with: pip install --force-reinstall {' '.join(PAIR)}"
MEND_CROP_CORE = "Install crop-core again: pip install --force-reinstall --no-deps . in a new checkout."
PROBE = "probe.jpg"  # samples/astronaut.jpg at 128x128: a person with a face
PROBE_LABELS = {"person", "face"}  # what is in it with more than 0.6 on a CPU
# How far a device may be from the CPU: the two add in other orders and precisions.
SCORE_TOLERANCE = 0.02
BOX_TOLERANCE = 2.0  # px
PIXEL_TOLERANCE = 3.0  # of 255, the mean; decoders differ in how they enlarge the colour planes


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the diagnosis.

    Attributes:
        what: What was examined.
        ok: Whether it is well.
        found: What was found.
        remedy: For what is not well: the cause, and the command that mends it.
        needed: Whether the model cannot run without it.
    """

    what: str
    ok: bool
    found: str
    remedy: str = ""
    needed: bool = True


def examine(device: str = "auto") -> list[Finding]:
    """Return the findings for the device, in the order in which they matter.

    Args:
        device: One of `device.DEVICES`.
    """
    findings = _environment(device)
    if runnable(findings):
        findings.append(_tried("one detection", partial(_check_detection, device, None), MEND_PAIR))
    return findings


def runnable(findings: Sequence[Finding]) -> bool:
    """Return whether the model can run: nothing that it needs is wrong."""
    return all(finding.ok or not finding.needed for finding in findings)


def ready_cropper(device: str = "auto", detector: str = "auto") -> Cropper:
    """Return a loaded, warm cropper on a device that was examined, or say in one sentence why there is none.

    Raises:
        DeviceError: PyTorch, torchvision or the device does not work, or does not say what the CPU says.
        WeightsError: The weights are absent or damaged.
        RequestError: No detector has that name.
    """
    _require(_environment(device))
    from crop_core import Cropper

    cropper = Cropper(device=device, detector=detector)
    _require([_tried("one detection", partial(_check_detection, device, cropper), MEND_PAIR)])
    cropper.warm_up()
    return cropper


def _require(findings: Sequence[Finding]) -> None:
    for finding in findings:
        if finding.needed and not finding.ok:
            found = finding.found.rstrip(".")
            raise DeviceError(f"The model cannot run here. {finding.what}: {found}. {finding.remedy}".strip())


def _environment(device: str) -> list[Finding]:
    """Return the findings on everything but a whole detection."""
    found = {name: list(distributions(name=name)) for name in ("torch", "torchvision")}
    findings = [_versions(found)]
    mend = MEND_PAIR
    if all(found.values()):
        pair = _pair(found["torch"], found["torchvision"])
        findings.append(pair)
        mend = mend if pair.ok else f"{pair.found}. {pair.remedy}"
    findings.append(_tried("PyTorch loads", _load, mend))
    weights = [_tried(f"weights {file}", partial(_check_weights, file), MEND_CROP_CORE) for file in SHA256]
    if not findings[-1].ok:
        return [*findings, *weights]
    return [*findings, _operator_library(), _cuda_builds(), *_on_device(device), *weights, _accurate_weights(device)]


def _tried(what: str, check: Callable[[], str], remedy: str, needed: bool = True) -> Finding:
    """Return the finding of a check that returns what it found or raises what is wrong."""
    try:
        return Finding(what, True, check(), needed=needed)
    except (CropError, RuntimeError, AssertionError, ImportError, OSError, ValueError, AttributeError) as error:
        return Finding(what, False, _first_line(error), remedy, needed)


def _first_line(error: Exception) -> str:
    """Return what the error says at first; CUDA's go on for a page."""
    text = str(error).strip().partition("\n")[0]
    return text if isinstance(error, CropError) else f"{type(error).__name__}: {text}"


# ---- what is installed, before any of it is loaded


def _versions(found: dict[str, list[Distribution]]) -> Finding:
    versions = {name: several[0].version if several else "absent" for name, several in found.items()}
    text = f"Python {platform.python_version()}, " + ", ".join(f"{name} {v}" for name, v in versions.items())
    missing = [name for name, several in found.items() if not several]
    remedy = f"{' and '.join(missing)} must be installed for this Python. {MEND_PAIR}"
    return Finding("versions", not missing, text, remedy if missing else "")


def _pair(torches: Sequence[Distribution], torchvisions: Sequence[Distribution]) -> Finding:
    """Compare the torch that is installed with the one that torchvision states to be built for.

    What counts is whether its operators load, so two numbers that differ are no reason to stop.
    """
    wanted = next((r for r in torchvisions[0].requires or [] if re.match(r"torch\b", r)), "")
    match = re.search(r"==\s*([^\s,;)]+)", wanted)
    torch_version, vision_version = torches[0].version, torchvisions[0].version
    if match is None:
        return Finding("matched pair", True, f"torchvision {vision_version} does not say which torch it is built for")
    if torch_version.partition("+")[0] == match[1].partition("+")[0]:
        return Finding("matched pair", True, f"torchvision {vision_version} is built for torch {match[1]}")
    said = f"torchvision {vision_version} is built for torch {match[1]}, and torch {torch_version} is installed"
    remedy = MEND_PAIR
    for several in (torches, torchvisions):
        if len(several) > 1:
            remedy = (
                f"{several[0].name} is installed more than once ({' and '.join(one.version for one in several)}), and "
                f"the first is used: take {several[0].locate_file('')} out of PYTHONPATH, or remove that copy."
            )
    return Finding("matched pair", False, said, remedy, needed=False)


def _load() -> str:
    """Load the pair.

    Raises:
        RuntimeError: torchvision's operators are not there, and why.
        ImportError: One of the two is not there or is damaged.
        OSError: A library that they need is not there.
    """
    import torch

    try:
        import torchvision
    except RuntimeError as error:
        if "does not exist" not in str(error):  # operator torchvision::nms does not exist
            raise
        raise RuntimeError(f"{error} ({_operators_fault()})") from error
    return f"torch {torch.__version__}, torchvision {torchvision.__version__}"


def _operators_fault() -> str:
    """Return why torchvision's operator library does not load: torchvision itself passes over it in silence."""
    spec = find_spec("torchvision")
    folder = next(iter(spec.submodule_search_locations or []), None) if spec else None
    libraries = [path for path in sorted(Path(folder).glob("_C*")) if path.suffix in (".so", ".pyd")] if folder else []
    if not libraries:
        return "its operator library _C.so is not there"
    try:
        ctypes.CDLL(str(libraries[0]))
    except OSError as error:
        return _first_line(error)
    return "its operator library loads, and lacks them"


def _check_weights(file: str) -> str:
    return f"{len(checked_bytes(file)) / 1e6:.1f} MB, SHA-256 as shipped"


# ---- the pair, loaded


def _operator_library() -> Finding:
    """Say what `from torchvision import _C` does here: people take its ImportError for the fault."""
    what = "from torchvision import _C"
    try:
        import_module("torchvision._C")
    except ImportError as error:
        if "PyInit__C" in str(error):
            said = (
                "raises ImportError (… PyInit__C), as on every healthy Linux install: _C.so is an operator library "
                "and no Python module. It is no fault; the operators below are what counts"
            )
            return Finding(what, True, said)
        return Finding(what, False, f"ImportError: {error}", MEND_PAIR, needed=False)
    return Finding(what, True, "works")


def _cuda_builds() -> Finding:
    import torch

    return judged_builds(torch.version.cuda, torch.ops.torchvision._cuda_version())


def judged_builds(own: str | None, vision: int) -> Finding:
    """Compare the CUDA versions that torch and torchvision are built for.

    Args:
        own: `torch.version.cuda`, none for a build without CUDA.
        vision: `torch.ops.torchvision._cuda_version()`: 12080 for 12.8, -1 for a build without.
    """
    theirs = None if vision < 0 else f"{vision // 1000}.{vision % 1000 // 10}"
    if own == theirs:
        return Finding("CUDA builds", True, f"both for CUDA {own}" if own else "both without CUDA")
    names = [f"CUDA {version}" if version else "the CPU alone" for version in (own, theirs)]
    said = f"torch is built for {names[0]}, torchvision for {names[1]}"
    return Finding("CUDA builds", False, said, f"Both must come from one index. {MEND_PAIR}")


# ---- the device


def _on_device(device: str) -> list[Finding]:
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
        # A driver without a GPU that answers: the model runs, and not where its owner wants it.
        findings.append(
            Finding("GPU", False, "a driver is there, but PyTorch finds no GPU", " ".join(trouble), needed=False)
        )
    findings.append(_tried("device", partial(_named, resolved), "Restart the machine, or mend its driver."))
    if resolved.type == "cuda" and findings[-1].ok:
        findings.append(judged_kernels(torch.cuda.get_device_capability(resolved), torch.cuda.get_arch_list()))
    if not runnable(findings):
        return findings
    checks = (("torchvision.ops.nms", _check_nms), ("torchvision.ops.roi_align", _check_roi_align))
    findings += [_tried(f"{name} on {resolved.type}", partial(check, resolved), MEND_PAIR) for name, check in checks]
    where = resolved.type if resolved.type == "cuda" else "cpu"  # MPS has no decoder of its own
    remedy = f"The CPU decodes instead, more slowly. {MEND_PAIR}"
    decoder = partial(_check_decoder, torch.device(where))
    findings.append(_tried(f"JPEG decoder on {where}", decoder, remedy, needed=False))
    return findings


def cuda_trouble(build: str | None, driver: int | None, visible: str | None) -> tuple[str, str]:
    """Return why PyTorch finds no CUDA device, and what mends it.

    Args:
        build: The CUDA version that torch is built for, or none.
        driver: The newest CUDA version that the driver takes, 12080 for 12.8; none without a driver.
        visible: The environment's CUDA_VISIBLE_DEVICES.
    """
    if build is None:
        return "This torch is built for the CPU alone.", MEND_PAIR
    if driver is None:
        return (
            "There is no NVIDIA driver (libcuda.so.1).",
            "Install one that takes CUDA " + build + "; in a container: docker run --gpus all …",
        )
    major = int(build.partition(".")[0])
    if driver // 1000 < major:  # within one major version the older driver serves (CUDA's minor version compatibility)
        return (
            f"The driver takes CUDA {driver // 1000}.{driver % 1000 // 10} at most, and torch is built for {build}.",
            f"Install a driver for CUDA {major}, or a pair that is built for CUDA {driver // 1000}.",
        )
    if visible is not None:
        return f"CUDA_VISIBLE_DEVICES is {visible!r} and may hide the GPU.", "Mend it with: unset CUDA_VISIBLE_DEVICES"
    return "The driver is there and no GPU answers.", "Look at nvidia-smi; in a container: docker run --gpus all …"


def judged_kernels(capability: tuple[int, int], built: Sequence[str]) -> Finding:
    """Say whether the wheel carries kernels for a device of that compute capability.

    Compiled ones (sm_86) serve their major version from their minor version on, PTX (compute_90)
    everything newer, and what ends in an a (sm_90a) one version alone.

    Args:
        capability: Of the device: (8, 6).
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
        "This torch has no kernels for this GPU. Use one of a compute capability on the list, or a pair that has it."
    )
    return Finding("kernels", False, said, remedy)


def _driver_cuda() -> int | None:
    """Return the newest CUDA version that the driver takes, 12080 for 12.8, or none without a driver."""
    version = ctypes.c_int()
    try:
        status = ctypes.CDLL("nvcuda.dll" if os.name == "nt" else "libcuda.so.1").cuDriverGetVersion(
            ctypes.byref(version)
        )
    except (OSError, AttributeError):
        return None
    return version.value if status == 0 else None


def _named(device: torch.device) -> str:
    """Return what the device is; asking a GPU for its name is the first thing that fails when it hangs."""
    import torch

    if device.type != "cuda":
        name = platform.processor() or platform.machine()
        return f"{device.type} ({name}), {torch.get_num_threads()} threads" if device.type == "cpu" else device.type
    properties, driver = torch.cuda.get_device_properties(device), _driver_cuda() or 0
    return (
        f"cuda ({properties.name}, {properties.total_memory / 2**30:.0f} GiB), driver for CUDA "
        f"{driver // 1000}.{driver % 1000 // 10}, cuDNN {torch.backends.cudnn.version()}"  # type: ignore[no-untyped-call]  # torch's own
    )


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


def _probe() -> bytes:
    return files("crop_core").joinpath(PROBE).read_bytes()


def _check_decoder(device: torch.device) -> str:
    import torch
    from torchvision.io import ImageReadMode, decode_jpeg

    from crop_core.photo.photo import open_photo

    data = torch.frombuffer(bytearray(_probe()), dtype=torch.uint8)
    ours = decode_jpeg(data, ImageReadMode.RGB, device=device).cpu().float()
    difference = (ours - open_photo(_probe()).pixels().float()).abs().mean().item()
    if difference > PIXEL_TOLERANCE:
        raise RuntimeError(f"its pixels are {difference:.1f} of 255 away from Pillow's")
    return f"runs; {difference:.1f} of 255 away from Pillow's pixels"


def _check_detection(device: str, cropper: Cropper | None) -> str:
    """Detect the probe's person and face, and compare with the CPU where the device is another."""
    from crop_core import Cropper, CropRequest

    request = CropRequest(detector="fast", score_threshold=0.6)
    cropper = cropper or Cropper(device=device, detector="fast")
    seen = cropper.crop(_probe(), request, dry_run=True)
    if {detection.label for detection in seen.detections} != PROBE_LABELS:
        raise RuntimeError(f"it found {_listed(seen)} where a person and a face are")
    if cropper.device.type == "cpu":
        return _listed(seen)
    on_cpu = Cropper(device="cpu", detector="fast").crop(_probe(), request, dry_run=True)
    if not _agree(seen.detections, on_cpu.detections):
        raise RuntimeError(f"it found {_listed(seen)}, and the CPU {_listed(on_cpu)}")
    return f"{_listed(seen)}, as on the CPU"


def _agree(ours: Sequence[Detection], theirs: Sequence[Detection]) -> bool:
    """Return whether two devices see the same, within the tolerances."""
    return len(ours) == len(theirs) and all(
        one.label == other.label
        and abs(one.score - other.score) <= SCORE_TOLERANCE
        and max(abs(a - b) for a, b in zip(one.box.xyxy, other.box.xyxy, strict=True)) <= BOX_TOLERANCE
        for one, other in zip(ours, theirs, strict=True)
    )


def _listed(result: CropResult) -> str:
    return ", ".join(f"{one.label} {one.score:.2f}" for one in result.detections) or "nothing"


def _accurate_weights(device: str) -> Finding:
    """Examine the file that a GPU's `auto` takes when it is there; elsewhere nobody needs it."""
    import torch

    from crop_core.detect import torchvision_models as torchvision
    from crop_core.detect.choose_detector import ACCURATE

    what = f"weights of {ACCURATE}"
    path = torchvision.weights_path(ACCURATE)
    if not path.is_file():
        return Finding(what, True, "absent; only the detector accurate needs them")
    return _tried(
        what,
        lambda: f"{len(torchvision.checked_file(ACCURATE)) / 1e6:.0f} MB, SHA-256 as in its name",
        f"Download the file again, or remove {path}",
        needed=device in ("auto", "cuda") and torch.cuda.is_available(),
    )
