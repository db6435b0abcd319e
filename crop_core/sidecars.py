"""Sidecars: files beside a picture, such as captions, that are copied beside its crops. Standard library only."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from crop_core.errors import ImageError, RequestError
from crop_core.picture_files import PICTURE_ENDINGS, read_at_most

MAX_SIDECARS = 10
MAX_SIDECAR_BYTES = 2**20  # a caption has a few hundred bytes
_ENDING = re.compile(r"[A-Za-z0-9_]{1,16}")


def parse_sidecars(text: str) -> tuple[str, ...]:
    """Return the endings of text like ``txt,caption``; none for empty text.

    Raises:
        RequestError: One cannot be a sidecar's ending.
    """
    endings = tuple(dict.fromkeys(part.strip().removeprefix(".") for part in text.split(","))) if text.strip() else ()
    for ending in endings:
        if not _ENDING.fullmatch(ending) or "." + ending.lower() in PICTURE_ENDINGS or len(endings) > MAX_SIDECARS:
            raise RequestError(
                f"sidecars is at most {MAX_SIDECARS} endings of files that are not pictures, such as txt or "
                f"txt,caption; got {text[:60]!r}."
            )
    return endings


def is_ending(ending: object) -> bool:
    """Return whether a sidecar may have that ending."""
    return isinstance(ending, str) and _ENDING.fullmatch(ending) is not None


def beside(name: str, ending: str) -> str:
    """Return the name or address with its ending replaced; a web address keeps its query."""
    path, mark, query = name.partition("?") if name.startswith(("http://", "https://")) else (name, "", "")
    folder, slash, file = path.rpartition("/")
    return f"{folder}{slash}{file.rpartition('.')[0] or file}.{ending}{mark}{query}"


def read_sidecars(address: str, endings: Iterable[str], read: Callable[[str], bytes | None]) -> dict[str, bytes]:
    """Return ending -> bytes of a picture's sidecars; those that are not there are left out.

    Args:
        address: The picture's.
        endings: Of the sidecars.
        read: Returns a file's bytes; none if it is not there.

    Raises:
        ImageError: A sidecar is too large.
    """
    found = {ending: data for ending in endings if (data := read(beside(address, ending))) is not None}
    for ending, data in found.items():
        if len(data) > MAX_SIDECAR_BYTES:
            raise ImageError(
                f"The .{ending} file beside the picture has {len(data)} bytes; at most {MAX_SIDECAR_BYTES} are copied. "
                "Leave it out of sidecars."
            )
    return found


def read_local(path: str) -> bytes | None:
    """Return a file's bytes, at most one more than the limit; none if it is not there.

    Raises:
        ImageError: The file cannot be read.
    """
    try:
        return read_at_most(path, MAX_SIDECAR_BYTES)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ImageError(
            f"The .{path.rpartition('.')[2]} file beside the picture cannot be read: {error.strerror}. Give this user "
            "the right to read it, or leave it out of sidecars."
        ) from error
