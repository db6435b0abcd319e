"""The table of results: one row per picture, with the object of detections.json or the error.

The table is ``OUT/results.parquet``. During a run new rows are kept in files of their own below
``OUT/.crop-core``, each written whole. At the end of the run both are merged into a new table.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from crop_core.batch.ledger import Ledger, Row
from crop_core.batch.storage import TargetError, file_system, is_local, join, output_address, remove, write_bytes
from crop_core.batch.table_schema import SCHEMA, is_known
from crop_core.errors import CropError, RequestError
from crop_core.picture_files import RECORD_NAME
from crop_core.result import PREVIEW_NAME
from crop_core.sidecars import beside
from crop_core.version import __version__

TABLE = "results.parquet"
STATE = ".crop-core"
ROWS_AT_ONCE = 2_000
NEEDED = ("folder", "key", "request", "crops", "error")  # every table has these; older ones lack later columns
READ = (*NEEDED, "address", "sidecars")  # the columns that are read from earlier runs


class Table:
    """The table in one OUT.

    Attributes:
        out: A folder, or an address on an object store.
        aside: The folder for files that are written before they are renamed; unused on an object store.
        broken_off: Whether an earlier run was broken off, so that OUT may hold crops that no row names.
    """

    def __init__(self, out: str) -> None:
        self.out = output_address(out)
        self.aside = join(self.out, f"{STATE}/aside")
        self.broken_off = False
        self._journal = join(self.out, f"{STATE}/journal")
        self._mark = join(self.out, f"{STATE}/begun")
        self._fs, self._root = file_system(self.out)
        self._next = 0
        self._lock: int | None = None
        self._opened = self._begun = False
        self._new = is_local(self.out) and not os.path.lexists(self.out)

    def open(self, ledger: Ledger) -> None:
        """Read what earlier runs did, and check that OUT can be written to.

        Raises:
            RequestError: OUT cannot be written to, holds a table that cannot be read, or is in use by another run.
        """
        try:
            self._hold()
            remove(self.aside)
            self._fs.invalidate_cache()  # otherwise s3fs answers from its cache
            self.broken_off = self._fs.exists(file_system(self._mark)[1])
            self._opened = True
            write_bytes(join(self.out, f"{STATE}/probe"), b"crop-core", self.aside)
            files = self._files()
        except RequestError:
            raise
        except CropError as error:
            raise RequestError(f"OUT {self.out} cannot be used. {error}") from error
        for file in files:
            if not file.endswith(TABLE):
                self._next = int(file.rpartition("/")[2].split(".")[0]) + 1
            for batch in self._batches(file, READ):
                for row in rows_of(batch):
                    ledger.saw(row)

    def begin(self) -> None:
        """Leave a mark in OUT that crops are about to be written there.

        Raises:
            TargetError: The mark cannot be written.
        """
        self._begun = True
        write_bytes(self._mark, b"crop-core", self.aside)

    def _hold(self) -> None:
        """Lock OUT, if it is on a disk: two runs would overwrite each other's rows.

        The system releases the lock when the process ends, however it ends.
        """
        if not is_local(self.out) or os.name != "posix":
            return
        import fcntl

        path = join(self.out, f"{STATE}/lock")
        try:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            self._lock = os.open(path, os.O_CREAT | os.O_WRONLY)
        except OSError:
            return  # the next write there reports the error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RequestError(
                f"Another run is writing to {self.out}. Wait for its end, or choose another OUT."
            ) from error
        except OSError:
            return  # some network disks have no locks

    def close(self) -> None:
        """Unlock OUT. If nothing was begun in it, remove what this run made there."""
        if self._opened and not self._begun and not self.broken_off:
            with suppress(CropError, OSError):
                if not self._files(journal_alone=True):
                    remove(join(self.out, STATE))
                if self._new:
                    os.rmdir(self.out)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def append(self, rows: pa.Table, ledger: Ledger) -> None:
        """Store rows: when this returns, they and their crops are on the disk.

        Raises:
            TargetError: The rows cannot be written.
        """
        if is_local(self.out):
            os.sync()  # or a power failure could keep a row and lose its crops
        sink = pa.BufferOutputStream()
        pq.write_table(rows, sink, compression="zstd")
        write_bytes(join(self._journal, f"{self._next:08d}.parquet"), sink.getvalue().to_pybytes(), self.aside)
        self._next += 1
        for batch in rows.to_batches():
            for row in rows_of(batch):
                ledger.saw(row)

    def finish(self, ledger: Ledger, whole: bool = True) -> None:
        """Write a new table with each folder's latest row, and remove what it was made from.

        Args:
            ledger: The ledger, which knows which rows stay.
            whole: Whether every picture has a row; if not, OUT may hold crops that no row names.

        Raises:
            TargetError: The table cannot be written.
        """
        files = self._files()
        if any(file != self._table for file in files) or ledger.has_strays():
            with tempfile.TemporaryDirectory(prefix="crop-core-") as scratch:
                path = os.path.join(scratch, TABLE)
                self._merge(files, ledger, path)
                self._publish(path)
        if whole or not (self._begun or self.broken_off):
            remove(join(self.out, STATE))
        else:
            remove(self._journal)
            remove(self.aside)

    @property
    def _table(self) -> str:
        return f"{self._root}/{TABLE}"

    def _files(self, journal_alone: bool = False) -> list[str]:
        """Return the files with rows, oldest first: the table, then the files that were appended since."""
        journal = file_system(self._journal)[1]
        self._fs.invalidate_cache()  # otherwise s3fs answers from its cache
        try:
            found = [str(name) for name in self._fs.ls(journal, detail=False) if str(name).endswith(".parquet")]
        except FileNotFoundError:
            found = []
        return ([self._table] if not journal_alone and self._fs.exists(self._table) else []) + sorted(found)

    def _batches(self, file: str, columns: Sequence[str] = SCHEMA.names) -> Iterator[pa.RecordBatch]:
        schema = pa.schema([SCHEMA.field(name) for name in columns])
        try:
            with self._fs.open(file, "rb") as source:
                table = pq.ParquetFile(source)
                there = table.schema_arrow
                if not all(map(is_known, there)) or not set(NEEDED) <= set(there.names):
                    raise KeyError("it has other columns")
                read = [name for name in columns if name in there.names]
                for batch in table.iter_batches(batch_size=ROWS_AT_ONCE, columns=read):
                    arrays = [
                        batch.column(entry.name).cast(entry.type)
                        if entry.name in read
                        else pa.nulls(batch.num_rows, entry.type)
                        for entry in schema
                    ]
                    yield pa.RecordBatch.from_arrays(arrays, schema=schema)
        except (pa.ArrowException, OSError, KeyError) as error:
            raise RequestError(
                f"{file} is not a table of crop-core batch ({' '.join(str(error).split())[:200]}). "
                "Move it away, or choose another OUT."
            ) from error

    def _merge(self, files: list[str], ledger: Ledger, path: str) -> None:
        at = 0
        with pq.ParquetWriter(path, SCHEMA, compression="zstd") as writer:
            for file in files:
                for batch in self._batches(file):
                    keep = []
                    for folder in batch.column("folder").to_pylist():
                        at += 1
                        keep.append(ledger.stays(folder, at))
                    writer.write_batch(batch.filter(pa.array(keep, pa.bool_())))

    def _publish(self, path: str) -> None:
        target = join(self.out, TABLE)
        try:
            if is_local(target):
                part = os.path.join(self.aside, TABLE)
                os.makedirs(self.aside, exist_ok=True)
                shutil.copyfile(path, part)
                os.replace(part, target)
            else:
                self._fs.put_file(path, self._table)  # the store shows it only once it is complete
        except Exception as error:  # each file system has its own errors
            raise TargetError(f"{TABLE} cannot be written: {error}. Check OUT's permissions and free space.") from error


def rows_of(batch: pa.RecordBatch) -> Iterator[Row]:
    """Yield what the ledger reads from each row."""
    columns = [
        batch.column(name).to_pylist() if name in batch.schema.names else [None] * batch.num_rows for name in READ
    ]
    for folder, key, request, crops, error, address, endings in zip(*columns, strict=True):
        files = [crop["file"] for crop in crops or () if crop["file"] is not None]
        if error is None and not (crops and not files):  # a dry run has crops without files
            files.append(RECORD_NAME)
            if json.loads(request).get("preview"):
                files.append(PREVIEW_NAME)
        files += [beside(crop["file"], ending) for crop in crops or () if crop["file"] for ending in endings or ()]
        kind, message = (error["type"], error["message"]) if error else (None, None)
        yield Row(folder, key, kind, tuple(files), message, address)


def table_of(rows: list[dict[str, Any]], schema: pa.Schema = SCHEMA) -> pa.Table:
    """Return the rows as a table of PyArrow; each has the schema's columns."""
    return pa.Table.from_pylist(rows, schema=schema)


def row_of(work: dict[str, Any], record: dict[str, Any]) -> dict[str, Any]:
    """Return the row of one picture: the request, and the object of detections.json."""
    row = {**record, **{name: work[name] for name in ("folder", "address", "key", "request")}, "crop_core": __version__}
    row["timings_ms"] = list(record["timings_ms"].items())
    row["crops"] = [{**crop, "coverage": list(crop["coverage"].items())} for crop in record["crops"]]
    return row
