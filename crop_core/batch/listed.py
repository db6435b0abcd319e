"""One picture, as its source names it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Listed:
    """One picture, as its source names it.

    Attributes:
        source: Its name in the report.
        address: Where it lies: an absolute path, or an fsspec address.
        folder: Where its crops go, below OUT.
        size: Its length in bytes; none if the source does not say.
        mark: A text that changes when the picture does: its modification time, an object's ETag, a
            manifest's column `version`. Empty if the source does not say.
        inputs: The picture's own inputs.
        error: Why it cannot be cropped, if that is known already.
    """

    source: str
    address: str
    folder: str
    size: int | None = None
    mark: str = ""
    inputs: Mapping[str, Any] = field(default_factory=dict)
    error: str | None = None


def as_text(text: str) -> str:
    """Return a file's name as valid Unicode; bytes that are not UTF-8 become backslash escapes."""
    return text.encode("utf-8", "backslashreplace").decode()
