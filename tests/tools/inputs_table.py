"""Writes the table of inputs in crop_core/inputs.md, from the fields of `CropRequest`.

    python tests/tools/inputs_table.py

The picture and `dry_run` are no fields of a request; their rows come from predict.py.
"""

from __future__ import annotations

import sys
from dataclasses import Field
from pathlib import Path
from typing import Any

from schema import ROOT, declared

sys.path.insert(0, str(Path(__file__).parents[2]))  # the tree, before an installed copy

from crop_core.request import inputs

PAGE = ROOT / "crop_core" / "inputs.md"
BEGIN = "<!-- Made by tests/tools/inputs_table.py: change the descriptions in CropRequest, then run it. -->"
END = "<!-- The end of what is made. -->"


def table() -> str:
    """Return the table in Markdown, the inputs in the form's order."""
    described = {name: literals["description"] for name, (_, literals) in declared().items()}
    rows = ["| input | values | default | meaning |", "|---|---|---|---|"]
    rows.append(f"| `image` | file or URL | | {described['image']} |")
    for name, entry in inputs().items():
        rows.append(f"| `{name}` | {_values(entry)} | {_default(entry)} | {entry.metadata['help']} |")
    rows.append(f"| `dry_run` | true or false | `false` | {described['dry_run']} |")
    return "\n".join(rows)


def page_with(new: str, page: str) -> str:
    """Return the page with what stands between its two marks replaced."""
    before, rest = page.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n\n{new}\n\n{END}{after}"


def _values(entry: Field[Any]) -> str:
    rules = entry.metadata
    if "choices" in rules:
        return ", ".join(f"`{choice}`" for choice in rules["choices"])
    if "ge" in rules:
        return f"{rules['ge']} to {rules['le']}"
    return "true or false" if rules["kind"] is bool else "text"


def _default(entry: Field[Any]) -> str:
    if entry.default in (None, ""):
        return ""
    return f"`{','.join(entry.default) if isinstance(entry.default, tuple) else str(entry.default).lower()}`"


if __name__ == "__main__":
    name, page = PAGE.relative_to(ROOT).as_posix(), PAGE.read_text(encoding="utf-8")
    if (new := page_with(table(), page)) == page:
        print(f"Nothing changed: {name} has the table already.")
    else:
        PAGE.write_text(new, encoding="utf-8")
        print(f"The table is in {name}.")
