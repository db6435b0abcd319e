"""Reads and writes files by address: a local path, or one of fsspec's (`s3://`, `gs://`, `https://`).

A file is written whole or not at all. On a disk it is written under a temporary name and renamed; an
object store shows an object only once it is complete.
"""

from __future__ import annotations

import os
import stat
import time
import uuid
from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import unquote

import fsspec

from crop_core.errors import CropError, RequestError
from crop_core.photo.limits import check_bytes, limits

WEB = ("http", "https")
# fsspec has forty more. They are untested here, and some fail with a traceback for lack of a package.
PROTOCOLS = ("file", "s3", "s3a", "gs", "gcs", *WEB)
TRIES = 3  # of reading or writing one file, since networks fail now and then
NO_RETRY_HELPS = (FileNotFoundError, PermissionError, CropError)
PAUSE_S = 1.0  # before the first retry; twice as long before the second

Result = TypeVar("Result")


class SourceError(CropError, OSError):
    """A picture cannot be read from its source; a retry may help."""


class TargetError(CropError, OSError):
    """A result cannot be written; a retry may help."""


def protocol_of(address: str) -> str:
    """Return the part before ``://``; ``file`` if there is none."""
    head, mark, _ = address.partition("://")
    return head.lower() if mark and head.isalnum() else "file"


def is_local(address: str) -> bool:
    """Return whether the address is a path of this machine, or of a disk that it shares."""
    return protocol_of(address) == "file"


def file_system(address: str) -> tuple[Any, str]:
    """Return fsspec's file system for the address, and the path in it.

    Raises:
        RequestError: The protocol is not one of `PROTOCOLS`, or its package is missing.
    """
    protocol = protocol_of(address)
    if protocol not in PROTOCOLS:
        raise RequestError(
            f"Addresses with {protocol}:// are not read or written here. Use a path, s3://, gs:// or https://."
        )
    try:
        # fsspec's own parsing of addresses would take :: in a file's name for a chain of file systems.
        fs = fsspec.filesystem(protocol)
        return fs, str(fs._strip_protocol(address))
    except (ValueError, ImportError) as error:
        raise RequestError(
            f"{protocol}:// needs a package that is missing ({error}): pip install 'crop-core[batch]'."
        ) from error


def absolute(address: str) -> str:
    """Return the address, a local path made absolute, so that it means the same file for every worker."""
    if not is_local(address):
        return address.rstrip("/")
    return os.path.abspath(local_path(address))


def output_address(out: str) -> str:
    """Return where crops go, as `absolute` does.

    Raises:
        RequestError: The address is on the web, where no files can be written.
    """
    if protocol_of(out) in WEB:
        raise RequestError(f"Crops cannot be written to {protocol_of(out)}://. Choose a folder, s3:// or gs://.")
    return absolute(out)


def local_path(address: str) -> str:
    """Return the path of a local address: a path as it is, a `file://` URL decoded (RFC 8089)."""
    if address[:7].lower() != "file://":
        return address
    path = address[7:]
    return unquote(path.removeprefix("localhost") if path.startswith("localhost/") else path, errors="surrogateescape")


def join(folder: str, name: str) -> str:
    """Return the address of a file in a folder."""
    return f"{folder.rstrip('/')}/{name}" if folder.rstrip("/") else f"/{name}"


def read_bytes(address: str, size: int | None = None) -> bytes:
    """Return the bytes of a picture, if they are at most `limits.Limits.max_bytes`.

    Args:
        address: The picture's address.
        size: Its length in bytes, if a listing gave it.

    Raises:
        ImageError: The file is too large.
        SourceError: The file cannot be read.
    """
    try:
        if is_local(address):
            status = os.stat(address)
            if not stat.S_ISREG(status.st_mode):
                raise SourceError("This is a folder, a pipe or a device, not a file. Name a picture file.")
            check_bytes(status.st_size)
            with open(address, "rb") as file:
                return file.read()
        fs, path = file_system(address)
        return _retried(lambda: _fetched(fs, path, size))
    except CropError:
        raise
    except FileNotFoundError as error:
        raise SourceError("The file is not there. Check its address.") from error
    except PermissionError as error:
        raise SourceError(f"The file may not be read: {_reason(error)}. Check its permissions.") from error
    except Exception as error:  # each file system has its own errors
        raise SourceError(f"The file cannot be read: {_reason(error)}. Check its address, or try again.") from error


def _fetched(fs: Any, path: str, size: int | None) -> bytes:
    if protocol_of(path) in WEB:
        # A server need not say how long its answer is, so the answer is read as a stream, up to the limit.
        # Without a size fsspec first sends a request that turns every error into a missing file.
        with fs.open(path, "rb", block_size=0, size=1) as stream:
            pieces, length, most = [], 0, limits().max_bytes
            while length <= most and (piece := stream.read(2**20)):
                pieces.append(piece)
                length += len(piece)
        check_bytes(length)
        return b"".join(pieces)
    if size is None:
        size = int(fs.info(path)["size"])
    check_bytes(size)
    return bytes(fs.cat_file(path))


def write_bytes(address: str, data: bytes, aside: str) -> None:
    """Write a file whole or not at all; its folder is made if it is missing.

    Args:
        address: The file's address.
        data: All of its bytes.
        aside: The folder for temporary files, on the same disk; unused on an object store.

    Raises:
        TargetError: The file cannot be written.
    """
    try:
        if not is_local(address):
            fs, path = file_system(address)
            _retried(lambda: fs.pipe_file(path, data))
            return
        os.makedirs(os.path.dirname(address), exist_ok=True)
        os.makedirs(aside, exist_ok=True)
        part = os.path.join(aside, uuid.uuid4().hex)
        try:
            with open(part, "wb") as file:
                file.write(data)
            os.replace(part, address)
        finally:
            if os.path.lexists(part):
                os.unlink(part)
    except CropError:
        raise
    except Exception as error:  # each file system has its own errors
        raise TargetError(
            f"The file cannot be written: {_reason(error)}. Check OUT's permissions and free space."
        ) from error


def remove(address: str) -> None:
    """Remove a file, or a folder and everything in it; nothing happens if it is not there.

    Raises:
        TargetError: It cannot be removed.
    """
    fs, path = file_system(address)
    try:
        fs.rm(path, recursive=True)
    except FileNotFoundError:
        return
    except Exception as error:  # each file system has its own errors
        raise TargetError(f"The file cannot be removed: {_reason(error)}. Check OUT's permissions.") from error


def names_in(folder: str) -> list[str]:
    """Return the names of the files in a folder, without those below it; none if there is no such folder.

    Raises:
        TargetError: The files cannot be listed.
    """
    try:
        if is_local(folder):
            with os.scandir(folder) as entries:
                return [entry.name for entry in entries if entry.is_file()]
        fs, path = file_system(folder)
        objects = _retried(lambda: fs.ls(path, detail=True, refresh=True))
        fs.invalidate_cache(path)  # otherwise the listings of all folders stay in memory
        return [str(found["name"]).rpartition("/")[2] for found in objects if found["type"] == "file"]
    except FileNotFoundError:
        return []
    except Exception as error:  # each file system has its own errors
        raise TargetError(
            f"The picture's folder in OUT cannot be listed: {_reason(error)}. Check OUT's permissions."
        ) from error


def remove_files(folder: str, names: list[str]) -> None:
    """Remove these files of a folder, if they are there.

    Raises:
        TargetError: One cannot be removed.
    """
    for name in names:
        try:
            if is_local(folder):
                os.unlink(join(folder, name))
            else:
                fs, path = file_system(join(folder, name))
                fs.rm_file(path)
        except FileNotFoundError:
            continue
        except Exception as error:  # each file system has its own errors
            raise TargetError(
                f"A file of an earlier run cannot be removed: {_reason(error)}. Check OUT's permissions."
            ) from error


def _retried(action: Callable[[], Result]) -> Result:
    failed = 0
    while True:
        try:
            return action()
        except Exception as error:  # each file system has its own errors
            failed += 1
            if failed == TRIES or isinstance(error, NO_RETRY_HELPS):
                raise
            time.sleep(PAUSE_S * 2 ** (failed - 1))


def _reason(error: Exception) -> str:
    """Return an error in one short line, without a path of this machine."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(str(text).split())[:200].rstrip(".")
