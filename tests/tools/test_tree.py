"""The tools use the package of their own tree, even where another copy is installed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

TOOLS = ROOT / "tests" / "tools"
USERS = [
    path.stem
    for path in sorted(TOOLS.glob("[!t]*.py"))
    if re.search(r"^(from|import) crop_core", path.read_text(), re.MULTILINE)
]


def _installed_elsewhere(folder: Path) -> dict[str, str]:
    """Return an environment in which another copy of the package comes before the tree."""
    (folder / "crop_core").mkdir()
    (folder / "crop_core" / "__init__.py").write_text("raise ImportError('the installed copy')\n")
    return {**os.environ, "PYTHONPATH": str(folder)}


def test_some_tools_use_the_package() -> None:
    assert {"inputs_table", "gallery", "learn_composition"} <= set(USERS)


@pytest.mark.parametrize("tool", USERS)
def test_a_tool_imports_the_package_of_its_tree(tool: str, tmp_path: Path) -> None:
    program = f"import sys; sys.path.insert(0, {str(TOOLS)!r}); import {tool}, crop_core; print(crop_core.__file__)"
    environment = _installed_elsewhere(tmp_path)
    run = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path / "crop_core", env=environment, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == str(ROOT / "crop_core" / "__init__.py")


def test_the_table_of_inputs_says_what_it_wrote_or_that_nothing_changed(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    for part in ("crop_core", "tests/tools"):
        shutil.copytree(ROOT / part, tree / part, ignore=shutil.ignore_patterns("weights", "__pycache__"))
    shutil.copy(ROOT / "predict.py", tree)
    fields, page = tree / "crop_core" / "request.py", tree / "crop_core" / "inputs.md"
    environment = _installed_elsewhere(tmp_path)

    def said() -> str:
        command = [sys.executable, str(tree / "tests" / "tools" / "inputs_table.py")]
        return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout

    assert said() == "Nothing changed: crop_core/inputs.md has the table already.\n"
    fields.write_text(fields.read_text().replace("The most crops that are returned.", "No more than this."))
    assert said() == "The table is in crop_core/inputs.md.\n"
    assert "No more than this." in page.read_text()
