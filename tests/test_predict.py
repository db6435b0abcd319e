"""predict.py as the text that Cog parses, and who imports what."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT

import crop_core
from crop_core.request import CropRequest, inputs

MODULES = {path.relative_to(ROOT).as_posix(): path for path in sorted(ROOT.glob("crop_core/**/*.py"))}
# What Cog's parser turns into JSON schema types (replicate/cog, pkg/schema/types.go).
SCHEMA_TYPES = ("str", "int", "float", "bool", "int | None", "float | None")


def _predict() -> ast.FunctionDef:
    tree = ast.parse((ROOT / "predict.py").read_text())
    (predictor,) = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "Predictor"]
    (predict,) = [node for node in predictor.body if isinstance(node, ast.FunctionDef) and node.name == "predict"]
    return predict


def _inputs() -> dict[str, tuple[str, ast.Call]]:
    """Return name -> annotation and `Input(...)` call, as they stand in the text."""
    arguments = _predict().args
    assert len(arguments.args) == len(arguments.defaults) + 1  # all but self
    pairs = zip(arguments.args[1:], arguments.defaults, strict=True)
    inputs = {}
    for argument, default in pairs:
        assert isinstance(default, ast.Call), argument.arg
        assert ast.unparse(default.func) == "Input", argument.arg
        inputs[argument.arg] = (ast.unparse(argument.annotation), default)
    return inputs


def _declared(name: str) -> dict[str, Any]:
    return {keyword.arg: ast.literal_eval(keyword.value) for keyword in _inputs()[name][1].keywords}


def _core() -> dict[str, Any]:
    """Return input name -> the field of CropRequest that takes it."""
    return inputs()


def _is_literal(node: ast.expr) -> bool:
    if isinstance(node, ast.List):
        return all(isinstance(item, ast.Constant) for item in node.elts)
    return isinstance(node, ast.Constant)


def _imports(path: Path) -> set[str]:
    """Return the full names of all modules that the file imports, at any depth; a relative one begins with a dot."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            names.add("." * node.level + (node.module or ""))
    return names


@pytest.mark.parametrize("name", _inputs())
def test_every_argument_of_an_input_is_one_literal(name: str) -> None:
    call = _inputs()[name][1]
    assert not call.args, "Cog reads keywords"
    for keyword in call.keywords:
        assert keyword.arg is not None, "no ** in an Input"
        assert _is_literal(keyword.value), f"{name}: {keyword.arg}={ast.unparse(keyword.value)}"


@pytest.mark.parametrize("name", _inputs())
def test_every_description_is_written_in_one_piece(name: str) -> None:
    text = (ROOT / "predict.py").read_text()
    assert _declared(name)["description"] in text  # Python would join 'a' 'b'; Cog's parser does not


def test_the_result_is_a_plain_list_of_paths() -> None:
    # Files inside an object come back as base64, and the command line prints them instead of writing them.
    assert ast.unparse(_predict().returns) == "list[Path]"


def test_the_inputs_are_the_picture_and_the_fields_of_the_request_in_their_order() -> None:
    assert list(_inputs()) == ["image", *_core(), "dry_run"]


@pytest.mark.parametrize("name", _core())
def test_an_input_is_declared_as_the_core_declares_its_field(name: str) -> None:
    declared, entry = _declared(name), _core()[name]
    core = {"default": "1:1" if name == "aspect_ratio" else entry.default, "description": entry.metadata["help"]}
    core |= {rule: entry.metadata[rule] for rule in ("ge", "le", "choices") if rule in entry.metadata}
    if "choices" in core:
        core["choices"] = list(core["choices"])
    assert declared == core
    assert type(declared["default"]) is type(core["default"])  # 1 == 1.0 == True


@pytest.mark.parametrize("name", _core())
def test_an_input_has_the_type_of_its_field_and_one_that_the_schema_knows(name: str) -> None:
    annotation = _inputs()[name][0]
    assert annotation in SCHEMA_TYPES
    assert annotation == ("str" if name == "aspect_ratio" else _core()[name].type)


def test_the_defaults_of_the_inputs_make_the_default_request() -> None:
    assert CropRequest.from_inputs(**{name: _declared(name)["default"] for name in _core()}) == CropRequest()


def test_the_picture_is_the_one_required_input() -> None:
    assert [name for name in _inputs() if "default" not in _declared(name)] == ["image"]
    assert _inputs()["image"][0] == "Path"
    assert _declared("image")["accept"] == "image/*"


def test_every_input_reaches_the_core() -> None:
    (call,) = [
        node
        for node in ast.walk(_predict())
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "CropRequest.from_inputs"
    ]
    assert {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords} == {name: name for name in _core()}


def test_predict_alone_imports_cog() -> None:
    def imports_cog(path: Path) -> bool:
        return any(name.split(".")[0] in ("cog", "coglet") for name in _imports(path))

    assert imports_cog(ROOT / "predict.py")
    assert [name for name, path in MODULES.items() if imports_cog(path)] == []


# Runs in its own process: what an import does, it does once. The libraries' own imports come first, so that what
# the hook hears is this package's.
_LISTEN = """
import importlib, sys
for name in {libraries!r}:
    importlib.import_module(name)
heard = []
CODE = (".py", ".pyc", ".so")
def hook(event, args):
    if event == "open" and isinstance(args[0], (str, bytes)):
        path, mode = args[0] if isinstance(args[0], str) else args[0].decode(), args[1]
        if not path.endswith(CODE) and ".pyc." not in path:
            heard.append((event, path, mode))
    elif event.startswith(("socket.", "subprocess.", "os.mkdir", "os.remove", "os.rename", "os.system", "os.putenv")):
        if not (event in ("os.mkdir", "os.rename") and "__pycache__" in str(args)):
            heard.append((event, str(args)))
sys.addaudithook(hook)
for name in {modules!r}:
    importlib.import_module(name)
assert not heard, heard
"""


# Imported where they are used, since they come with an extra.
OPTIONAL = ("pillow_heif", "pyvips", "smartcrop", "smart_crop_ai", "autocrop")


def test_importing_the_package_opens_no_file_no_connection_and_no_process() -> None:
    modules = [name.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for name in MODULES]
    libraries = sorted(
        {
            imported
            for path in MODULES.values()
            for imported in _imports(path)
            if imported.split(".")[0] not in (*sys.stdlib_module_names, "crop_core", *OPTIONAL)
        }
    )
    assert "torch" in libraries
    code = _LISTEN.format(libraries=libraries, modules=modules)
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr


HEAVY = ("torch", "torchvision", "PIL", "numpy", "safetensors", "tqdm")


@pytest.mark.parametrize("module", ["crop_core", "crop_core.cli", "crop_core.detect.weights"])
def test_a_module_that_must_start_without_pytorch_loads_the_standard_library_alone(module: str) -> None:
    code = f"import sys, {module}; print(*(set({HEAVY!r}) & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == ""


def test_every_public_name_can_be_had_from_the_package() -> None:
    code = "import crop_core; print([name for name in crop_core.__all__ if not hasattr(crop_core, name)])"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_a_name_that_the_package_lacks_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Croper'"):
        crop_core.Croper  # noqa: B018 (reading it is what is tested)
