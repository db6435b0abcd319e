"""Pictures on this machine's disks: folders, globs, files."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from typing import Any

from crop_core.batch.globs import fixed_part, glob_pattern, is_glob
from crop_core.batch.listed import Listed, as_text
from crop_core.batch.storage import local_path
from crop_core.errors import RequestError
from crop_core.picture_files import FoundFile, closed_folder, folder_below, walk_pictures


def list_local(source: str, out: str, endings: Sequence[str], many: bool) -> Iterator[Listed]:
    """Yield the pictures of a path.

    Args:
        source: A folder, a file or a glob.
        out: OUT's absolute path; it is left out.
        endings: The endings that make a file in a folder a picture, in lower case.
        many: Whether there are other sources.

    Raises:
        RequestError: The source does not exist.
    """
    source = local_path(source)
    if os.path.isdir(source):
        for found in walk_pictures(source, endings, skip=lambda path: path == out):
            yield _listed(found, folder_below(found.path, source, many))
    elif os.path.exists(source):
        yield local_file(source, os.path.basename(source))
    elif is_glob(source):
        matched = False
        pattern = os.path.abspath(source)
        fixed = fixed_part(pattern)
        for found in _matches(pattern, fixed, out):
            matched = True
            yield _listed(found, os.path.relpath(found.path, fixed))
        if not matched:
            raise RequestError(f"No file matches {source}. Check the pattern.")
    else:
        raise RequestError(f"There is no {source}. Check the path.")


def _listed(found: FoundFile, folder: str) -> Listed:
    if found.error:
        return Listed(as_text(found.path), os.path.abspath(found.path), as_text(found.path), error=found.error)
    return local_file(found.path, folder)


def _matches(pattern: str, fixed: str, out: str) -> Iterator[FoundFile]:
    """Yield the files that match a glob, except those in OUT, one by one: there may be a million."""
    matches, parts = glob_pattern(pattern), pattern.removeprefix(fixed).strip("/").split("/")
    deepest = math.inf if "**" in parts else len(parts)
    folders = [(fixed, 1)]
    while folders:
        folder, depth = folders.pop()
        below = []
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.is_dir():
                        wanted = "**" in parts[:depth] or glob_pattern(parts[depth - 1]).match(entry.name)
                        loops = "**" in parts and entry.is_symlink()
                        if depth < deepest and wanted and not loops and entry.path != out:
                            below.append((entry.path, depth + 1))
                    elif matches.match(entry.path) and entry.is_file():
                        yield FoundFile(entry.path)
        except (FileNotFoundError, NotADirectoryError):
            # The fixed part of the glob does not exist, or the folder is gone by now.
            continue
        except OSError as error:
            yield closed_folder(folder, error)
        folders += sorted(below, reverse=True)


def local_file(path: str, folder: str, **more: Any) -> Listed:
    """Return a file of this machine as a picture."""
    size, mark = None, ""
    try:
        status = os.stat(path)
        size, mark = status.st_size, str(status.st_mtime_ns)
    except (OSError, ValueError):
        pass  # reading the file later reports the error
    return Listed(more.pop("source", as_text(path)), os.path.abspath(path), as_text(folder), size, mark, **more)
