"""Patterns of paths and addresses: * and ** as in photos/**/*.jpg."""

from __future__ import annotations

import re
from functools import lru_cache

import fsspec

from crop_core.errors import RequestError


def is_glob(source: str) -> bool:
    """Return whether a path or an address has a wildcard."""
    return any(mark in source for mark in "*?[")


@lru_cache(maxsize=64)
def glob_pattern(glob: str) -> re.Pattern[str]:
    """Return the regular expression that a whole path or name must match.

    Raises:
        RequestError: The pattern is malformed.
    """
    try:
        return re.compile(str(fsspec.utils.glob_translate(glob)))
    except ValueError as error:
        raise RequestError(
            f"{glob} is not a pattern: ** stands only for whole folders. Write it as in photos/**/*.jpg."
        ) from error


def fixed_part(pattern: str) -> str:
    """Return the folder that a pattern names before its first wildcard."""
    fixed = []
    for part in pattern.split("/"):
        if is_glob(part):
            break
        fixed.append(part)
    return "/".join(fixed) or "/"
