"""Ray: started or joined, its pool of workers, and a terminal that it does not write to."""

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

# While a picture's decoding and encoding keep a core busy, its network keeps the GPU busy for a fraction of that.
WORKERS_PER_GPU = 4
WORKER_MEMORY = 2**30  # bytes; PyTorch, the networks and a 50-megapixel photo
STORE_MEMORY = 256 * 2**20  # bytes of this machine for what is on its way; Ray puts the rest on the disk


class RunError(CropError, RuntimeError):
    """Ray cannot start, or cannot go on."""


def pool(resources: dict[str, float], options: Options) -> tuple[int, float]:
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


def cropped(
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
def started_ray(options: Options) -> Iterator[Any]:
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
            "num_cpus": usable_cores(),
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
def own_terminal() -> Iterator[tuple[TextIO, TextIO]]:
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
