"""Lists pictures in object stores and on the web."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import unquote, urlsplit

import fsspec

from crop_core.batch.globs import fixed_part, glob_pattern, is_glob
from crop_core.batch.listed import Listed
from crop_core.batch.storage import WEB, file_system, join, protocol_of
from crop_core.errors import RequestError

LISTED_AT_ONCE = 1_000  # objects; the most that S3 sends in one answer


def list_remote(source: str, out: str, endings: Sequence[str], many: bool) -> Iterator[Listed]:
    """Yield the pictures of an address. Arguments as `list_sources`; `many` says whether there are other sources."""
    fs, path = file_system(source)
    if protocol_of(source) in WEB:
        yield Listed(source, source, web_folder(source))
        return
    try:
        if fs.isfile(path):
            yield _remote_file(source, path.rpartition("/")[2], fs.info(path))
            return
        if is_glob(source):
            files, fixed = _objects_like(fs, path), fixed_part(path)
        else:
            files, fixed = _objects(fs, path), path
        base = path.rpartition("/")[2] if many and not is_glob(source) else ""
        own = file_system(out)[1] + "/" if protocol_of(out) == protocol_of(source) else None
        count = 0
        for info in files:
            name = info["name"]
            inside = name.removeprefix(fixed).lstrip("/")
            if own is not None and name.startswith(own):
                continue
            if not is_glob(source) and (
                not name.lower().endswith(tuple(endings)) or any(part.startswith(".") for part in inside.split("/"))
            ):
                continue
            count += 1
            yield _remote_file(f"{protocol_of(source)}://{name}", join(base, inside) if base else inside, info)
    except RequestError:
        raise
    except FileNotFoundError as error:
        raise RequestError(f"There is no {source}. Check the address.") from error
    except Exception as error:  # each file system has its own errors
        text = (" ".join(str(error).split()) or type(error).__name__)[:200].rstrip(".")
        raise RequestError(f"{source} cannot be listed: {text}. Check the address and the credentials.") from error
    if not count and is_glob(source):
        raise RequestError(f"No object matches {source}. Check the pattern.")


def _objects(fs: Any, path: str) -> Iterator[dict[str, Any]]:
    """Yield the objects below a prefix: on S3 page by page, on other stores one top-level folder after the other."""
    if hasattr(fs, "_iterdir"):
        bucket, key, _ = fs.split_path(path)
        found = False
        for info in _s3_objects(fs, bucket, f"{key.rstrip('/')}/" if key else ""):
            found = True
            if not info["name"].endswith("/"):  # some tools make such objects for folders
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
            fs.invalidate_cache()  # otherwise the listing stays in memory


def _objects_like(fs: Any, pattern: str) -> Iterator[dict[str, Any]]:
    """Yield the objects that match a glob: on S3 page by page, on other stores all at once."""
    matches = glob_pattern(pattern)
    if not hasattr(fs, "_iterdir"):
        yield from (info for info in fs.glob(pattern, detail=True).values() if info["type"] == "file")
        return
    bucket, key, _ = fs.split_path(pattern)
    if is_glob(bucket):
        raise ValueError("the name of a bucket cannot have wildcards")
    start = re.split(r"[*?[]", key)[0]
    # If only the last part has wildcards, deeper folders need not be listed.
    delimiter = "" if "/" in key[len(start) :] or "**" in key else "/"
    for info in _s3_objects(fs, bucket, start, delimiter):
        if info["type"] == "file" and not info["name"].endswith("/") and matches.match(info["name"]):
            yield info


def _s3_objects(fs: Any, bucket: str, prefix: str, delimiter: str = "") -> Iterator[dict[str, Any]]:
    """Yield what S3 lists, with one page in memory at a time; s3fs's own listing keeps all pages."""
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


def web_folder(address: str) -> str:
    """Return the folder of a picture on the web, below OUT."""
    parts = urlsplit(address)
    query = f"?{parts.query}" if parts.query else ""
    return f"{parts.netloc}/{unquote(parts.path)}{query}"
