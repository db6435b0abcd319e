"""Manifests: tables of pictures as CSV, JSON Lines or Parquet."""

from __future__ import annotations

import csv
import io
import json
import math
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from urllib.parse import urlsplit

import fsspec

from crop_core.batch.listed import Listed, as_text
from crop_core.batch.local_sources import local_file
from crop_core.batch.remote_sources import web_folder
from crop_core.batch.storage import WEB, absolute, file_system, is_local, join, local_path, protocol_of
from crop_core.errors import RequestError
from crop_core.request import inputs, value_of

MANIFESTS = (".csv", ".jsonl", ".ndjson", ".parquet")
PACKED = (".gz", ".bz2", ".xz")  # endings of compressed text manifests
VERSION_COLUMN = "version"  # any text that changes when the picture does
MAX_CELL = 2**20  # characters
INPUTS = inputs()


def is_manifest(source: str) -> bool:
    """Return whether a source's name is that of a manifest."""
    return manifest_name(source).lower().endswith(MANIFESTS)


def manifest_name(source: str) -> str:
    """Return the name whose ending tells a manifest's kind: without a query and without a compression's ending."""
    name = urlsplit(source).path if protocol_of(source) in WEB else source
    head, dot, ending = name.rpartition(".")
    return head if dot + ending.lower() in PACKED else name


def list_manifest(source: str, column: str, met: Callable[[str], None]) -> Iterator[Listed]:
    """Yield a manifest's pictures; a row that names none is yielded with an error. Arguments as `list_sources`."""
    told: set[str] = set()
    web = protocol_of(source) in WEB  # the query of a web address may hold slashes and is not part of the folder
    base = absolute(urlsplit(source)._replace(query="", fragment="").geturl() if web else source).rpartition("/")[0]
    try:
        for number, row in enumerate(_rows(source, column), 1):
            name = f"{source}, row {number}"
            if isinstance(row, str):
                yield _unusable(name, row)
                continue
            path = row.get(column)
            if not isinstance(path, str) or not path.strip():
                yield _unusable(name, f"The row's column {column} is empty. Give it a path or an address.")
                continue
            for extra in sorted(row.keys() - {column, VERSION_COLUMN} - told):
                told.add(extra)
                met(extra)
            own = {key: _value(key, row[key]) for key in INPUTS.keys() & row.keys()}
            own = {key: value for key, value in own.items() if value is not None}
            yield _named(path.strip(), base, own, row.get(VERSION_COLUMN))
    except RequestError:
        raise
    except FileNotFoundError as error:
        raise RequestError(f"There is no {source}. Check the address.") from error
    except UnicodeDecodeError as error:
        raise RequestError(f"{source} is not in UTF-8. Save it again in UTF-8.") from error
    except Exception as error:  # each file system and each format has its own errors
        text = (" ".join(str(error).split()) or type(error).__name__)[:200].rstrip(".")
        raise RequestError(
            f"{source} cannot be read as a manifest: {text}. Save it again as CSV, JSON Lines or Parquet."
        ) from error


def _unusable(name: str, error: str) -> Listed:
    return Listed(as_text(name), name, as_text(name), error=error)


def _named(path: str, base: str, inputs: dict[str, Any], version: Any) -> Listed:
    """Return the picture of a manifest's row; a relative path is relative to the manifest's folder."""
    more: dict[str, Any] = {"inputs": inputs}
    if is_local(path) and is_local(base):
        found = local_file(os.path.join(base, local_path(path)), path, source=as_text(path), **more)
    else:
        address = join(base, path) if is_local(path) else path
        folder = web_folder(path) if protocol_of(path) in WEB else path.rpartition("://")[2]
        found = Listed(as_text(path), address, as_text(folder), **more)
    if version is None or version == "":
        return found
    return Listed(found.source, found.address, found.folder, found.size, f"{found.mark} {version}", **more)


def _rows(source: str, column: str) -> Iterator[dict[str, Any] | str]:
    """Yield a manifest's rows; for a row that cannot be read, an error message."""
    fs, path = file_system(absolute(source))
    name = manifest_name(source).lower()
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
            yield f"The row has more cells than the {width} of the first line. Put text with a comma in quotes."
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
        yield row if isinstance(row, dict) else "The row is not a JSON object. Write one object per line."


def _check_columns(source: str, column: str, names: Sequence[str]) -> None:
    if column not in names:
        raise RequestError(
            f"{source} has no column {column}; its columns are {', '.join(names) or 'none'}. "
            "Name the column of paths with --column."
        )


def _value(name: str, value: Any) -> Any:
    """Return a cell as the input's kind, a number for instance; none if the cell is empty."""
    if value is None or value == "" or (isinstance(value, float) and math.isnan(value)):
        return None
    if name == "aspect_ratio" and isinstance(value, list):
        return ",".join(map(str, value))
    if not isinstance(value, str):
        return value
    return value_of(INPUTS[name], value)
