"""A parser of options that says of a wrong word which one may be meant."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from typing import Any, NoReturn

from crop_core.request_text import did_you_mean

# How argparse names a word that is none of an option's choices; newer Pythons leave the quotes around the choices out.
_NO_CHOICE = re.compile(r"argument .+: invalid choice: '(?P<word>.*)' \(choose from (?P<choices>.+)\)", re.DOTALL)


class Parser(argparse.ArgumentParser):
    """As argparse's own, but a mistake is told in one line, with the nearest option or choice."""

    def __init__(self, **settings: Any) -> None:
        self._options: list[str] = []
        super().__init__(**settings)

    def add_argument(self, *names: str, **settings: Any) -> argparse.Action:
        """Add an argument, as argparse does, and remember the option's name."""
        self._options += [name for name in names if name.startswith("--")]
        return super().add_argument(*names, **settings)

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Return what argparse does; refuse what is left over here, where the command's own options are known."""
        found, left = super().parse_known_args(args, namespace)
        if left:
            options = [word.partition("=")[0] for word in left if word.startswith("--")]
            hint = did_you_mean(options[0], self._options) if options else ""
            self.error(f"unrecognized arguments: {' '.join(left)}. {hint}".rstrip())
        return found, left

    def error(self, message: str) -> NoReturn:
        """Print the mistake in one line and end with 2; all options would hide it."""
        if match := _NO_CHOICE.fullmatch(message):
            choices = [choice.strip(" '") for choice in match["choices"].split(",")]
            message = f"{message}. {did_you_mean(match['word'], choices)}".rstrip()
        sentence = message if message.endswith((".", "?")) else f"{message}."
        self.exit(2, f"{self.prog}: {sentence} All options: {self.prog} --help\n")
