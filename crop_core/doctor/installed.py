"""Checks what is installed: torch, torchvision and the weights. Their versions are read before they are imported.

`from torchvision import _C` proves nothing: on every healthy Linux install it raises ``ImportError:
dynamic module does not define module export function (PyInit__C)``. `_C.so` is an operator library,
which torchvision loads with `torch.ops.load_library` (pytorch/vision, torchvision/csrc/vision.cpp
defines PyInit__C only on Windows).
"""

from __future__ import annotations

import ctypes
import platform
import re
from collections.abc import Sequence
from functools import partial
from importlib import import_module
from importlib.metadata import Distribution, distributions
from importlib.util import find_spec
from pathlib import Path

from crop_core.detect.weights.load import SHA256, checked_bytes
from crop_core.doctor.finding import REINSTALL_CROP_CORE, REPAIR_PAIR, Finding, first_line, tried


def torch_findings() -> tuple[list[Finding], bool]:
    """Return the findings on PyTorch alone, which is all that a CPU needs; and whether PyTorch loads."""
    found = {"torch": list(distributions(name="torch"))}
    loads = tried("PyTorch loads", _load_torch, REPAIR_PAIR)
    return [_versions(found), loads], loads.ok


def installed_findings() -> tuple[list[Finding], bool]:
    """Return the findings on what is installed; and whether both torch and torchvision load."""
    found = {name: list(distributions(name=name)) for name in ("torch", "torchvision")}
    findings = [_versions(found)]
    remedy = REPAIR_PAIR
    if all(found.values()):
        pair = _pair(found["torch"], found["torchvision"])
        findings.append(pair)
        remedy = remedy if pair.ok else f"{pair.found}. {pair.remedy}"
    loads = tried("PyTorch loads", _load, remedy)
    findings.append(loads)
    return ([*findings, _operator_library(), _cuda_builds()] if loads.ok else findings), loads.ok


def weights_findings() -> list[Finding]:
    """Return the findings on the shipped weights."""
    return [tried(f"weights {file}", partial(_check_weights, file), REINSTALL_CROP_CORE) for file in SHA256]


def engine_finding() -> Finding:
    """Return which engine runs the networks on a CPU. PyTorch is in order, too, but slower."""
    from crop_core.detect.openvino_engine import openvino

    package = openvino()
    if package is not None:
        return Finding("engine", True, f"OpenVINO {package.__version__.partition('-')[0]} runs the networks on a CPU")
    return Finding(
        "engine",
        True,
        "PyTorch runs the networks on a CPU. OpenVINO, which is faster, is not installed or does not load: "
        "pip install openvino",
    )


def _versions(found: dict[str, list[Distribution]]) -> Finding:
    versions = {name: several[0].version if several else "absent" for name, several in found.items()}
    text = f"Python {platform.python_version()}, " + ", ".join(f"{name} {v}" for name, v in versions.items())
    missing = [name for name, several in found.items() if not several]
    remedy = f"{' and '.join(missing)} must be installed for this Python. {REPAIR_PAIR}"
    return Finding("versions", not missing, text, remedy if missing else "")


def _pair(torches: Sequence[Distribution], torchvisions: Sequence[Distribution]) -> Finding:
    """Compare the installed torch with the one that torchvision says it is built for.

    A difference is not fatal: what counts is whether torchvision's operators load.
    """
    wanted = next((r for r in torchvisions[0].requires or [] if re.match(r"torch\b", r)), "")
    match = re.search(r"==\s*([^\s,;)]+)", wanted)
    torch_version, vision_version = torches[0].version, torchvisions[0].version
    if match is None:
        return Finding("matched pair", True, f"torchvision {vision_version} does not say which torch it is built for")
    if torch_version.partition("+")[0] == match[1].partition("+")[0]:
        return Finding("matched pair", True, f"torchvision {vision_version} is built for torch {match[1]}")
    said = f"torchvision {vision_version} is built for torch {match[1]}, and torch {torch_version} is installed"
    remedy = REPAIR_PAIR
    for several in (torches, torchvisions):
        if len(several) > 1:
            remedy = (
                f"{several[0].name} is installed more than once ({' and '.join(one.version for one in several)}), and "
                f"the first is used. Take {several[0].locate_file('')} out of PYTHONPATH, or remove that copy."
            )
    return Finding("matched pair", False, said, remedy, needed=False)


def _load() -> str:
    """Load the pair.

    Raises:
        RuntimeError: torchvision's operators do not load; the message says why.
        ImportError: One of the two is missing or damaged.
        OSError: A library that they need is missing.
    """
    import torch

    try:
        import torchvision
    except RuntimeError as error:
        if "does not exist" not in str(error):  # operator torchvision::nms does not exist
            raise
        raise RuntimeError(f"{error} ({_operators_fault()})") from error
    return f"torch {torch.__version__}, torchvision {torchvision.__version__}"


def _load_torch() -> str:
    import torch

    return f"torch {torch.__version__}"


def _operators_fault() -> str:
    """Return why torchvision's operator library does not load: torchvision itself ignores that error."""
    spec = find_spec("torchvision")
    folder = next(iter(spec.submodule_search_locations or []), None) if spec else None
    libraries = [path for path in sorted(Path(folder).glob("_C*")) if path.suffix in (".so", ".pyd")] if folder else []
    if not libraries:
        return "its operator library _C.so is missing"
    try:
        ctypes.CDLL(str(libraries[0]))
    except OSError as error:
        return first_line(error)
    return "its operator library loads, but lacks the operators"


def _check_weights(file: str) -> str:
    return f"{len(checked_bytes(file)) / 1e6:.1f} MB, SHA-256 as shipped"


def _operator_library() -> Finding:
    """Return what `from torchvision import _C` does here: people take its ImportError for the cause."""
    what = "from torchvision import _C"
    try:
        import_module("torchvision._C")
    except ImportError as error:
        if "PyInit__C" in str(error):
            said = (
                "raises ImportError (… PyInit__C), as on every healthy Linux install: _C.so is an operator library, "
                "not a Python module. Nothing is wrong; the checks of the operators below count"
            )
            return Finding(what, True, said)
        return Finding(what, False, f"ImportError: {error}", REPAIR_PAIR, needed=False)
    return Finding(what, True, "works")


def _cuda_builds() -> Finding:
    import torch

    return judged_builds(torch.version.cuda, torch.ops.torchvision._cuda_version())


def judged_builds(own: str | None, vision: int) -> Finding:
    """Compare the CUDA versions that torch and torchvision are built for.

    Args:
        own: `torch.version.cuda`; none for a build without CUDA.
        vision: `torch.ops.torchvision._cuda_version()`: 12080 for 12.8, -1 for a build without CUDA.
    """
    theirs = None if vision < 0 else f"{vision // 1000}.{vision % 1000 // 10}"
    if own == theirs:
        return Finding("CUDA builds", True, f"both for CUDA {own}" if own else "both without CUDA")
    names = [f"CUDA {version}" if version else "the CPU alone" for version in (own, theirs)]
    said = f"torch is built for {names[0]}, torchvision for {names[1]}"
    return Finding("CUDA builds", False, said, f"Both must come from one index. {REPAIR_PAIR}")
