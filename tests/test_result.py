from __future__ import annotations

import errno
import json
import os
import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from crop_core import Box, Crop, CropResult, Detection, ImageError, OutputError, Size, Window
from crop_core.cut.encode import file_name
from crop_core.detection import COCO_LABELS
from crop_core.frame.plan import CropPlan
from crop_core.result import CROP_NAME, PREVIEW_NAME, RECORD_NAME, failed_record

# The contract with programs: these keys, in this order, from version 1 on.
KEYS = ["version", "source", "size", "format", "detector", "device", "timings_ms", "detections", "crops", "error"]
KEYS += ["focal_point"]  # came later
DETECTION_KEYS = ["id", "label", "score", "box", "landmarks"]
CROP_KEYS = ["file", "aspect_ratio", "window", "output_size", "subjects", "coverage", "rule"]
CROP_KEYS += ["object_position"]  # came later

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
            "object_position": None,
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
        assert [path.name for path in paths] == ["00_face_1x1.webp", "01_face_1x1.webp", PREVIEW_NAME, RECORD_NAME]
        assert sorted(paths) == sorted(tmp_path.iterdir())
        assert [path.read_bytes() for path in paths[:3]] == [b"one", b"two", b"sheet"]

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
        with pytest.raises(OutputError) as caught:
            FULL.save(tmp_path)
        assert blocked in str(caught.value.filename)
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
        with pytest.raises(OutputError):
            FULL.save(tmp_path)
        assert not (tmp_path / RECORD_NAME).exists()

    def test_a_folder_that_is_a_file_is_an_error(self, tmp_path: Path) -> None:
        (tmp_path / "taken").write_bytes(b"mine")
        with pytest.raises(OutputError):
            FULL.save(tmp_path / "taken")
        assert (tmp_path / "taken").read_bytes() == b"mine"

    def test_a_disk_that_does_not_take_the_crops_is_one_sentence_without_a_path(self, tmp_path: Path) -> None:
        (tmp_path / "taken").write_bytes(b"mine")
        with pytest.raises(OutputError) as caught:
            FULL.save(tmp_path / "taken")
        assert str(caught.value) == "The crops cannot be written: File exists. Choose a folder that you can write to."

    def test_a_full_disk_asks_for_what_any_caller_can_do(self) -> None:
        error = OutputError(errno.ENOSPC, "No space left on device", "/machine/path")
        assert str(error) == "The crops cannot be written: No space left on device. Ask for fewer or smaller crops."


OTHER = result((Crop(PLAN, "00_dog_4x5.png", b"dog"),))


class TestSaveAgain:
    """A second result of one source in one folder."""

    def test_the_crops_and_the_preview_of_the_first_go(self, tmp_path: Path) -> None:
        FULL.save(tmp_path)
        OTHER.save(tmp_path)
        assert sorted(os.listdir(tmp_path)) == ["00_dog_4x5.png", RECORD_NAME]

    def test_what_the_tool_did_not_write_stays(self, tmp_path: Path) -> None:
        FULL.save(tmp_path)
        for name in ("02_face_1x1.webp", "notes.txt", "holiday.jpg"):
            (tmp_path / name).write_bytes(b"mine")
        OTHER.save(tmp_path)
        assert sorted(os.listdir(tmp_path)) == sorted(
            ["00_dog_4x5.png", "02_face_1x1.webp", RECORD_NAME, "holiday.jpg", "notes.txt"]
        )

    @pytest.mark.parametrize("source", ["another.jpg", ""], ids=["another", "unnamed"])
    def test_a_result_of_another_source_leaves_them(self, source: str, tmp_path: Path) -> None:
        replace(FULL, source=source).save(tmp_path)
        replace(OTHER, source=source if not source else OTHER.source).save(tmp_path)
        assert {"00_face_1x1.webp", "01_face_1x1.webp", PREVIEW_NAME} < set(os.listdir(tmp_path))

    @pytest.mark.parametrize(
        "name", ["../precious.jpg", "/precious.jpg", "sub/00_face_1x1.webp", "notes.txt", "..", "", None, 7]
    )
    def test_a_record_that_names_anything_else_removes_nothing(self, name: object, tmp_path: Path) -> None:
        folder = tmp_path / "crops"
        (folder / "sub").mkdir(parents=True)
        mine = [tmp_path / "precious.jpg", folder / "sub" / "00_face_1x1.webp", folder / "notes.txt"]
        for path in mine:
            path.write_bytes(b"mine")
        (folder / RECORD_NAME).write_text(json.dumps({"source": "street.jpg", "crops": [{"file": name}]}))
        OTHER.save(folder)
        assert all(path.read_bytes() == b"mine" for path in mine)

    @pytest.mark.parametrize(
        "text", ["", "{", "null", "[]", "7", '{"source": "street.jpg"}', '{"source": "street.jpg", "crops": 7}', "\xff"]
    )
    def test_a_record_that_is_none_is_replaced(self, text: str, tmp_path: Path) -> None:
        (tmp_path / RECORD_NAME).write_bytes(text.encode("latin-1"))
        OTHER.save(tmp_path)
        assert json.loads((tmp_path / RECORD_NAME).read_text()) == OTHER.record()

    @pytest.mark.parametrize("ratio", ["1:1", "1.91:1", "match_input", "free"])
    def test_every_name_that_a_crop_can_have_is_known_as_one(self, ratio: str) -> None:
        for label in (*COCO_LABELS, "face", "saliency", "full_image"):
            for ending in ("webp", "jpg", "png", "avif"):
                assert CROP_NAME.fullmatch(file_name(0, label, ratio, ending))
                assert CROP_NAME.fullmatch(file_name(100, label, ratio, ending))


@contextmanager
def _no_file_larger_than(size: int) -> Iterator[None]:
    """Let the system refuse to make any file larger, as a full disk does (with another message)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


LARGE = result((Crop(PLAN, "00_face_1x1.webp", b"new"), Crop(PLAN, "01_face_1x1.webp", bytes(100_000))))


class TestDisk:
    """A disk that fails leaves the earlier result as it was."""

    @staticmethod
    def check(folder: Path, word: str) -> None:
        FULL.save(folder)
        before = {path.name: path.read_bytes() for path in folder.iterdir()}
        with pytest.raises(OutputError, match=word):
            LARGE.save(folder)
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == before

    def test_a_full_disk(self, small_disk: Path) -> None:
        self.check(small_disk / "crops", "No space left on device")

    def test_a_file_that_grows_too_large(self, tmp_path: Path) -> None:
        with _no_file_larger_than(50_000):
            self.check(tmp_path / "crops", "File too large")

    def test_a_disk_that_turned_read_only(self, small_disk: Path) -> None:
        FULL.save(small_disk / "crops")
        before = {path.name: path.read_bytes() for path in (small_disk / "crops").iterdir()}
        subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
        for folder in ("crops", "new"):
            with pytest.raises(OutputError, match="Read-only file system"):
                OTHER.save(small_disk / folder)
        assert {path.name: path.read_bytes() for path in (small_disk / "crops").iterdir()} == before

    def test_room_made_there_is_used(self, small_disk: Path) -> None:
        with pytest.raises(OutputError):
            LARGE.save(small_disk)
        assert os.listdir(small_disk) == []
        FULL.save(small_disk)
        assert len(os.listdir(small_disk)) == 4
