"""What comes back for one picture, as a value, as detections.json, and as files.

The JSON object is a contract with programs: its keys are fixed from version 1 on.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crop_core.box import Size, Window
from crop_core.detection import Detection
from crop_core.framing import CropPlan

CONTRACT_VERSION = 1
RECORD_NAME = "detections.json"
PREVIEW_NAME = "preview.jpg"


@dataclass(frozen=True, slots=True)
class Crop:
    """One crop: where it was cut, and the encoded file; both `file` and `data` are none in a dry run."""

    plan: CropPlan
    file: str | None
    data: bytes | None

    @property
    def window(self) -> Window:
        """Return the window, in upright source pixels."""
        return self.plan.window


@dataclass(frozen=True, slots=True)
class CropResult:
    """Everything about one picture.

    Attributes:
        source: The picture's name, as the caller gave it.
        size: Upright, in pixels.
        format: Pillow's name of the picture's format.
        detector: The name of the object network.
        device: Where it ran.
        timings_ms: Milliseconds per step.
        detections: In total order; a detection's index is its id.
        crops: In the order that the request asked for.
        preview: The picture with boxes and windows drawn, a JPEG, where asked for.
        note: What went another way than usual, such as a device whose memory ran out; mostly nothing.
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

    def record(self) -> dict[str, Any]:
        """Return the object of detections.json; `note` is in it when there is one."""
        note = {"note": self.note} if self.note else {}
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
                }
                for crop in self.crops
            ],
            "error": None,
        } | note

    def save(self, folder: str | os.PathLike[str]) -> list[Path]:
        """Write the crops, detections.json and the preview into the folder, and return their paths.

        The folder is made where it is missing. Every file is written aside and then renamed, so
        that none is ever half there.

        Raises:
            OSError: The disk did not take a file.
        """
        target = Path(folder)
        target.mkdir(parents=True, exist_ok=True)
        files = [(crop.file, crop.data) for crop in self.crops if crop.file is not None and crop.data is not None]
        files.append((RECORD_NAME, (json.dumps(self.record(), indent=1) + "\n").encode()))
        if self.preview is not None:
            files.append((PREVIEW_NAME, self.preview))
        return [_written(target / name, data) for name, data in files]


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
    }


def _written(path: Path, data: bytes) -> Path:
    aside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        aside.write_bytes(data)
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)
    return path
