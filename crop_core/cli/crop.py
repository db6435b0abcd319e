"""`crop-core crop`: crops files and folders; each picture gets a folder of crops."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from crop_core.cli.inputs import Commands, add_inputs, cropper_class
from crop_core.cli.pictures import Picture, list_pictures
from crop_core.cli.report import line_of
from crop_core.errors import CropError, ImageError, RequestError
from crop_core.picture_files import RECORD_NAME
from crop_core.request import CropRequest
from crop_core.result import CropResult, failed_record
from crop_core.run.process_settings import tune_process
from crop_core.sidecars import parse_sidecars, read_local, read_sidecars
from crop_core.smaller_crops import count_smaller, sentence

if TYPE_CHECKING:
    from crop_core.cropper import Cropper


_ADDRESS = re.compile(r"(https?|s3a?|gs|gcs|ftp):/+(.+)", re.IGNORECASE)


def add_parser(commands: Commands) -> None:
    """Add the command's options."""
    crop = commands.add_parser("crop", help="crop files and folders", description="Crop files and folders.")
    crop.add_argument("sources", nargs="+", type=Path, metavar="SOURCE", help="picture files, or folders of them")
    crop.add_argument(
        "--out", type=Path, default=Path("crops"), metavar="DIR", help="where each picture gets a folder (crops)"
    )
    add_inputs(crop)
    crop.add_argument(
        "--json", dest="json_target", metavar="FILE", help="one line of JSON per picture; - for standard output"
    )
    crop.add_argument("--explain", action="store_true", help="say of each crop why its window lies where it does")
    crop.add_argument(
        "--skip-done", action="store_true", help="leave out pictures that have a detections.json in DIR, to go on"
    )
    crop.set_defaults(run=crop_pictures)


def crop_pictures(
    sources: list[Path],
    out: Path,
    device: str,
    dry_run: bool,
    sidecars: str,
    json_target: str | None,
    explain: bool,
    skip_done: bool,
    **inputs: Any,
) -> int:
    """Crop the pictures and return the command's exit status."""
    from tqdm import tqdm

    request, endings = CropRequest.from_inputs(**inputs), parse_sidecars(sidecars)
    for source in sources:
        if address := _ADDRESS.match(str(source)):  # Path made one slash of two
            given = f"{address[1]}://{address[2]}"
            raise RequestError(
                f"crop takes files and folders, got {given}. Use crop-core batch {given} {out}, or download it first."
            )
    missing = [source for source in sources if not os.path.exists(source)]  # Path.exists raises on too long a name
    if missing:
        print(f"crop-core: there is no {', no '.join(map(str, missing))}. Check the path.", file=sys.stderr)
        return 2
    pictures = list(list_pictures(sources, out))
    if not pictures:
        print(
            f"crop-core: there are no pictures in {' and '.join(map(str, sources))}. Name a folder that holds some.",
            file=sys.stderr,
        )
        return 2
    if skip_done:
        pictures = [picture for picture in pictures if not (picture.folder / RECORD_NAME).exists()]
        if not pictures:
            print(
                f"crop-core: nothing to do: all pictures have crops in {out}, whatever options they were made with.",
                file=sys.stderr,
            )
            return 0
    tune_process()
    cropper = cropper_class()(device=device, detector=request.detector)
    done = failures = crops = smaller = 0
    with _lines(json_target) as lines:
        bar = tqdm(pictures, unit=" pictures", disable=None if len(pictures) > 1 else True)
        results = _results(cropper, pictures, request, dry_run)
        try:
            for picture, found in zip(bar, results, strict=True):
                try:
                    result = _kept(found, picture, () if dry_run else endings, None if dry_run else picture.folder)
                    record = result.record()
                except CropError as error:
                    failures += 1
                    tqdm.write(f"crop-core: {picture.source}: {error}", file=sys.stderr)
                    record = failed_record(picture.source, error)
                else:
                    crops += len(result.crops)
                    smaller += count_smaller(record["crops"], request)
                    if json_target != "-":
                        tqdm.write(_printable(line_of(result, None if dry_run else picture.folder)))
                        if explain and result.crops:
                            tqdm.write(_printable(result.explain()))
                done += 1
                bar.set_postfix(failed=failures, refresh=False)
                if lines is not None:
                    tqdm.write(json.dumps(record), file=lines)
                    lines.flush()
        except KeyboardInterrupt:
            bar.close()
            left = len(pictures) - done
            print(
                f"crop-core: stopped: {done} of {len(pictures)} pictures done, {failures} of them failed. To crop "
                f"the other {left}, run the same command with --skip-done.",
                file=sys.stderr,
            )
            return 128 + signal.SIGINT
    if smaller:
        print(f"crop-core: {sentence(smaller, crops)}", file=sys.stderr)
    return 1 if failures else 0


def _results(
    cropper: Cropper, pictures: Sequence[Picture], request: CropRequest, dry_run: bool
) -> Iterator[CropResult | CropError]:
    """Yield each picture's result or error, in order."""
    from crop_core import read_photo

    unread: deque[CropError | None] = deque()

    def files() -> Iterator[bytes]:
        for picture in pictures:
            try:
                if picture.error:
                    raise ImageError(picture.error)
                data = read_photo(picture.path)
            except CropError as error:
                unread.append(error)
                yield b""
            else:
                unread.append(None)
                yield data

    sources = [picture.source for picture in pictures]
    threads = 1 if len(pictures) == 1 else None  # a single thread uses all cores
    for found in cropper.crop_many(files(), request, sources=sources, dry_run=dry_run, threads=threads):
        yield unread.popleft() or found


def _kept(found: CropResult | CropError, picture: Picture, endings: Sequence[str], folder: Path | None) -> CropResult:
    """Return the result with its sidecars, after writing its files into the folder, if there is one.

    Raises:
        CropError: The picture failed, or the folder does not take the files.
    """
    if isinstance(found, CropError):
        raise found
    if endings:
        found = replace(found, sidecars=read_sidecars(str(picture.path), endings, read_local))
    if folder is not None:
        found.save(folder)
    return found


def _printable(text: str) -> str:
    """Return the text with characters that standard output lacks escaped: a file's name may be in any encoding."""
    encoding = sys.stdout.encoding or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


@contextmanager
def _lines(target: str | None) -> Iterator[TextIO | None]:
    """Yield the stream for the JSON lines, or none.

    Raises:
        RequestError: The file cannot be opened.
    """
    if target is None:
        yield None
    elif target == "-":
        yield sys.stdout
    else:
        try:
            Path(target).parent.mkdir(parents=True, exist_ok=True)
            file = open(target, "w", encoding="utf-8")  # noqa: SIM115 (closed below; only the opening is guarded)
        except OSError as error:
            raise RequestError(f"--json {target} cannot be written: {error.strerror}. Name another file.") from error
        with file:
            yield file
