"""A picture as callers give it: the bytes of a file, or its path."""

from __future__ import annotations

import os
from os import PathLike

from crop_core.errors import ImageError
from crop_core.photo.limits import check_bytes, limits
from crop_core.picture_files import read_at_most

Picture = bytes | bytearray | memoryview | str | PathLike[str]


def read_photo(path: str | PathLike[str]) -> bytes:
    """Return the bytes of a picture file; of one beyond `max_bytes` hardly more than these are read.

    Raises:
        ImageError: The file is too large or cannot be read.
    """
    most = limits().max_bytes
    try:
        check_bytes(os.stat(path).st_size)
        data = read_at_most(path, most)
    except OSError as error:
        raise ImageError(f"The file cannot be read: {error.strerror}.") from error
    except ValueError as error:  # a 0 in its name
        if isinstance(error, ImageError):
            raise
        raise ImageError("The file cannot be read: it has a name that no file can have.") from error
    if len(data) > most:
        raise ImageError(
            f"The file goes on beyond {limits().max_bytes} bytes, the most that are accepted. Send a file that ends."
        )
    return data


def bytes_of(picture: Picture) -> bytes:
    """Return the bytes of a picture, which may be given by its path.

    Raises:
        ImageError: Its file is too large or cannot be read, or it is neither.
    """
    if isinstance(picture, str | PathLike):
        return read_photo(picture)
    if isinstance(picture, bytes):
        return picture
    if isinstance(picture, bytearray | memoryview):
        return bytes(picture)
    raise ImageError(f"Expected the bytes of a picture file, or its path, and got {type(picture).__name__}.")


def path_of(picture: Picture) -> str:
    """Return the path by which a picture is given; empty where its bytes are."""
    return os.fsdecode(picture) if isinstance(picture, str | PathLike) else ""
