"""The files in .github say what the code does: the model's page, the push test, its workflow."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import ROOT, SAMPLES

from crop_core import Cropper, CropRequest
from crop_core.request import inputs

FOLDER = ROOT / ".github"
PAGE = (FOLDER / "model-page.md").read_text(encoding="utf-8")
WORKFLOWS = sorted((FOLDER / "workflows").glob("*.yaml"))
# What cog-safe-push reads (replicate/cog-safe-push at 2ea3b29c, cog_safe_push/config.py); it refuses other names.
PUSH_KEYS = {"model", "test_hardware", "predict"}
PREDICT_KEYS = {"compare_outputs", "predict_timeout", "test_cases", "fuzz"}
FUZZ_KEYS = {"iterations", "fixed_inputs", "disabled_inputs"}


def _push() -> dict[str, Any]:
    config = yaml.safe_load((FOLDER / "cog-safe-push.yaml").read_text())
    assert isinstance(config, dict)
    return config


def _request(given: dict[str, Any]) -> CropRequest:
    return CropRequest.from_inputs(**{name: value for name, value in given.items() if name not in ("image", "dry_run")})


# ---- the push test


def test_the_push_test_has_no_key_that_its_tool_refuses() -> None:
    config = _push()
    assert config.keys() == PUSH_KEYS
    assert config["predict"].keys() == PREDICT_KEYS
    assert config["predict"]["fuzz"].keys() == FUZZ_KEYS


@pytest.mark.parametrize("case", _push()["predict"]["test_cases"], ids=lambda case: Path(case["inputs"]["image"]).stem)
def test_the_push_test_wants_the_files_that_come(case: dict[str, Any], cropper: Cropper) -> None:
    assert case.keys() == {"inputs", "jq_query"}
    picture = SAMPLES / case["inputs"]["image"].removeprefix("<samples>/")
    match = re.fullmatch(r'map\(split\("/"\) \| last\) \| sort == (\[.*\])', case["jq_query"])
    assert match
    result = cropper.crop(picture.read_bytes(), _request(case["inputs"]), source=picture.name)
    assert json.loads(match[1]) == sorted(result.files())


def test_the_fuzzer_is_told_of_inputs_that_there_are() -> None:
    fuzz = _push()["predict"]["fuzz"]
    fixed, disabled = set(fuzz["fixed_inputs"]), set(fuzz["disabled_inputs"])
    assert fixed | disabled <= {"image", "dry_run", *inputs()}
    assert not fixed & disabled


# ---- the workflows


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_takes_foreign_code_by_its_commit_alone(path: Path) -> None:
    text = path.read_text()
    used = re.findall(r"uses: \S+@(\S+)", text) + re.findall(r"git\+https://\S+@(\S+)", text)
    assert used
    assert [name for name in used if not re.fullmatch(r"[0-9a-f]{40}", name)] == []


def test_the_workflows_have_no_fault_that_their_linter_knows() -> None:
    run = subprocess.run(
        [Path(sys.executable).parent / "zizmor", "--offline", "--no-progress", FOLDER / "workflows"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr


def test_the_linter_finds_a_fault(tmp_path: Path) -> None:
    faulty = (FOLDER / "workflows" / "tests.yaml").read_text()
    faulty = faulty.replace("run: .ci/run", "run: echo ${{ github.event.pull_request.title }}")
    (tmp_path / "tests.yaml").write_text(faulty)
    command = [Path(sys.executable).parent / "zizmor", "--offline", "--no-progress", tmp_path / "tests.yaml"]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode != 0
    assert "template-injection" in run.stdout


def test_tests_run_on_every_python_that_the_package_names() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = [one.rpartition(" ")[2] for one in project["classifiers"] if re.search(r"Python :: 3\.\d+$", one)]
    workflow = yaml.safe_load((FOLDER / "workflows" / "tests.yaml").read_text())
    assert workflow["jobs"]["tests"]["strategy"]["matrix"]["python"] == named
    assert project["requires-python"] == f">={named[0]}"
    assert workflow["jobs"]["tests"]["steps"][-1]["run"] == ".ci/run"


@pytest.mark.parametrize("path", sorted((FOLDER / "ISSUE_TEMPLATE").glob("[!c]*.yaml")), ids=lambda path: path.stem)
def test_an_issue_form_has_what_github_wants(path: Path) -> None:
    form = yaml.safe_load(path.read_text())
    assert {"name", "description", "body"} <= form.keys()
    assert {field["type"] for field in form["body"]} <= {"textarea", "input"}
    assert all(field["attributes"]["label"] for field in form["body"])


def test_the_hooks_before_a_commit_are_cis_linters() -> None:
    (repository,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    ci = (ROOT / ".ci" / "run").read_text()
    for hook in repository["hooks"]:
        assert re.search(rf"^{hook['entry']}\b", ci, re.MULTILINE), hook["id"]


def test_the_workflow_pushes_with_the_cog_that_cog_yaml_names() -> None:
    version = yaml.safe_load((ROOT / "cog.yaml").read_text())["build"]["sdk_version"]
    (found,) = re.findall(r"COG_VERSION: v(\S+)", (FOLDER / "workflows" / "safe-push.yaml").read_text())
    assert found == version


def test_the_workflow_fills_in_every_name(tmp_path: Path) -> None:
    workflow = yaml.safe_load((FOLDER / "workflows" / "safe-push.yaml").read_text())
    (step,) = [one for one in workflow["jobs"]["safe-push"]["steps"] if one.get("name") == "Fill in the names"]
    environment = {"PATH": os.environ["PATH"], "RUNNER_TEMP": str(tmp_path), "MODEL": "someone/something"}
    environment["SAMPLES"] = "https://example.com/samples"
    assert step["env"].keys() == {"MODEL", "SAMPLES"}
    subprocess.run(["bash", "-e", "-c", step["run"]], cwd=ROOT, env=environment, check=True)
    filled = yaml.safe_load((tmp_path / "safe-push.yaml").read_text())
    assert filled["model"] == "someone/something"
    pictures = [case["inputs"]["image"] for case in filled["predict"]["test_cases"]]
    pictures.append(filled["predict"]["fuzz"]["fixed_inputs"]["image"])
    assert all(picture.startswith("https://example.com/samples/") for picture in pictures)


# ---- the model's page


def test_the_page_is_at_most_40_lines_beside_its_table() -> None:
    assert len([line for line in PAGE.splitlines() if not line.startswith("|")]) <= 40


def test_the_pages_table_has_every_input_and_its_default() -> None:
    rows = {}
    for names, default in re.findall(r"^\| (`.+?`) \| (.*?) ?\|", PAGE, re.MULTILINE):
        rows |= dict.fromkeys(re.findall(r"`(\w+)`", names), default)
    assert list(rows) == ["image", *inputs(), "dry_run"]
    assert rows.pop("dry_run") == "`false`"
    assert rows.pop("image") == ""
    in_words = {"labels": "any", "focus": "", "max_pixels": "", "width": "as cut", "height": "as cut", "zoom": "0 or 1"}
    in_words |= {"face_height": "as cut", "eye_line": "as cut"}
    for name, said in rows.items():
        default = inputs()[name].default
        shown = ",".join(default) if isinstance(default, tuple) else str(default).lower()
        assert said == in_words.get(name, f"`{shown}`"), name


def test_the_pages_choices_are_the_cores() -> None:
    for name, entry in inputs().items():
        for choice in set(entry.metadata.get("choices", ())) - {entry.default}:
            (row,) = [line for line in PAGE.splitlines() if line.startswith(f"| `{name}` ")]
            assert f"`{choice}`" in row, (name, choice)


@pytest.mark.parametrize("example", re.findall(r"```json\n(.+?)\n```", PAGE))
def test_an_example_of_the_page_is_a_request(example: str) -> None:
    given = json.loads(example)
    assert given["image"].startswith("https://example.com/")
    _request(given)


def test_the_page_has_three_examples_and_its_picture() -> None:
    assert PAGE.count("```json") == 3
    (picture,) = re.findall(r"!\[.+\]\((.+)\)", PAGE)
    assert (FOLDER / picture).is_file()
