"""The table of inputs in crop_core/inputs.md is the one that the script makes."""

from __future__ import annotations

import pytest
from inputs_table import PAGE, page_with, table

from crop_core.request import CropRequest, inputs

TEXT = PAGE.read_text(encoding="utf-8")


def test_the_page_has_the_table_that_the_script_makes() -> None:
    assert page_with(table(), TEXT) == TEXT, "run: python tests/tools/inputs_table.py"


@pytest.mark.parametrize("name", ["image", *inputs(), "dry_run"])
def test_every_input_has_one_row(name: str) -> None:
    assert table().count(f"| `{name}` |") == 1


def test_the_description_of_zoom_tells_its_default() -> None:
    assert "Unset: 0 in mode subject, 1 in the others and with trim." in inputs()["zoom"].metadata["help"]
    requests = [CropRequest(mode=mode) for mode in ("subject", "objects", "faces")] + [CropRequest(trim=True)]
    assert [request.effective_zoom for request in requests] == [0, 1, 1, 1]
