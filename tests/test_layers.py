"""The package has layers, and imports go one way."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "crop_core"

# A layer and the layers that it may import. A folder is one layer, a module at the top another.
BASE = {"errors", "geometry", "device", "threads", "version", "picture_files", "sidecars"}
ASKED = BASE | {"detection", "css_color", "request", "request_fields", "request_focus", "request_sizes", "request_text"}
ROOMS = {"photo", "detect", "frame", "run", "cut"}
WORKING = ASKED | ROOMS | {"smaller_crops", "result", "tilt", "steps", "cropper"}
LAYERS: dict[str, set[str]] = {
    "version": set(),
    "errors": set(),
    "picture_files": set(),
    "threads": set(),
    "sidecars": {"errors", "picture_files"},
    "geometry": set(),
    "device": {"errors"},
    "detection": {"geometry"},
    "css_color": set(),
    "request_text": {"errors", "detection", "css_color"},
    "request_fields": {"errors", "request_text"},
    "request_focus": {"errors", "request_fields", "request_text"},
    "request_sizes": {"errors", "request_fields", "request_text"},
    "request": {"errors", "detection", "request_fields", "request_focus", "request_sizes", "request_text"},
    "smaller_crops": {"request"},
    "photo": BASE,
    "detect": BASE | {"detection"},
    "frame": ASKED - {"device"},
    "run": BASE,
    "cut": ASKED | {"photo", "frame"},
    "result": ASKED | {"photo", "frame", "cut"},
    "tilt": BASE | {"detection", "cut", "detect"},
    "steps": ASKED | ROOMS | {"result", "tilt"},
    "cropper": ASKED | ROOMS | {"result", "steps"},
    "doctor": WORKING,
    "bench": WORKING | {"doctor"},
    "batch": WORKING,
    "cli": WORKING | {"doctor", "bench", "batch"},
}
# They import the standard library and one another.
PURE = (
    "errors",
    "geometry",
    "detection",
    "css_color",
    "request",
    "request_fields",
    "request_focus",
    "request_sizes",
    "request_text",
    "smaller_crops",
    "frame",
    "picture_files",
    "sidecars",
)  # they import the standard library and one another


def layer_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports_of(path: Path) -> set[str]:
    """Return the full names of the modules that a file imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name} imports by dots"
            found |= {node.module or ""} | {f"{node.module}.{name.name}" for name in node.names}
    return found


MODULES = {path.relative_to(ROOT).as_posix(): path for path in sorted(PACKAGE.rglob("*.py"))}


def test_every_module_has_a_layer() -> None:
    assert {layer_of(path) for path in MODULES.values()} - {"__init__"} <= set(LAYERS)


@pytest.mark.parametrize("name", MODULES)
def test_a_module_imports_no_layer_above_its_own(name: str) -> None:
    layer = layer_of(MODULES[name])
    if layer == "__init__":
        pytest.skip("the package's own names come from every layer")
    imported = {
        parts[1] for module in imports_of(MODULES[name]) if (parts := module.split("."))[0] == "crop_core" and parts[1:]
    }
    public = {part for part in imported if part[0].isupper() or part == "read_photo"}  # from crop_core import Cropper
    if public:
        assert layer in ("doctor", "bench", "batch", "cli"), f"{name} imports the package's public names"
    assert imported - public - {layer} <= LAYERS[layer]


@pytest.mark.parametrize("name", [name for name, path in MODULES.items() if layer_of(path) in PURE])
def test_a_module_of_decisions_needs_the_standard_library_alone(name: str) -> None:
    foreign = {module.split(".")[0] for module in imports_of(MODULES[name])} - set(sys.stdlib_module_names)
    assert foreign <= {"crop_core"}


@pytest.mark.parametrize("name", MODULES)
def test_a_module_has_at_most_300_lines(name: str) -> None:
    assert len(MODULES[name].read_text().splitlines()) <= 300


@pytest.mark.parametrize("name", [name for name in MODULES if name.count("/") > 1 and name.endswith("__init__.py")])
def test_a_folders_own_module_holds_a_docstring_alone(name: str) -> None:
    (docstring,) = ast.parse(MODULES[name].read_text()).body
    assert isinstance(docstring, ast.Expr)
