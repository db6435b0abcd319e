"""What comes from others: pins, their audit, and no weights that could run code."""

from __future__ import annotations

import ast
import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from conftest import ROOT

MODULES = [ROOT / "predict.py", *sorted(ROOT.glob("crop_core/**/*.py"))]
# What turns a file's bytes into code or into any object.
UNSAFE_IMPORTS = {"pickle", "_pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
UNSAFE_CALLS = {"eval", "exec", "compile", "torch.hub.load", "torch.jit.load", "torch.package.PackageImporter"}
# What the advisories of .ci/audit-exceptions are about.
UNSAFE_CALLS |= {"torch.jit.script", "torch.export.load"}
DOWNLOADS = {"load_state_dict_from_url", "download_url_to_file", "urlopen", "urlretrieve", "snapshot_download"}


def _audit() -> ModuleType:
    spec = importlib.util.spec_from_file_location("audit", ROOT / ".ci" / "audit.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _unsafe(source: str) -> list[str]:
    """Return what in the source could run a file's code, or fetch one."""
    found = []
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name in UNSAFE_IMPORTS]
        elif isinstance(node, ast.ImportFrom) and node.module in UNSAFE_IMPORTS:
            found.append(node.module)
        elif isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            weights_only = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}.get("weights_only")
            if called in UNSAFE_CALLS or called.rsplit(".", 1)[-1] in DOWNLOADS:
                found.append(called)
            elif called == "torch.load" and weights_only != "True":
                found.append("torch.load without weights_only=True")
            elif called.endswith(".load") and any(keyword.arg == "allow_pickle" for keyword in node.keywords):
                found.append("allow_pickle")
    return found


def test_nothing_in_the_package_unpickles_runs_or_fetches_what_it_reads() -> None:
    found = {path.relative_to(ROOT).as_posix(): _unsafe(path.read_text()) for path in MODULES}
    # Of pickle one module takes the name of an error, and that alone: torch.load raises it.
    assert {name: what for name, what in found.items() if what} == {
        "crop_core/detect/torchvision_models.py": ["pickle"]
    }
    text = (ROOT / "crop_core/detect/torchvision_models.py").read_text()
    assert set(re.findall(r"\bpickle\.\w+", text)) == {"pickle.UnpicklingError"}


@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "from pickle import loads",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "torch.load(path, weights_only=flag)",
        "np.load(path, allow_pickle=True)",
        "torch.hub.load('a/b', 'c')",
        "torch.hub.load_state_dict_from_url(url)",
        "eval(text)",
    ],
)
def test_a_line_that_would_is_seen(line: str) -> None:
    assert _unsafe(line)


def test_the_weights_that_are_shipped_are_safetensors_or_openvinos_numbers_and_no_other_file_holds_objects() -> None:
    run = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    names = {Path(name) for name in run.stdout.split("\0") if name}
    graphs = {name for name in names if name.suffix == ".xml"}
    endings = {name.suffix for name in names - {graph.with_suffix(".bin") for graph in graphs}}
    assert ".safetensors" in endings
    assert not endings & {".pt", ".pth", ".pkl", ".pickle", ".bin", ".ckpt", ".npy", ".joblib", ".h5"}


def test_the_build_is_pinned_too() -> None:
    pins = _audit().pins()
    assert {"setuptools", "torch", "cog", "pytest", "pillow-heif"} <= {pin.partition("==")[0] for pin in pins}
    assert [pin for pin in pins if not re.fullmatch(r"[A-Za-z0-9_.-]+(\[[a-z,]+\])?==\d+(\.\d+)+", pin)] == []


FINDING = {
    "name": "pillow",
    "version": "1.0",
    "vulns": [{"id": "PYSEC-1", "aliases": ["CVE-1"], "fix_versions": ["1.1", "2.0"]}],
}
CLEAN = {"name": "tqdm", "version": "4.0", "vulns": []}
SKIPPED = {"name": "torch", "skip_reason": "not found"}


@pytest.mark.parametrize(
    ("dependencies", "excused", "good", "said"),
    [
        ([], {}, True, "no known vulnerability"),
        ([CLEAN], {}, True, "no known vulnerability"),
        ([CLEAN, FINDING], {}, False, "pillow 1.0: PYSEC-1, fixed in 1.1, 2.0; NOT EXCUSED"),
        ([FINDING], {"PYSEC-1": "never called"}, True, "pillow 1.0: PYSEC-1, fixed in 1.1, 2.0; excused: never called"),
        ([FINDING], {"CVE-1": "never called"}, True, "pillow 1.0: PYSEC-1, fixed in 1.1, 2.0; excused: never called"),
        ([FINDING], {"PYSEC-2": "another"}, False, "pillow 1.0: PYSEC-1, fixed in 1.1, 2.0; NOT EXCUSED"),
        ([CLEAN], {"PYSEC-2": "gone"}, True, "no finding needs these exceptions any more: PYSEC-2"),
        ([CLEAN, SKIPPED], {"PYSEC-2": "who knows"}, True, "not audited: torch (not found)"),
        ([SKIPPED, FINDING], {}, False, "pillow 1.0: PYSEC-1, fixed in 1.1, 2.0; NOT EXCUSED"),
    ],
    ids=["nothing", "clean", "found", "excused", "by another name", "another's", "stale", "skipped", "both"],
)
def test_a_finding_fails_unless_it_is_listed_with_a_reason(
    dependencies: list[dict[str, Any]], excused: dict[str, str], good: bool, said: str
) -> None:
    lines, verdict = _audit().judged({"dependencies": dependencies, "fixes": []}, excused)
    assert verdict is good
    assert said in lines


def test_an_exception_without_a_reason_is_refused() -> None:
    audit = _audit()
    assert audit.exceptions("# why\n\nPYSEC-1 never called here\n") == {"PYSEC-1": "never called here"}
    with pytest.raises(ValueError, match="PYSEC-2 has no reason"):
        audit.exceptions("PYSEC-1 never called\nPYSEC-2\n")
    audit.exceptions(audit.EXCEPTIONS.read_text())


@pytest.mark.parametrize(
    ("report", "status", "said"),
    [
        (None, 0, "nothing was audited"),
        ("", 0, "nothing was audited"),
        (json.dumps({"dependencies": [CLEAN], "fixes": []}), 0, "no known vulnerability"),
        (json.dumps({"dependencies": [FINDING], "fixes": []}), 1, "NOT EXCUSED"),
    ],
    ids=["no report", "no answer", "clean", "found"],
)
def test_the_audit_goes_on_where_the_list_is_out_of_reach_and_fails_on_a_finding(
    report: str | None, status: int, said: str, tmp_path: Path
) -> None:
    path = tmp_path / "report.json"
    if report is not None:
        path.write_text(report)
    command = [sys.executable, str(ROOT / ".ci" / "audit.py"), "judge", str(path)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == status
    assert said in run.stdout
