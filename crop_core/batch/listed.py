"""One picture, as its source names it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Listed:
    """One picture, as its source names it.

    Attributes:
        source: Its name for the report.
        address: Where it lies: an absolute path, or an fsspec address.
        folder: Where its crops go, below OUT.
        size: Its length in bytes, where the source says.
        mark: What is another when the picture is: its time of change, an object's ETag, a manifest's
            column `version`. Empty where the source says nothing.
        inputs: The request's inputs that are its own.
        error: Why it cannot be done, where that is known already.
    """

    source: str
    address: str
    folder: str
    size: int | None = None
    mark: str = ""
    inputs: Mapping[str, Any] = field(default_factory=dict)
    error: str | None = None


def as_text(text: str) -> str:
    """Return a file's name as text, also where it is in no encoding."""
    return text.encode("utf-8", "backslashreplace").decode()
