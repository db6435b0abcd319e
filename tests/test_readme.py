"""The documents say what the code does: the file tree, commands, examples, links."""

from __future__ import annotations

import re
import shlex
import tomllib
from importlib import import_module
from pathlib import Path

import pytest
from cog_server import IMAGE_ENVIRONMENT
from conftest import ROOT, SAMPLES

from crop_core.cli.main import main
from crop_core.doctor.finding import PAIR, REPAIR_PAIR
from crop_core.request import inputs

README = (ROOT / "README.md").read_text(encoding="utf-8")
ROOMS_PAGE = (ROOT / "crop_core" / "README.md").read_text(encoding="utf-8")
PAIRS_PAGE = (ROOT / "crop_core" / "doctor" / "README.md").read_text(encoding="utf-8")
PAGES = sorted(
    path
    for folder in (ROOT / ".github", ROOT / "crop_core", ROOT / "samples", ROOT / "tests")
    for path in folder.rglob("*.md")
    if "node_modules" not in path.parts
) + sorted(ROOT.glob("*.md"))


def test_the_file_tree_names_what_is_there() -> None:
    tree = ROOMS_PAGE.split("```")[1]
    named = set(re.findall(r"^ *(\S+?)/? {2,}\S", tree, re.MULTILINE))
    modules = {path.name for path in (ROOT / "crop_core").glob("*.py")} - {"__init__.py"}
    folders = {path.parent.name for path in (ROOT / "crop_core").glob("*/__init__.py")}
    top = {"cog.yaml", "predict.py", "requirements.txt", "pyproject.toml", "tests", "samples"}
    assert named == modules | folders | top


def test_the_line_that_repairs_a_pair_is_the_doctors() -> None:
    (line,) = re.findall(r"^pip install .+$", PAIRS_PAGE, re.MULTILINE)
    assert REPAIR_PAIR.endswith(line)


def test_the_rule_for_pairs_holds_for_the_pinned_one() -> None:
    pins = dict(pin.split("==") for pin in PAIR)
    torch_minor, torchvision_minor = (int(pins[name].split(".")[1]) for name in ("torch", "torchvision"))
    assert torchvision_minor == torch_minor + 15
    assert "2.N goes with 0.(N+15)" in PAIRS_PAGE


def test_the_lines_for_the_server_name_what_is_there() -> None:
    install, script, start = README.split("<!-- server -->\n```sh\n")[1].split("\n```")[0].splitlines()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (extra,) = re.findall(r'"\.\[(\w+)\]"', install)
    assert extra in project["optional-dependencies"]
    assert (ROOT / script.removeprefix("python ")).is_file()
    *settings, python, flag, module = start.split()
    told = dict(setting.split("=") for setting in settings)
    assert told == {"COG_PREDICT_TYPE_STUB": "predict.py:Predictor", "PORT": "5000", **IMAGE_ENVIRONMENT}
    assert (python, flag, module) == ("python", "-m", "cog.server.http")


def test_the_library_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    example = README.split("```python\n")[1].split("```")[0].replace('"crops/astronaut"', repr(str(tmp_path / "out")))
    monkeypatch.chdir(ROOT)
    exec(compile(example, "README.md", "exec"), {})
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "00_person_1x1.jpg",
        "01_person_16x9.jpg",
        "detections.json",
    }


def test_readme_is_read_in_five_minutes() -> None:
    assert len(README.splitlines()) <= 150


def test_the_first_line_crops_into_the_folder_that_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said, block = README.split("<!-- start -->\n```sh\n")
    environment, install, crop = block.split("\n")[0].split(" && ")
    assert (environment, install) == ("python3 -m venv .venv", ".venv/bin/pip install .")
    (folder,) = re.findall(r"The crops are then in `(.+?)`", said)
    program, *arguments = shlex.split(crop)
    assert program == ".venv/bin/crop-core"
    (tmp_path / "samples").symlink_to(SAMPLES)
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 0
    assert {path.suffix for path in (tmp_path / folder).iterdir()} == {".jpg", ".json"}  # JPEG opens everywhere


def test_every_python_that_the_package_names_is_named() -> None:
    classifiers = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["classifiers"]
    *first, last = [one.rpartition(" ")[2] for one in classifiers if re.search(r"Python :: 3\.\d+$", one)]
    assert f"You need Python {', '.join(first)} or {last}, " in README


def test_the_commands_run_as_they_are_printed_and_make_the_files_that_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    section = README.split("## Command line")[1].split("\n## ")[0]
    commands, files = re.findall(r"```(?:sh)?\n(.+?)\n```", section, re.DOTALL)
    (tmp_path / "samples").symlink_to(SAMPLES)
    monkeypatch.chdir(tmp_path)
    for line in commands.splitlines():
        program, *arguments = shlex.split(line)
        assert program == "crop-core"
        assert main(arguments) == 0, line
    for name in files.splitlines():
        assert (tmp_path / name).is_file(), name
    assert "top to bottom: " in capsys.readouterr().out  # what --explain says


def test_the_worked_example_of_explain_is_what_the_command_says(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (ROOT / "crop_core" / "frame" / "README.md").read_text(encoding="utf-8")
    example, explained = page.split("<!-- explained -->\n```\n$ crop-core ")[1].split("\n```\n")
    command, *lines = example.splitlines()
    monkeypatch.chdir(ROOT)
    assert main([*shlex.split(command), "--detector", "fast", "--device", "cpu"]) == 0
    said = capsys.readouterr().out.splitlines()
    # Another kind of CPU adds in another order: a score differs by a hundredth, and an unsure box comes or goes.
    varies = re.compile(r"0\.\d\d|\d+ unsure box.*")
    assert [varies.sub("N", line) for line in said] == [varies.sub("N", line) for line in lines]
    assert len(re.findall(r"^\d\. ", explained, re.MULTILINE)) == len(lines)


def test_the_short_table_names_inputs_that_there_are() -> None:
    table = README.split("| input | what it does |\n|---|---|\n")[1].split("\n\n")[0]
    named = [name for line in table.splitlines() for name in re.findall(r"`(\w+)`", line.split("|")[1])]
    assert set(named) <= set(inputs())
    assert len(table.splitlines()) <= 10


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_a_page_links_to_and_imports_is_there(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text):
        assert (page.parent / target).exists(), target
    for module, names in re.findall(r"^ *from (crop_core[\w.]*) import ([\w, ]+)$", text, re.MULTILINE):
        for name in names.split(", "):
            assert hasattr(import_module(module), name), (module, name)
