"""The options of the batch command."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The options of the batch command.

    Attributes:
        sources: Folders, globs, manifests and pictures.
        out: A folder or a bucket.
        inputs: The inputs for all pictures; a picture's own inputs override them.
        endings: The endings that make a file in a folder a picture, in lower case.
        column: A manifest's column of paths.
        device: Where the networks run.
        dry_run: Decide where to cut, write no crops.
        sidecars: The endings of files beside a picture that are copied beside its crops.
        address: A Ray cluster's address; this machine alone when none.
        workers: How many workers; as many as fit when none.
        cores: Whole cores, and PyTorch threads, of each worker.
        retry_failed: Retry pictures that failed, whatever the error was.
        log_json: Print the progress as lines of JSON.
    """

    sources: Sequence[str]
    out: str
    inputs: dict[str, Any]
    endings: Sequence[str]
    column: str
    device: str
    dry_run: bool
    sidecars: tuple[str, ...] = ()
    address: str | None
    workers: int | None
    cores: int
    retry_failed: bool
    log_json: bool
