"""The wish to stop: Ctrl-C and SIGTERM."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager


class Stop:
    """The wish to stop: Ctrl-C, and SIGTERM, by which containers and machines are taken away.

    Python drops what a handler raises while an object is taken away or C calls back, and Ray does both
    all the time; so the wish is kept, and asked for at every step.
    """

    def __init__(self) -> None:
        """Wish for nothing yet."""
        self._wished = False
        self._signals = [signal.SIGTERM]
        if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:  # as a shell asks of what runs in the background
            self._signals.append(signal.SIGINT)

    def listen(self) -> None:
        """Take the signals, also from whoever took them in the meantime, as Ray does when it starts."""
        for number in self._signals:
            signal.signal(number, self)

    def __call__(self, *_: object) -> None:
        """Stop now if what runs can be stopped, else at the next step.

        Raises:
            KeyboardInterrupt: Always.
        """
        self._wished = True
        raise KeyboardInterrupt

    def check(self) -> None:
        """Go on unless there is a wish to stop.

        Raises:
            KeyboardInterrupt: There is.
        """
        if self._wished:
            raise KeyboardInterrupt


@contextmanager
def interruptible() -> Iterator[Stop]:
    """Yield the wish to stop, which both signals set until the block ends."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    stop = Stop()
    stop.listen()
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
