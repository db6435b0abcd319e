"""What a run says: words and a bar for people, lines of JSON for programs."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest

from crop_core.batch import progress
from crop_core.batch.progress import Progress, Summary
from crop_core.smaller_crops import sentence


class Terminal(io.StringIO):
    """A stream that takes itself for a terminal."""

    def isatty(self) -> bool:
        return True


def failing(message: str, kind: str = "ImageError") -> dict[str, str]:
    return {"type": kind, "message": message}


def summary(**values: Any) -> Summary:
    return Summary(**{"total": 10, "kept": 2, "seconds": 2.0, **values})


# ---- the summary


def test_a_run_without_anything_to_do_says_so() -> None:
    assert summary(total=3, kept=3, seconds=0.0, finished=True).text("out/results.parquet").splitlines() == [
        "3 pictures: 0 done now, 3 before, 0 failed.",
        "The table of results is out/results.parquet.",
    ]


def test_the_summary_has_pictures_crops_rate_and_failures_by_reason() -> None:
    it = summary(finished=True)
    for crops, error in [(2, None)] * 5 + [
        (0, failing("The file has 900 MiB.")),
        (0, failing("The file has 1,024 MiB.")),
    ]:
        it.count(crops, error)
    it.count(0, failing("The file is not there.", "SourceError"))
    assert it.text("t").splitlines() == [
        "10 pictures: 8 done now, 2 before, 3 failed.",
        "10 crops in 2.0 s, 4.0 pictures a second.",
        "  2 x ImageError: The file has N MiB.",
        "  1 x SourceError: The file is not there.",
        "The table of results is t.",
    ]


def test_the_summary_says_once_how_many_crops_are_smaller_than_asked() -> None:
    it = summary(finished=True)
    for _ in range(3):
        it.count(2, None, 1)
    assert [line for line in it.text("t").splitlines() if "smaller" in line] == [sentence(3, 6)]
    assert it.event()["smaller"] == 3


def test_a_run_that_stopped_says_what_is_left_and_how_to_go_on() -> None:
    assert summary(done=1).text("t").splitlines()[-1] == "7 pictures left. Run the same command again to do them."


def test_a_million_reasons_are_not_kept_apart() -> None:
    it = summary()
    for number in range(1000):
        it.count(0, failing("x" * number))
    assert len(it.reasons) == progress.MOST_REASONS + 1
    assert sum(it.reasons.values()) == it.failed == 1000


# ---- the way there


def shown(stream: io.StringIO, as_json: bool, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return what is said of one failure after five of eight pictures."""
    monkeypatch.setattr(progress, "LINE_EVERY_S", 0.0)
    monkeypatch.setattr(progress, "EVENT_EVERY_S", 0.0)
    said = Progress(stream, as_json)
    said.start(8)
    it = summary()
    for _ in range(4):
        it.count(1, None)
    it.count(0, failing("broken"))
    said.show(it, 5)
    said.close()
    return stream.getvalue()


def test_a_log_file_has_lines_with_done_failed_rate_and_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    assert shown(io.StringIO(), False, monkeypatch) == ("crop-core: 7 of 10 done, 1 failed, 2.5 a second, 1.2 s left\n")


def test_a_terminal_has_a_bar_with_done_failed_rate_and_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    last = shown(Terminal(), False, monkeypatch).strip().split("\r")[-1]
    assert "5/8" in last
    assert "failed=1" in last
    assert "pictures/s" in last
    assert "<" in last  # time gone < time left


def test_programs_read_the_same_in_json(monkeypatch: pytest.MonkeyPatch) -> None:
    event = json.loads(shown(io.StringIO(), True, monkeypatch))
    assert event.pop("time").endswith("+00:00")
    assert event == {
        "event": "progress",
        "total": 10,
        "repeated": 0,
        "kept": 2,
        "done": 5,
        "failed": 1,
        "crops": 4,
        "smaller": 0,
        "left": 3,
        "seconds": 2.0,
        "starting_seconds": 0.0,
        "pictures_per_second": 2.5,
        "reasons": {"ImageError: broken": 1},
        "finished": False,
        "seconds_left": 1,
    }


@pytest.mark.parametrize(
    ("as_json", "said"),
    [(False, "crop-core: 2,000 pictures listed so far\n"), (True, '"event": "listing", "listed": 2000}\n')],
)
def test_a_long_listing_says_how_far_it_is(as_json: bool, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "LINE_EVERY_S", 0.0)
    monkeypatch.setattr(progress, "EVENT_EVERY_S", 0.0)
    stream = io.StringIO()
    Progress(stream, as_json).listing(1999)
    assert stream.getvalue() == ""
    Progress(stream, as_json).listing(2000)
    assert stream.getvalue().endswith(said)


def test_programs_read_nothing_but_json_and_people_no_json() -> None:
    for as_json in (True, False):
        stream = io.StringIO()
        said = Progress(stream, as_json)
        said.note("It starts.")
        said.event("plan", total=1)
        lines = stream.getvalue().splitlines()
        if as_json:
            assert [json.loads(line)["event"] for line in lines] == ["note", "plan"]
        else:
            assert lines == ["crop-core: It starts."]


def test_a_name_in_no_encoding_can_be_told() -> None:
    stream = io.StringIO()
    Progress(stream, False).note("\udcff.jpg")
    assert stream.getvalue() == "crop-core: \\udcff.jpg\n"
