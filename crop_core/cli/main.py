"""The crop-core command: files and folders in, folders of crops out.

Exit status: 0 all cropped, 1 some pictures failed (each named on stderr, the rest done) or the
report could not be written, 2 wrong use.

What is heavy to load is loaded by the command that needs it.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import MISSING, fields
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from crop_core.device import DEVICES
from crop_core.errors import CropError, DeviceError, RequestError
from crop_core.request import CropRequest
from crop_core.result import RECORD_NAME, CropResult, failed_record
from crop_core.run.process_settings import tune_process

if TYPE_CHECKING:
    from crop_core import Cropper

# In a folder, what is called a picture is taken for one; what it really is, its bytes say.
# fmt: off
PICTURE_ENDINGS = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".webp", ".avif", ".avifs", ".heic", ".heif", ".hif",
    ".tif", ".tiff", ".bmp", ".dib", ".gif", ".jp2", ".j2k", ".jxl", ".svg", ".psd", ".ico",
)
# fmt: on


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status.

    Args:
        arguments: What was typed after the command's name; `sys.argv` when none.
    """
    parser = _parser()
    options = vars(parser.parse_args(arguments))
    command = options.pop("command")
    try:
        commands: dict[str, Callable[..., int]] = {"crop": _crop, "batch": _batch, "bench": _bench, "doctor": _doctor}
        status = commands[command](**options)
        sys.stdout.flush()  # here, where a reader that is gone can be told from a success
        return status
    except CropError as error:
        print(f"crop-core: {error}", file=sys.stderr)
        return 2
    except OSError as error:  # a picture's own trouble is reported beside it; this is the report's
        if not isinstance(error, BrokenPipeError):  # its reader is gone, as `| head` goes, and needs no word
            print(f"crop-core: stopped: {error.strerror}.", file=sys.stderr)
        try:
            sys.stdout.flush()
        except OSError:  # Python would try again at exit, and complain; see its documentation of SIGPIPE
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="crop-core", description="Detect what matters in photos and crop to it.")
    commands = parser.add_subparsers(dest="command", required=True)

    crop = commands.add_parser("crop", help="crop files and folders", description="Crop files and folders.")
    crop.add_argument("sources", nargs="+", type=Path, metavar="SOURCE", help="picture files, or folders of them")
    crop.add_argument("--out", type=Path, default=Path("crops"), metavar="DIR", help="one folder a picture (crops)")
    for entry in fields(CropRequest):
        _add_input(crop, entry)
    crop.add_argument("--device", choices=DEVICES, default="auto", help="where the networks run (auto)")
    crop.add_argument("--dry-run", action="store_true", help="decide where to cut, write no crops")
    crop.add_argument(
        "--json", dest="json_target", metavar="FILE", help="one line of JSON per picture; - for standard output"
    )

    batch = commands.add_parser(
        "batch",
        help="crop folders, buckets and tables of pictures, on one machine or many",
        description="Crop folders, buckets and tables of pictures on Ray Data. A second run does what is missing.",
    )
    batch.add_argument(
        "sources",
        nargs="+",
        metavar="SOURCE",
        help="folders, globs, pictures, or manifests (CSV, JSON Lines, Parquet); paths or s3://, gs://, https://",
    )
    batch.add_argument("out", metavar="OUT", help="a folder or a bucket: a folder of crops per picture, and a table")
    for entry in fields(CropRequest):
        _add_input(batch, entry)
    batch.add_argument("--device", choices=DEVICES, default="auto", help="where the networks run (auto)")
    batch.add_argument("--dry-run", action="store_true", help="decide where to cut, write no crops")
    batch.add_argument("--column", default="image", metavar="NAME", help="a manifest's column of paths (image)")
    batch.add_argument("--address", metavar="HOST:PORT", help="join a Ray cluster; auto finds the one of this machine")
    batch.add_argument("--workers", type=int, metavar="N", help="processes with the model loaded (as many as fit)")
    batch.add_argument("--cores-per-worker", dest="cores", type=int, default=1, metavar="N", help="and its threads (1)")
    batch.add_argument("--retry-failed", action="store_true", help="try every picture again that failed")
    batch.add_argument("--log-json", action="store_true", help="progress on standard error as lines of JSON")

    bench = commands.add_parser("bench", help="measure where time and memory go, beside other croppers")
    bench.add_argument("--device", choices=DEVICES, default="auto", help="where the networks run (auto)")
    _add_input(bench, next(entry for entry in fields(CropRequest) if entry.name == "detector"))
    bench.add_argument("--megapixels", default="1,3,12,48,100", metavar="LIST", help="sizes of the photos")
    bench.add_argument("--runs", type=int, default=20, metavar="N", help="crops per size (20)")
    bench.add_argument("--picture", type=Path, metavar="FILE", help="what the photos show (a sample)")
    bench.add_argument(
        "--only", default="", metavar="LIST", help="some of stages,peers,throughput,memory,cold,http; all when empty"
    )
    bench.add_argument("--json", dest="json_target", type=Path, metavar="FILE", help="also write the figures there")

    doctor = commands.add_parser("doctor", help="say whether the model can run here, and why not")
    doctor.add_argument("--device", choices=DEVICES, default="auto", help="the device to examine (auto)")
    return parser


def _add_input(parser: argparse.ArgumentParser, entry: Any) -> None:
    """Add one field of CropRequest as an option; its values are checked by CropRequest, not here."""
    name = "aspect_ratio" if entry.name == "aspect_ratios" else entry.name
    flag, text = "--" + name.replace("_", "-"), entry.metadata["help"].replace("%", "%%")
    assert entry.default is not MISSING
    default = ",".join(entry.default) if isinstance(entry.default, tuple) else entry.default
    if entry.type == "bool":
        parser.add_argument(flag, action="store_true", help=text)
        return
    if default not in (None, ""):
        text += f" ({default})"
    kind = int if "int" in entry.type else float if "float" in entry.type else str
    choices = entry.metadata.get("choices")
    metavar = None if choices else name.upper()  # without one, the help names the choices
    parser.add_argument(flag, type=kind, default=default, choices=choices, help=text, metavar=metavar)


def _bench(
    device: str,
    detector: str,
    megapixels: str,
    runs: int,
    picture: Path | None,
    only: str,
    json_target: Path | None,
) -> int:
    try:
        sizes = [float(size) for size in megapixels.split(",")]
    except ValueError:
        sizes = []
    if not sizes or not all(0.1 <= size <= 200 for size in sizes):
        raise RequestError(f"--megapixels is a list of numbers from 0.1 to 200, such as 1,12; got {megapixels!r}.")
    if runs < 1:
        raise RequestError(f"--runs is at least 1; got {runs}.")
    tune_process()
    _cropper_class()  # says what to do where PyTorch does not load
    from crop_core.bench.pictures import SAMPLE
    from crop_core.bench.run import PARTS, run

    parts = [part for part in only.split(",") if part] or list(PARTS)
    if unknown := [part for part in parts if part not in PARTS]:
        raise RequestError(f"--only takes some of {', '.join(PARTS)}; got {', '.join(unknown)}.")
    report = run(sizes, runs, device, picture or SAMPLE, parts, detector)
    if json_target is not None:
        try:
            json_target.write_text(json.dumps(report, indent=1) + "\n")
        except OSError as error:
            raise RequestError(
                f"--json {json_target} cannot be written: {error.strerror}. Name another file."
            ) from error
    return 0


def _doctor(device: str) -> int:
    from crop_core.doctor.finding import runnable
    from crop_core.doctor.report import examine

    findings = examine(device)
    for finding in findings:
        print(f"{'ok   ' if finding.ok else 'WRONG'} {finding.what}: {finding.found}")
        if not finding.ok:
            print(f"      {finding.remedy}")
    return 0 if runnable(findings) else 1


def _batch(
    sources: list[str],
    out: str,
    device: str,
    dry_run: bool,
    column: str,
    address: str | None,
    workers: int | None,
    cores: int,
    retry_failed: bool,
    log_json: bool,
    **inputs: Any,
) -> int:
    missing = [name for name in ("ray", "pyarrow", "fsspec") if find_spec(name) is None]
    if missing:
        raise RequestError(f"batch needs {', '.join(missing)}: pip install 'crop-core[batch]'.")
    from crop_core.batch.progress import Progress
    from crop_core.batch.run import Options, run_batch

    options = Options(
        sources=sources,
        out=out,
        inputs=inputs,
        endings=PICTURE_ENDINGS,
        column=column,
        device=device,
        dry_run=dry_run,
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


def _crop(sources: list[Path], out: Path, device: str, dry_run: bool, json_target: str | None, **inputs: Any) -> int:
    from tqdm import tqdm

    request = CropRequest.from_inputs(**inputs)
    missing = [source for source in sources if not os.path.exists(source)]  # Path.exists raises on too long a name
    if missing:
        print(f"crop-core: there is no {', no '.join(map(str, missing))}.", file=sys.stderr)
        return 2
    pictures = list(_pictures(sources, out))
    if not pictures:
        print("crop-core: the folders hold no pictures.", file=sys.stderr)
        return 2
    folders = _folders([picture for picture, _ in pictures], out)
    tune_process()
    cropper = _cropper_class()(device=device, detector=request.detector)
    failures = 0
    with _lines(json_target) as lines:
        bar = tqdm(pictures, unit="picture", disable=None if len(pictures) > 1 else True)
        results = _results(cropper, pictures, request, dry_run)
        for (_, source), folder, found in zip(bar, folders, results, strict=True):
            try:
                result = _kept(found, None if dry_run else folder)
                record = result.record()
            except CropError as error:
                failures += 1
                tqdm.write(f"crop-core: {source}: {error}", file=sys.stderr)
                record = failed_record(source, error)
            else:
                if json_target != "-":
                    tqdm.write(_printable(_summary(result, None if dry_run else folder)))
            if lines is not None:
                tqdm.write(json.dumps(record), file=lines)
                lines.flush()
    return 1 if failures else 0


def _cropper_class() -> type[Cropper]:
    """Return the class, which loads PyTorch.

    Raises:
        DeviceError: PyTorch or torchvision cannot be loaded.
    """
    try:
        from crop_core import Cropper
    except (ImportError, OSError, RuntimeError) as error:  # the last is a pair that does not match
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise DeviceError(
            f"PyTorch or torchvision cannot be loaded ({reason}). Run crop-core doctor: it says why and what mends it."
        ) from error
    return Cropper


def _results(
    cropper: Cropper, pictures: Sequence[tuple[Path, str]], request: CropRequest, dry_run: bool
) -> Iterator[CropResult | CropError]:
    """Yield every picture's result, or the error that it met."""
    from crop_core import read_photo

    unread: deque[CropError | None] = deque()

    def files() -> Iterator[bytes]:
        for path, _ in pictures:
            try:
                data = read_photo(path)
            except CropError as error:
                unread.append(error)
                yield b""
            else:
                unread.append(None)
                yield data

    sources = [source for _, source in pictures]
    threads = 1 if len(pictures) == 1 else None  # which has all cores
    for found in cropper.crop_many(files(), request, sources=sources, dry_run=dry_run, threads=threads):
        yield unread.popleft() or found


def _kept(found: CropResult | CropError, folder: Path | None) -> CropResult:
    """Return the result, its files written into the folder if there is one.

    Raises:
        CropError: It is none, or the folder does not take the files.
    """
    if isinstance(found, CropError):
        raise found
    if folder is not None:
        try:
            found.save(folder)
        except OSError as error:
            raise CropError(
                f"The crops cannot be written to {folder}: {error.strerror}. Choose another --out."
            ) from error
    return found


def _summary(result: CropResult, folder: Path | None) -> str:
    found = ", ".join(f"{n} {label}" for label, n in Counter(d.label for d in result.detections).most_common())
    crops = "1 crop" if len(result.crops) == 1 else f"{len(result.crops)} crops"
    place = f" in {folder}" if folder else ""
    return f"{result.source}: {found or 'nothing found'}; {crops}{place}"


def _printable(text: str) -> str:
    """Return the text as standard output can show it: a file's name may be in any encoding."""
    encoding = sys.stdout.encoding or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def _pictures(sources: Sequence[Path], out: Path) -> Iterator[tuple[Path, str]]:
    """Yield every picture and the name to report it by: files as given, folders by their pictures' endings."""
    seen: set[Path] = set()
    for source in sources:
        if not source.is_dir():
            found = [source]
        else:
            found = [
                path
                for path in sorted(source.rglob("*"))
                if path.suffix.lower() in PICTURE_ENDINGS
                and path.is_file()
                and not any(part.startswith(".") for part in path.relative_to(source).parts)
                and not _is_crop(path.resolve(), source.resolve(), out.resolve())
            ]
        for path in found:
            if path.resolve() not in seen:
                seen.add(path.resolve())
                yield path, str(path)


def _is_crop(path: Path, source: Path, out: Path) -> bool:
    """Return whether an earlier run wrote the file: a second one does not crop the crops of the first.

    A folder of crops inside the source holds nothing else. Where the source lies in it instead,
    or is it, the record beside the crops tells them from the pictures.
    """
    return out in path.parents and (source in out.parents or (path.parent / RECORD_NAME).exists())


def _folders(pictures: Sequence[Path], out: Path) -> list[Path]:
    """Return each picture's folder in `out`: its stem, its whole name where stems meet, a number where names meet.

    No two are the same, also where the file system knows no case.
    """
    stems = Counter(picture.stem.casefold() for picture in pictures)
    taken: set[str] = set()
    folders = []
    for picture in pictures:
        first = name = picture.stem if stems[picture.stem.casefold()] == 1 else picture.name
        number = 1
        while name.casefold() in taken:
            number += 1
            name = f"{first}_{number}"
        taken.add(name.casefold())
        folders.append(out / name)
    return folders


@contextmanager
def _lines(target: str | None) -> Iterator[TextIO | None]:
    """Yield the stream that takes the JSON lines, or none.

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


if __name__ == "__main__":
    sys.exit(main())
