"""Lists the pictures of files and folders, with the folder that each one's crops go to."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from crop_core.picture_files import RECORD_NAME, CropFolders, folder_below, walk_pictures


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture to crop.

    Attributes:
        path: The file's path.
        source: Its name in the report.
        folder: Where its crops go.
        error: Why it cannot be read, if that is known already.
    """

    path: Path
    source: str
    folder: Path
    error: str = ""


def list_pictures(sources: Sequence[Path], out: Path) -> Iterator[Picture]:
    """Yield every picture: files as given, and the pictures in folders in the order of their paths.

    A file that several sources name is yielded once. Crops that an earlier run wrote into OUT are left out.
    """
    folders = CropFolders(str(out))
    seen: set[str] = set()
    for source in sources:
        found = [(str(source), "It is a device. Name a picture file." if _is_device(source) else "")]
        if source.is_dir():
            found = sorted((one.path, one.error) for one in walk_pictures(str(source)))
            found = [(path, error) for path, error in found if error or not _is_crop(Path(path), source, out)]
        for path, error in found:
            name = os.path.abspath(path)
            if name not in seen:
                seen.add(name)
                below = folder_below(path, str(source), len(sources) > 1)
                yield Picture(Path(path), path, Path(folders.take(below, path)), error)


def _is_device(path: Path) -> bool:
    """Return whether it is a device, such as /dev/zero, which has no end. Pipes are allowed, as in `<(command)`."""
    return path.is_char_device() or path.is_block_device()


def _is_crop(path: Path, source: Path, out: Path) -> bool:
    """Return whether an earlier run wrote the file: a second run must not crop the crops of the first.

    If OUT lies inside the source, it holds nothing but crops. If the source is OUT or lies inside it, crops
    are known by the record beside them.
    """
    path, source, out = path.resolve(), source.resolve(), out.resolve()
    return out in path.parents and (source in out.parents or (path.parent / RECORD_NAME).exists())
