"""The crop-core command and its exit status.

0: all pictures were cropped. 1: some failed (each is named on standard error, the rest is done), or
the report could not be written. 2: wrong use.

Each command imports what is slow to load only when it needs it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence

from crop_core.cli import batch, bench, crop, doctor
from crop_core.cli.parser import Parser
from crop_core.errors import CropError
from crop_core.version import __version__


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status.

    Args:
        arguments: What was typed after the command's name; `sys.argv` when none.
    """
    _open_closed_streams()
    parser = _parser()
    options = vars(parser.parse_args(arguments))
    run: Callable[..., int] = options.pop("run")
    try:
        status = run(**options)
        sys.stdout.flush()  # here, so that a reader that has gone makes the status 1
        return status
    except CropError as error:
        print(f"crop-core: {error}", file=sys.stderr)
        return 2
    except OSError as error:  # the report cannot be written; errors of pictures are in the report
        if not isinstance(error, BrokenPipeError):  # a reader such as `| head` has gone and needs no message
            print(f"crop-core: stopped: {error.strerror or error}.", file=sys.stderr)
        try:
            sys.stdout.flush()
        except OSError:  # otherwise Python tries again at exit and complains; see its documentation of SIGPIPE
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _open_closed_streams() -> None:
    """Connect standard output and error to nothing if they are closed, as some services do.

    Otherwise a picture's file may get the descriptor 1 or 2, and a library's output would land in it.
    """
    for number, name in ((1, "stdout"), (2, "stderr")):
        if getattr(sys, name) is None:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            if nowhere != number:
                os.dup2(nowhere, number)
                os.close(nowhere)
            setattr(sys, name, open(number, "w", encoding="utf-8", closefd=False))  # noqa: SIM115 (open to the end)


def _parser() -> Parser:
    parser = Parser(prog="crop-core", description="Detect what matters in photos and crop to it.")
    parser.add_argument("--version", action="version", version=f"crop-core {__version__}")
    commands = parser.add_subparsers(required=True)
    for command in (crop, batch, bench, doctor):
        command.add_parser(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
