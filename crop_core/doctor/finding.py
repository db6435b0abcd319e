"""One line of the diagnosis, and what mends what is wrong."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from crop_core.errors import CropError

PAIR = ("torch==2.10.0", "torchvision==0.25.0")  # as in requirements.txt; a test holds them together
MEND_PAIR = f"Mend it with: pip install --force-reinstall {' '.join(PAIR)}"
MEND_CROP_CORE = "Install crop-core again: pip install --force-reinstall --no-deps . in a new checkout."


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


def runnable(findings: Sequence[Finding]) -> bool:
    """Return whether the model can run: nothing that it needs is wrong."""
    return all(finding.ok or not finding.needed for finding in findings)


def tried(what: str, check: Callable[[], str], remedy: str, needed: bool = True) -> Finding:
    """Return the finding of a check that returns what it found or raises what is wrong."""
    try:
        return Finding(what, True, check(), needed=needed)
    except (CropError, RuntimeError, AssertionError, ImportError, OSError, ValueError, AttributeError) as error:
        return Finding(what, False, first_line(error), remedy, needed)


def first_line(error: Exception) -> str:
    """Return what the error says at first; CUDA's go on for a page."""
    text = str(error).strip().partition("\n")[0]
    return text if isinstance(error, CropError) else f"{type(error).__name__}: {text}"
