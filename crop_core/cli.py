"""The crop-core command: files and folders in, folders of crops out.

Exit status: 0 all cropped, 1 some pictures failed (each named on stderr, the rest done), 2 wrong
use.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, TextIO

from tqdm import tqdm

from crop_core.cropper import DEVICES, Cropper
from crop_core.doctor import examine
from crop_core.errors import CropError
from crop_core.request import CropRequest
from crop_core.result import CropResult, failed_record

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
        return _doctor(**options) if command == "doctor" else _crop(**options)
    except CropError as error:
        print(f"crop-core: {error}", file=sys.stderr)
        return 2


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
    parser.add_argument(
        flag, type=kind, default=default, choices=entry.metadata.get("choices"), help=text, metavar=name.upper()
    )


def _doctor(device: str) -> int:
    findings = examine(device)
    for finding in findings:
        print(f"{'ok   ' if finding.ok else 'WRONG'} {finding.what}: {finding.found}")
        if not finding.ok:
            print(f"      {finding.remedy}")
    return 0 if all(finding.ok for finding in findings) else 1


def _crop(sources: list[Path], out: Path, device: str, dry_run: bool, json_target: str | None, **inputs: Any) -> int:
    request = CropRequest.from_inputs(**inputs)
    missing = [source for source in sources if not source.exists()]
    if missing:
        print(f"crop-core: there is no {', no '.join(map(str, missing))}.", file=sys.stderr)
        return 2
    pictures = list(_pictures(sources, out))
    if not pictures:
        print("crop-core: the folders hold no pictures.", file=sys.stderr)
        return 2
    folders = _folders([picture for picture, _ in pictures], out)
    cropper = Cropper(device=device, detector=request.detector)
    failures = 0
    with _lines(json_target) as lines:
        bar = tqdm(pictures, unit="picture", disable=None if len(pictures) > 1 else True)
        for (picture, source), folder in zip(bar, folders, strict=True):
            try:
                result = cropper.crop(picture.read_bytes(), request, source=source, dry_run=dry_run)
                if not dry_run:
                    result.save(folder)
                record = result.record()
            except (CropError, OSError) as error:
                failures += 1
                message = error.strerror or str(error) if isinstance(error, OSError) else str(error)
                tqdm.write(f"crop-core: {source}: {message}", file=sys.stderr)
                record = failed_record(source, error)
                record["error"]["message"] = message
            else:
                if json_target != "-":
                    tqdm.write(_summary(result, None if dry_run else folder))
            _write_line(lines, record)
    return 1 if failures else 0


def _summary(result: CropResult, folder: Path | None) -> str:
    found = ", ".join(f"{n} {label}" for label, n in Counter(d.label for d in result.detections).most_common())
    place = f" in {folder}" if folder else ""
    return f"{result.source}: {found or 'nothing found'}; {len(result.crops)} crops{place}"


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
                and out.resolve() not in path.resolve().parents  # a second run does not crop the first one's crops
            ]
        for path in found:
            if path.resolve() not in seen:
                seen.add(path.resolve())
                yield path, str(path)


def _folders(pictures: Sequence[Path], out: Path) -> list[Path]:
    """Return each picture's folder in `out`: its stem, its whole name where stems meet, a number where names meet."""
    stems = Counter(picture.stem for picture in pictures)
    names = Counter(picture.name for picture in pictures)
    count: Counter[str] = Counter()
    folders = []
    for picture in pictures:
        name = picture.stem if stems[picture.stem] == 1 else picture.name
        if names[picture.name] > 1:
            count[picture.name] += 1
            name = f"{picture.name}_{count[picture.name]}"
        folders.append(out / name)
    return folders


@contextmanager
def _lines(target: str | None) -> Iterator[TextIO | None]:
    """Yield the stream that takes the JSON lines, or none."""
    if target is None:
        yield None
    elif target == "-":
        yield sys.stdout
    else:
        with open(target, "w", encoding="utf-8") as file:
            yield file


def _write_line(lines: TextIO | None, record: dict[str, Any]) -> None:
    if lines is not None:
        lines.write(json.dumps(record) + "\n")
        lines.flush()


if __name__ == "__main__":
    sys.exit(main())
