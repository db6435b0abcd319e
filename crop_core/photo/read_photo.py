"""Reads a picture that the caller gives as bytes or as a path."""

from __future__ import annotations

import os
from os import PathLike

from crop_core.errors import ImageError
from crop_core.photo.limits import check_bytes, limits
from crop_core.picture_files import read_at_most

Picture = bytes | bytearray | memoryview | str | PathLike[str]


def read_photo(path: str | PathLike[str]) -> bytes:
    """Return the bytes of a picture file. A file beyond the limit `max_bytes` is not read further.

    Raises:
        ImageError: The file is too large or cannot be read.
    """
    most = limits().max_bytes
    try:
        check_bytes(os.stat(path).st_size)
        data = read_at_most(path, most)
    except OSError as error:
        raise ImageError(f"The file cannot be read: {error.strerror}. Check its path and its permissions.") from error
    except ValueError as error:  # a null character in the path, or one that no encoding has
        if isinstance(error, ImageError):
            raise
        raise ImageError("The file cannot be read: no file can have this path. Check the path.") from error
    if len(data) > most:
        raise ImageError(f"The file does not end within {limits().max_bytes} bytes. Send a smaller file.")
    return data


def bytes_of(picture: Picture) -> bytes:
    """Return the bytes of a picture that is given as bytes or as a path.

    Raises:
        ImageError: The file is too large or cannot be read, or `picture` is neither bytes nor a path.
    """
    if isinstance(picture, str | PathLike):
        return read_photo(picture)
    if isinstance(picture, bytes):
        return picture
    if isinstance(picture, bytearray | memoryview):
        return bytes(picture)
    raise ImageError(f"Expected a picture file's bytes or its path, got {type(picture).__name__}.")


def path_of(picture: Picture) -> str:
    """Return the path of a picture that is given as a path; empty for bytes."""
    return os.fsdecode(picture) if isinstance(picture, str | PathLike) else ""
