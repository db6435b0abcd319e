"""A run: what there is to crop, through Ray Data's actor pool, into the table.

The ledger, not Ray, knows what is done. A block of pictures whose worker died is handed out
again in a later pass, one picture at a time, so that the picture that kills its worker is found
and costs nobody else.
"""

from __future__ import annotations

import json
import logging
import math
import os
import secrets
import signal
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TextIO

from crop_core.batch.ledger import Ledger
from crop_core.batch.progress import Progress, Summary
from crop_core.batch.sources import list_sources
from crop_core.batch.storage import absolute, join
from crop_core.batch.table import NUMBER, SCHEMA, SENT_SCHEMA, TABLE, Table, row_of, table_of
from crop_core.batch.worker import WORK, Settings, Worker
from crop_core.errors import CropError, RequestError
from crop_core.photo.limits import PREFIX, limits
from crop_core.request import CropRequest
from crop_core.result import failed_record

# Pictures that go to a worker at once: what a worker that dies takes with it. After that, one at a time.
PASSES = (8, 1, 1)
# Pictures that are handed to Ray at once, for the memory that they take there: about 1 KB each.
ROUND_PER_WORKER = 10_000
ROUND = (100_000, 1_000_000)
# While a picture's decoding and encoding keep a core busy, its network keeps the GPU busy for a fraction of that.
WORKERS_PER_GPU = 4
WORKER_MEMORY = 2**30  # bytes; PyTorch, the networks and a 50-megapixel photo
STORE_MEMORY = 256 * 2**20  # bytes of this machine for what is on its way; Ray puts the rest on the disk
# Rows are made to last when so many wait, or after so long: a hundredth of the run, within these bounds.
FLUSH_ROWS = 5_000
FLUSH_S = (10.0, 60.0)


class WorkerError(CropError, RuntimeError):
    """The worker's process died while it had the picture."""


class RunError(CropError, RuntimeError):
    """Ray cannot start, or cannot go on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the command asks for.

    Attributes:
        sources: Folders, globs, manifests and pictures.
        out: A folder or a bucket.
        inputs: The request's inputs, for all pictures that bring none of their own.
        endings: The endings that make a file in a folder a picture, in lower case.
        column: A manifest's column of paths.
        device: Where the networks run.
        dry_run: Decide where to cut, write no crops.
        address: A Ray cluster's address; this machine alone when none.
        workers: How many; as many as fit when none.
        cores: Whole cores, and PyTorch threads, of each worker.
        retry_failed: Try pictures again that failed, whatever the error was.
        log_json: Tell the progress in JSON, a line each.
    """

    sources: Sequence[str]
    out: str
    inputs: dict[str, Any]
    endings: Sequence[str]
    column: str
    device: str
    dry_run: bool
    address: str | None
    workers: int | None
    cores: int
    retry_failed: bool
    log_json: bool


def run_batch(options: Options) -> int:
    """Crop what is missing and return the command's exit status: 0, 1 when some failed, 130 when it was stopped.

    Raises:
        CropError: A source, the request, OUT or the cluster cannot be used.
    """
    request = CropRequest.from_inputs(**options.inputs)
    limits()  # one that makes no sense would be every picture's error
    for name, number in (("workers", options.workers), ("cores-per-worker", options.cores)):
        if number is not None and number < 1:
            raise RequestError(f"--{name} is at least 1, got {number}.")
    table = Table(options.out)
    ledger = Ledger(options.inputs, options.dry_run, options.retry_failed)
    summary, stopped, listed = Summary(), False, False
    with _own_terminal() as (out, err):
        progress = Progress(err, options.log_json)
        try:
            with _interruptible() as stop:
                table.open(ledger)
                _plan(options, ledger, summary, progress, stop)
                listed = True
                rows = _Rows(table, ledger, summary, progress)
                try:
                    _work(options, request, table, ledger, rows, progress, stop)
                except KeyboardInterrupt:
                    stopped = True
                finally:
                    progress.close()
                    rows.flush()
                table.finish(ledger, summary.left == 0)
        except KeyboardInterrupt:  # before there was anything to keep, or a second time
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


class Stop:
    """The wish to stop: Ctrl-C, and SIGTERM, by which containers and machines are taken away.

    Python drops what a handler raises while an object is taken away or C calls back, and Ray does both
    all the time; so the wish is kept, and asked for at every step.
    """

    def __init__(self) -> None:
        """Wish for nothing yet."""
        self._wished = False
        self._signals = [signal.SIGTERM]
        if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:  # as a shell asks of what runs in the background
            self._signals.append(signal.SIGINT)

    def listen(self) -> None:
        """Take the signals, also from whoever took them in the meantime, as Ray does when it starts."""
        for number in self._signals:
            signal.signal(number, self)

    def __call__(self, *_: object) -> None:
        """Stop now if what runs can be stopped, else at the next step.

        Raises:
            KeyboardInterrupt: Always.
        """
        self._wished = True
        raise KeyboardInterrupt

    def check(self) -> None:
        """Go on unless there is a wish to stop.

        Raises:
            KeyboardInterrupt: There is.
        """
        if self._wished:
            raise KeyboardInterrupt


@contextmanager
def _interruptible() -> Iterator[Stop]:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    stop = Stop()
    stop.listen()
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _plan(options: Options, ledger: Ledger, summary: Summary, progress: Progress, stop: Stop) -> None:
    def ignored(column: str) -> None:
        progress.note(f"the manifest's column {column} is no input of crop-core and is not used.")

    pictures = list_sources(options.sources, options.out, options.endings, options.column, ignored)
    for number, listed in enumerate(pictures, 1):
        stop.check()
        ledger.add(listed)
        progress.listing(number)
    summary.total, to_do = ledger.counts()
    summary.repeated = ledger.repeated
    if not summary.total:
        raise RequestError(f"{' and '.join(options.sources)} hold no pictures.")
    for error in ledger.kept():
        summary.count_kept(error)
    progress.event("plan", total=summary.total, to_do=to_do, kept=summary.kept, repeated=summary.repeated)


class _Rows:
    """Rows on their way into the table."""

    def __init__(self, table: Table, ledger: Ledger, summary: Summary, progress: Progress) -> None:
        self._table, self._ledger, self._summary, self._progress = table, ledger, summary, progress
        self._waiting: list[Any] = []
        self._number = 0  # of rows that wait
        self._start = self._flushed = time.monotonic()

    def add(self, rows: Any) -> None:
        """Take the rows that a worker sent; one that is there already is left out."""
        import pyarrow as pa

        fresh = [self._ledger.did(number) for number in rows.column(NUMBER).to_pylist()]
        rows = rows.filter(pa.array(fresh, pa.bool_()))
        errors, crops = rows.column("error").to_pylist(), rows.column("crops").to_pylist()
        for source, error, cut in zip(rows.column("source").to_pylist(), errors, crops, strict=True):
            self._summary.count(len(cut), error)
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
        """Make the rows last."""
        import pyarrow as pa

        waiting, number = self._waiting, self._number
        self._waiting, self._number = [], 0
        if number:
            self._table.append(pa.concat_tables(waiting), self._ledger)
        self._flushed = time.monotonic()


def _work(
    options: Options, request: CropRequest, table: Table, ledger: Ledger, rows: _Rows, progress: Progress, stop: Stop
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
    )
    with _ray(options) as ray:
        stop.listen()
        stop.check()
        workers, share = _pool(ray.cluster_resources(), options)
        progress.event("start", workers=workers, cores_per_worker=options.cores, gpus_per_worker=share)
        progress.start(to_do)
        table.begin()
        size = min(max(ROUND[0], ROUND_PER_WORKER * workers), ROUND[1])
        while pictures := ledger.to_do(size):
            among = (pictures[0][0], pictures[-1][0])
            for most in PASSES:
                if pictures:
                    for sent in _cropped(ray, pictures, most, workers, share, settings):
                        rows.add(sent)
                        stop.check()
                    pictures = ledger.to_do(size, among)
            _give_up(pictures, rows)


def _refuse_hopeless(ledger: Ledger, rows: _Rows) -> None:
    """Make rows of the pictures whose request makes no sense, without a worker."""
    while works := ledger.hopeless(FLUSH_ROWS):
        rows.add(_failed([(number, work, RequestError(work["error"])) for number, work in works]))


def _give_up(pictures: list[tuple[int, dict[str, Any]]], rows: _Rows) -> None:
    died = f"The worker's process died while it had this picture, {len(PASSES)} times. Try the picture by itself."
    if pictures:
        rows.add(_failed([(number, work, WorkerError(died)) for number, work in pictures]))


def _failed(works: list[tuple[int, dict[str, Any], CropError]]) -> Any:
    rows = [{NUMBER: n, **row_of(work, failed_record(work["source"], error))} for n, work, error in works]
    return table_of(rows, SENT_SCHEMA)


def _pool(resources: dict[str, float], options: Options) -> tuple[int, float]:
    """Return how many workers there are to be, and what part of a GPU each has.

    Raises:
        RequestError: The cluster has no room for one.
    """
    cores, gpus = int(resources.get("CPU", 0)) // options.cores, int(resources.get("GPU", 0))
    if options.device in ("cpu", "mps"):
        gpus = 0
    elif options.device == "cuda" and not gpus:
        raise RequestError("The device cuda was asked for, but Ray finds no GPU; use auto or cpu.")
    if cores < 1:
        raise RequestError(
            f"--cores-per-worker {options.cores} is more than the {resources.get('CPU', 0):.0f} cores there are. "
            "Ask for fewer."
        )
    roomy = max(1, int(resources.get("memory", math.inf) // WORKER_MEMORY)) if "memory" in resources else cores
    workers = options.workers or min(cores, roomy, gpus * WORKERS_PER_GPU or cores)
    if workers > cores:
        raise RequestError(
            f"{workers} workers of {options.cores} cores each need more than the {resources.get('CPU', 0):.0f} cores "
            "there are. Ask for fewer workers."
        )
    return workers, 1 / math.ceil(workers / gpus) if gpus else 0.0


def _cropped(
    ray: Any, pictures: list[tuple[int, dict[str, Any]]], most: int, workers: int, share: float, settings: Settings
) -> Iterator[Any]:
    """Yield the rows of the pictures block by block, as they come; those of a worker that died are missing.

    Raises:
        CropError: The workers cannot load the model.
        RunError: Ray cannot go on.
    """
    blocks = math.ceil(len(pictures) / min(most, math.ceil(len(pictures) / workers)))
    items = [{NUMBER: number, WORK: json.dumps(work)} for number, work in pictures]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Ray's, about max_task_retries, for which it has no other way yet
        data = ray.data.from_items(items, override_num_blocks=blocks).map_batches(
            Worker,
            batch_size=None,  # a block as it is
            batch_format="pyarrow",
            # A block that waits at a worker dies with it; so where one may kill its worker none waits.
            compute=ray.data.ActorPoolStrategy(size=min(workers, blocks), max_tasks_in_flight_per_actor=min(most, 2)),
            fn_constructor_args=(settings,),
            num_cpus=settings.threads,
            num_gpus=share,
            max_restarts=-1,
            # A block that a worker dies of would be tried for ever; and one of a lost machine would wait for a machine.
            max_task_retries=0,
        )
    try:
        yield from data.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0)
    except (ray.exceptions.RayError, RuntimeError) as error:
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, CropError):
                raise cause from error
            cause = getattr(cause, "cause", None) or cause.__cause__
        raise RunError(f"Ray stopped: {_first_line(error)}. The same command goes on from here.") from error


@contextmanager
def _ray(options: Options) -> Iterator[Any]:
    """Yield Ray, started on this machine or joined to the cluster, and quiet.

    Raises:
        RunError: It does not start.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # or it calls home
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_DATA_DISABLE_PROGRESS_BARS", "1")
    if options.address is None:  # its ports are open to the network, and who may talk to them may run anything
        os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=secrets.token_hex(32))
    import ray
    import ray.data

    own: dict[str, Any] = {}
    if options.address is None:
        own = {
            "num_cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
            "object_store_memory": STORE_MEMORY,
            "include_dashboard": False,
        }
    try:
        ray.init(address=options.address or "local", log_to_driver=False, logging_level=logging.ERROR, **own)
    except Exception as error:  # whatever it is, there is no Ray
        if options.address is None:
            raise RunError(f"Ray does not start here: {_first_line(error)}.") from error
        raise RunError(
            f"The cluster at {options.address} cannot be joined: {_first_line(error)}. Start it with `ray start`, with "
            "this version of Ray; where it asks for a token, set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN here too."
        ) from error
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.max_errored_blocks = -1  # the ledger knows what is missing
    try:
        yield ray
    finally:
        ray.shutdown()


def _first_line(error: BaseException) -> str:
    text = str(error).strip()
    return (text.splitlines()[-1] if text else type(error).__name__)[:300].rstrip(".")


@contextmanager
def _own_terminal() -> Iterator[tuple[TextIO, TextIO]]:
    """Yield the terminal's output and error streams for us alone; what Ray says goes to a file.

    Ray's processes and its C++ core write to the descriptors 1 and 2, past Python and its settings.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    descriptor, log = tempfile.mkstemp(prefix="crop-core-batch-", suffix=".log")
    saved = os.dup(1), os.dup(2)
    with (
        os.fdopen(saved[0], "w", errors="backslashreplace", closefd=False) as out,
        os.fdopen(saved[1], "w", errors="backslashreplace", closefd=False) as err,
    ):
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        keep = False
        try:
            yield out, err
        except RunError as error:
            keep = True
            raise RunError(f"{error} What Ray said is in {log}.") from error
        finally:
            if not keep:
                os.unlink(log)
            sys.stdout.flush()
            sys.stderr.flush()
            out.flush()
            err.flush()
            os.dup2(saved[0], 1)
            os.dup2(saved[1], 2)
    for number in (*saved, descriptor):
        os.close(number)
