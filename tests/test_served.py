"""The model as it is served: Cog's real HTTP server as a process, asked over HTTP.

The server runs without the schema that only `cog build` writes, so it validates nothing: what
refuses a bad input here is the core.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from cog_server import ANSWER_TIMEOUT_S, Server, running
from conftest import ROOT, SAMPLES
from PIL import Image
from schema import schema, write_schema
from serving import (
    ASTRONAUT,
    CAT,
    CAT_BYTES,
    PAIR,
    ROCKET,
    Pictures,
    Sink,
    data_uri,
    decoded,
    files_left,
    listening,
    outputs,
    size,
)

from crop_core import CropError, CropRequest, ImageError, Size
from crop_core.frame.plan import plan_crops
from crop_core.frame.scene import Scene
from crop_core.photo.photo import open_photo

NO_PICTURE = "image is missing or is not a file. Send the picture as an http(s) URL or as a data URI."  # predict.py's


# ---- what comes back


def test_the_server_is_ready_once_setup_is_done(server: Server) -> None:
    status, health = server.ask("GET", "/health-check")
    assert (status, health["status"], health["setup"]["status"]) == (200, "READY", "succeeded")


@pytest.mark.parametrize(
    ("inputs", "sizes"),
    [
        # 512x512, so 16:9 is at most 512x288 and the width is what was asked for.
        ({"image": ASTRONAUT, "aspect_ratio": "1:1,16:9", "width": 320}, [[320, 320], [320, 180]]),
        ({"image": ASTRONAUT, "width": 64, "height": 80}, [[64, 80]]),
        ({"image": CAT, "aspect_ratio": "match_input"}, [[451, 300]]),
        ({"image": ROCKET, "mode": "objects", "if_none": "empty"}, []),
        ({"image": PAIR, "mode": "faces", "width": 48, "height": 48}, [[48, 48]]),
        ({"image": ASTRONAUT, "mode": "faces", "aspect_ratio": "4:5,1:1", "width": 40}, [[40, 50], [40, 40]]),
        ({"image": ASTRONAUT, "mode": "objects", "labels": "person", "width": 60, "height": 90}, [[60, 90]]),
    ],
    ids=["ratios", "a size", "match_input", "nothing found", "faces", "faces in ratios", "objects"],
)
def test_the_crops_decode_to_the_sizes_asked_for(
    inputs: dict[str, object], sizes: list[list[int]], server: Server
) -> None:
    record, crops = outputs(server.predict(**inputs))
    assert [crop["output_size"] for crop in record["crops"]] == sizes
    assert sorted(map(size, crops)) == sorted(sizes)


@pytest.mark.parametrize(
    ("wanted", "mime", "decoder"),
    [("webp", "image/webp", "WEBP"), ("jpg", "image/jpeg", "JPEG"), ("png", "image/png", "PNG")],
    ids=["webp", "jpg", "png"],
)
def test_the_crop_is_in_the_format_asked_for_and_says_so(wanted: str, mime: str, decoder: str, server: Server) -> None:
    answer = server.predict(image=CAT, output_format=wanted)
    record, (crop,) = outputs(answer)
    assert record["crops"][0]["file"].endswith(f".{wanted}")
    assert mime in [decoded(uri)[0] for uri in answer["output"]]
    with Image.open(BytesIO(crop)) as image:
        assert image.format == decoder


def test_preview_adds_one_jpeg(server: Server) -> None:
    record, files = outputs(server.predict(image=ASTRONAUT, aspect_ratio="1:1,16:9", output_format="png", preview=True))
    assert len(record["crops"]) == 2
    formats = []
    for data in files:
        with Image.open(BytesIO(data)) as image:
            formats.append(image.format)
    assert sorted(filter(None, formats)) == ["JPEG", "PNG", "PNG"]


def test_a_picture_alone_gives_one_square_crop_and_the_record(server: Server) -> None:
    answer = server.predict(image=ASTRONAUT)
    record, files = outputs(answer)
    assert [crop["file"] for crop in record["crops"]] == ["00_person_1x1.webp"]
    assert len(files) == 1


def test_the_metrics_tell_each_crop_from_the_others(server: Server) -> None:
    answer = server.predict(image=ASTRONAUT, aspect_ratio="1:1,4:5", width=64)
    record, files = outputs(answer)
    told = answer["metrics"]["crops"]
    assert [one["file"] for one in told] == [crop["file"] for crop in record["crops"]]
    assert {one["sha256"] for one in told} == {hashlib.sha256(data).hexdigest() for data in files}
    assert {one["bytes"] for one in told} == {len(data) for data in files}
    for one, crop in zip(told, record["crops"], strict=True):
        assert {
            key: one[key] for key in ("aspect_ratio", "window", "output_size", "rule", "object_position")
        }.items() <= crop.items()
    assert told[0]["label"] == "person"
    assert answer["metrics"]["found"].items() >= {"person": 1, "face": 1}.items()
    assert "detections" not in answer["metrics"]


def test_what_the_caller_knows_reaches_the_crop(server: Server) -> None:
    inputs = {"focus": "0.9,0.9", "position": "east", "aspect_ratio": "auto:1:3,1:2", "multiple_of": 16}
    answer = server.predict(image=ASTRONAUT, **inputs, max_pixels=40_000, dry_run=True)
    (crop,) = answer["metrics"]["crops"]
    assert (crop["rule"], crop["aspect_ratio"], crop["object_position"]) == ("focus", "1:2", "100% 50%")
    assert crop["output_size"] == [144, 272]
    assert answer["metrics"]["focal_point"] == [0.9, 0.9]
    refused = server.predict(image=ASTRONAUT, focus="0.9,0.9", mode="faces")
    assert "focus says what one crop is about, and mode faces makes a crop of each thing." in refused["error"]


@pytest.mark.parametrize(
    ("inputs", "key"),
    [
        ({"image": PAIR, "fit": "pad", "background": "blur", "aspect_ratio": "9:16"}, "frame"),
        ({"image": ASTRONAUT, "redact": "pixelate", "redact_labels": "face"}, "redacted"),
        ({"image": ASTRONAUT, "mode": "faces", "align": "eyes", "face_height": 0.7}, "angle"),
        ({"image": ASTRONAUT, "trim": True, "trim_threshold": 20}, "trim"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_an_input_brings_about_is_in_the_record(inputs: dict[str, Any], key: str, server: Server) -> None:
    record, (crop,) = outputs(server.predict(**inputs))
    assert key in record["crops"][0]
    assert size(crop) == record["crops"][0]["output_size"]


def test_a_dry_run_gives_the_record_alone_and_its_detections_in_the_metrics(server: Server) -> None:
    answer = server.predict(image=ASTRONAUT, dry_run=True)
    record, files = outputs(answer)
    assert files == []
    assert answer["metrics"]["detections"] == record["detections"]
    assert answer["metrics"]["focal_point"] == record["focal_point"]
    assert [crop["file"] for crop in record["crops"]] == [None]
    assert answer["metrics"]["crops"][0]["sha256"] is None


def test_a_picture_gives_the_same_crops_before_and_after_another(server: Server) -> None:
    inputs: dict[str, object] = {"aspect_ratio": "1:1,4:5", "width": 200}
    first = outputs(server.predict(image=ASTRONAUT, **inputs))
    other = outputs(server.predict(image=CAT, **inputs))
    again = outputs(server.predict(image=ASTRONAUT, **inputs))
    assert first[1] == again[1]  # byte for byte: one server, one machine, one order of additions
    assert first[0] | {"timings_ms": {}} == again[0] | {"timings_ms": {}}
    assert not set(first[1]) & set(other[1])


def test_the_readmes_request_makes_the_crop_that_it_names(server: Server, tmp_path: Path) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    lines = readme.split("<!-- request -->\n```sh\n")[1].split("\n```")[0]
    assert "localhost:5000" in lines
    (tmp_path / "samples").symlink_to(SAMPLES)
    here = lines.replace("localhost:5000", f"127.0.0.1:{server.port}")
    environment, deadline = {**os.environ, "NO_PROXY": "127.0.0.1"}, time.monotonic() + ANSWER_TIMEOUT_S
    while subprocess.run(["bash", "-euo", "pipefail", "-c", here], cwd=tmp_path, env=environment).returncode:
        answer = (tmp_path / "answer.json").read_text()
        assert "At capacity" in answer, answer  # the test before has its answer, but the server is not free yet
        assert time.monotonic() < deadline
    with Image.open(tmp_path / "crop.jpg") as image:
        assert (image.format, image.size) == ("JPEG", (300, 300))


# ---- what is refused


def _sentence(refused: Callable[[], object]) -> str:
    """Return what the core says to this."""
    with pytest.raises(CropError) as caught:
        refused()
    return str(caught.value)


def _no_picture() -> None:
    raise ImageError(NO_PICTURE)


TEXT, CUT_OFF = b"Once upon a time there was no picture.", CAT_BYTES[: len(CAT_BYTES) // 2]


@pytest.mark.parametrize(
    ("inputs", "refused"),
    [
        ({"image": CAT, "padding": 9}, lambda: CropRequest.from_inputs(padding=9)),
        ({"image": CAT, "aspect_ratio": "banana"}, lambda: CropRequest.from_inputs(aspect_ratio="banana")),
        ({"image": CAT, "labels": "unicorn"}, lambda: CropRequest.from_inputs(labels="unicorn")),
        ({"image": CAT, "mode": "zzz"}, lambda: CropRequest.from_inputs(mode="zzz")),
        ({"image": CAT, "width": "abc"}, lambda: CropRequest.from_inputs(width="abc")),
        ({"image": CAT, "preview": "yes"}, lambda: CropRequest.from_inputs(preview="yes")),
        ({}, _no_picture),
        ({"image": None}, _no_picture),
        ({"image": 7}, _no_picture),
        ({"image": [CAT]}, _no_picture),
        ({"image": "/etc/hostname"}, _no_picture),
        ({"image": "file:///etc/hostname"}, _no_picture),
        ({"image": data_uri(TEXT, "text/plain")}, lambda: open_photo(TEXT).pixels()),
        ({"image": data_uri(TEXT)}, lambda: open_photo(TEXT).pixels()),
        ({"image": data_uri(b"")}, lambda: open_photo(b"").pixels()),
        ({"image": data_uri(CUT_OFF)}, lambda: open_photo(CUT_OFF).pixels()),
        (
            {"image": ROCKET, "mode": "faces", "if_none": "error"},
            lambda: plan_crops(Scene(Size(640, 427), (), ()), CropRequest(mode="faces", if_none="error")),
        ),
    ],
    ids=[
        "padding",
        "ratio",
        "label",
        "mode",
        "width",
        "preview",
        "no picture",
        "null",
        "a number",
        "a list",
        "a path",
        "a file URL",
        "a text",
        "a text called a picture",
        "an empty file",
        "half a JPEG",
        "nothing found",
    ],
)
def test_a_bad_input_fails_with_the_cores_sentence_and_the_next_request_succeeds(
    inputs: dict[str, object], refused: Callable[[], object], server: Server
) -> None:
    answer = server.predict(**inputs)
    assert answer["status"] == "failed"
    assert answer["error"].endswith(f"Error: {_sentence(refused)}")
    assert "output" not in answer
    assert len(outputs(server.predict(image=CAT, width=32))[1]) == 1


@pytest.mark.parametrize("form", ["{}", "file://{}", "file:{}", "FILE://{}", "file://localhost{}", "local_file://{}"])
def test_a_file_of_the_server_is_never_read(form: str, server: Server, tmp_path: Path) -> None:
    for name, secret in (("notes.txt", b"the secret is 7f3a9c"), ("cat.jpg", CAT_BYTES)):
        (tmp_path / name).write_bytes(secret)
        answer = server.predict(image=form.format(tmp_path / name))
        assert answer["status"] == "failed"
        assert answer["error"].endswith(NO_PICTURE)
        assert "7f3a9c" not in json.dumps(answer)
        assert str(tmp_path) not in json.dumps(answer)


# ---- files: fetched, uploaded, removed


def _check_uploads(answer: dict[str, Any], uploads: list[tuple[str, bytes]]) -> None:
    """Check that the files that the answer names came, whole, and are the ones that its record names."""
    assert answer["status"] == "succeeded", answer
    names = {Path(url).name for url in answer["output"]}
    records = [json.loads(data) for path, data in uploads if path == "/sink/detections.json"]
    (crops,) = [record["crops"] for record in records if {crop["file"] for crop in record["crops"]} <= names]
    assert {crop["file"] for crop in crops} == names - {"detections.json", "preview.jpg"}
    for crop in crops:
        (data,) = [data for path, data in uploads if path == f"/sink/{crop['file']}"]
        assert size(data) == crop["output_size"]


def test_files_are_uploaded_under_names_that_say_what_they_are(
    uploading_server: Server, uploads: list[tuple[str, bytes]]
) -> None:
    answer = uploading_server.predict(image=ASTRONAUT, aspect_ratio="1:1,16:9", output_format="jpg", preview=True)
    names = ["00_person_1x1.jpg", "01_person_16x9.jpg", "detections.json", "preview.jpg"]
    assert sorted(path for path, _ in uploads) == [f"/sink/{name}" for name in names]
    assert sorted(Path(url).name for url in answer["output"]) == names
    _check_uploads(answer, uploads)


def test_a_slow_upload_is_whole_though_the_next_prediction_follows_at_once(
    uploading_server: Server, uploads: list[tuple[str, bytes]]
) -> None:
    Sink.pause_s = 0.3
    answers: list[dict[str, Any]] = []

    def ask(ending: str, image: str) -> None:
        answers.append(uploading_server.predict(image=image, aspect_ratio="1:1,16:9", width=100, output_format=ending))

    threads = [threading.Thread(target=ask, args=pair) for pair in (("png", ASTRONAUT), ("jpg", CAT), ("webp", PAIR))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 3
    assert len(uploads) == 9
    for answer in answers:
        _check_uploads(answer, uploads)


@pytest.mark.parametrize(
    ("path", "source"),
    [("/cat.jpg", "cat.jpg"), ("/a/b/cat.jpg?width=7&v=2", "cat.jpg"), ("/no-name", "no-name")],
    ids=["plain", "with a query", "without an ending"],
)
def test_a_picture_is_fetched_from_its_address_and_keeps_its_name(path: str, source: str, server: Server) -> None:
    with listening(Pictures) as address:
        record, (crop,) = outputs(server.predict(image=address + path))
    assert record["source"] == source
    assert size(crop) == record["crops"][0]["output_size"]


def test_a_data_uri_has_no_name_but_what_the_server_calls_it(server: Server) -> None:
    assert outputs(server.predict(image=CAT))[0]["source"] == "file.jpg"


def test_at_most_one_predictions_files_stay_behind(server: Server) -> None:
    for inputs in ({"image": CAT}, {"image": ASTRONAUT, "preview": True}, {"image": CAT, "padding": 9}, {"image": "x"}):
        server.predict(**inputs)
    assert files_left(server) == []  # the one that failed after its download has none
    server.predict(image=ASTRONAUT, preview=True)
    assert files_left(server) == ["00_person_1x1.webp", "detections.json", "preview.jpg"]


# ---- with the schema that is made without Docker


@pytest.fixture(scope="module")
def server_with_schema(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server_with_schema")
    (folder / "tmp").mkdir()
    (folder / "predict.py").write_bytes((ROOT / "predict.py").read_bytes())
    write_schema(folder / ".cog" / "openapi_schema.json")
    with running(folder / "log", folder / "tmp", folder=folder) as server:
        yield server


def test_the_server_shows_the_schema(server_with_schema: Server) -> None:
    assert server_with_schema.ask("GET", "/openapi.json") == (200, schema())


def test_a_picture_alone_is_a_request_by_the_schema(server_with_schema: Server) -> None:
    record, files = outputs(server_with_schema.predict(image=ASTRONAUT))
    assert [crop["file"] for crop in record["crops"]] == ["00_person_1x1.webp"]
    assert len(files) == 1


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({}, "image"),
        ({"image": CAT, "padding": 3}, "padding"),
        ({"image": CAT, "mode": "zzz"}, "mode"),
        ({"image": CAT, "width": "abc"}, "width"),
        ({"image": CAT, "width": None}, "width"),
    ],
    ids=["no picture", "out of bounds", "no choice", "no number", "null"],
)
def test_the_schema_refuses_what_it_does_not_allow(
    given: dict[str, Any], named: str, server_with_schema: Server
) -> None:
    status, answer = server_with_schema.ask("POST", "/predictions", {"input": given})
    assert status == 422
    assert named in json.dumps(answer)


def test_the_server_drops_a_name_that_is_no_input_and_tells_nobody(server_with_schema: Server) -> None:
    # hosting.md warns of it. Once this fails, Cog passes such names on, or refuses them: then the warning can go.
    record, _ = outputs(server_with_schema.predict(image=CAT, aspect="9:16", dry_run=True))
    assert [crop["aspect_ratio"] for crop in record["crops"]] == ["1:1"]


def test_without_the_schema_a_name_that_is_no_input_fails_and_is_named(server: Server) -> None:
    answer = server.predict(image=CAT, aspect="9:16")
    assert answer["status"] == "failed"
    assert "unexpected keyword argument 'aspect'" in answer["error"]


# ---- a device that is lost


def test_lost_device_fails_its_prediction_and_all_later_ones_and_the_server_says_that_it_is_unhealthy(
    tmp_path: Path,
) -> None:
    with running(tmp_path / "log", tmp_path, predictor="tests/lost_device.py") as server:
        assert server.health() == "READY"
        answers = [server.predict(image=CAT) for _ in range(2)]
        for answer in answers:
            assert answer["status"] == "failed"
            assert "The device meta does not work any more" in answer["error"]
            assert "output" not in answer
        assert server.health() == "UNHEALTHY"
