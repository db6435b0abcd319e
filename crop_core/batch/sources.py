"""What there is to crop: folders, globs, manifests and single pictures, on disks and object stores.

Everything is a stream; nothing is opened but manifests, and no picture is looked at.
"""

from __future__ import annotations

import csv
import io
import json
import math
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from functools import lru_cache
from typing import Any
from urllib.parse import unquote, urlsplit

import fsspec

from crop_core.batch.storage import WEB, absolute, file_system, is_local, join, protocol_of
from crop_core.errors import RequestError
from crop_core.request import CropRequest

MANIFESTS = (".csv", ".jsonl", ".ndjson", ".parquet")
PACKED = (".gz", ".bz2", ".xz")  # of a manifest that is text
COLUMN = "image"  # the column of paths, named as the model's input
VERSION_COLUMN = "version"  # any text that changes when the picture does
MAX_CELL = 2**20  # characters
LISTED_AT_ONCE = 1_000  # objects; S3 sends no more in one answer

INPUTS = {"aspect_ratio" if entry.name == "aspect_ratios" else entry.name: entry for entry in fields(CropRequest)}
_TRUE, _FALSE = ("true", "yes", "1"), ("false", "no", "0")


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


def list_sources(
    sources: Sequence[str], out: str, endings: Sequence[str], column: str, ignored: Callable[[str], None]
) -> Iterator[Listed]:
    """Yield every picture of the sources.

    Args:
        sources: Folders, globs, manifests and pictures.
        out: Where the crops go; what lies there is no source.
        endings: The endings that make a file in a folder a picture, in lower case.
        column: A manifest's column of paths.
        ignored: Told the name of each column that a manifest has and nobody reads.

    Raises:
        RequestError: A source is not there, or a manifest is none.
    """
    many = len(sources) > 1
    for source in sources:
        _check_out(source, out)
        if is_manifest(source):
            yield from _manifest(source, column, ignored)
        elif is_local(source):
            yield from _local(source, absolute(out), endings, many)
        else:
            yield from _remote(source, out, endings, many)


def is_manifest(source: str) -> bool:
    """Return whether a source is a table of pictures, by its name."""
    return _manifest_name(source).lower().endswith(MANIFESTS)


def _manifest_name(source: str) -> str:
    """Return the name that tells a manifest's kind: without what packed it, and without an address's query."""
    name = urlsplit(source).path if protocol_of(source) in WEB else source
    head, dot, ending = name.rpartition(".")
    return head if dot + ending.lower() in PACKED else name


def _check_out(source: str, out: str) -> None:
    inside, outside = absolute(source), absolute(out)
    if inside == outside or inside.startswith(join(outside, "")):
        raise RequestError(
            f"The crops would go among the pictures: {out} is {source}, or lies above it. "
            "Choose an OUT beside it or below it."
        )


def _shown(text: str) -> str:
    """Return a file's name as text, also where it is in no encoding."""
    return text.encode("utf-8", "backslashreplace").decode()


# ---- disks


def _local(source: str, out: str, endings: Sequence[str], many: bool) -> Iterator[Listed]:
    source = source.removeprefix("file://")
    if os.path.isdir(source):
        base = os.path.basename(os.path.abspath(source)) if many else ""
        for entry in _walk(source, out, endings):
            folder = join(base, os.path.relpath(entry, source)) if base else os.path.relpath(entry, source)
            yield _local_file(entry, folder)
    elif os.path.exists(source):
        yield _local_file(source, os.path.basename(source))
    elif _is_glob(source):
        found = False
        pattern = os.path.abspath(source)
        fixed = _fixed_part(pattern)
        for path in _matches(pattern, fixed, out):
            found = True
            yield _local_file(path, os.path.relpath(path, fixed))
        if not found:
            raise RequestError(f"No file is named like {source}.")
    else:
        raise RequestError(f"There is no {source}.")


def _walk(folder: str, out: str, endings: Sequence[str]) -> Iterator[str]:
    """Yield the paths of a folder's pictures, hidden ones and those in OUT left out."""
    folders = [folder]
    while folders:
        below = []
        with _scanned(folders.pop()) as entries:  # as they come: a folder may hold a million
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    if os.path.abspath(entry.path) != out:
                        below.append(entry.path)
                elif entry.name.lower().endswith(tuple(endings)) and entry.is_file():
                    yield entry.path
        folders += sorted(below, reverse=True)


@contextmanager
def _scanned(folder: str) -> Iterator[Iterator[os.DirEntry[str]]]:
    """Yield a folder's entries.

    Raises:
        RequestError: It is closed to us; what it holds must not be missing without a word.
    """
    try:
        entries = os.scandir(folder)
    except (FileNotFoundError, NotADirectoryError):  # of a glob the first part, or gone by now
        yield iter(())
        return
    except OSError as error:
        raise RequestError(
            f"The folder {_shown(folder)} cannot be read: {error.strerror}. Open it to this user, or name others."
        ) from error
    with entries:
        yield entries


def _matches(pattern: str, fixed: str, out: str) -> Iterator[str]:
    """Yield the paths of the files that a glob means, those in OUT left out, as they come: there may be a million."""
    matches, parts = _pattern(pattern), pattern.removeprefix(fixed).strip("/").split("/")
    deepest = math.inf if "**" in parts else len(parts)
    folders = [(fixed, 1)]
    while folders:
        folder, depth = folders.pop()
        below = []
        with _scanned(folder) as entries:
            for entry in entries:
                if entry.is_dir():
                    wanted = "**" in parts[:depth] or _pattern(parts[depth - 1]).match(entry.name)
                    loops = "**" in parts and entry.is_symlink()
                    if depth < deepest and wanted and not loops and entry.path != out:
                        below.append((entry.path, depth + 1))
                elif matches.match(entry.path) and entry.is_file():
                    yield entry.path
        folders += sorted(below, reverse=True)


def _local_file(path: str, folder: str, **more: Any) -> Listed:
    size, mark = None, ""
    try:
        status = os.stat(path)
        size, mark = status.st_size, str(status.st_mtime_ns)
    except (OSError, ValueError):
        pass  # whoever reads it will say what is wrong
    return Listed(more.pop("source", _shown(path)), os.path.abspath(path), _shown(folder), size, mark, **more)


# ---- object stores and the web


def _remote(source: str, out: str, endings: Sequence[str], many: bool) -> Iterator[Listed]:
    fs, path = file_system(source)
    if protocol_of(source) in WEB:
        yield Listed(source, source, _web_folder(source))
        return
    try:
        if fs.isfile(path):
            yield _remote_file(source, path.rpartition("/")[2], fs.info(path))
            return
        if _is_glob(source):
            files, fixed = _objects_like(fs, path), _fixed_part(path)
        else:
            files, fixed = _objects(fs, path), path
        base = path.rpartition("/")[2] if many and not _is_glob(source) else ""
        own = file_system(out)[1] + "/" if protocol_of(out) == protocol_of(source) else None
        count = 0
        for info in files:
            name = info["name"]
            inside = name.removeprefix(fixed).lstrip("/")
            if own is not None and name.startswith(own):
                continue
            if not _is_glob(source) and (
                not name.lower().endswith(tuple(endings)) or any(part.startswith(".") for part in inside.split("/"))
            ):
                continue
            count += 1
            yield _remote_file(f"{protocol_of(source)}://{name}", join(base, inside) if base else inside, info)
    except RequestError:
        raise
    except FileNotFoundError as error:
        raise RequestError(f"There is no {source}.") from error
    except Exception as error:  # each file system raises what its library does
        raise RequestError(f"{source} cannot be listed: {error}.") from error
    if not count and _is_glob(source):
        raise RequestError(f"No object is named like {source}.")


def _objects(fs: Any, path: str) -> Iterator[dict[str, Any]]:
    """Yield the objects below a prefix: of S3 as they come, else one folder of its first level after the other."""
    if hasattr(fs, "_iterdir"):
        bucket, key, _ = fs.split_path(path)
        found = False
        for info in _s3_objects(fs, bucket, f"{key.rstrip('/')}/" if key else ""):
            found = True
            if not info["name"].endswith("/"):  # a folder, as some tools make them
                yield info
        if not found:
            raise FileNotFoundError(path)
        return
    entries = fs.ls(path, detail=True, refresh=True)
    if not entries:
        raise FileNotFoundError(path)
    for entry in sorted(entries, key=lambda entry: str(entry["name"])):
        if entry["type"] == "file":
            yield entry
        else:
            yield from (info for _, info in sorted(fs.find(entry["name"], detail=True).items()))
            fs.invalidate_cache()  # or the listing would stay in memory


def _objects_like(fs: Any, pattern: str) -> Iterator[dict[str, Any]]:
    """Yield the objects that a glob means: of S3 as they come, else all at once."""
    matches = _pattern(pattern)
    if not hasattr(fs, "_iterdir"):
        yield from (info for info in fs.glob(pattern, detail=True).values() if info["type"] == "file")
        return
    bucket, key, _ = fs.split_path(pattern)
    if _is_glob(bucket):
        raise ValueError("a bucket's name takes no wildcards")
    start = re.split(r"[*?[]", key)[0]
    # What lies deeper is not listed where the wildcards are in the last part alone.
    delimiter = "" if "/" in key[len(start) :] or "**" in key else "/"
    for info in _s3_objects(fs, bucket, start, delimiter):
        if info["type"] == "file" and not info["name"].endswith("/") and matches.match(info["name"]):
            yield info


def _s3_objects(fs: Any, bucket: str, prefix: str, delimiter: str = "") -> Iterator[dict[str, Any]]:
    """Yield what S3 lists, a page in memory at a time; s3fs's own listing keeps all of it."""
    listing = fs._iterdir(bucket, delimiter=delimiter, prefix=prefix)

    async def page() -> list[dict[str, Any]]:
        infos: list[dict[str, Any]] = []
        async for info in listing:
            infos.append(info)
            if len(infos) == LISTED_AT_ONCE:
                break
        return infos

    while infos := fsspec.asyn.sync(fs.loop, page):
        yield from infos


def _remote_file(address: str, folder: str, info: Mapping[str, Any]) -> Listed:
    marks = (info.get(name) for name in ("ETag", "etag", "md5Hash", "LastModified", "updated", "mtime"))
    mark = next((str(mark).strip('"') for mark in marks if mark), "")
    return Listed(address, address, folder, info.get("size"), mark)


def _web_folder(address: str) -> str:
    parts = urlsplit(address)
    query = f"?{parts.query}" if parts.query else ""
    return f"{parts.netloc}/{unquote(parts.path)}{query}"


def _is_glob(source: str) -> bool:
    return any(mark in source for mark in "*?[")


@lru_cache(maxsize=64)
def _pattern(glob: str) -> re.Pattern[str]:
    """Return what a whole path or name must match.

    Raises:
        RequestError: The pattern makes no sense.
    """
    try:
        return re.compile(str(fsspec.utils.glob_translate(glob)))
    except ValueError as error:
        raise RequestError(f"{glob} is no pattern: ** stands for whole folders, as in photos/**/*.jpg.") from error


def _fixed_part(pattern: str) -> str:
    """Return the folder that a pattern names before its first wildcard."""
    fixed = []
    for part in pattern.split("/"):
        if _is_glob(part):
            break
        fixed.append(part)
    return "/".join(fixed) or "/"


# ---- manifests


def _manifest(source: str, column: str, ignored: Callable[[str], None]) -> Iterator[Listed]:
    told: set[str] = set()
    web = protocol_of(source) in WEB  # its query, which may hold slashes, is no part of the folder
    base = absolute(urlsplit(source)._replace(query="", fragment="").geturl() if web else source).rpartition("/")[0]
    try:
        for number, row in enumerate(_rows(source, column), 1):
            name = f"{source}, row {number}"
            if isinstance(row, str):
                yield _unusable(name, row)
                continue
            path = row.get(column)
            if not isinstance(path, str) or not path.strip():
                yield _unusable(name, f"The row has no {column}. Give it a path or an address.")
                continue
            for extra in row.keys() - INPUTS.keys() - {column, VERSION_COLUMN} - told:
                told.add(extra)
                ignored(extra)
            inputs = {key: _value(key, row[key]) for key in INPUTS.keys() & row.keys()}
            inputs = {key: value for key, value in inputs.items() if value is not None}
            yield _named(path.strip(), base, inputs, row.get(VERSION_COLUMN))
    except RequestError:
        raise
    except FileNotFoundError as error:
        raise RequestError(f"There is no {source}.") from error
    except UnicodeDecodeError as error:
        raise RequestError(f"{source} is not in UTF-8. Save it anew in UTF-8.") from error
    except Exception as error:  # each file system and each format raises what its library does
        text = " ".join(str(error).split()) or type(error).__name__
        raise RequestError(f"{source} cannot be read as a manifest: {text[:200]}.") from error


def _unusable(name: str, error: str) -> Listed:
    return Listed(_shown(name), name, _shown(name), error=error)


def _named(path: str, base: str, inputs: dict[str, Any], version: Any) -> Listed:
    """Return the picture of a manifest's row; a relative path is meant from the manifest's own folder."""
    more: dict[str, Any] = {"inputs": inputs}
    if is_local(path) and is_local(base):
        found = _local_file(os.path.join(base, path.removeprefix("file://")), path, source=_shown(path), **more)
    else:
        address = join(base, path) if is_local(path) else path
        folder = _web_folder(path) if protocol_of(path) in WEB else path.rpartition("://")[2]
        found = Listed(_shown(path), address, _shown(folder), **more)
    if version is None or version == "":
        return found
    return Listed(found.source, found.address, found.folder, found.size, f"{found.mark} {version}", **more)


def _rows(source: str, column: str) -> Iterator[dict[str, Any] | str]:
    """Yield a manifest's rows; for one that cannot be read, a sentence."""
    fs, path = file_system(absolute(source))
    name = _manifest_name(source).lower()
    if name.endswith(".parquet"):
        import pyarrow.parquet as pq

        with fs.open(path, "rb") as file:
            table = pq.ParquetFile(file)
            _check_columns(source, column, table.schema_arrow.names)
            wanted = [name for name in table.schema_arrow.names if name in (column, VERSION_COLUMN, *INPUTS)]
            unread = {name: None for name in table.schema_arrow.names if name not in wanted}
            for batch in table.iter_batches(batch_size=10_000, columns=wanted):
                for row in batch.to_pylist():
                    yield {**row, **unread}
        return
    ending = urlsplit(source).path if protocol_of(source) in WEB else source
    with (
        fsspec.core.OpenFile(fs, path, "rb", compression=fsspec.core.get_compression(ending, "infer")) as packed,
        io.TextIOWrapper(packed, encoding="utf-8-sig", newline="") as text,
    ):
        yield from _csv_rows(source, column, text) if name.endswith(".csv") else _json_rows(text)


def _csv_rows(source: str, column: str, text: io.TextIOBase) -> Iterator[dict[str, Any] | str]:
    csv.field_size_limit(MAX_CELL)
    reader = csv.DictReader(text)
    _check_columns(source, column, reader.fieldnames or [])
    width = len(reader.fieldnames or [])
    for row in reader:
        if None in row:
            yield f"The row has more than the {width} cells of the first line. Put text with a comma in quotes."
        else:
            yield {name: value for name, value in row.items() if value}


def _json_rows(text: io.TextIOBase) -> Iterator[dict[str, Any] | str]:
    for line in text:
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        yield row if isinstance(row, dict) else "The row is no JSON object. Write one object per line."


def _check_columns(source: str, column: str, names: Sequence[str]) -> None:
    if column not in names:
        raise RequestError(
            f"{source} has no column {column}; it has {', '.join(names) or 'none'}. "
            "Name its column of paths by --column."
        )


def _value(name: str, value: Any) -> Any:
    """Return a cell as the request wants it; text becomes a number where one is meant. None is an empty cell."""
    if value is None or value == "" or (isinstance(value, float) and math.isnan(value)):
        return None
    if name == "aspect_ratio" and isinstance(value, list):
        return ",".join(map(str, value))
    if not isinstance(value, str):
        return value
    kind = str(INPUTS[name].type)
    if kind == "bool" and value.strip().lower() in _TRUE + _FALSE:
        return value.strip().lower() in _TRUE
    for number, word in ((int, "int"), (float, "float")):
        if word in kind:
            try:
                return number(value)
            except ValueError:
                return value  # the request says what is wrong with it
    return value
