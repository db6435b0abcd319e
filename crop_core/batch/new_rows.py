"""Collects new rows and appends them to the table in batches."""

from __future__ import annotations

import json
import time
from functools import lru_cache
from typing import Any

from crop_core.batch.ledger import Ledger
from crop_core.batch.progress import Progress, Summary
from crop_core.batch.table import Table
from crop_core.batch.table_schema import NUMBER, SCHEMA
from crop_core.request import CropRequest
from crop_core.smaller_crops import count_smaller

# Rows are written once this many wait, or after a hundredth of the run's time, within these bounds.
FLUSH_ROWS = 5_000
FLUSH_S = (10.0, 60.0)


@lru_cache(maxsize=1_000)
def _asked(request: str) -> CropRequest:
    """Return the request of a row; most rows of a run have the same."""
    return CropRequest.from_inputs(**json.loads(request))


class NewRows:
    """The rows that are not in the table yet."""

    def __init__(self, table: Table, ledger: Ledger, summary: Summary, progress: Progress) -> None:
        self._table, self._ledger, self._summary, self._progress = table, ledger, summary, progress
        self._waiting: list[Any] = []
        self._number = 0  # how many rows wait
        self._start = self._flushed = time.monotonic()

    def add(self, rows: Any) -> None:
        """Add the rows that a worker sent, except rows of pictures that have one already."""
        import pyarrow as pa

        fresh = [self._ledger.did(number) for number in rows.column(NUMBER).to_pylist()]
        rows = rows.filter(pa.array(fresh, pa.bool_()))
        errors, crops = rows.column("error").to_pylist(), rows.column("crops").to_pylist()
        sources, requests = rows.column("source").to_pylist(), rows.column("request").to_pylist()
        for source, error, cut, request in zip(sources, errors, crops, requests, strict=True):
            self._summary.count(len(cut), error, count_smaller(cut, _asked(request)) if cut else 0)
            if error:
                self._progress.event("failed", source=source, error=error)
        self._waiting.append(rows.select(SCHEMA.names))
        self._number += rows.num_rows
        now = time.monotonic()
        self._summary.seconds = now - self._start
        self._summary.starting_seconds = self._summary.starting_seconds or self._summary.seconds
        self._progress.show(self._summary, rows.num_rows)
        patience = min(max(FLUSH_S[0], 0.01 * (now - self._start)), FLUSH_S[1])
        if now - self._flushed >= patience or self._number >= FLUSH_ROWS:
            self.flush()

    def flush(self) -> None:
        """Write the waiting rows to the table."""
        import pyarrow as pa

        waiting, number = self._waiting, self._number
        self._waiting, self._number = [], 0
        if number:
            self._table.append(pa.concat_tables(waiting), self._ledger)
        self._flushed = time.monotonic()
