"""The table of results: one row per picture, with the object of detections.json, or its error.

``OUT/results.parquet`` is the table. While a run goes on its rows are kept in files of their own
below ``OUT/.crop-core``, each written whole; at the end the table is written anew from both.
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
NEEDED = ("folder", "key", "request", "crops", "error")  # a table that lacks others was written before they came
READ = (*NEEDED, "address", "sidecars")  # of what earlier runs did


class Table:
    """The table in one OUT.

    Attributes:
        out: A folder, or an address on an object store.
        aside: On a disk, where files are made before they are renamed.
        broken_off: Whether an earlier run was, so that crops may lie in OUT of which no row tells.
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
        """Read what earlier runs did, and make sure that OUT takes files.

        Raises:
            RequestError: OUT takes none, holds a table that cannot be read, or is another run's.
        """
        try:
            self._hold()
            remove(self.aside)
            self._fs.invalidate_cache()  # s3fs would answer as before
            self.broken_off = self._fs.exists(file_system(self._mark)[1])
            self._opened = True
            write_bytes(join(self.out, f"{STATE}/probe"), b"crop-core", self.aside)
            files = self._files()
        except RequestError:
            raise
        except CropError as error:
            raise RequestError(f"{self.out} cannot be written to: {error} Choose another OUT.") from error
        for file in files:
            if not file.endswith(TABLE):
                self._next = int(file.rpartition("/")[2].split(".")[0]) + 1
            for batch in self._batches(file, READ):
                for row in rows_of(batch):
                    ledger.saw(row)

    def begin(self) -> None:
        """Take note in OUT that crops are about to be written there.

        Raises:
            TargetError: It cannot be written.
        """
        self._begun = True
        write_bytes(self._mark, b"crop-core", self.aside)

    def _hold(self) -> None:
        """Keep other runs out of OUT, where it is a disk: they would overwrite each other's rows.

        The system lets go of it when the process ends, however it ends.
        """
        if not is_local(self.out) or os.name != "posix":
            return
        import fcntl

        path = join(self.out, f"{STATE}/lock")
        try:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            self._lock = os.open(path, os.O_CREAT | os.O_WRONLY)
        except OSError:
            return  # whoever writes there next will say what is wrong
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RequestError(
                f"Another run is writing to {self.out}. Wait for its end, or choose another OUT."
            ) from error
        except OSError:
            return  # some disks of a network know no locks

    def close(self) -> None:
        """Let other runs have OUT; one in which nothing was begun is left as it was."""
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
        """Keep rows for good: when this returns they are on the disk, and so are the crops of which they tell.

        Raises:
            TargetError: They cannot be written.
        """
        if is_local(self.out):
            os.sync()  # or a machine that loses its power might keep the row and lose the crops
        sink = pa.BufferOutputStream()
        pq.write_table(rows, sink, compression="zstd")
        write_bytes(join(self._journal, f"{self._next:08d}.parquet"), sink.getvalue().to_pybytes(), self.aside)
        self._next += 1
        for batch in rows.to_batches():
            for row in rows_of(batch):
                ledger.saw(row)

    def finish(self, ledger: Ledger, whole: bool = True) -> None:
        """Write the table anew, with each folder's latest row, and throw away what it was made from.

        Args:
            ledger: Which knows the rows.
            whole: Whether every picture has its row. Else the workers may have left crops of which none tells.

        Raises:
            TargetError: It cannot be written.
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
        """Return the files with rows, oldest first: the table, then what was appended since."""
        journal = file_system(self._journal)[1]
        self._fs.invalidate_cache()  # s3fs would answer as before
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
                    raise KeyError("its columns are others")
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
                f"{file} is no table of crop-core batch ({' '.join(str(error).split())[:200]}). "
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
                self._fs.put_file(path, self._table)  # shown when all of it has arrived
        except Exception as error:  # each file system raises what its library does
            raise TargetError(f"{TABLE} cannot be written: {error}.") from error


def rows_of(batch: pa.RecordBatch) -> Iterator[Row]:
    """Yield what the ledger needs to know of the rows."""
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
    """Return rows as they go into the table; each has the schema's columns."""
    return pa.Table.from_pylist(rows, schema=schema)


def row_of(work: dict[str, Any], record: dict[str, Any]) -> dict[str, Any]:
    """Return the row of one picture: what was asked, and the object of detections.json."""
    row = {**record, **{name: work[name] for name in ("folder", "address", "key", "request")}, "crop_core": __version__}
    row["timings_ms"] = list(record["timings_ms"].items())
    row["crops"] = [{**crop, "coverage": list(crop["coverage"].items())} for crop in record["crops"]]
    return row
