"""The quality benchmark: its measures on scenes that can be computed by hand, its command on samples."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import measures
import numpy as np
import peers
import pytest
import quality
from conftest import ROOT, SAMPLES, SHARED
from hypothesis import example, given
from hypothesis import strategies as st
from measures import Scene, Window, face_measures, object_measures
from PIL import Image

SQUARE = Fraction(1)
RATIOS = {name: Fraction(*map(int, name.split(":"))) for name in ("1:1", "4:5", "16:9", "9:16")}
BENCH = ROOT / "tests" / "bench" / "quality.py"


def scene(*boxes: Window, name: str = "a", width: int = 200, height: int = 100) -> Scene:
    """Return a picture of 200x100, in which the largest square is 100x100."""
    return Scene(name, width, height, boxes)


def square(x: float) -> Window:
    return x, 0, x + 100, 100


def coco_of(*scenes: Scene, category: str = "person") -> dict[str, Any]:
    images = [{"id": i, "file_name": s.name, "width": s.width, "height": s.height} for i, s in enumerate(scenes)]
    annotations = [
        {"image_id": i, "category_id": 1, "bbox": [x1, y1, x2 - x1, y2 - y1], "iscrowd": 0}
        for i, s in enumerate(scenes)
        for x1, y1, x2, y2 in s.boxes
    ]
    return {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": category}]}


# ---- objects


@pytest.mark.parametrize(
    ("x", "share", "main95"),
    [(0, 1.0, 1.0), (3, 0.95, 1.0), (4, 56 / 60, 0.0), (30, 0.5, 0.0), (60, 0.0, 0.0), (100, 0.0, 0.0)],
    ids=["all", "all but 5 %", "all but 7 %", "half", "none, touching", "none"],
)
def test_the_main_subject_counts_by_its_kept_area(x: int, share: float, main95: float) -> None:
    found = object_measures([scene((0, 0, 60, 100), (150, 0, 160, 10))], {"a": square(x)}, SQUARE)
    assert found["main"] == pytest.approx(share)
    assert (found["fit"], found["main95"]) == (1, main95)


def test_all_is_the_kept_area_of_all_boxes() -> None:
    found = object_measures([scene((0, 0, 60, 100), (150, 0, 190, 50))], {"a": square(100)}, SQUARE)
    assert (found["main"], found["all"]) == (0, pytest.approx(2000 / 8000))


def test_main95_does_not_count_a_subject_that_cannot_fit() -> None:
    wide, small = scene((0, 0, 106, 100), name="wide"), scene((0, 0, 10, 10), name="small")
    found = object_measures([wide, small], {"wide": square(0), "small": square(0)}, SQUARE)
    assert (found["fit"], found["main95"]) == (1, 1.0)
    assert found["main"] == pytest.approx((100 / 106 + 1) / 2)


def test_a_share_of_nothing_is_no_number() -> None:
    found = object_measures([scene((0, 0, 200, 100))], {"a": square(0)}, SQUARE)
    assert (found["fit"], found["main95"]) == (0, None)


def test_a_picture_without_a_crop_keeps_nothing() -> None:
    found = object_measures([scene((0, 0, 60, 100)), scene((0, 0, 60, 100), name="b")], {"a": square(0)}, SQUARE)
    assert found == {"main": 0.5, "all": 0.5, "fit": 2, "main95": 0.5, "size": 0.5, "bad": 0, "miss": 1}


@pytest.mark.parametrize(
    "window",
    [(-1, 0, 99, 100), (101, 0, 201, 100), (0, 1, 100, 101), (40, 0, 40, 100), (0, 0, 97, 100), (0, 0, 200, 100)],
    ids=["left of the picture", "right of it", "below it", "empty", "off the ratio by 3 %", "the whole picture"],
)
def test_a_bad_window_keeps_nothing(window: Window) -> None:
    kept = {"main": 0, "all": 0, "fit": 1, "main95": 0, "size": 0, "bad": 1, "miss": 0}
    assert object_measures([scene((0, 0, 60, 100))], {"a": window}, SQUARE) == kept


@pytest.mark.parametrize(
    ("window", "size"),
    [((0, 0, 400, 393), 393 / 400), ((10, 10, 12, 13), 6 / 400**2)],
    ids=["seven pixels, less than 2 %", "half the ratio, a pixel"],
)
def test_a_window_may_be_off_the_ratio_by_2_percent_or_a_pixel(window: Window, size: float) -> None:
    found = object_measures([scene((0, 0, 60, 100), width=400, height=400)], {"a": window}, SQUARE)
    assert (found["bad"], found["size"]) == (0, pytest.approx(size))


def test_size_tells_how_much_smaller_than_the_largest_a_crop_is() -> None:
    found = object_measures([scene((0, 0, 50, 50))], {"a": (0, 0, 50, 50)}, SQUARE)
    assert (found["main"], found["size"]) == (1, 0.25)


# ---- faces


@pytest.mark.parametrize(
    ("x", "faces"),
    [(0, 0.5), (21, 0.5), (22, 0.0), (88, 0.0), (89, 0.5), (90, 0.5)],
    ids=["left whole", "cut by a pixel", "cut by two", "right cut by two", "right cut by a pixel", "right whole"],
)
def test_a_face_is_whole_or_it_does_not_count(x: int, faces: float) -> None:
    found = face_measures([scene((20, 40, 60, 80), (150, 40, 190, 80))], {"a": square(x)}, SQUARE)
    assert found["faces"] == faces


def test_faces_that_cannot_fit_do_not_count_against_a_crop() -> None:
    found = face_measures([scene((0, 0, 101, 100), (150, 40, 190, 80))], {"a": square(100)}, SQUARE)
    assert (found["faces"], found["fitF"], found["facesF"]) == (0.5, 1, 1.0)
    assert (found["fitI"], found["imgAll"], found["fitB"], found["big"]) == (0, None, 0, None)


def test_img_all_wants_every_face_of_a_picture_whose_faces_fit_together() -> None:
    near, far = scene((0, 0, 10, 10), (90, 0, 100, 10)), scene((0, 0, 10, 10), (150, 0, 160, 10), name="far")
    together = face_measures([near, far], {"a": square(0), "far": square(0)}, SQUARE)
    assert (together["fitI"], together["imgAll"], together["faces"]) == (1, 1.0, 0.75)
    cut = face_measures([near, far], {"a": square(5), "far": square(0)}, SQUARE)
    assert (cut["fitI"], cut["imgAll"], cut["faces"]) == (1, 0.0, 0.5)


@pytest.mark.parametrize(("y", "heads"), [(60, 1.0), (61, 1.0), (62, 0.0), (80, 0.0)])
def test_a_head_is_its_face_and_two_fifths_of_that_above(y: int, heads: float) -> None:
    window = (0, y, 100, y + 100)
    found = face_measures([scene((20, 80, 60, 130), width=100, height=200)], {"a": window}, SQUARE)
    assert (found["fitH"], found["heads"], found["imgAll"]) == (1, heads, 1.0)


def test_a_head_ends_at_the_pictures_border() -> None:
    found = face_measures([scene((20, 10, 60, 90))], {"a": square(0)}, SQUARE)
    assert (found["fitH"], found["heads"]) == (1, 1.0)


def test_heads_that_fit_only_without_their_hair_do_not_count() -> None:
    found = face_measures([scene((0, 100, 80, 180), width=100, height=200)], {"a": (0, 90, 100, 190)}, SQUARE)
    assert (found["fitI"], found["imgAll"], found["fitH"], found["heads"]) == (1, 1.0, 0, None)


def test_big_is_the_largest_face_alone() -> None:
    faces = scene((0, 0, 40, 40), (150, 0, 160, 10), (170, 0, 180, 10))
    assert [face_measures([faces], {"a": square(x)}, SQUARE)["big"] for x in (0, 100)] == [1.0, 0.0]


def test_a_picture_without_a_crop_keeps_no_face() -> None:
    found = face_measures([scene((20, 40, 60, 80))], {}, SQUARE)
    assert (found["faces"], found["imgAll"], found["heads"], found["big"]) == (0, 0, 0, 0)
    assert (found["size"], found["bad"], found["miss"]) == (0, 0, 1)


# ---- baseline and ceiling


@st.composite
def pictures(draw: st.DrawFn) -> Scene:
    width, height = draw(st.integers(1, 90)), draw(st.integers(1, 90))
    xs, ys = st.floats(0, width, width=32), st.floats(0, height, width=32)
    pairs = st.tuples(st.tuples(xs, xs), st.tuples(ys, ys))
    boxes = [
        (min(x), min(y), max(x), max(y))
        for x, y in draw(st.lists(pairs, min_size=1, max_size=5))
        if abs(x[0] - x[1]) > 0.1 and abs(y[0] - y[1]) > 0.1
    ]
    return Scene("a", width, height, tuple(boxes) or ((0, 0, width, height),))


@given(pictures(), st.sampled_from(list(RATIOS.values())), st.booleans())
def test_the_oracle_and_the_centre_are_windows_of_the_largest_size(
    picture: Scene, ratio: Fraction, faces: bool
) -> None:
    for window in (measures.centre_window(picture, ratio), measures.oracle_window(picture, ratio, faces)):
        x1, y1, x2, y2 = window
        assert (x2 - x1, y2 - y1) == measures.largest_size(picture, ratio)
        assert 0 <= x1 < x2 <= picture.width
        assert 0 <= y1 < y2 <= picture.height


@given(pictures(), st.sampled_from(list(RATIOS.values())))
@example(scene((10.9, 0, 110.8, 100)), SQUARE)  # as wide as the window, and between two places: the later one
@example(scene((10.2, 0, 110.1, 100)), SQUARE)  # the earlier one
def test_no_window_keeps_more_of_the_main_subject_than_the_oracle(picture: Scene, ratio: Fraction) -> None:
    width, height = measures.largest_size(picture, ratio)
    every = [
        (x, y, x + width, y + height)
        for x in range(picture.width - width + 1)
        for y in range(picture.height - height + 1)
    ]
    assert measures.centre_window(picture, ratio) in every
    oracle = {"a": measures.oracle_window(picture, ratio, faces=False)}
    best = max(measures.main_shares([picture], {"a": window}, ratio)[0] for window in every)
    assert measures.main_shares([picture], oracle, ratio)[0] >= best - 1e-9


@given(pictures(), st.sampled_from(list(RATIOS.values())))
def test_the_oracle_keeps_the_faces_that_the_centre_keeps_or_more(picture: Scene, ratio: Fraction) -> None:
    centre = face_measures([picture], {"a": measures.centre_window(picture, ratio)}, ratio)
    oracle = face_measures([picture], {"a": measures.oracle_window(picture, ratio, faces=True)}, ratio)
    assert oracle["faces"] >= centre["faces"]
    assert oracle["imgAll"] in (None, 1.0)
    assert oracle["heads"] in (None, 1.0)


def test_the_oracle_leaves_the_centre_for_a_subject_at_the_border() -> None:
    assert measures.oracle_window(scene((150, 20, 200, 80)), SQUARE, faces=False) == square(100)
    assert measures.oracle_window(scene((150, 20, 200, 80)), SQUARE, faces=True) == square(100)


# ---- the interval


def test_an_interval_of_equal_differences_is_a_point() -> None:
    assert measures.bootstrap_interval(np.full(20, 0.25)) == (0.25, 0.25)


def test_an_interval_is_as_wide_as_the_means_error() -> None:
    differences = np.random.default_rng(1).normal(0.1, 1, 400)
    low, high = measures.bootstrap_interval(differences)
    error = differences.std() / 20  # of the mean of 400; 2000 draws find the ends of the interval to some 5 % of it
    assert low == pytest.approx(differences.mean() - 1.96 * error, abs=0.2 * error)
    assert high == pytest.approx(differences.mean() + 1.96 * error, abs=0.2 * error)


# ---- ground truth


def test_crowd_boxes_and_empty_ones_are_left_out() -> None:
    coco = coco_of(scene((0, 0, 200, 100), (10, 10, 30, 40), (5, 5, 5, 9)), scene((0, 0, 10, 10), name="crowd only"))
    for annotation in coco["annotations"]:
        annotation["iscrowd"] = int(annotation["bbox"][:2] == [0, 0])
    assert measures.scenes_in(coco) == (scene((10, 10, 30, 40)),)


def test_scenes_are_in_the_order_of_their_names() -> None:
    b, a = scene((0, 0, 1, 1), name="b"), scene((2, 2, 3, 3), name="a")
    assert measures.scenes_in(coco_of(b, a)) == (a, b)


# ---- the command


@pytest.fixture
def ground_truth(tmp_path: Path) -> Path:
    """Two samples, and boxes of which the middle square holds all and half (75 to 150 of 0 to 150)."""
    coco = coco_of(
        scene((10, 10, 500, 500), name="astronaut.jpg", width=512, height=512),
        scene((0, 0, 150, 300), name="cat.jpg", width=451, height=300),
    )
    path = tmp_path / "ground_truth.json"
    path.write_text(json.dumps(coco))
    return path


def _run(*arguments: str | Path) -> int:
    return quality.main([*map(str, arguments), "--device", "cpu", "--detector", "fast"])


def _refused(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    """Return the error message for a wrong use."""
    with pytest.raises(SystemExit) as stop:
        _run(*arguments)
    assert stop.value.code == 2
    return capsys.readouterr().err


def _tables(text: str) -> dict[str, dict[str, dict[str, str]]]:
    """Return ratio -> row -> column -> cell of what was printed."""
    tables: dict[str, dict[str, dict[str, str]]] = {}
    for block in text.split("\n\n"):
        if block in RATIOS:
            ratio = block
        elif block.startswith("|"):
            lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in block.splitlines()]
            tables[ratio] = {cells[0]: dict(zip(lines[0], cells, strict=True)) for cells in lines[2:]}
    return tables


def test_the_command_prints_a_table_per_ratio_with_its_rows(ground_truth: Path) -> None:
    command = [sys.executable, BENCH, SAMPLES, ground_truth, "--aspect-ratio", "1:1,9:16", "--detector", "fast"]
    run = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ground_truth.parent)
    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith("2 pictures, 2 objects; crop-core ")
    tables = _tables(run.stdout)
    assert list(tables) == ["1:1", "9:16"]
    assert all(list(table) == ["centre", "crop-core", "oracle"] for table in tables.values())
    centre, oracle = tables["1:1"]["centre"], tables["1:1"]["oracle"]
    assert (centre["main"], centre["− centre [95 %]"]) == ("0.750", "–")
    assert (oracle["main"], oracle["− centre [95 %]"]) == ("1.000", "+0.250 [+0.000, +0.500]")


def test_the_json_file_holds_the_measures_and_every_window(ground_truth: Path, tmp_path: Path) -> None:
    file = tmp_path / "out.json"
    assert _run(SAMPLES, ground_truth, "--aspect-ratio", "1:1", "--json", file) == 0
    found = json.loads(file.read_text())
    assert [(row["aspect_ratio"], row["crops"]) for row in found["rows"]] == [
        ("1:1", "centre"),
        ("1:1", "crop-core"),
        ("1:1", "oracle"),
    ]
    assert found["rows"][0]["main"] == pytest.approx(0.75)
    assert found["crops"]["centre"] == {
        "astronaut.jpg": {"1:1": [0, 0, 512, 512]},
        "cat.jpg": {"1:1": [75, 0, 375, 300]},
    }
    assert set(found["crops"]["crop-core"]) == {"astronaut.jpg", "cat.jpg"}


@pytest.mark.parametrize(("category", "flags"), [("face", ()), ("person", ("--faces",))], ids=["by name", "by option"])
def test_faces_get_the_measures_of_faces(
    category: str, flags: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    astronaut = scene((180, 70, 270, 190), name="astronaut.jpg", width=512, height=512)  # her face, by eye
    (tmp_path / "faces.json").write_text(json.dumps(coco_of(astronaut, category=category)))
    assert _run(SAMPLES, tmp_path / "faces.json", "--aspect-ratio", "9:16", *flags) == 0
    table = _tables(capsys.readouterr().out)["9:16"]
    assert {row: cells["imgAll"] for row, cells in table.items()} == {
        "centre": "1.000",
        "crop-core": "1.000",
        "oracle": "1.000",
    }


def test_the_products_inputs_reach_it(ground_truth: Path, capsys: pytest.CaptureFixture[str]) -> None:
    nothing = ("--score-threshold", "1", "--if-none", "empty")
    assert _run(SAMPLES, ground_truth, "--aspect-ratio", "1:1", *nothing) == 0
    row = _tables(capsys.readouterr().out)["1:1"]["crop-core"]
    assert (row["main"], row["size"], row["miss"]) == ("0.000", "0.000", "2")


def test_a_picture_that_fails_counts_as_a_miss_and_is_named(
    ground_truth: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(SAMPLES / "astronaut.jpg", tmp_path)
    (tmp_path / "cat.jpg").write_bytes(b"no picture")
    assert _run(tmp_path, ground_truth, "--aspect-ratio", "1:1") == 0
    printed = capsys.readouterr()
    row = _tables(printed.out)["1:1"]["crop-core"]
    assert (row["main"], row["miss"]) == ("0.500", "1")
    assert "cat.jpg: crop-core: " in printed.err


def test_boxes_are_compared_with_the_upright_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    with Image.open(SAMPLES / "cat.jpg") as cat:
        cat.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "cat.jpg", exif=exif)
    upright = scene((0, 0, 150, 300), name="cat.jpg", width=451, height=300)
    (tmp_path / "upright.json").write_text(json.dumps(coco_of(upright)))
    assert _run(tmp_path, tmp_path / "upright.json", "--aspect-ratio", "1:1") == 0
    assert capsys.readouterr().err == ""

    lying = scene((0, 0, 300, 150), name="cat.jpg", width=300, height=451)
    (tmp_path / "lying.json").write_text(json.dumps(coco_of(lying)))
    answer = _refused(capsys, tmp_path, tmp_path / "lying.json")
    assert "cat.jpg: left out: 451x300 upright, 300x451 in the ground truth" in answer


def test_pictures_that_are_not_in_the_folder_are_left_out(
    ground_truth: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(SAMPLES / "cat.jpg", tmp_path)
    assert _run(tmp_path, ground_truth, "--aspect-ratio", "1:1") == 0
    printed = capsys.readouterr()
    assert printed.out.startswith("1 pictures, 1 objects; ")
    assert _tables(printed.out)["1:1"]["centre"]["main"] == "0.500"
    assert "left out: 1 pictures" in printed.err


def test_wrong_use_is_answered_with_a_sentence(
    ground_truth: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "is no ground truth in COCO form" in _refused(capsys, SAMPLES, tmp_path / "none.json")
    (tmp_path / "list.json").write_text("[1]")
    assert "is no ground truth in COCO form" in _refused(capsys, SAMPLES, tmp_path / "list.json")
    assert "no picture of" in _refused(capsys, tmp_path / "nowhere", ground_truth)
    assert "match_input and free cut nothing off" in _refused(capsys, SAMPLES, ground_truth, "--aspect-ratio", "free")
    assert "width:height" in _refused(capsys, SAMPLES, ground_truth, "--aspect-ratio", "wide")
    assert "its folder is not there" in _refused(capsys, SAMPLES, ground_truth, "--json", tmp_path / "no" / "f.json")


# ---- peers


def test_a_peer_gets_a_row_or_is_named_as_absent(
    ground_truth: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def leftmost(path: Path, width: int, height: int) -> Window:
        if path.name == "astronaut.jpg":
            raise RuntimeError("too bright")
        return 0, 0, width, height

    here = peers.Peer("leftmost", "PIL", "pillow", leftmost)
    away = peers.Peer("far away", "no_module_has_this_name", "no-package-has-this-name", leftmost)
    monkeypatch.setattr(quality, "PEERS", (here, away))
    assert _run(SAMPLES, ground_truth, "--aspect-ratio", "1:1", "--peers") == 0
    printed = capsys.readouterr()
    table = _tables(printed.out)["1:1"]
    assert list(table) == ["centre", "crop-core", "leftmost", "oracle"]
    assert (table["leftmost"]["main"], table["leftmost"]["miss"]) == ("0.500", "1")
    assert "astronaut.jpg: leftmost: RuntimeError('too bright')" in printed.err
    assert printed.out.endswith(f"Peers: {here.version}. Not installed: far away.\n")


@pytest.mark.parametrize("peer", peers.PEERS, ids=[peer.name for peer in peers.PEERS])
def test_a_peer_finds_the_one_thing_in_an_upright_picture(peer: peers.Peer, tmp_path: Path) -> None:
    if not peer.is_installed:
        pytest.skip(f"needs {peer.package}, which the extra bench installs")
    pixels = np.full((200, 300, 3), 128, np.uint8)
    pixels[60:140, 210:290] = np.random.default_rng(0).integers(0, 256, (80, 80, 3))
    exif = Image.Exif()
    exif[0x0112] = 6
    upright = Image.fromarray(pixels)
    upright.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "thing.jpg", quality=95, exif=exif)
    x1, y1, x2, y2 = peer.window(tmp_path / "thing.jpg", 200, 200)
    assert (x2 - x1, y1, y2) == (200, 0, 200)
    assert 50 < x1 <= 100  # beyond the middle, in the picture


# ---- against the measuring data


def _first_pictures(count: int) -> dict[str, Any]:
    coco = json.loads((SHARED / "data" / "coco" / "instances.json").read_text())
    coco["images"] = coco["images"][:count]
    ids = {image["id"] for image in coco["images"]}
    coco["annotations"] = [annotation for annotation in coco["annotations"] if annotation["image_id"] in ids]
    return {key: coco[key] for key in ("images", "annotations", "categories")}


@pytest.mark.shared
def test_crop_core_keeps_more_than_the_centre_crop(tmp_path: Path) -> None:
    (tmp_path / "ten.json").write_text(json.dumps(_first_pictures(10)))
    file = tmp_path / "out.json"
    assert _run(SHARED / "data" / "coco" / "images", tmp_path / "ten.json", "--json", file) == 0
    main = {(row["crops"], row["aspect_ratio"]): row["main"] for row in json.loads(file.read_text())["rows"]}
    for ratio in RATIOS:
        assert main["centre", ratio] < main["crop-core", ratio] <= main["oracle", ratio]


@pytest.mark.shared
@pytest.mark.parametrize("faces", [False, True], ids=["objects", "faces"])
def test_the_measures_are_those_of_an_independent_judge(faces: bool, tmp_path: Path) -> None:
    folder = SHARED / "data" / ("faces" if faces else "coco")
    truth = folder / ("instances_faces.json" if faces else "instances.json")
    scenes = measures.scenes_in(json.loads(truth.read_text()))
    random = np.random.default_rng(0)
    crops: dict[str, dict[str, Window]] = {scene.name: {} for scene in scenes}
    for scene in scenes:
        for name, ratio in RATIOS.items():
            width, height = measures.largest_size(scene, ratio)
            shrunk = random.choice((1.0, 1.0, 0.7))
            width, height = max(1, round(width * shrunk)), max(1, round(height * shrunk))
            x, y = random.integers(-1, scene.width - width + 2), random.integers(-1, scene.height - height + 2)
            if random.random() > 0.05:
                crops[scene.name][name] = (int(x), int(y), int(x) + width, int(y) + height)
    (tmp_path / "crops.json").write_text(json.dumps(crops))
    judge = [sys.executable, SHARED / "data" / "eval_keep.py", "crops.json", "--dump", "judged.json"]
    judge += ["--gt", folder / "faces.json" if faces else truth]
    subprocess.run(judge, cwd=tmp_path, check=True, capture_output=True)
    judged = {
        row["aspect"]: row for row in json.loads((tmp_path / "judged.json").read_text()) if "json" in row["crops"]
    }
    for name, ratio in RATIOS.items():
        windows = {picture: windows[name] for picture, windows in crops.items() if name in windows}
        mine = (face_measures if faces else object_measures)(scenes, windows, ratio)
        known = mine.keys() & judged[name].keys()
        assert known >= {"size", "bad", "miss"} | ({"faces", "imgAll", "big"} if faces else {"main", "all", "main95"})
        assert {key: mine[key] for key in known} == pytest.approx({key: judged[name][key] for key in known})
        assert mine["bad"]
        assert mine["miss"]
