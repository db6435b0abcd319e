"""`crop-core batch`: a million pictures, on one machine or many."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from typing import Any

from crop_core.cli.inputs import Commands, add_inputs
from crop_core.errors import CropError, RequestError
from crop_core.picture_files import PICTURE_ENDINGS
from crop_core.sidecars import parse_sidecars


def add_parser(commands: Commands) -> None:
    """Add the command's options."""
    batch = commands.add_parser(
        "batch",
        help="crop folders, buckets and tables of pictures, on one machine or many",
        description="Crop folders, buckets and tables of pictures on Ray Data. A second run does only what is missing.",
    )
    batch.add_argument(
        "sources",
        nargs="+",
        metavar="SOURCE",
        help="folders, globs, pictures, or manifests (CSV, JSON Lines, Parquet); paths or s3://, gs://, https://",
    )
    batch.add_argument(
        "out", metavar="OUT", help="a folder or a bucket; it gets a folder of crops per picture, and a table of results"
    )
    add_inputs(batch)
    batch.add_argument("--column", default="image", metavar="NAME", help="a manifest's column of paths (image)")
    batch.add_argument("--address", metavar="HOST:PORT", help="join a Ray cluster; auto finds one on this machine")
    batch.add_argument("--workers", type=int, metavar="N", help="processes with the model loaded (as many as fit)")
    batch.add_argument(
        "--cores-per-worker",
        dest="cores",
        type=int,
        default=1,
        metavar="N",
        help="CPU cores, and threads, of each worker (1)",
    )
    batch.add_argument("--retry-failed", action="store_true", help="retry every picture that failed")
    batch.add_argument("--log-json", action="store_true", help="progress on standard error as lines of JSON")
    batch.set_defaults(run=crop_batch)


def crop_batch(
    sources: list[str],
    out: str,
    device: str,
    dry_run: bool,
    sidecars: str,
    column: str,
    address: str | None,
    workers: int | None,
    cores: int,
    retry_failed: bool,
    log_json: bool,
    **inputs: Any,
) -> int:
    """Run the batch and return the command's exit status."""
    missing = [name for name in ("ray", "pyarrow", "fsspec") if find_spec(name) is None]
    if missing:
        raise RequestError(f"batch needs {', '.join(missing)}. Install them: pip install 'crop-core[batch]'.")
    from crop_core.batch.options import Options
    from crop_core.batch.progress import Progress
    from crop_core.batch.run import run_batch

    options = Options(
        sources=sources,
        out=out,
        inputs=inputs,
        endings=PICTURE_ENDINGS,
        column=column,
        device=device,
        dry_run=dry_run,
        sidecars=parse_sidecars(sidecars),
        address=address,
        workers=workers,
        cores=cores,
        retry_failed=retry_failed,
        log_json=log_json,
    )
    try:
        return run_batch(options)
    except CropError as error:
        if not log_json:
            raise
        Progress(sys.stderr, True).event("error", error={"type": type(error).__name__, "message": str(error)})
        return 2
