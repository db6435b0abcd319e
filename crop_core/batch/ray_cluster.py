"""Starts or joins Ray, runs its pool of workers, and keeps its output off the terminal."""

from __future__ import annotations

import json
import logging
import math
import os
import secrets
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from crop_core.batch.options import Options
from crop_core.batch.table_schema import NUMBER
from crop_core.batch.worker import WORK, Settings, Worker
from crop_core.errors import CropError, RequestError
from crop_core.threads import usable_cores

# Decoding and encoding a picture take a core much longer than its networks take the GPU, so workers share a GPU.
WORKERS_PER_GPU = 4
WORKER_MEMORY = 2**30  # bytes; PyTorch, the networks and a 50-megapixel photo
STORE_MEMORY = 256 * 2**20  # bytes of this machine's memory for blocks in transit; Ray puts the rest on the disk


class RunError(CropError, RuntimeError):
    """Ray cannot start, or cannot go on."""


def pool(resources: dict[str, float], options: Options) -> tuple[int, float]:
    """Return how many workers to start, and which fraction of a GPU each gets.

    Raises:
        RequestError: The cluster has too few cores, or no GPU.
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


def cropped(
    ray: Any, pictures: list[tuple[int, dict[str, Any]]], most: int, workers: int, share: float, settings: Settings
) -> Iterator[Any]:
    """Yield the pictures' rows block by block, as they come; the blocks of a worker that died are missing.

    Raises:
        CropError: The workers cannot load the model.
        RunError: Ray cannot go on.
    """
    blocks = math.ceil(len(pictures) / min(most, math.ceil(len(pictures) / workers)))
    items = [{NUMBER: number, WORK: json.dumps(work)} for number, work in pictures]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Ray warns about max_task_retries, but offers nothing else yet
        data = ray.data.from_items(items, override_num_blocks=blocks).map_batches(
            Worker,
            batch_size=None,  # one block at a time, whole
            batch_format="pyarrow",
            # A block that waits at a worker is lost with it. So in the passes that may kill a worker no block waits.
            compute=ray.data.ActorPoolStrategy(size=min(workers, blocks), max_tasks_in_flight_per_actor=min(most, 2)),
            fn_constructor_args=(settings,),
            num_cpus=settings.threads,
            num_gpus=share,
            max_restarts=-1,
            # Ray would retry for ever a block that kills its worker, or one whose machine is lost.
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
        raise RunError(f"Ray stopped: {_first_line(error)}. Run the same command again to do the rest.") from error


@contextmanager
def started_ray(options: Options) -> Iterator[Any]:
    """Yield Ray, started on this machine or connected to the cluster, with its own output turned off.

    Raises:
        RunError: Ray does not start.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # or Ray reports its usage to its makers
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_DATA_DISABLE_PROGRESS_BARS", "1")
    if options.address is None:  # Ray's ports are open to the network, and without a token anyone could run code there
        os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=secrets.token_hex(32))
    import ray
    import ray.data

    own: dict[str, Any] = {}
    if options.address is None:
        own = {
            "num_cpus": usable_cores(),
            "object_store_memory": STORE_MEMORY,
            "include_dashboard": False,
        }
    try:
        ray.init(address=options.address or "local", log_to_driver=False, logging_level=logging.ERROR, **own)
    except Exception as error:  # whatever the error is, Ray cannot be used
        if options.address is None:
            raise RunError(f"Ray does not start here: {_first_line(error)}.") from error
        raise RunError(
            f"The cluster at {options.address} cannot be joined: {_first_line(error)}. Start it with `ray start` and "
            "this version of Ray. If it asks for a token, set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN here too."
        ) from error
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.max_errored_blocks = -1  # go on after lost blocks: the ledger knows what is missing
    try:
        yield ray
    finally:
        ray.shutdown()


def _first_line(error: BaseException) -> str:
    text = str(error).strip()
    return (text.splitlines()[-1] if text else type(error).__name__)[:300].rstrip(".")


@contextmanager
def own_terminal() -> Iterator[tuple[TextIO, TextIO]]:
    """Yield the terminal's output and error streams for us alone; Ray's output goes to a file.

    Ray's processes and its C++ core write to the descriptors 1 and 2 directly, past Python.
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
            raise RunError(f"{error} Ray's own output is in {log}.") from error
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
