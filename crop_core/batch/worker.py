"""A worker: a process with the networks loaded, which gets a few pictures at a time.

While it crops one picture, the next ones are read and the last ones written, so that it does not wait
for a bucket. No other module of `batch` loads PyTorch, and this one only in the workers' processes.
"""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow as pa

from crop_core.batch.storage import SourceError, join, names_in, read_bytes, remove_files, write_bytes
from crop_core.batch.table import row_of, table_of
from crop_core.batch.table_schema import NUMBER, SENT_SCHEMA
from crop_core.errors import CropError
from crop_core.picture_files import RECORD_NAME
from crop_core.request import CropRequest
from crop_core.result import CROP_NAME, PREVIEW_NAME, CropResult, failed_record
from crop_core.run.process_settings import FreedMemory, tune_process
from crop_core.sidecars import beside, read_sidecars
from crop_core.threads import keep_to

AHEAD = 4  # how many pictures are read ahead, and how many are being written
# Bytes of freed memory that a worker keeps for its next pictures. Returned memory must be cleared again by the system.
MOST_FREED = 192 * 2**20
LOST = 70  # the exit status of a worker whose device has failed; sysexits.h calls it EX_SOFTWARE
WORK = "work"  # the column with what a worker must know of a picture, as JSON


@dataclass(frozen=True, slots=True)
class Settings:
    """What all workers of a run share.

    Attributes:
        out: Where the crops go.
        aside: The folder for files that are written before they are renamed; unused on an object store.
        device: Where the networks run.
        detector: What a request's ``auto`` means; loaded at the start.
        threads: PyTorch's threads, one for each core of the worker.
        dry_run: Decide where to cut, and cut nothing.
        sweep: Whether a picture's folder may hold crops of a broken-off run, which no row names.
        environment: The limits that the command's environment sets; other machines of a cluster lack them.
        sidecars: The endings of files beside a picture that are copied beside its crops.
    """

    out: str
    aside: str
    device: str
    detector: str
    threads: int
    dry_run: bool
    sweep: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)
    sidecars: tuple[str, ...] = ()


class Worker:
    """Crops blocks of pictures; Ray Data makes one per process and calls it."""

    def __init__(self, settings: Settings) -> None:
        os.environ.update(settings.environment)
        tune_process()  # before PyTorch is loaded
        from crop_core.cropper import Cropper

        keep_to(settings.threads)
        self._settings = settings
        self._cropper = Cropper(settings.device, settings.detector)
        self._io = ThreadPoolExecutor(2 * AHEAD)
        self._freed = FreedMemory(MOST_FREED)

    def __call__(self, block: pa.Table) -> pa.Table:
        """Return one row for each picture of the block, also for one that failed."""
        numbers = block.column(NUMBER).to_pylist()
        works = [json.loads(work) for work in block.column(WORK).to_pylist()]
        reads = deque(self._io.submit(read_bytes, work["address"], work["size"]) for work in works[:AHEAD])
        writes: list[Future[dict[str, Any]]] = []
        for index, work in enumerate(works):
            record_or_result = self._cropped(reads.popleft(), work)
            if index + AHEAD < len(works):
                coming = works[index + AHEAD]
                reads.append(self._io.submit(read_bytes, coming["address"], coming["size"]))
            writes.append(self._io.submit(self._saved, record_or_result, work))
            if len(writes) > AHEAD:
                writes[-1 - AHEAD].result()
        rows = [write.result() for write in writes]
        self._freed.give_back()
        return table_of([{NUMBER: n, **row} for n, row in zip(numbers, rows, strict=True)], SENT_SCHEMA)

    def _cropped(self, read: Future[bytes], work: dict[str, Any]) -> CropResult | dict[str, Any]:
        """Return the result, or the record of the failure."""
        try:
            inputs = json.loads(work["request"])
            return self._cropper.crop(
                read.result(), CropRequest.from_inputs(**inputs), source=work["source"], dry_run=self._settings.dry_run
            )
        except CropError as error:
            if not self._cropper.works:
                # This worker would fail all later pictures, faster than the others crop them. Ray replaces its
                # process, and its pictures are handed out again.
                os._exit(LOST)
            return failed_record(work["source"], error)
        except Exception as error:  # noqa: BLE001 (one picture of a million may hit a bug; the others go on)
            return failed_record(work["source"], _unforeseen(error))

    def _saved(self, result: CropResult | dict[str, Any], work: dict[str, Any]) -> dict[str, Any]:
        """Write the files of a picture, its record last, and return its row.

        What an earlier request left in the folder is removed first, so that a folder with a record is complete.
        """
        folder = join(self._settings.out, work["folder"])
        try:
            old = set(work.get("old_files", ()))
            if self._settings.sweep:
                old.update(name for name in names_in(folder) if is_output(name, self._settings.sidecars))
            remove_files(folder, sorted(old, key=lambda name: name != RECORD_NAME))
            if isinstance(result, CropResult) and self._settings.sidecars and not self._settings.dry_run:
                found = read_sidecars(work["address"], self._settings.sidecars, _read_if_there)
                result = replace(result, sidecars=found)
            record = result if isinstance(result, dict) else result.record()
            if isinstance(result, CropResult) and not self._settings.dry_run:
                for name, data in result.files().items():
                    write_bytes(join(folder, name), data, self._settings.aside)
        except CropError as error:
            record = failed_record(work["source"], error)
        return row_of(work, record)


def is_output(name: str, sidecars: tuple[str, ...] = ()) -> bool:
    """Return whether a file in a picture's folder has a name that this program gives to files."""
    of_crop = beside(name, "webp") if name.endswith(tuple("." + ending for ending in sidecars)) else name
    return name in (RECORD_NAME, PREVIEW_NAME) or CROP_NAME.fullmatch(of_crop) is not None


def _read_if_there(address: str) -> bytes | None:
    try:
        return read_bytes(address)
    except SourceError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            return None
        raise


def _unforeseen(error: Exception) -> CropError:
    """Return an unexpected error as a CropError of the same name, for the table."""
    kind = type(error.__class__.__name__, (CropError,), {})
    unforeseen: CropError = kind(" ".join(str(error).split())[:500] or "no reason given")
    return unforeseen
