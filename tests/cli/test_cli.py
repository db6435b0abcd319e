"""The command: what it writes, what it prints, how it ends."""

from __future__ import annotations

import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import termios
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT, SAMPLES, encoded, ramp
from PIL import Image

from crop_core import Cropper, CropRequest
from crop_core.cli.main import main
from crop_core.smaller_crops import sentence
from crop_core.version import __version__

# The inputs of the model, all but `image`: the sources take its place.
INPUTS = (
    "mode",
    "labels",
    "focus",
    "position",
    "multiple_of",
    "max_pixels",
    "fit",
    "background",
    "align",
    "face_height",
    "eye_line",
    "trim",
    "trim_threshold",
    "redact",
    "redact_labels",
    "aspect_ratio",
    "width",
    "height",
    "zoom",
    "padding",
    "headroom",
    "score_threshold",
    "iou_threshold",
    "max_crops",
    "order",
    "if_none",
    "upscale",
    "detector",
    "output_format",
    "output_quality",
    "preview",
)
CHOICES = {
    "mode": ("subject", "objects", "faces"),
    "order": ("score", "area", "left_to_right"),
    "if_none": ("saliency", "center", "full_image", "empty", "error"),
    "upscale": ("never", "allow", "pad"),
    "detector": ("auto", "fast", "balanced", "accurate"),
    "output_format": ("match_input", "webp", "jpg", "png", "avif"),
}
RECORD_KEYS = [
    "version",
    "source",
    "size",
    "format",
    "detector",
    "device",
    "timings_ms",
    "detections",
    "crops",
    "error",
    "focal_point",
]
CROP_KEYS = ["file", "aspect_ratio", "window", "output_size", "subjects", "coverage", "rule", "object_position"]
PICTURES = sorted(path for path in SAMPLES.iterdir() if path.suffix == ".jpg")
FAST = ("--detector", "fast", "--device", "cpu")


@pytest.fixture(autouse=True)
def one_cropper(quick_cropper: Cropper, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the command within this process the networks that are loaded already: each of its runs would load its own.

    What runs as a process of its own loads them.
    """

    def loaded(device: str, detector: str) -> Cropper:
        return quick_cropper if (device, detector) == ("cpu", "fast") else Cropper(device, detector)

    monkeypatch.setattr("crop_core.cli.crop.cropper_class", lambda: loaded)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder with two photos in it."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("cat.jpg", "astronaut.jpg"):
        shutil.copy(SAMPLES / name, folder)
    return folder


def _crop(*arguments: str | Path) -> int:
    return main(["crop", *map(str, arguments), *FAST])


def _process(*arguments: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run the command as a process of its own, under the shell's usual settings."""
    command = [sys.executable, "-m", "crop_core.cli", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, text=True, check=False, **options)


def _records(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def _files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir())


def _refused(arguments: list[str]) -> int:
    """Return the exit status of a use that argparse or the command refuses."""
    try:
        return main(arguments)
    except SystemExit as stop:
        return int(str(stop.code))


def _help(capsys: pytest.CaptureFixture[str]) -> str:
    assert _refused(["crop", "--help"]) == 0
    return " ".join(capsys.readouterr().out.split())


# ---- options


@pytest.mark.parametrize("name", INPUTS)
def test_every_input_is_an_option(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert f"--{name.replace('_', '-')} " in _help(capsys) + " "


def test_the_options_are_the_inputs_and_those_of_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    words = _help(capsys).replace("[", " ").replace("]", " ").replace(",", " ").split()
    options = {word for word in words if word.startswith("--")}
    assert options == {f"--{name.replace('_', '-')}" for name in INPUTS} | {
        "--out",
        "--device",
        "--dry-run",
        "--sidecars",
        "--json",
        "--explain",
        "--skip-done",
        "--help",
    }


def test_without_options_the_request_is_the_cores_default(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[dict[str, Any]] = []
    built = CropRequest.from_inputs

    def listening(**inputs: Any) -> CropRequest:
        asked.append(inputs)
        return built(**inputs)

    monkeypatch.setattr(CropRequest, "from_inputs", staticmethod(listening))
    assert main(["crop", str(tmp_path / "no such picture")]) == 2
    assert built(**asked[0]) == CropRequest()
    assert set(asked[0]) == set(INPUTS)


@pytest.mark.parametrize(("name", "choices"), CHOICES.items(), ids=CHOICES)
def test_the_help_names_every_choice(name: str, choices: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert f"--{name.replace('_', '-')} {{{','.join(choices)}}}" in _help(capsys)


# ---- what is written


@pytest.fixture(scope="module")
def all_samples(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]], str]:
    """One run over every sample, as a process: its folder, its JSON lines, its standard error."""
    out = tmp_path_factory.mktemp("crops")
    lines = out / "lines" / "all.jsonl"
    run = _process(
        "crop",
        SAMPLES,
        "--out",
        out,
        "--aspect-ratio",
        "1:1,16:9",
        "--json",
        lines,
        *FAST,
        capture_output=True,
    )
    assert run.returncode == 0, run.stderr
    return out, _records(lines.read_text()), run.stderr


def test_every_picture_of_a_folder_gets_one_line_of_the_contract(
    all_samples: tuple[Path, list[dict[str, Any]], str],
) -> None:
    records = all_samples[1]
    assert [record["source"] for record in records] == [str(path) for path in PICTURES]
    for record in records:
        assert list(record) == RECORD_KEYS
        assert record["version"] == 1
        assert record["error"] is None
        assert all(list(crop) == CROP_KEYS for crop in record["crops"])


def test_every_picture_gets_a_crop_of_each_ratio(all_samples: tuple[Path, list[dict[str, Any]], str]) -> None:
    out, records, _ = all_samples
    for picture, record in zip(PICTURES, records, strict=True):
        assert [crop["aspect_ratio"] for crop in record["crops"]] == ["1:1", "16:9"]
        for crop in record["crops"]:
            with Image.open(out / picture.name / crop["file"]) as image:
                assert list(image.size) == crop["output_size"]


def test_the_folder_holds_the_crops_the_record_and_nothing_half_written(
    all_samples: tuple[Path, list[dict[str, Any]], str],
) -> None:
    out, records, _ = all_samples
    expected = ["lines/all.jsonl"]
    for picture, record in zip(PICTURES, records, strict=True):
        names = [crop["file"] for crop in record["crops"]] + ["detections.json"]
        expected += [f"{picture.name}/{name}" for name in names]
        assert json.loads((out / picture.name / "detections.json").read_text()) == record
    assert _files(out) == sorted(expected)


def test_no_bar_is_drawn_where_standard_error_is_no_terminal(
    all_samples: tuple[Path, list[dict[str, Any]], str],
) -> None:
    assert all_samples[2] == ""


def test_json_on_standard_output_stands_alone(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _crop(photos, "--out", photos.parent / "out", "--json", "-") == 0
    records = _records(capsys.readouterr().out)  # fails on a line that is no JSON
    assert [Path(record["source"]).name for record in records] == ["astronaut.jpg", "cat.jpg"]


def test_without_json_a_line_says_what_was_found_and_where_the_crops_are(
    photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = photos.parent / "out"
    assert _crop(photos / "cat.jpg", "--out", out) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert re.fullmatch(rf"{photos / 'cat.jpg'}: .*\b1 cat\b.*; 1 crop in {out / 'cat.jpg'}", line)


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("rocket", (), "nothing found, so it was cut where people would most likely cut it (if_none saliency); 1 crop"),
        ("rocket", ("--if-none", "empty"), "nothing found, so nothing was cut (if_none empty); 0 crops"),
        (
            "cat",
            ("--mode", "faces", "--if-none", "empty"),
            "1 cat, 1 dog, but nothing that was asked for, so nothing was cut (if_none empty); 0 crops",
        ),
        ("rocket", ("--focus", "0.1,0.1"), "nothing found, so it was cut to the focus; 1 crop"),
        (
            "cat",
            ("--mode", "faces", "--if-none", "center"),
            "1 cat, 1 dog, but nothing that was asked for, so it was cut in the middle (if_none center); 1 crop",
        ),
        (
            "product",
            ("--trim", "--score-threshold", "1"),
            "nothing found by a detector, so it was cut to the object on the backdrop; 1 crop",
        ),
    ],
    ids=["nothing", "no crop", "no face and no crop", "a focus", "no face", "a backdrop"],
)
def test_where_nothing_fitting_was_found_the_line_says_what_was_done(
    name: str, options: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = SAMPLES / f"{name}.jpg"
    assert _crop(picture, "--dry-run", "--explain", *options) == 0
    assert capsys.readouterr().out.splitlines()[0] == f"{picture}: {said}"


def test_explain_says_nothing_more_where_nothing_was_cut(capsys: pytest.CaptureFixture[str]) -> None:
    assert _crop(SAMPLES / "rocket.jpg", "--dry-run", "--explain", "--if-none", "empty") == 0
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_a_dry_run_decides_and_writes_nothing(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = photos.parent / "out"
    assert _crop(photos, "--out", out, "--dry-run", "--preview", "--json", "-") == 0
    records = _records(capsys.readouterr().out)
    crops = [crop for record in records for crop in record["crops"]]
    assert len(crops) == 2
    assert all(crop["file"] is None and crop["window"][2] > 0 for crop in crops)
    assert not out.exists()


def test_a_dry_run_cuts_where_the_run_cuts(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = (photos, "--out", photos.parent / "out", "--aspect-ratio", "4:5", "--json", "-")
    assert _crop(*asked) == _crop(*asked, "--dry-run") == 0
    first, second, *dry = _records(capsys.readouterr().out)
    windows = [[crop["window"] for crop in record["crops"]] for record in (first, second, *dry)]
    assert windows[:2] == windows[2:]


def test_preview_adds_the_contact_sheet(photos: Path) -> None:
    out = photos.parent / "out"
    assert _crop(photos / "cat.jpg", "--out", out, "--preview") == 0
    assert _files(out / "cat.jpg") == ["00_cat_1x1.webp", "detections.json", "preview.jpg"]
    with Image.open(out / "cat.jpg" / "preview.jpg") as sheet:
        sheet.load()
        assert sheet.format == "JPEG"


def test_options_reach_the_crops(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = photos.parent / "out"
    options = ("--mode", "faces", "--width", "64", "--height", "64", "--output-format", "png", "--json", "-")
    assert _crop(photos / "astronaut.jpg", "--out", out, *options) == 0
    (record,) = _records(capsys.readouterr().out)
    (crop,) = record["crops"]
    assert crop["rule"] == "face"
    with Image.open(out / "astronaut.jpg" / crop["file"]) as image:
        assert (image.format, image.size) == ("PNG", (64, 64))


def test_a_focus_decides_and_explain_says_what_it_displaced(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = ("--focus", "0.9,0.9", "--aspect-ratio", "9:16", "--position", "west")
    assert _crop(photos / "astronaut.jpg", "--dry-run", "--explain", *where) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "00 9:16: 288x512 pixels from (224, 0), for the focus"
    assert "  left to right: the focus point: held" in lines
    assert "  left to right: the focus point at 33 % of the window: held in part" in lines
    assert "  left to right: the face: gave way" in lines


def test_a_chosen_ratio_is_in_the_record_and_explained(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lists = ("--aspect-ratio", "auto:1:3,1:1", "--multiple-of", "64", "--max-pixels", "100000")
    assert _crop(photos / "astronaut.jpg", "--dry-run", "--explain", *lists) == 0
    assert "  ratio: 1:1 keeps 100 % of the subject and 100 % of the scene; 1:3 keeps" in capsys.readouterr().out
    assert _crop(photos / "astronaut.jpg", "--dry-run", "--json", "-", *lists) == 0
    (record,) = _records(capsys.readouterr().out)
    (crop,) = record["crops"]
    assert 0 < record["focal_point"][1] < 0.5
    assert (crop["aspect_ratio"], crop["output_size"], crop["object_position"]) == ("1:1", [256, 256], "50% 50%")


# ---- smaller than asked


def test_crops_smaller_than_asked_are_told_of_once_at_the_end(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (photos / "broken.jpg").write_bytes(b"no picture")
    assert _crop(photos, "--dry-run", "--aspect-ratio", "1:1,16:9", "--width", "500") == 1
    failed, told = capsys.readouterr().err.splitlines()  # of four crops, those of the cat are smaller
    assert "broken.jpg" in failed
    assert told == f"crop-core: {sentence(2, 4)}"


@pytest.mark.parametrize(
    "options",
    [(), ("--width", "100"), ("--width", "1080", "--upscale", "allow"), ("--width", "1080", "--upscale", "pad")],
    ids=["no size", "large enough", "enlarged", "filled up"],
)
def test_crops_of_the_size_asked_for_need_no_words(
    options: tuple[str, ...], photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _crop(photos / "cat.jpg", "--dry-run", *options) == 0
    assert capsys.readouterr().err == ""


# ---- sidecars


def test_a_caption_is_copied_beside_each_crop_and_goes_with_it(photos: Path) -> None:
    out, picture = photos.parent / "out", photos / "astronaut.jpg"
    (photos / "astronaut.txt").write_text("an astronaut")
    assert _crop(picture, photos / "cat.jpg", "--out", out, "--sidecars", "txt", "--aspect-ratio", "1:1,4:5") == 0
    names = ["00_person_1x1.txt", "00_person_1x1.webp", "01_person_4x5.txt", "01_person_4x5.webp", "detections.json"]
    assert _files(out / "astronaut.jpg") == names
    assert (out / "astronaut.jpg" / "01_person_4x5.txt").read_text() == "an astronaut"
    assert not [name for name in _files(out / "cat.jpg") if name.endswith(".txt")]
    assert json.loads((out / "astronaut.jpg" / "detections.json").read_text())["sidecars"] == ["txt"]
    assert _crop(picture, "--out", out, "--aspect-ratio", "1:1") == 0
    assert _files(out / "astronaut.jpg") == ["00_person_1x1.webp", "detections.json"]
    assert (photos / "astronaut.txt").read_text() == "an astronaut"


def test_a_caption_that_cannot_be_copied_fails_the_picture_alone(
    photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (photos / "astronaut.txt").write_bytes(bytes(2**20 + 1))
    pictures = (photos / "astronaut.jpg", photos / "cat.jpg")
    assert _crop(*pictures, "--out", photos.parent / "out", "--sidecars", "txt") == 1
    assert "astronaut.jpg: The .txt file beside the picture has 1048577 bytes" in capsys.readouterr().err
    assert not (photos.parent / "out" / "astronaut.jpg").exists()


# ---- sources


def test_a_file_is_read_by_its_bytes_not_by_its_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "photos").mkdir()
    shutil.copy(SAMPLES / "cat.jpg", tmp_path / "photos" / "cat.png")
    assert _crop(tmp_path / "photos", "--out", tmp_path / "out", "--json", "-") == 0
    (record,) = _records(capsys.readouterr().out)
    assert record["format"] == "JPEG"
    assert record["crops"]


def test_a_folder_is_searched_for_pictures_and_for_no_hidden_file(
    photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("SOURCES.md", "notes.txt"):
        (photos / name).write_text("no picture")
    for name in (".hidden.jpg", ".thumbnails/cat.jpg", "deeper/cat.JPG"):
        (photos / name).parent.mkdir(exist_ok=True)
        shutil.copy(SAMPLES / "cat.jpg", photos / name)
    (photos / "folder.jpg").mkdir()
    assert _crop(photos, "--dry-run", "--json", "-") == 0
    sources = [record["source"] for record in _records(capsys.readouterr().out)]
    assert sources == [str(photos / name) for name in ("astronaut.jpg", "cat.jpg", "deeper/cat.JPG")]


def test_a_picture_named_twice_is_cropped_once(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _crop(photos / "cat.jpg", photos, photos / ".." / "photos" / "cat.jpg", "--dry-run", "--json", "-") == 0
    assert len(_records(capsys.readouterr().out)) == 2


# Each picture is a ramp of its own width, so that a folder's crop tells which picture it came from.
@pytest.mark.parametrize(
    "names",
    [
        ("one.png", "two.png"),
        ("a.png", "a.bmp"),
        ("x/a.png", "y/a.png", "z/a.png"),
        ("a.png", "a.bmp", "a.png.png"),
        ("x/a.png", "y/a.png", "a.png_2.png", "a.png_1.png"),
        ("a.png", "A.bmp"),  # one folder where the file system knows no case
    ],
    ids=["stems apart", "one stem", "one name", "a stem like a name", "a stem like a number", "case alone"],
)
def test_no_picture_takes_anothers_folder(
    names: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number, name in enumerate(names):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(ramp(100 + number, 64), path.suffix[1:]))
    options = ("--if-none", "full_image", "--out", tmp_path / "out", "--output-format", "png")
    assert _crop(tmp_path / "photos", *options) == 0
    widths = []
    for path in (tmp_path / "out").rglob("0*.png"):
        with Image.open(path) as image:
            widths.append(image.width)
    assert sorted(widths) == [100 + number for number in range(len(names))]
    folders = {str(path.parent).casefold() for path in (tmp_path / "out").rglob("0*.png")}
    assert len(folders) == len(names)
    capsys.readouterr()


# `out` seen from the folder of the photos.
@pytest.mark.parametrize("out", ["crops", "deep/crops", ".", ".."], ids=["inside", "deep inside", "the same", "above"])
def test_a_second_run_crops_the_photos_and_not_the_crops_of_the_first(
    out: str, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sources = []
    for _ in range(2):
        assert _crop(photos, "--out", photos / out, "--output-format", "jpg", "--json", "-") == 0
        sources.append([record["source"] for record in _records(capsys.readouterr().out)])
    assert sources[0] == sources[1] == [str(photos / "astronaut.jpg"), str(photos / "cat.jpg")]


# ---- how it ends


def test_a_broken_picture_is_named_and_the_rest_is_done(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = photos.parent / "out"
    (photos / "broken.jpg").write_bytes((SAMPLES / "cat.jpg").read_bytes()[:4000])
    assert _crop(photos, "--out", out, "--json", "-") == 1
    captured = capsys.readouterr()
    (line,) = captured.err.splitlines()
    assert line.startswith(f"crop-core: {photos / 'broken.jpg'}: The file begins like JPEG but cannot be decoded")
    good, broken, other = _records(captured.out)
    assert (good["error"], other["error"]) == (None, None)
    assert list(broken) == RECORD_KEYS
    assert broken["error"]["type"] == "ImageError"
    assert broken["error"]["message"] in line
    assert (broken["detections"], broken["crops"]) == ([], [])
    assert sorted(path.name for path in out.iterdir()) == ["astronaut.jpg", "cat.jpg"]


def test_when_every_picture_fails_the_exit_status_is_1(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in photos.iterdir():
        path.write_bytes(b"")
    assert _crop(photos) == 1
    assert len(capsys.readouterr().err.splitlines()) == 2


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "the following arguments are required"),
        (["crop"], "the following arguments are required"),
        (["crop", "CAT", "--mode", "zzz"], "invalid choice: 'zzz'"),
        (["crop", "CAT", "--device", "abacus"], "invalid choice: 'abacus'"),
        (["crop", "CAT", "--width", "abc"], "invalid int value: 'abc'"),
        (["crop", "CAT", "--unknown"], "unrecognized arguments: --unknown. All options: crop-core crop --help"),
        (["crop", "CAT", "--widht", "9"], "unrecognized arguments: --widht 9. Did you mean --width?"),
        (["crop", "CAT", "--ratio=1:1"], "unrecognized arguments: --ratio=1:1. Did you mean --aspect-ratio?"),
        (["crop", "CAT", "--mode", "face"], "Did you mean faces?"),
        (["corp", "CAT"], "Did you mean crop?"),
        (["crop", "CAT", "--padding", "9"], "padding is a number from 0 to 2, got 9.0."),
        (["crop", "CAT", "--padding", "nan"], "padding is a number from 0 to 2, got nan."),
        (["crop", "CAT", "--aspect-ratio", "banana"], "aspect_ratio is width:height such as 16:9"),
        (["crop", "CAT", "--labels", "unicorn"], "labels names 'unicorn', which no detector here knows."),
        (["crop", "CAT", "no-such.jpg"], "there is no no-such.jpg. Check the path."),
        (["crop", "CAT", "n" * 300 + ".jpg"], "there is no nnn"),
        (
            ["crop", "CAT", "s3://bucket/cat.jpg"],
            "crop takes files and folders, got s3://bucket/cat.jpg. Use crop-core batch",
        ),
        (
            ["crop", "CAT", "https://a.org/b.jpg"],
            "crop takes files and folders, got https://a.org/b.jpg. Use crop-core batch",
        ),
        (["crop", "EMPTY"], "there are no pictures in "),
        (["crop", "CAT", "--json", "EMPTY"], "--json"),
        (["crop", "CAT", "--json", "CAT/all.jsonl"], "--json"),
    ],
    ids=[
        "nothing",
        "no source",
        "a choice",
        "a device",
        "no number",
        "an option",
        "nearly an option",
        "a part of an option",
        "nearly a choice",
        "nearly a command",
        "out of bounds",
        "not a number",
        "a ratio",
        "a label",
        "no such file",
        "a name too long for a file",
        "a bucket",
        "an address",
        "a folder without pictures",
        "json into a folder",
        "json below a file",
    ],
)
def test_wrong_use_is_said_in_a_sentence_and_ends_with_2(
    arguments: list[str], sentence: str, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    given = [
        argument.replace("CAT", str(photos / "cat.jpg")).replace("EMPTY", str(tmp_path / "empty"))
        for argument in arguments
    ]
    assert _refused(given) == 2
    captured = capsys.readouterr()
    assert sentence in captured.err
    assert len(captured.err.splitlines()) == 1
    assert captured.out == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "photos"]


def test_a_file_in_the_folders_place_stays_and_the_picture_is_cropped_beside_it(
    photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = photos.parent / "out"
    out.mkdir()
    (out / "cat.jpg").write_text("I was here first")
    assert _crop(photos, "--out", out) == 0
    capsys.readouterr()
    assert (out / "cat.jpg").read_text() == "I was here first"
    (beside,) = out.glob("cat.jpg~*")
    assert _files(beside) == ["00_cat_1x1.webp", "detections.json"]


def test_two_runs_into_one_folder_keep_the_crops_of_both(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two cameras call their pictures alike."""
    out = tmp_path / "out"
    for camera in ("one", "two", "one"):
        (tmp_path / camera).mkdir(exist_ok=True)
        shutil.copy(SAMPLES / "cat.jpg", tmp_path / camera / "IMG_1.jpg")
        assert _crop(tmp_path / camera, "--out", out) == 0
    capsys.readouterr()
    sources = {json.loads(path.read_text())["source"] for path in out.glob("*/detections.json")}
    assert sources == {str(tmp_path / camera / "IMG_1.jpg") for camera in ("one", "two")}
    assert len(list(out.iterdir())) == 2


@pytest.mark.parametrize("name", ["...jpg", "..jpg"])
def test_a_name_of_dots_stays_below_the_folder(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copy(SAMPLES / "cat.jpg", tmp_path / name)
    assert _crop(tmp_path / name, "--out", tmp_path / "a" / "out") == 0
    capsys.readouterr()
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["out"]
    assert len(list((tmp_path / "a" / "out").glob("*/detections.json"))) == 1


def test_links_and_closed_folders_are_done_or_named(
    photos: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (photos / "again.jpg").symlink_to(photos / "cat.jpg")
    (photos / "dangling.jpg").symlink_to(photos / "gone.jpg")
    elsewhere = photos.parent / "elsewhere"
    elsewhere.mkdir()
    shutil.copy(SAMPLES / "cat.jpg", elsewhere / "linked.jpg")
    (photos / "link").symlink_to(elsewhere)
    (photos / "round").symlink_to(photos)
    (photos / "closed").mkdir()
    scandir = os.scandir

    def closed(path: str) -> object:  # chmod closes nothing to root, as whom tests may run
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", closed)
    assert _crop(photos, "--dry-run", "--json", "-") == 1
    captured = capsys.readouterr()
    records = {record["source"]: record["error"] for record in _records(captured.out)}
    good = {name for name, error in records.items() if error is None}
    assert good == {str(photos / name) for name in ("astronaut.jpg", "cat.jpg", "again.jpg", "link/linked.jpg")}
    assert records.keys() - good == {str(photos / "closed"), str(photos / "dangling.jpg")}
    assert "The folder cannot be read: Permission denied" in captured.err


def test_explain_says_why_each_window_lies_where_it_does(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _crop(photos / "astronaut.jpg", "--dry-run", "--explain", "--aspect-ratio", "9:16") == 0
    lines = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"00 9:16: 288x512 pixels from \(\d+, 0\), for person", lines[1])
    assert "  left to right: the face: held" in lines


def test_a_file_that_a_crop_cannot_replace_leaves_nothing_half_written(
    photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = photos.parent / "out"
    (out / "cat.jpg" / "00_cat_1x1.webp" / "in the way").mkdir(parents=True)
    assert _crop(photos / "cat.jpg", "--out", out) == 1
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert [path.name for path in (out / "cat.jpg").iterdir()] == ["00_cat_1x1.webp"]


def test_a_full_disk_fails_the_picture_that_it_has_no_room_for_and_the_others_go_on(
    small_disk: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos, out = tmp_path / "photos", small_disk / "out"
    photos.mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (300, 300, 3), np.uint8)
    for name, picture in (("a", ramp(64, 64)), ("b", Image.fromarray(noise)), ("c", ramp(64, 64))):
        (photos / f"{name}.png").write_bytes(encoded(picture))
    assert _crop(photos, "--out", out, "--if-none", "full_image", "--output-format", "png", "--json", "-") == 1
    captured = capsys.readouterr()
    assert captured.err == (
        f"crop-core: {photos / 'b.png'}: The crops cannot be written: No space left on device. "
        "Ask for fewer or smaller crops.\n"
    )
    assert [record["error"] is None for record in _records(captured.out)] == [True, False, True]
    assert [len(_files(out / f"{name}.png")) for name in "abc"] == [2, 0, 2]


def test_a_disk_that_cannot_be_written_is_named_for_every_picture(
    small_disk: Path, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    assert _crop(photos, "--out", small_disk / "out") == 1
    first, second = capsys.readouterr().err.splitlines()
    assert "Read-only file system" in first
    assert "Read-only file system" in second


def test_a_second_run_with_other_options_leaves_no_crops_of_the_first(photos: Path) -> None:
    out = photos.parent / "out"
    first = ("--aspect-ratio", "1:1,16:9", "--preview")
    assert _crop(photos / "cat.jpg", "--out", out, *first) == 0
    (out / "cat.jpg" / "mine.webp").write_bytes(b"mine")
    assert _crop(photos / "cat.jpg", "--out", out, "--output-format", "jpg") == 0
    assert _files(out / "cat.jpg") == ["00_cat_1x1.jpg", "detections.json", "mine.webp"]


def test_a_second_run_that_fails_leaves_the_first(photos: Path) -> None:
    out = photos.parent / "out"
    assert _crop(photos / "cat.jpg", "--out", out) == 0
    (photos / "cat.jpg").write_bytes(b"no picture any more")
    assert _crop(photos / "cat.jpg", "--out", out) == 1
    assert _files(out / "cat.jpg") == ["00_cat_1x1.webp", "detections.json"]


def test_a_name_that_is_not_utf_8_is_cropped_and_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = os.fsdecode(b"caf\xe9.jpg")  # as old archives unpack
    shutil.copy(SAMPLES / "cat.jpg", tmp_path / name)
    assert _crop(tmp_path / name, "--out", tmp_path / "out") == 0
    assert "caf\\udce9.jpg: " in capsys.readouterr().out
    assert len(_files(tmp_path / "out")) == 2


def test_a_full_disk_ends_the_report_with_a_sentence(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _crop(photos, "--dry-run", "--json", "/dev/full") == 1
    assert capsys.readouterr().err == "crop-core: stopped: No space left on device.\n"


@pytest.mark.parametrize("options", [(), ("--json", "-")], ids=["lines to read", "lines of JSON"])
def test_a_reader_that_is_gone_ends_the_command_quietly(options: tuple[str, ...], photos: Path) -> None:
    reader, writer = os.pipe()  # as after `| head -1`
    os.close(reader)
    try:
        run = _process("crop", photos, "--dry-run", *options, *FAST, stdout=writer, stderr=subprocess.PIPE)
    finally:
        os.close(writer)
    assert (run.returncode, run.stderr) == (1, "")


@pytest.mark.parametrize("closed", ["1", "2", "1 2"])
def test_closed_standard_streams_do_not_end_the_run(closed: str, photos: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "crop_core.cli", "crop", str(photos / "cat.jpg"), "--out", str(tmp_path / "out")]
    shut = " ".join(f"{number}>&-" for number in closed.split())
    run = subprocess.run(["sh", "-c", f'exec "$@" {shut}', "sh", *command, *FAST], cwd=ROOT, capture_output=True)
    assert (run.returncode, run.stderr) == (0, b"")
    assert (tmp_path / "out" / "cat.jpg" / "detections.json").is_file()


def test_a_device_is_named_and_not_read(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _crop("/dev/zero", photos / "cat.jpg", "--dry-run") == 1
    captured = capsys.readouterr()
    assert captured.err == "crop-core: /dev/zero: It is a device. Name a picture file.\n"
    assert "cat.jpg" in captured.out


def test_an_error_of_the_system_without_words_is_named(
    monkeypatch: pytest.MonkeyPatch, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise OSError("no words of the system")

    monkeypatch.setattr("crop_core.cli.crop.list_pictures", fail)
    assert _crop(photos) == 1
    assert capsys.readouterr().err == "crop-core: stopped: no words of the system.\n"


# ---- the bar


def _on_a_terminal(*sources: Path) -> tuple[int, str]:
    """Return exit status and what the command shows on a terminal."""
    terminal, stderr = pty.openpty()
    termios.tcsetwinsize(terminal, (24, 80))  # a new one has no width, and a bar no room
    command = [sys.executable, "-m", "crop_core.cli", "crop", *map(str, sources), "--dry-run", *FAST]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=stderr) as process:
        os.close(stderr)
        shown = b""
        try:
            while part := os.read(terminal, 4096):
                shown += part
        except OSError:
            pass  # Linux reports the other end's closing so
        finally:
            os.close(terminal)
    return process.returncode, shown.decode()


@pytest.mark.parametrize(
    ("names", "drawn"), [(("cat.jpg",), False), (("cat.jpg", "astronaut.jpg"), True)], ids=["one", "several"]
)
def test_on_a_terminal_a_bar_counts_several_pictures(names: tuple[str, ...], drawn: bool, photos: Path) -> None:
    status, shown = _on_a_terminal(*(photos / name for name in names))
    assert status == 0
    assert ("2/2" in shown) == drawn
    assert ("picture" in shown) == drawn


# ---- doctor


def test_doctor_finds_this_machine_healthy(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--device", "cpu"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines
    assert all(line.startswith("ok ") for line in lines)


def test_the_command_is_installed_under_its_name() -> None:
    (command,) = entry_points(group="console_scripts", name="crop-core")
    assert command.load() is main


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"crop-core {__version__}\n"


# ---- stopped, and gone on with


@pytest.mark.usefixtures("heeds_ctrl_c")
def test_after_ctrl_c_skip_done_crops_the_rest_and_touches_nothing_that_was_done(tmp_path: Path) -> None:
    photos, out = tmp_path / "photos", tmp_path / "out"
    photos.mkdir()
    for number in range(16):
        (photos / f"{number:02}.jpg").symlink_to(SAMPLES / "cat.jpg")
    (photos / "99.jpg").write_text("no picture")
    command = [sys.executable, "-m", "crop_core.cli", "crop", photos, "--out", out, "--width", "64", *FAST]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT) as stopped:
        assert stopped.stdout
        stopped.stdout.readline()
        stopped.send_signal(signal.SIGINT)
        said = stopped.communicate(timeout=60)[1].splitlines()[-1]
    assert stopped.returncode == 130
    found = re.fullmatch(r"crop-core: stopped: (\d+) of 17 .* the other (\d+), run the same .* --skip-done\.", said)
    assert found
    assert int(found[1]) + int(found[2]) == 17
    before = {path: path.stat().st_mtime_ns for path in out.glob("*/detections.json")}
    assert before

    run = subprocess.run([*command, "--skip-done"], capture_output=True, text=True, cwd=ROOT, check=False)
    assert run.returncode == 1  # of the one that is no picture
    assert len(run.stdout.splitlines()) == 16 - len(before)
    after = {path: path.stat().st_mtime_ns for path in out.glob("*/detections.json")}
    assert len(after) == 16
    assert before.items() <= after.items()


def test_skip_done_says_so_where_nothing_is_left(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["crop", str(SAMPLES / "cat.jpg"), "--out", str(tmp_path), *FAST]) == 0
    capsys.readouterr()
    assert main(["crop", str(SAMPLES / "cat.jpg"), "--out", str(tmp_path), "--skip-done", *FAST]) == 0
    said = capsys.readouterr()
    assert (said.out, said.err) == (
        "",
        f"crop-core: nothing to do: all pictures have crops in {tmp_path}, whatever options they were made with.\n",
    )
