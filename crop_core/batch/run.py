"""A run of `crop-core batch`: lists the pictures, crops them with Ray Data's actor pool, and fills the table.

The ledger, not Ray, knows what is done. If a worker dies, its block of pictures is handed out again in
a later pass, one picture at a time. So the picture that kills its worker is found, and no other
picture fails with it.
"""

from __future__ import annotations

import os
import signal
from typing import Any

from crop_core.batch.ledger import Ledger, plain_inputs
from crop_core.batch.new_rows import FLUSH_ROWS, NewRows
from crop_core.batch.options import Options
from crop_core.batch.progress import Progress, Summary
from crop_core.batch.ray_cluster import cropped, own_terminal, pool, started_ray
from crop_core.batch.sources import list_sources
from crop_core.batch.stop_signals import Stop, interruptible
from crop_core.batch.storage import absolute, join
from crop_core.batch.table import TABLE, Table, row_of, table_of
from crop_core.batch.table_schema import NUMBER, SENT_SCHEMA
from crop_core.batch.worker import Settings
from crop_core.errors import CropError, RequestError
from crop_core.photo.limits import PREFIX, limits
from crop_core.request import CropRequest, inputs
from crop_core.result import failed_record

# How many pictures a worker gets at once, in each pass. A worker that dies loses them all, so later passes give it one.
PASSES = (8, 1, 1)
# How many pictures Ray gets at once: each takes about 1 KB of its memory.
ROUND_PER_WORKER = 10_000
ROUND = (100_000, 1_000_000)


class WorkerError(CropError, RuntimeError):
    """The worker's process died while it had the picture."""


def run_batch(options: Options) -> int:
    """Crop what is missing and return the command's exit status: 0, 1 if some failed, 130 if it was stopped.

    Raises:
        CropError: A source, the request, OUT or the cluster cannot be used.
    """
    request = CropRequest.from_inputs(**options.inputs)
    limits()  # raises here for a bad environment variable; otherwise every picture would fail with it
    for name, number in (("workers", options.workers), ("cores-per-worker", options.cores)):
        if number is not None and number < 1:
            raise RequestError(f"--{name} is at least 1, got {number}.")
    table = Table(options.out)
    ledger = Ledger(options.inputs, options.dry_run, options.retry_failed, options.sidecars)
    summary, stopped, listed = Summary(), False, False
    with own_terminal() as (out, err):
        progress = Progress(err, options.log_json)
        try:
            with interruptible() as stop:
                table.open(ledger)
                _plan(options, request, ledger, summary, progress, stop)
                listed = True
                rows = NewRows(table, ledger, summary, progress)
                try:
                    _work(options, request, table, ledger, rows, progress, stop)
                except KeyboardInterrupt:
                    stopped = True
                finally:
                    progress.close()
                    rows.flush()
                table.finish(ledger, summary.left == 0)
        except KeyboardInterrupt:  # stopped before there was anything to keep, or stopped twice
            stopped = True
        finally:
            progress.close()
            ledger.close()
            table.close()
        summary.finished = summary.left == 0 and not stopped
        where = join(options.out, TABLE)
        progress.event("summary", **summary.event(), table=where, stopped=stopped)
        if not options.log_json:
            unlisted = "Stopped before all pictures were listed. Nothing was done."
            print(summary.text(where) if listed else unlisted, file=out, flush=True)
    if stopped:
        return 128 + signal.SIGINT
    return 1 if summary.failed else 0


def _plan(
    options: Options, request: CropRequest, ledger: Ledger, summary: Summary, progress: Progress, stop: Stop
) -> None:
    given = plain_inputs(request)

    def met(column: str) -> None:
        if column not in inputs():
            progress.note(f"the manifest's column {column} is not an input of crop-core and is ignored.")
        elif column in given:
            option = "--" + column.replace("_", "-")
            progress.note(f"the manifest's column {column} overrides {option}, which counts only for empty cells.")

    pictures = list_sources(options.sources, options.out, options.endings, options.column, met)
    for number, listed in enumerate(pictures, 1):
        stop.check()
        ledger.add(listed)
        progress.listing(number)
    summary.total, to_do = ledger.counts()
    summary.repeated = ledger.repeated
    if not summary.total:
        raise RequestError(f"There are no pictures in {' and '.join(options.sources)}. Check the path and the endings.")
    for error in ledger.kept():
        summary.count_kept(error)
    progress.event("plan", total=summary.total, to_do=to_do, kept=summary.kept, repeated=summary.repeated)


def _work(
    options: Options, request: CropRequest, table: Table, ledger: Ledger, rows: NewRows, progress: Progress, stop: Stop
) -> None:
    _refuse_hopeless(ledger, rows)
    _, to_do = ledger.counts()
    if not to_do:
        return
    progress.note(f"{to_do:,} pictures to crop, {ledger.counts()[0] - to_do:,} done or refused already; starting Ray.")
    settings = Settings(
        absolute(options.out),
        table.aside,
        options.device,
        request.detector,
        options.cores,
        options.dry_run,
        table.broken_off,
        {name: value for name, value in os.environ.items() if name.startswith(PREFIX)},
        options.sidecars,
    )
    with started_ray(options) as ray:
        stop.listen()
        stop.check()
        workers, share = pool(ray.cluster_resources(), options)
        progress.event("start", workers=workers, cores_per_worker=options.cores, gpus_per_worker=share)
        progress.start(to_do)
        table.begin()
        size = min(max(ROUND[0], ROUND_PER_WORKER * workers), ROUND[1])
        while pictures := ledger.to_do(size):
            among = (pictures[0][0], pictures[-1][0])
            for most in PASSES:
                if pictures:
                    for sent in cropped(ray, pictures, most, workers, share, settings):
                        rows.add(sent)
                        stop.check()
                    pictures = ledger.to_do(size, among)
            _give_up(pictures, rows)


def _refuse_hopeless(ledger: Ledger, rows: NewRows) -> None:
    """Add a row for each picture whose request is invalid, without using a worker."""
    while works := ledger.hopeless(FLUSH_ROWS):
        rows.add(_failed([(number, work, RequestError(work["error"])) for number, work in works]))


def _give_up(pictures: list[tuple[int, dict[str, Any]]], rows: NewRows) -> None:
    died = (
        f"The worker's process died {len(PASSES)} times while it had this picture, perhaps for lack of memory. "
        "Crop it by itself, or make it smaller."
    )
    if pictures:
        rows.add(_failed([(number, work, WorkerError(died)) for number, work in pictures]))


def _failed(works: list[tuple[int, dict[str, Any], CropError]]) -> Any:
    rows = [{NUMBER: n, **row_of(work, failed_record(work["source"], error))} for n, work, error in works]
    return table_of(rows, SENT_SCHEMA)
