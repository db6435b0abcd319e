"""What comes back for one picture, as a value, as detections.json, and as files.

The JSON object is a contract with programs: its keys are fixed from version 1 on.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

from crop_core.detection import Detection
from crop_core.errors import OutputError
from crop_core.frame.explain import explained
from crop_core.frame.focal_point import object_position
from crop_core.frame.plan import CropPlan
from crop_core.frame.scene import Trim
from crop_core.geometry import Box, Size, Window
from crop_core.picture_files import RECORD_NAME
from crop_core.sidecars import beside, is_ending

CONTRACT_VERSION = 1
PREVIEW_NAME = "preview.jpg"
# The names that crop_core.cut.encode.file_name makes.
CROP_NAME = re.compile(r"\d{2,}_[a-z-]+_[a-z0-9_.]+\.(webp|jpg|png|avif)")


@dataclass(frozen=True, slots=True)
class Crop:
    """One crop.

    Attributes:
        plan: Where it was cut.
        file: Its file's name; none in a dry run.
        data: The encoded file; none in a dry run.
        redacted: The boxes that were hidden, in upright source pixels; none without `redact`.
        trim: The object that `trim` found; none without `trim`.
    """

    plan: CropPlan
    file: str | None
    data: bytes | None
    redacted: tuple[Box, ...] | None = None
    trim: Trim | None = None

    @property
    def window(self) -> Window:
        """Return the window, in upright source pixels."""
        return self.plan.window

    @property
    def on_backdrop(self) -> bool:
        """Return whether it was cut to the object that `trim` found on the backdrop."""
        return self.trim is not None and self.trim.found_by == "backdrop"


@dataclass(frozen=True, slots=True)
class CropResult:
    """Everything about one picture.

    Attributes:
        source: The picture's name, as the caller gave it.
        size: Upright, in pixels.
        format: Pillow's name of the picture's format.
        detector: The name of the object network.
        device: Where the networks ran.
        timings_ms: Milliseconds per step.
        detections: In total order; a detection's index is its id.
        crops: In the order that the request asked for.
        preview: The picture with boxes and windows drawn, as a JPEG; none if nobody asked for it.
        note: What went differently, such as a device whose memory ran out; usually empty.
        sidecars: Ending -> bytes of the files that go beside each crop, such as the picture's caption.
        focal_point: What a crop of any shape should show, x and y as fractions of the picture.
    """

    source: str
    size: Size
    format: str
    detector: str
    device: str
    timings_ms: Mapping[str, float]
    detections: tuple[Detection, ...]
    crops: tuple[Crop, ...]
    preview: bytes | None = None
    note: str = ""
    focal_point: tuple[float, float] = (0.5, 0.5)
    sidecars: Mapping[str, bytes] = field(default_factory=dict)

    def record(self) -> dict[str, Any]:
        """Return the object of detections.json; `note` and `sidecars` are in it when there are any."""
        note: dict[str, Any] = {"note": self.note} if self.note else {}
        note |= {"sidecars": list(self.sidecars)} if self.sidecars else {}
        return {
            "version": CONTRACT_VERSION,
            "source": self.source,
            "size": [self.size.width, self.size.height],
            "format": self.format,
            "detector": self.detector,
            "device": self.device,
            "timings_ms": {step: round(value, 2) for step, value in self.timings_ms.items()},
            "detections": [
                {
                    "id": index,
                    "label": detection.label,
                    "score": round(detection.score, 4),
                    "box": [round(side, 2) for side in detection.box.xyxy],
                    "landmarks": detection.landmarks and [[round(x, 2), round(y, 2)] for x, y in detection.landmarks],
                }
                for index, detection in enumerate(self.detections)
            ],
            "crops": [
                {
                    "file": crop.file,
                    "aspect_ratio": crop.plan.aspect_ratio,
                    "window": list(crop.plan.window.xyxy),
                    "output_size": [crop.plan.output_size.width, crop.plan.output_size.height],
                    "subjects": list(crop.plan.subjects),
                    "coverage": {str(index): round(share, 4) for index, share in enumerate(crop.plan.coverage)},
                    "rule": crop.plan.rule,
                    "object_position": self.object_position(crop),
                }
                | _unusual(crop)
                for crop in self.crops
            ],
            "error": None,
            "focal_point": [round(fraction, 4) for fraction in self.focal_point],
        } | note

    def object_position(self, crop: Crop) -> str | None:
        """Return the CSS `object-position` with which `object-fit: cover` shows the crop's window.

        None if no value does: the window is not the largest of its ratio, or the picture is turned, padded or not
        cropped.
        """
        plan = crop.plan
        other = plan.angle or plan.frame is not None or plan.rule == "full_image"
        return None if other else object_position(plan.window, self.size)

    def crops_record(self) -> list[dict[str, Any]]:
        """Return what identifies each crop when its file's name is lost: digest, length, ratio, window, size."""
        return [
            {
                "file": crop.file,
                "sha256": None if crop.data is None else hashlib.sha256(crop.data).hexdigest(),
                "bytes": None if crop.data is None else len(crop.data),
                "aspect_ratio": crop.plan.aspect_ratio,
                "window": list(crop.plan.window.xyxy),
                "output_size": [crop.plan.output_size.width, crop.plan.output_size.height],
                "label": crop.plan.label,
                "rule": crop.plan.rule,
                "object_position": self.object_position(crop),
            }
            for crop in self.crops
        ]

    def found(self) -> dict[str, int]:
        """Return how many detections there are of each label, the most frequent first."""
        return dict(Counter(detection.label for detection in self.detections).most_common())

    def explain(self) -> str:
        """Return, for each crop, why its window lies where it does: which claims held and which gave way.

        The claims on each axis are listed from the strongest to the weakest, then single things with their scores,
        and at the end how many unsure ones there are.
        """
        return "\n".join(explained(number, crop.plan, crop.on_backdrop) for number, crop in enumerate(self.crops))

    def save(self, folder: str | os.PathLike[str]) -> list[Path]:
        """Write the crops, detections.json and the preview into the folder, and return their paths.

        The folder is made if it is missing. All files are written under temporary names first and
        renamed at the end, so no file is ever half written. Crops and a preview that an earlier
        result of the same source left there, and that the new one does not replace, are removed.

        Raises:
            OutputError: The disk does not take the files.
        """
        target = Path(folder)
        files = self.files()
        try:
            target.mkdir(parents=True, exist_ok=True)
            stale = _written_before(target, self.source) - files.keys()
            _write(target, files, stale)
        except OSError as error:
            raise OutputError(error.errno, error.strerror, error.filename) from error
        return [target / name for name in files]

    def files(self) -> dict[str, bytes]:
        """Return name -> bytes of all files; detections.json comes last, since it names the others."""
        files = {crop.file: crop.data for crop in self.crops if crop.file is not None and crop.data is not None}
        for name, (ending, data) in product(tuple(files), self.sidecars.items()):
            files[beside(name, ending)] = data
        if self.preview is not None:
            files[PREVIEW_NAME] = self.preview
        files[RECORD_NAME] = (json.dumps(self.record(), indent=1) + "\n").encode()
        return files


def _unusual(crop: Crop) -> dict[str, Any]:
    """Return the keys that a crop has only if its request asked for them."""
    keys: dict[str, Any] = {}
    if crop.plan.frame is not None:
        keys["frame"] = list(crop.plan.frame.xyxy)
    layout = crop.plan.layout
    if layout is not None:
        keys |= {"angle": round(layout.angle, 2), "face_height": round(layout.face_height, 4)}
        keys["eye_line"] = round(layout.eye_line, 4)
    if crop.redacted is not None:
        keys["redacted"] = [[round(side, 2) for side in box.xyxy] for box in crop.redacted]
    if crop.trim is not None:
        box = crop.trim.box
        keys |= {"trim": crop.trim.found_by, "object": box and [round(side, 2) for side in box.xyxy]}
    return keys


def failed_record(source: str, error: Exception) -> dict[str, Any]:
    """Return the object of detections.json for a picture that failed."""
    return {
        "version": CONTRACT_VERSION,
        "source": source,
        "size": None,
        "format": None,
        "detector": None,
        "device": None,
        "timings_ms": {},
        "detections": [],
        "crops": [],
        "error": {"type": type(error).__name__, "message": str(error)},
        "focal_point": None,
    }


def _written_before(folder: Path, source: str) -> set[str]:
    """Return the names of the files that an earlier result of the source left in the folder.

    Only names of the form that crops have count: anybody may have written the record.
    """
    try:
        record = json.loads((folder / RECORD_NAME).read_bytes())
        if not source or record["source"] != source:
            return set()  # without a name, two pictures cannot be told apart
        names = {crop["file"] for crop in record["crops"] if CROP_NAME.fullmatch(crop["file"])}
        endings = [ending for ending in record.get("sidecars", ()) if is_ending(ending)]
        names |= {beside(name, ending) for name, ending in product(names, endings)} | {PREVIEW_NAME}
    except (OSError, ValueError, TypeError, LookupError):  # none, or no record of this contract
        return set()
    return {name for name in names if (folder / name).is_file()}


def _write(folder: Path, files: Mapping[str, bytes], stale: Iterable[str]) -> None:
    """Write all files under temporary names, then rename them in order; remove the stale ones before the last."""
    aside = {name: folder / f".{name}.{os.getpid()}.part" for name in files}
    try:
        for name, data in files.items():
            aside[name].write_bytes(data)
        *others, last = files
        for name in others:
            aside[name].replace(folder / name)
        for name in stale:
            (folder / name).unlink(missing_ok=True)
        aside[last].replace(folder / last)
    finally:
        for path in aside.values():
            path.unlink(missing_ok=True)
