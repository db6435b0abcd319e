"""Prints a run's progress: for people on a terminal or in a log file, or as JSON for programs."""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TextIO

from tqdm import tqdm

from crop_core.smaller_crops import sentence

LINE_EVERY_S = 30.0  # without a terminal to draw a bar on
EVENT_EVERY_S = 10.0
LISTED_AT_ONCE = 1_000  # pictures between two looks at the clock
MOST_REASONS = 200  # kinds of failure that are counted separately
SHOWN_REASONS = 20


@dataclass(slots=True)
class Summary:
    """The counts of a run.

    Attributes:
        total: Pictures that the sources name.
        repeated: How often a picture was named again with the same request.
        kept: Pictures that an earlier run did.
        done: Pictures that this run did, including failed ones.
        failed: Pictures that failed, in this run and in earlier ones.
        crops: Crops that this run made.
        smaller: How many of them came out smaller than asked for.
        seconds: From the end of the listing to the last picture, including Ray's start.
        starting_seconds: How much of that passed before the first pictures were done.
        reasons: How often each kind of error came, in this run and in earlier ones; a kind is an error's type and its
            message without the numbers.
        finished: Whether nothing is left to do.
    """

    total: int = 0
    repeated: int = 0
    kept: int = 0
    done: int = 0
    failed: int = 0
    crops: int = 0
    smaller: int = 0
    seconds: float = 0.0
    starting_seconds: float = 0.0
    reasons: Counter[str] = field(default_factory=Counter)
    finished: bool = False

    def count(self, crops: int, error: dict[str, str] | None, smaller: int = 0) -> None:
        """Count a picture that this run did, with its crops and how many came out smaller than asked for."""
        self.done += 1
        self.crops += crops
        self.smaller += smaller
        self._count_error(error)

    def count_kept(self, error: dict[str, str] | None) -> None:
        """Count a picture that an earlier run did."""
        self.kept += 1
        self._count_error(error)

    def _count_error(self, error: dict[str, str] | None) -> None:
        if error is not None:
            self.failed += 1
            reason = f"{error['type']}: {re.sub(r'[0-9]+([.,][0-9]+)*', 'N', error['message'])}"
            if reason not in self.reasons and len(self.reasons) >= MOST_REASONS:
                reason = "other errors, see the table"
            self.reasons[reason] += 1

    @property
    def rate(self) -> float:
        """Return pictures a second."""
        return self.done / self.seconds if self.seconds > 0 else 0.0

    @property
    def left(self) -> int:
        """Return how many pictures are still to do."""
        return self.total - self.kept - self.done

    def text(self, table: str) -> str:
        """Return the summary as text for people.

        Args:
            table: The address of the table of results.
        """
        lines = [f"{_pictures(self.total)}: {self.done:,} done now, {self.kept:,} before, {self.failed:,} failed."]
        if self.repeated:
            lines.append(f"{self.repeated:,} more were named again with the same inputs and count once.")
        if self.done:
            lines.append(f"{self.crops:,} crops in {_span(self.seconds)}, {self.rate:.1f} pictures a second.")
        if self.smaller:
            lines.append(sentence(self.smaller, self.crops))
        lines += [f"  {number:,} x {reason}" for reason, number in self.reasons.most_common(SHOWN_REASONS)]
        lines.append(f"The table of results is {table}.")
        if not self.finished:
            lines.append(f"{_pictures(self.left)} left. Run the same command again to do them.")
        return "\n".join(lines)

    def event(self) -> dict[str, Any]:
        """Return the summary as values for programs."""
        return {
            "total": self.total,
            "repeated": self.repeated,
            "kept": self.kept,
            "done": self.done,
            "failed": self.failed,
            "crops": self.crops,
            "smaller": self.smaller,
            "left": self.left,
            "seconds": round(self.seconds, 3),
            "starting_seconds": round(self.starting_seconds, 3),
            "pictures_per_second": round(self.rate, 3),
            "reasons": dict(self.reasons),
            "finished": self.finished,
        }


class Progress:
    """Prints a run's progress.

    Args:
        stream: Where to print.
        as_json: Print one JSON object per line, with `time` and `event`; else text, and a bar on a terminal.
    """

    def __init__(self, stream: TextIO, as_json: bool) -> None:
        self._stream = stream
        self._json = as_json
        self._bar: Any = None
        self._last = time.monotonic()

    def event(self, event: str, **values: Any) -> None:
        """Print a line for programs; nothing if the output is for people."""
        if self._json:
            now = datetime.now(UTC).isoformat(timespec="milliseconds")
            self._write(json.dumps({"time": now, "event": event, **values}))

    def note(self, text: str) -> None:
        """Print a sentence."""
        if self._json:
            self.event("note", message=text)
        else:
            self._write(f"crop-core: {text}")

    def listing(self, number: int) -> None:
        """Print now and then how many pictures are listed so far: listing a large bucket takes minutes."""
        if number % LISTED_AT_ONCE or not self._is_time():
            return
        if self._json:
            self.event("listing", listed=number)
        else:
            self._write(f"crop-core: {number:,} pictures listed so far")

    def start(self, to_do: int) -> None:
        """Start the bar, or the clock for the lines."""
        self._last = time.monotonic()
        if not self._json and self._stream.isatty() and to_do:
            self._bar = tqdm(total=to_do, unit=" pictures", file=self._stream, smoothing=0.05, dynamic_ncols=True)

    def show(self, summary: Summary, new: int) -> None:
        """Update the bar, or print a line if the last one is old enough.

        Args:
            summary: The counts so far.
            new: Pictures since the last time.
        """
        if self._bar is not None:
            self._bar.set_postfix(failed=summary.failed, refresh=False)
            self._bar.update(new)
            return
        if not self._is_time():
            return
        seconds_left = summary.left / summary.rate if summary.rate else None
        if self._json:
            self.event("progress", **summary.event(), seconds_left=seconds_left and round(seconds_left))
        elif seconds_left is not None:
            self._write(
                f"crop-core: {summary.kept + summary.done:,} of {summary.total:,} done, {summary.failed:,} failed, "
                f"{summary.rate:.1f} a second, {_span(seconds_left)} left"
            )

    def _is_time(self) -> bool:
        now = time.monotonic()
        if now - self._last < (EVENT_EVERY_S if self._json else LINE_EVERY_S):
            return False
        self._last = now
        return True

    def close(self) -> None:
        """End the bar."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _write(self, line: str) -> None:
        if self._bar is not None:
            self._bar.clear()
        self._stream.write(line.encode("utf-8", "backslashreplace").decode() + "\n")
        self._stream.flush()


def _pictures(number: int) -> str:
    return f"{number:,} picture" if number == 1 else f"{number:,} pictures"


def _span(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{seconds:.1f} s"
