from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from crop_core import Box, Crop, CropResult, Detection, ImageError, Size, Window
from crop_core.framing import CropPlan
from crop_core.result import PREVIEW_NAME, RECORD_NAME, failed_record

# The contract with programs: these keys, in this order, from version 1 on.
KEYS = ["version", "source", "size", "format", "detector", "device", "timings_ms", "detections", "crops", "error"]
DETECTION_KEYS = ["id", "label", "score", "box", "landmarks"]
CROP_KEYS = ["file", "aspect_ratio", "window", "output_size", "subjects", "coverage", "rule"]

FACE = Detection(
    "face",
    0.87654321,
    Box(10.123456, 20.0, 30.5, 44.999),
    ((12.3456, 25.0), (27.0, 25.5), (20.0, 30.0), (15.0, 38.0), (25.0, 38.0)),
)
DOG = Detection("dog", 0.5, Box(0.0, 0.0, 100.0, 50.0))
PLAN = CropPlan(Window(0, 5, 60, 65), Size(60, 60), Size(64, 64), "1:1", "face", (0,), (1.0, 0.123456), "subject")


def result(
    crops: tuple[Crop, ...] = (), detections: tuple[Detection, ...] = (), preview: bytes | None = None
) -> CropResult:
    timings = {"decode": 1.23456, "detect": 2.0, "frame": 0.0, "render": 0.5, "encode": 3.999}
    return CropResult("street.jpg", Size(100, 70), "JPEG", "nanodet-g", "cpu", timings, detections, crops, preview)


EMPTY = result()
FULL = result(
    (Crop(PLAN, "00_face_1x1.webp", b"one"), Crop(PLAN, "01_face_1x1.webp", b"two")), (FACE, DOG), preview=b"sheet"
)
DRY = result((Crop(PLAN, None, None),), (FACE, DOG))


class TestRecord:
    @pytest.mark.parametrize("value", [EMPTY, DRY, FULL], ids=["nothing-found", "dry-run", "full"])
    def test_the_record_has_the_keys_of_the_contract(self, value: CropResult) -> None:
        record = value.record()
        assert list(record) == KEYS
        assert all(list(entry) == DETECTION_KEYS for entry in record["detections"])
        assert all(list(entry) == CROP_KEYS for entry in record["crops"])
        assert (len(record["detections"]), len(record["crops"])) == (len(value.detections), len(value.crops))

    def test_the_record_says_what_the_contract_says(self) -> None:
        record = FULL.record()
        assert record["version"] == 1
        assert (record["source"], record["size"], record["format"]) == ("street.jpg", [100, 70], "JPEG")
        assert (record["detector"], record["device"], record["error"]) == ("nanodet-g", "cpu", None)
        assert record["timings_ms"] == {"decode": 1.23, "detect": 2.0, "frame": 0.0, "render": 0.5, "encode": 4.0}
        assert record["detections"] == [
            {
                "id": 0,
                "label": "face",
                "score": 0.8765,
                "box": [10.12, 20.0, 30.5, 45.0],
                "landmarks": [[12.35, 25.0], [27.0, 25.5], [20.0, 30.0], [15.0, 38.0], [25.0, 38.0]],
            },
            {"id": 1, "label": "dog", "score": 0.5, "box": [0.0, 0.0, 100.0, 50.0], "landmarks": None},
        ]
        assert record["crops"][0] == {
            "file": "00_face_1x1.webp",
            "aspect_ratio": "1:1",
            "window": [0, 5, 60, 65],
            "output_size": [64, 64],
            "subjects": [0],
            "coverage": {"0": 1.0, "1": 0.1235},
            "rule": "subject",
        }

    def test_nothing_found_is_an_ordinary_record(self) -> None:
        record = EMPTY.record()
        assert (record["detections"], record["crops"], record["error"]) == ([], [], None)

    def test_a_dry_run_names_no_files(self) -> None:
        assert [crop["file"] for crop in DRY.record()["crops"]] == [None]
        assert DRY.crops[0].window == Window(0, 5, 60, 65)

    @pytest.mark.parametrize("value", [EMPTY, DRY, FULL], ids=["nothing-found", "dry-run", "full"])
    def test_the_record_survives_json(self, value: CropResult) -> None:
        assert json.loads(json.dumps(value.record(), allow_nan=False)) == value.record()

    def test_a_failed_picture_has_the_same_keys_and_one_sentence(self) -> None:
        record = failed_record("broken.jpg", ImageError("The file is empty."))
        assert list(record) == KEYS
        assert (record["version"], record["source"]) == (1, "broken.jpg")
        assert record["error"] == {"type": "ImageError", "message": "The file is empty."}
        assert (record["detections"], record["crops"], record["timings_ms"]) == ([], [], {})
        assert json.loads(json.dumps(record)) == record


class TestSave:
    def test_nothing_found_leaves_the_record_alone(self, tmp_path: Path) -> None:
        assert EMPTY.save(tmp_path) == [tmp_path / RECORD_NAME]
        assert os.listdir(tmp_path) == [RECORD_NAME]

    def test_a_dry_run_writes_no_crops(self, tmp_path: Path) -> None:
        DRY.save(tmp_path)
        assert os.listdir(tmp_path) == [RECORD_NAME]

    def test_crops_record_and_preview_are_written_and_named(self, tmp_path: Path) -> None:
        paths = FULL.save(tmp_path)
        assert [path.name for path in paths] == ["00_face_1x1.webp", "01_face_1x1.webp", RECORD_NAME, PREVIEW_NAME]
        assert sorted(paths) == sorted(tmp_path.iterdir())
        assert [paths[0].read_bytes(), paths[1].read_bytes(), paths[3].read_bytes()] == [b"one", b"two", b"sheet"]

    def test_the_record_on_disk_is_the_record(self, tmp_path: Path) -> None:
        FULL.save(tmp_path)
        text = (tmp_path / RECORD_NAME).read_text(encoding="utf-8")
        assert json.loads(text) == FULL.record()
        assert text.endswith("}\n")

    def test_every_file_of_the_record_is_there(self, tmp_path: Path) -> None:
        FULL.save(tmp_path)
        record = json.loads((tmp_path / RECORD_NAME).read_text())
        assert all((tmp_path / crop["file"]).is_file() for crop in record["crops"])

    def test_missing_folders_are_made(self, tmp_path: Path) -> None:
        folder = tmp_path / "a" / "b"
        FULL.save(str(folder))
        assert (folder / RECORD_NAME).is_file()

    def test_a_second_save_replaces_the_first(self, tmp_path: Path) -> None:
        FULL.save(tmp_path)
        result((Crop(PLAN, "00_face_1x1.webp", b"new"),)).save(tmp_path)
        assert (tmp_path / "00_face_1x1.webp").read_bytes() == b"new"
        assert json.loads((tmp_path / RECORD_NAME).read_text())["detections"] == []

    @pytest.mark.parametrize("blocked", ["01_face_1x1.webp", RECORD_NAME, PREVIEW_NAME])
    def test_a_write_that_fails_leaves_nothing_half_there(self, tmp_path: Path, blocked: str) -> None:
        (tmp_path / blocked).mkdir()  # a folder of that name cannot be replaced by a file
        with pytest.raises(OSError, match=blocked):
            FULL.save(tmp_path)
        whole = {"00_face_1x1.webp": b"one", "01_face_1x1.webp": b"two", PREVIEW_NAME: b"sheet"}
        for path in tmp_path.iterdir():
            assert path.name in {*whole, RECORD_NAME}  # no file set aside is left
            if path.name == blocked:
                assert path.is_dir()
            elif path.name == RECORD_NAME:
                assert json.loads(path.read_text()) == FULL.record()
            else:
                assert path.read_bytes() == whole[path.name]

    def test_a_record_never_names_a_crop_that_could_not_be_written(self, tmp_path: Path) -> None:
        (tmp_path / "01_face_1x1.webp").mkdir()
        with pytest.raises(OSError, match="01_face"):
            FULL.save(tmp_path)
        assert not (tmp_path / RECORD_NAME).exists()

    def test_a_folder_that_is_a_file_is_an_error(self, tmp_path: Path) -> None:
        (tmp_path / "taken").write_bytes(b"mine")
        with pytest.raises(FileExistsError):
            FULL.save(tmp_path / "taken")
        assert (tmp_path / "taken").read_bytes() == b"mine"
