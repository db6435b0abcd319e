"""Stops a run at Ctrl-C or SIGTERM."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager


class Stop:
    """Whether to stop: set by Ctrl-C, or by SIGTERM, which containers and machines get before they end.

    Exceptions raised in a signal handler can be lost in `__del__` or in C callbacks, and Ray has many of
    both. So the handler also sets a flag, which is checked at every step.
    """

    def __init__(self) -> None:
        """Begin without a signal."""
        self._signalled = False
        self._signals = [signal.SIGTERM]
        if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:  # a shell ignores it for background jobs
            self._signals.append(signal.SIGINT)

    def listen(self) -> None:
        """Handle the signals. Call it again after Ray has started, since Ray installs its own handlers."""
        for number in self._signals:
            signal.signal(number, self)

    def __call__(self, *_: object) -> None:
        """Handle a signal: stop now, or at the next `check` if the exception is lost.

        Raises:
            KeyboardInterrupt: Always.
        """
        self._signalled = True
        raise KeyboardInterrupt

    def check(self) -> None:
        """Go on unless a signal came.

        Raises:
            KeyboardInterrupt: One came.
        """
        if self._signalled:
            raise KeyboardInterrupt


@contextmanager
def interruptible() -> Iterator[Stop]:
    """Yield a `Stop` that handles both signals until the block ends."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    stop = Stop()
    stop.listen()
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
