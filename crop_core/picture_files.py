"""Pictures in folders of this machine, and the folder that each one's crops go to. Standard library only.

`crop` and `batch` share both: the path below the source, with its ending, names a picture's folder.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

RECORD_NAME = "detections.json"
MAX_NAME = 180  # bytes of one part of a path; file systems allow 255, and the suffixes of files need some of them

# A file with one of these endings counts as a picture. Its bytes tell its real format later.
# fmt: off
PICTURE_ENDINGS = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".webp", ".avif", ".avifs", ".heic", ".heif", ".hif",
    ".tif", ".tiff", ".bmp", ".dib", ".gif", ".jp2", ".j2k", ".jxl", ".svg", ".psd", ".ico",
)
# fmt: on


_PIECE = 2**20  # bytes


def read_at_most(path: str | os.PathLike[str], most: int) -> bytes:
    """Return a file's bytes; of a longer file the first `most` + 1, so that the caller sees that it is too long.

    Args:
        path: A file, a pipe or a device. The last two may have no end.
        most: In bytes.

    Raises:
        OSError: The file cannot be read.
    """
    with open(path, "rb") as file:
        parts = [file.read(min(os.fstat(file.fileno()).st_size, most) + 1)]
        length = len(parts[0])
        while length <= most and (part := file.read(min(_PIECE, most + 1 - length))):
            parts.append(part)
            length += len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A picture in a folder, or a folder that cannot be searched.

    Attributes:
        path: Of the picture or the folder.
        error: Why the folder cannot be searched; empty for a picture.
    """

    path: str
    error: str = ""


def walk_pictures(
    folder: str, endings: Sequence[str] = PICTURE_ENDINGS, skip: Callable[[str], bool] | None = None
) -> Iterator[FoundFile]:
    """Yield the pictures in a folder and in the folders below it, but no hidden ones.

    Links are followed. A folder that a link leads back to is searched once.

    Args:
        folder: Where to begin.
        endings: What a picture's name ends with, in lower case.
        skip: Returns true for the absolute path of a folder that is to be left out.
    """
    folders, met = [folder], set()
    while folders:
        below = []
        here = folders.pop()
        try:
            status = os.stat(here)
            with os.scandir(here) as entries:
                if (status.st_dev, status.st_ino) in met:
                    continue
                met.add((status.st_dev, status.st_ino))
                for entry in entries:  # as they come: a folder may hold a million
                    if entry.name.startswith("."):
                        continue
                    if entry.is_dir():
                        if skip is None or not skip(os.path.abspath(entry.path)):
                            below.append(entry.path)
                    elif entry.name.lower().endswith(tuple(endings)) and (entry.is_file() or entry.is_symlink()):
                        yield FoundFile(entry.path)
        except FileNotFoundError:
            continue  # gone by now
        except OSError as error:
            yield closed_folder(here, error)
        folders += sorted(below, reverse=True)


def closed_folder(path: str, error: OSError) -> FoundFile:
    """Return an entry for a folder that cannot be searched; without it its pictures would be missing silently."""
    return FoundFile(path, f"The folder cannot be read: {error.strerror}. Give this user the right to read it.")


def folder_below(path: str, source: str, several: bool) -> str:
    """Return the name of a picture's folder below OUT: its path below its source, with its ending.

    Args:
        path: The picture's.
        source: The folder that it was found in, or the picture itself.
        several: Whether there are other sources; the result then begins with the source's own name.
    """
    if path == source:
        return os.path.basename(path)
    below = os.path.relpath(path, source)
    return os.path.join(os.path.basename(os.path.abspath(source)), below) if several else below


def safe_folder(name: str) -> str:
    """Return a relative path that stays in OUT, whatever the name holds."""
    parts = []
    for part in re.split("/+", name.replace("\0", "")):
        if part in ("", ".", ".."):
            continue
        raw = part.encode(errors="surrogateescape")
        parts.append(part if len(raw) <= MAX_NAME else raw[: MAX_NAME - 9].decode(errors="ignore") + key_of(part))
    return "/".join(parts) or "picture"


def key_of(text: str) -> str:
    """Return a suffix that tells two folders of one name apart: ~ and eight hex digits of the text's SHA-256."""
    return "~" + hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:8]


class CropFolders:
    """Gives each picture a folder of its own in OUT.

    A name gets a suffix made from the picture's own path (cat.jpg~1a2b3c4d) if another picture has that name, or if
    the folder holds another picture's crops. Case is ignored, as some file systems do.
    """

    def __init__(self, out: str) -> None:
        """Start with no name taken."""
        self._out = out
        self._taken: set[str] = set()

    def take(self, name: str, source: str) -> str:
        """Return the path of the folder for the picture.

        Args:
            name: As `folder_below` returns it.
            source: The picture's name in its record.
        """
        chosen = safe_folder(name)
        if chosen.casefold() in self._taken or self._is_anothers(chosen, source):
            chosen += key_of(os.path.abspath(source))
        self._taken.add(chosen.casefold())
        return os.path.join(self._out, chosen)

    def _is_anothers(self, name: str, source: str) -> bool:
        """Return whether a file stands in the folder's place, or the folder holds the record of another picture."""
        folder = os.path.join(self._out, name)
        if os.path.exists(folder) and not os.path.isdir(folder):
            return True
        try:
            with open(os.path.join(folder, RECORD_NAME), "rb") as file:
                record = json.load(file)
            return isinstance(record, dict) and record.get("source") != source
        except (OSError, ValueError):  # no record
            return False
