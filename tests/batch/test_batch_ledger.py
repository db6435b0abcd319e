"""The ledger: pictures are keyed by picture and request, and each has a folder of its own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crop_core import CropRequest
from crop_core.batch.ledger import Ledger, Row, plain_inputs, safe_folder
from crop_core.batch.sources import Listed
from crop_core.picture_files import key_of

CAT = Listed("cat.jpg", "/in/cat.jpg", "cat.jpg", 10, "1")


@pytest.fixture
def ledgers() -> Iterator[Any]:
    made: list[Ledger] = []

    def make(retry_failed: bool = False, dry_run: bool = False, **inputs: Any) -> Ledger:
        made.append(Ledger(inputs, dry_run, retry_failed))
        return made[-1]

    yield make
    for ledger in made:
        ledger.close()


def planned(ledger: Ledger, *pictures: Listed) -> list[dict[str, Any]]:
    for picture in pictures:
        ledger.add(picture)
    return [work for _, work in ledger.to_do(100)]


def done(ledgers: Any, error: str | None = None, picture: Listed = CAT, **inputs: Any) -> Row:
    """Return the row that a first run leaves of the picture."""
    (work,) = planned(ledgers(**inputs), picture)
    return Row(work["folder"], work["key"], error, ("00_cat_1x1.webp", "detections.json"), None, work["address"])


def test_without_pictures_there_is_nothing_to_do(ledgers: Any) -> None:
    assert ledgers().counts() == (0, 0)


def test_what_was_done_with_the_same_request_is_kept(ledgers: Any) -> None:
    row, ledger = done(ledgers, width=300), ledgers(width=300)
    ledger.saw(row)
    assert planned(ledger, CAT) == []
    assert list(ledger.kept()) == [None]


def test_what_failed_for_good_is_kept_with_its_reason(ledgers: Any) -> None:
    row, ledger = done(ledgers, "ImageError"), ledgers()
    ledger.saw(replace(row, message="It is cut off."))
    assert planned(ledger, CAT) == []
    assert list(ledger.kept()) == [{"type": "ImageError", "message": "It is cut off."}]


@pytest.mark.parametrize(
    ("picture", "options"),
    [
        (CAT, {"width": 301}),
        (CAT, {"width": 300, "dry_run": True}),
        (Listed("cat.jpg", "/in/cat.jpg", "cat.jpg", 11, "1"), {"width": 300}),
        (Listed("cat.jpg", "/in/cat.jpg", "cat.jpg", 10, "2"), {"width": 300}),
        (Listed("cat.jpg", "/in/cat.jpg", "cat.jpg", 10, "1", {"width": 200}), {"width": 300}),
    ],
    ids=["another request", "a dry run", "another size", "another time", "the row's own request"],
)
def test_what_was_done_otherwise_is_done_anew_and_its_files_go(ledgers: Any, picture: Listed, options: Any) -> None:
    row, ledger = done(ledgers, width=300), ledgers(**options)
    ledger.saw(row)
    (work,) = planned(ledger, picture)
    assert work["old_files"] == ["00_cat_1x1.webp", "detections.json"]


def test_the_crops_of_another_picture_stay_and_this_one_gets_a_folder_that_every_run_finds(ledgers: Any) -> None:
    other = Listed("cat.jpg", "/other/cat.jpg", "cat.jpg", 10, "1")
    row, second, third = done(ledgers), ledgers(), ledgers()
    second.saw(row)
    (work,) = planned(second, other)
    assert work["folder"] == "cat.jpg" + key_of("/other/cat.jpg")
    assert "old_files" not in work
    assert second.stays("cat.jpg", 1)
    third.saw(row)
    third.saw(Row(work["folder"], work["key"], None, ("00_cat_1x1.webp",), None, other.address))
    assert planned(third, other, CAT) == []


def test_a_table_without_addresses_is_read_as_it_was(ledgers: Any) -> None:
    row, ledger = done(ledgers), ledgers()
    ledger.saw(replace(row, address=None))
    assert planned(ledger, CAT) == []


def test_two_pictures_of_one_name_have_the_same_folders_in_either_order(ledgers: Any) -> None:
    other = Listed("b/cat.jpg", "/b/cat.jpg", "cat.jpg", 10, "1")
    first, second = ledgers(), ledgers()
    folders = {work["address"]: work["folder"] for work in planned(first, CAT, other)}
    for work in planned(first):
        second.saw(Row(work["folder"], work["key"], None, (), None, work["address"]))
    assert planned(second, other, CAT) == []
    assert folders == {"/in/cat.jpg": "cat.jpg", "/b/cat.jpg": "cat.jpg" + key_of("/b/cat.jpg")}


def test_an_input_that_is_the_default_changes_no_key(ledgers: Any) -> None:
    assert done(ledgers).key == done(ledgers, output_format="webp", aspect_ratio="1:1").key


@pytest.mark.parametrize(
    ("error", "retry", "again"),
    [
        ("ImageError", False, False),
        ("RequestError", False, False),
        ("SourceError", False, True),
        ("TargetError", False, True),
        ("WorkerError", False, True),
        ("ImageError", True, True),
    ],
)
def test_a_failure_is_tried_again_when_it_may_be_gone(ledgers: Any, error: str, retry: bool, again: bool) -> None:
    row, ledger = done(ledgers, error), ledgers(retry_failed=retry)
    ledger.saw(row)
    assert bool(planned(ledger, CAT)) == again


def test_the_same_picture_and_request_twice_are_one(ledgers: Any) -> None:
    ledger = ledgers()
    assert len(planned(ledger, CAT, CAT)) == 1
    assert ledger.repeated == 1


def test_one_picture_with_two_requests_has_two_folders_and_keeps_them(ledgers: Any) -> None:
    square = Listed("cat.jpg", "/in/cat.jpg", "cat.jpg", 10, "1", {"aspect_ratio": "4:5"})
    first = [work["folder"] for work in planned(ledgers(), CAT, square)]
    assert first[0] == "cat.jpg"
    assert first[1].startswith("cat.jpg~")
    assert [work["folder"] for work in planned(ledgers(), CAT, square)] == first


@pytest.mark.parametrize("folder", ["CAT.jpg", "results.parquet/cat.jpg", ".crop-core/cat.jpg", "Results.Parquet"])
def test_no_folder_meets_another_or_our_own_also_where_the_disk_knows_no_case(ledgers: Any, folder: str) -> None:
    works = planned(ledgers(), CAT, Listed("b", "/in/b.jpg", folder))
    assert works[1]["folder"].startswith(folder + "~")


def test_a_row_whose_inputs_make_no_sense_is_known_to_fail(ledgers: Any) -> None:
    ledger = ledgers()
    ledger.add(Listed("a", "/in/a.jpg", "a.jpg", inputs={"width": "wide"}))
    ((_, work),) = ledger.hopeless(10)
    assert work["error"] == "width is a whole number from 1 to 8192, got 'wide'."


def test_a_picture_gets_one_row_however_often_it_comes(ledgers: Any) -> None:
    ledger = ledgers()
    ledger.add(CAT)
    ((number, _),) = ledger.to_do(1)
    assert [ledger.did(number), ledger.did(number)] == [True, False]
    assert ledger.counts() == (1, 0)


def test_of_the_rows_of_one_folder_the_latest_stays(ledgers: Any) -> None:
    ledger, row = ledgers(), done(ledgers)
    first, second = ledger.saw(row), ledger.saw(row)
    assert [ledger.stays("cat.jpg", first), ledger.stays("cat.jpg", second)] == [False, True]


def test_a_failure_that_no_source_names_any_more_goes_and_crops_stay(ledgers: Any) -> None:
    ledger = ledgers()
    failed = ledger.saw(Row("gone.jpg", "k", "ImageError", ()))
    cropped = ledger.saw(Row("kept.jpg", "k", None, ("detections.json",)))
    assert ledger.has_strays()
    assert [ledger.stays("gone.jpg", failed), ledger.stays("kept.jpg", cropped)] == [False, True]


def test_captions_that_are_asked_for_later_are_still_to_do() -> None:
    keys = []
    for sidecars in ((), ("txt",), ("txt", "caption")):
        ledger = Ledger({}, False, False, sidecars)
        (work,) = planned(ledger, CAT)
        keys.append(work["key"])
        ledger.close()
    assert len(set(keys)) == 3


@pytest.mark.parametrize(
    "request_",
    [
        CropRequest(mode="faces", aspect_ratios=("1:1", "4:5"), width=10, preview=True),
        CropRequest(aspect_ratios=("auto:1:1", "4:5"), focus="0.1,0.2;3px,4px", position="north", multiple_of=8),
    ],
    ids=["faces", "focus"],
)
def test_a_requests_plain_inputs_make_the_same_request(request_: CropRequest) -> None:
    assert CropRequest.from_inputs(**plain_inputs(request_)) == request_
    assert plain_inputs(CropRequest()) == {}


@given(st.text())
def test_a_folder_stays_in_out_and_its_parts_fit_a_disk(name: str) -> None:
    parts = safe_folder(name).split("/")
    assert all(part not in ("", ".", "..") and "\0" not in part and len(part.encode()) <= 190 for part in parts)
