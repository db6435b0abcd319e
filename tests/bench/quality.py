"""Measures how much of what matters crops keep, beside the centre crop, other croppers and the ceiling.

    python tests/bench/quality.py IMAGES GROUND_TRUTH.json [--aspect-ratio 1:1,16:9] [--peers] [--detector balanced]

The ground truth is in COCO form, in pixels of the upright pictures. Where its only category is
called face, faces and heads are counted, else the kept area of objects; measures.py says how.
Every row makes the largest crop of the ratio, so that none wins by cropping less.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

from measures import (
    Measures,
    Scene,
    Window,
    bootstrap_interval,
    centre_window,
    face_measures,
    largest_size,
    main_shares,
    object_measures,
    oracle_window,
    scenes_in,
)
from peers import PEERS, Peer
from tqdm import tqdm

from crop_core import CropError, Cropper, CropRequest, Size, __version__
from crop_core.device import DEVICES

# The inputs that have a say in where the largest crop lies, or whether there is one.
INPUTS = ("labels", "zoom", "padding", "headroom", "score_threshold", "iou_threshold", "if_none", "detector")
OBJECT_COLUMNS = ("main", "gain", "all", "fit", "main95", "size", "bad", "miss")
FACE_COLUMNS = ("faces", "facesF", "fitI", "imgAll", "fitH", "heads", "big", "size", "bad", "miss")
HEADINGS = {"gain": "− centre [95 %]"}  # where it is not the measure's name

Crops = dict[str, dict[str, Window]]  # picture -> ratio -> window
Row = dict[str, Any]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark and return its exit status: 0, or 2 for wrong use.

    Args:
        arguments: What was typed after the command's name; `sys.argv` when none.
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        coco = json.loads(options.ground_truth.read_text(encoding="utf-8"))
        scenes = scenes_in(coco)
        faces = options.faces or [category["name"] for category in coco.get("categories", ())] == ["face"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        parser.error(f"{options.ground_truth} is no ground truth in COCO form: {error!r}")
    try:
        inputs = {name: getattr(options, name) for name in INPUTS}
        request = CropRequest.from_inputs(aspect_ratio=options.aspect_ratio, **inputs)
        cropper = Cropper(device=options.device, detector=request.detector)
    except CropError as error:
        parser.error(str(error))
    ratios = {name: ratio for name, ratio in request.ratios if ratio is not None}
    if len(ratios) < len(request.ratios):
        parser.error("what is measured are ratios such as 1:1 or 16:9; match_input and free cut nothing off")
    if options.json is not None and not options.json.parent.is_dir():
        parser.error(f"{options.json} cannot be written: its folder is not there")

    present = [scene for scene in scenes if (options.images / scene.name).is_file()]
    if 0 < len(present) < len(scenes):
        print(f"left out: {len(scenes) - len(present)} pictures that are not in {options.images}", file=sys.stderr)
    scenes, detector, ours = _by_crop_core(present, options.images, cropper, request)
    if not scenes:
        parser.error(f"no picture of {options.ground_truth} is in {options.images}, upright and of the size stated")
    peers = [peer for peer in PEERS if options.peers and peer.is_installed]
    crops = {
        "centre": _by_rule(centre_window, scenes, ratios),
        "crop-core": ours,
        **{peer.name: _by_peer(peer, scenes, options.images, ratios) for peer in peers},
        "oracle": _by_rule(partial(oracle_window, faces=faces), scenes, ratios),
    }
    rows = [row for name, ratio in ratios.items() for row in _rows(scenes, crops, name, ratio, faces)]

    boxes = sum(len(scene.boxes) for scene in scenes)
    print(f"{len(scenes)} pictures, {boxes} {'faces' if faces else 'objects'}; crop-core {__version__} with {detector}")
    for name in ratios:
        print(f"\n{name}\n\n{_table([row for row in rows if row['aspect_ratio'] == name], faces)}")
    if options.peers:
        absent = [peer.name for peer in PEERS if peer not in peers]
        versions = ", ".join(dict.fromkeys(peer.version for peer in peers))
        print(f"\nPeers: {versions or 'none'}. Not installed: {', '.join(absent) or 'none'}.")
    if options.json is not None:
        options.json.write_text(json.dumps({"rows": rows, "crops": crops}, indent=1) + "\n", encoding="utf-8")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Measure how much of what matters crops keep.")
    parser.add_argument("images", type=Path, metavar="IMAGES", help="the folder that the pictures' names start from")
    parser.add_argument("ground_truth", type=Path, metavar="GROUND_TRUTH.json", help="boxes in COCO form")
    parser.add_argument("--aspect-ratio", default="1:1,4:5,16:9,9:16", help="(1:1,4:5,16:9,9:16)", metavar="RATIOS")
    parser.add_argument("--faces", action="store_true", help="the boxes are faces, whatever their category is called")
    parser.add_argument("--peers", action="store_true", help="add a row for every other cropper that is installed")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the measures and every window to a file")
    parser.add_argument("--device", choices=DEVICES, default="auto", help="where crop-core's networks run (auto)")
    for entry in fields(CropRequest):
        if entry.name in INPUTS:
            parser.add_argument(
                "--" + entry.name.replace("_", "-"),
                type=float if "float" in str(entry.type) else str,
                default=entry.default,
                help=entry.metadata["help"].replace("%", "%%"),
                choices=entry.metadata.get("choices"),
            )
    return parser


def _by_crop_core(
    scenes: Sequence[Scene], folder: Path, cropper: Cropper, request: CropRequest
) -> tuple[list[Scene], str, Crops]:
    """Return the scenes that can be judged, the detector's and device's name, and the crops.

    A picture whose upright size is not the ground truth's cannot be judged: its boxes lie in
    another frame, such as that of the pixels as stored. A picture that fails stays, without crops.
    """
    judged: list[Scene] = []
    detector = "no picture read"
    crops: Crops = {}
    for scene in tqdm(scenes, desc="crop-core", disable=None):
        try:
            result = cropper.crop((folder / scene.name).read_bytes(), request, source=scene.name, dry_run=True)
        except CropError as error:
            tqdm.write(f"{scene.name}: crop-core: {error}", file=sys.stderr)
            judged.append(scene)
            continue
        if result.size != Size(scene.width, scene.height):
            found = f"{result.size.width}x{result.size.height}"
            stated = f"{scene.width}x{scene.height}"
            tqdm.write(f"{scene.name}: left out: {found} upright, {stated} in the ground truth", file=sys.stderr)
            continue
        judged.append(scene)
        detector = f"{result.detector} on {result.device}"
        crops[scene.name] = {crop.plan.aspect_ratio: crop.window.xyxy for crop in result.crops}
    return judged, detector, crops


def _by_rule(
    rule: Callable[[Scene, Fraction], Window], scenes: Sequence[Scene], ratios: Mapping[str, Fraction]
) -> Crops:
    return {scene.name: {name: rule(scene, ratio) for name, ratio in ratios.items()} for scene in scenes}


def _by_peer(peer: Peer, scenes: Sequence[Scene], folder: Path, ratios: Mapping[str, Fraction]) -> Crops:
    crops: Crops = {scene.name: {} for scene in scenes}
    for scene in tqdm(scenes, desc=peer.name, disable=None):
        for name, ratio in ratios.items():
            try:
                crops[scene.name][name] = peer.window(folder / scene.name, *largest_size(scene, ratio))
            except Exception as error:  # noqa: BLE001 (foreign code may raise anything, and the row counts it as a miss)
                tqdm.write(f"{scene.name}: {peer.name}: {error!r}", file=sys.stderr)
    return crops


def _rows(scenes: Sequence[Scene], crops: Mapping[str, Crops], name: str, ratio: Fraction, faces: bool) -> list[Row]:
    """Return each cropper's measures at one ratio."""
    rows = []
    windows = {
        cropper: {picture: windows[name] for picture, windows in pictures.items() if name in windows}
        for cropper, pictures in crops.items()
    }
    for cropper, placed in windows.items():
        measures: Measures = (face_measures if faces else object_measures)(scenes, placed, ratio)
        row: Row = {"aspect_ratio": name, "crops": cropper, **measures}
        if not faces and cropper != "centre":
            gain = main_shares(scenes, placed, ratio) - main_shares(scenes, windows["centre"], ratio)
            row["gain"] = [float(gain.mean()), *bootstrap_interval(gain)]
        rows.append(row)
    return rows


def _table(rows: Sequence[Row], faces: bool) -> str:
    """Return one ratio's rows as a Markdown table, aligned for those who read it as it is."""
    columns = FACE_COLUMNS if faces else OBJECT_COLUMNS
    head = ("", *(HEADINGS.get(column, column) for column in columns))
    lines = [head, *((row["crops"], *(_shown(row.get(column)) for column in columns)) for row in rows)]
    widths = [max(map(len, cells)) for cells in zip(*lines, strict=True)]
    rule = [":" + "-" * (widths[0] - 1), *("-" * (width - 1) + ":" for width in widths[1:])]
    padded = [[line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])] for line in lines]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (padded[0], rule, *padded[1:]))


def _shown(value: float | Sequence[float] | None) -> str:
    if value is None:
        return "–"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return f"{value:.3f}"
    mean, low, high = value
    return f"{mean:+.3f} [{low:+.3f}, {high:+.3f}]"


if __name__ == "__main__":
    sys.exit(main())
