"""One finding of the doctor, and the remedies that several findings share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from crop_core.errors import CropError

PAIR = ("torch==2.10.0", "torchvision==0.25.0")  # as in requirements.txt; a test holds them together
REPAIR_PAIR = f"Repair it with: pip install --force-reinstall {' '.join(PAIR)}"
REINSTALL_CROP_CORE = "Install crop-core again: pip install --force-reinstall --no-deps . in a new checkout."


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding of the doctor, printed as one line.

    Attributes:
        what: What was checked.
        ok: Whether it is as it should be.
        found: What was found.
        remedy: If it is not: the cause, and what repairs it.
        needed: Whether the model cannot run without it.
    """

    what: str
    ok: bool
    found: str
    remedy: str = ""
    needed: bool = True


def runnable(findings: Sequence[Finding]) -> bool:
    """Return whether the model can run: everything that it needs is in order."""
    return all(finding.ok or not finding.needed for finding in findings)


def tried(what: str, check: Callable[[], str], remedy: str, needed: bool = True) -> Finding:
    """Run a check, which returns what it found or raises an error, and return the finding."""
    try:
        return Finding(what, True, check(), needed=needed)
    except (CropError, RuntimeError, AssertionError, ImportError, OSError, ValueError, AttributeError) as error:
        return Finding(what, False, first_line(error), remedy, needed)


def first_line(error: Exception) -> str:
    """Return the first line of an error's message; CUDA's messages fill a page."""
    text = str(error).strip().partition("\n")[0]
    return text if isinstance(error, CropError) else f"{type(error).__name__}: {text}"
