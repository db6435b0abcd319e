"""Which pictures files and folders mean, and which folder each one's crops go to."""

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
        path: The file's.
        source: Its name in the report.
        folder: Where its crops go.
        error: Why it cannot be read, where that is known already.
    """

    path: Path
    source: str
    folder: Path
    error: str = ""


def list_pictures(sources: Sequence[Path], out: Path) -> Iterator[Picture]:
    """Yield every picture: files as given, folders by their pictures' endings, in the order of their paths.

    A file that several sources name is yielded once. What an earlier run wrote into OUT is no picture.
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
    """Return whether it is one; /dev/zero has no end. A pipe is read, as of `<(command)`."""
    return path.is_char_device() or path.is_block_device()


def _is_crop(path: Path, source: Path, out: Path) -> bool:
    """Return whether an earlier run wrote the file: a second one does not crop the crops of the first.

    A folder of crops inside the source holds nothing else. Where the source lies in it instead,
    or is it, the record beside the crops tells them from the pictures.
    """
    path, source, out = path.resolve(), source.resolve(), out.resolve()
    return out in path.parents and (source in out.parents or (path.parent / RECORD_NAME).exists())
