"""What is shipped: one set of versions, a container file that Cog takes, and nothing beside the product."""

from __future__ import annotations

import ast
import hashlib
import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from fnmatch import fnmatchcase
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
import torch
import torchvision
import yaml
from cog_server import IMAGE_ENVIRONMENT
from conftest import ROOT, SAMPLES

from crop_core.detect.choose_detector import ACCURATE

# Rows of Cog's own matrix (replicate/cog at 6110c912, pkg/config/torch_compatibility.json):
# torch -> torchvision built with it, the CUDA versions and the Pythons there are.
TORCH_PAIRS = {
    "2.9.1": ("0.24.1", {"12.6", "12.8", "13.0"}, {"3.10", "3.11", "3.12", "3.13", "3.14"}),
    "2.10.0": ("0.25.0", {"12.6", "12.8", "13.0"}, {"3.10", "3.11", "3.12", "3.13", "3.14"}),
}
# CUDA versions that have a base image (the same commit, pkg/config/cuda_compatibility.json), of those above.
CUDA_IMAGES = {"12.6", "12.8", "13.0"}

# Cog's published schema (the same commit, pkg/config/data/config_schema_v1.0.json): the keys that a model of one
# network may want, and their types. Every other key is refused.
COG_KEYS = {"build": dict, "image": str, "model": str, "run": str, "predict": str, "train": str, "concurrency": dict}
COG_KEYS |= {"environment": list, "weights": list}
COG_BUILD_KEYS = {
    "cuda": str,
    "cudnn": str,
    "gpu": bool,
    "python_version": (str, float),
    "python_packages": list,
    "pre_install": list,
    "python_requirements": str,
    "system_packages": list,
    "sdk_version": str,
    "run": list,
}
ENVIRONMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=.*")  # the schema's pattern for one entry
# Names that Cog keeps for itself (pkg/config/env.go); a star stands for any rest.
RESERVED = (
    *("PATH", "LD_LIBRARY_PATH", "PYTHONPATH", "VIRTUAL_ENV", "PYTHONUNBUFFERED", "R8_*", "REPLICATE_*"),
    *("LIBRARY_PATH", "CUDA_*", "NVIDIA_*", "NV_*", "PGET_*", "HF_ENDPOINT", "HF_HUB_ENABLE_HF_TRANSFER"),
    "KUBERNETES_*",
)

TOP_LEVEL = {
    "cog.yaml",
    "predict.py",
    "crop_core",
    "tests",
    "samples",
    "README.md",
    "pyproject.toml",
    "requirements.txt",
    "LICENSE",
    "NOTICE",
    "CHANGELOG.md",
}

# Where packages come from is the machine's affair, and so is where the checkout lies. Written in pieces, so that
# this file holds none of them.
REGISTRIES = ("py" + "pi.org", "python" + "hosted.org", "np" + "mjs.org", "pytorch.org" + "/whl", "ana" + "conda.org")
HOME = re.compile(r"(?<![\w.:/-])/(?:home|root|Users|work)/\w")


def _cog() -> dict[str, Any]:
    config = yaml.safe_load((ROOT / "cog.yaml").read_text())
    assert isinstance(config, dict)
    return config


def _project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def _requirements() -> dict[str, str]:
    """Return name -> the rest of its line, without comments."""
    lines = [line.partition("#")[0].strip() for line in (ROOT / "requirements.txt").read_text().splitlines()]
    return dict(_split(line) for line in lines if line)


def _split(requirement: str) -> tuple[str, str]:
    match = re.fullmatch(r"([A-Za-z0-9._-]+)(?:\[[a-z,]+\])?([^;]*)(?:;.*)?", requirement)
    assert match, requirement
    return match[1].lower().replace("_", "-"), match[2]


def _tracked() -> list[str]:
    run = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True)
    return [name for name in run.stdout.decode().split("\0") if name and (ROOT / name).is_file()]


# ---- versions


def test_every_requirement_is_pinned_to_one_version() -> None:
    assert [name for name, rest in _requirements().items() if not re.fullmatch(r"==\d+(\.\d+)+", rest)] == []


def _extras() -> dict[str, dict[str, str]]:
    return {name: dict(map(_split, extra)) for name, extra in _project()["project"]["optional-dependencies"].items()}


def test_cog_and_its_server_are_of_the_version_that_the_container_gets() -> None:
    version = f"=={_cog()['build']['sdk_version']}"
    assert _extras()["serve"] == {"cog": version, "coglet": version}
    assert not {"cog", "coglet"} & _requirements().keys()  # Cog puts them in by itself, and warns of a second word


def test_torch_and_torchvision_are_a_pair_built_for_the_containers_cuda() -> None:
    requirements = _requirements()
    torchvision, cudas, pythons = TORCH_PAIRS[requirements["torch"].removeprefix("==")]
    assert requirements["torchvision"] == f"=={torchvision}"
    assert _cog()["build"]["cuda"] in cudas & CUDA_IMAGES
    assert _cog()["build"]["python_version"] in pythons


def test_one_python_is_meant_everywhere() -> None:
    python, project = _cog()["build"]["python_version"], _project()
    assert isinstance(python, str), "unquoted, YAML reads 3.10 as 3.1"
    assert project["project"]["requires-python"] == f">={python}"
    assert project["tool"]["mypy"]["python_version"] == python
    assert project["tool"]["ruff"]["target-version"] == f"py{python.replace('.', '')}"


def _version(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split(".")))


def test_the_image_has_versions_that_the_package_takes() -> None:
    assert _cog()["build"]["python_requirements"] == "requirements.txt"
    ranges = dict(map(_split, _project()["project"]["dependencies"]))
    pins = _requirements()
    assert ranges.keys() == pins.keys()
    for name, limits in ranges.items():
        match = re.fullmatch(r">=([0-9.]+),<([0-9.]+)", limits)
        assert match, name
        assert _version(match[1]) <= _version(pins[name].removeprefix("==")) < _version(match[2])


def test_torch_and_torchvision_have_ranges_of_matched_pairs() -> None:
    """2.N goes with 0.(N + 15)."""
    ranges = dict(map(_split, _project()["project"]["dependencies"]))
    torch_ends, vision_ends = (
        [_version(end) for end in re.findall(r"[0-9.]+", ranges[name])] for name in ("torch", "torchvision")
    )
    assert [(0, minor + 15) for _, minor in torch_ends] == vision_ends


def test_no_extra_pins_a_package_at_a_second_version() -> None:
    pins: dict[str, set[str]] = {name: {rest} for name, rest in _requirements().items()}
    for extra in _project()["project"]["optional-dependencies"].values():
        for name, rest in map(_split, extra):
            assert re.fullmatch(r"==\d+(\.\d+)+", rest), name
            pins.setdefault(name, set()).add(rest)
    assert {name: rests for name, rests in pins.items() if len(rests) > 1} == {}


def test_what_batch_needs_comes_with_the_tests_but_for_a_store_that_has_no_server_to_test_with() -> None:
    extras = _project()["project"]["optional-dependencies"]
    assert {requirement.split("=")[0] for requirement in {*extras["batch"]} - {*extras["test"]}} == {"gcsfs"}


def test_the_wheel_holds_every_package_there_is() -> None:
    packages = {path.parent.relative_to(ROOT).as_posix() for path in ROOT.glob("crop_core/**/__init__.py")}
    assert set(_project()["tool"]["setuptools"]["packages"]) == {name.replace("/", ".") for name in packages}


def test_the_wheel_holds_every_file_that_is_no_module_and_no_page() -> None:
    shipped = {
        path
        for package, patterns in _project()["tool"]["setuptools"]["package-data"].items()
        for pattern in patterns
        for path in (ROOT / package.replace(".", "/")).glob(pattern)
    }
    no_data = (".py", ".md")
    tracked = {ROOT / name for name in _tracked() if name.startswith("crop_core/") and not name.endswith(no_data)}
    assert tracked
    assert tracked <= shipped


# ---- cog.yaml


def test_cog_knows_every_key_and_its_type() -> None:
    config = _cog()
    assert set(config) <= set(COG_KEYS)
    assert set(config["build"]) <= set(COG_BUILD_KEYS)
    assert "python_version" in config["build"]  # the one that the schema requires
    for keys, known in ((config, COG_KEYS), (config["build"], COG_BUILD_KEYS)):
        for key, value in keys.items():
            assert isinstance(value, known[key]), key


def test_every_command_at_build_time_is_one_line() -> None:
    # Each becomes a RUN line of the Dockerfile; Cog refuses one with a line break.
    for command in _cog()["build"]["run"]:
        assert isinstance(command, str)
        assert "\n" not in command.strip()


def test_every_variable_of_the_environment_is_one_that_cog_lets_set() -> None:
    for entry in _cog()["environment"]:
        assert ENVIRONMENT.fullmatch(entry)
        assert not any(fnmatchcase(entry.partition("=")[0], pattern) for pattern in RESERVED)


def test_the_benches_and_tests_run_the_server_in_the_environment_of_the_image() -> None:
    assert {f"{name}={value}" for name, value in IMAGE_ENVIRONMENT.items()} <= set(_cog()["environment"])


def test_cog_yaml_names_a_class_that_is_there() -> None:
    file, _, name = _cog()["predict"].partition(":")
    tree = ast.parse((ROOT / file).read_text())
    (predictor,) = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name]
    assert {"setup", "predict"} <= {node.name for node in predictor.body if isinstance(node, ast.FunctionDef)}


def _check() -> str:
    _, _, check, _ = _cog()["build"]["run"]
    assert isinstance(check, str)
    return check


def _code(command: str) -> str:
    python, option, code = shlex.split(command)
    assert (python, option) == ("python", "-c")
    return code


def _check_code() -> str:
    return _code(_check())


def _cudnn_check() -> str:
    _, check, _, _ = _cog()["build"]["run"]
    assert isinstance(check, str)
    return _code(check)


def test_the_images_own_cudnn_is_taken_away_where_torch_brings_one(tmp_path: Path) -> None:
    removal, *_ = _cog()["build"]["run"]
    (tmp_path / "libcudnn.so.9").touch()
    (tmp_path / "libcudart.so.12").touch()
    code = _code(removal).replace("/usr/lib/x86_64-linux-gnu", str(tmp_path))
    subprocess.run([sys.executable, "-c", code], check=True)
    assert [path.name for path in tmp_path.iterdir()] == ["libcudart.so.12"]


def test_the_images_own_cudnn_stays_where_torch_brings_none(tmp_path: Path) -> None:
    removal, *_ = _cog()["build"]["run"]
    (tmp_path / "libcudnn.so.9").touch()
    code = (
        _code(removal)
        .replace("/usr/lib/x86_64-linux-gnu", str(tmp_path))
        .replace("'libcudnn*')); assert", "'no*')); assert")
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "torch brings no cuDNN" in run.stderr
    assert (tmp_path / "libcudnn.so.9").exists()


# Runs each program in a process of its own that has PyTorch already, and tells its exit status and standard error.
_PROGRAMS = """
import json, os, sys, tempfile, traceback
import torch, torchvision
ends = []
for program in json.loads(sys.argv[1]):
    with tempfile.TemporaryFile() as said:
        if (process := os.fork()) == 0:
            os.dup2(said.fileno(), 2)
            try:
                exec(program, {"__name__": "__main__"})
            except BaseException:
                traceback.print_exc()
                sys.stderr.flush()
                os._exit(1)
            os._exit(0)
        status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
        said.seek(0)
        ends.append((status, said.read().decode()))
print(json.dumps(ends))
"""
CUDNN_FAULTS = {
    "healthy": ("", None),
    "another is loaded": ("torch._C._cudnn.getRuntimeVersion = lambda: (9, 8, 0)", "(9, 8, 0)"),
    "another answers": ("torch.backends.cudnn.version = lambda: 90800", "90800"),
    "a wrong convolution": ("torch.nn.functional.conv2d = lambda *_: torch.zeros(4)", "tensor([0., 0., 0., 0.])"),
}
WRONG_OPERATOR = "torchvision.ops.nms = lambda *_: torch.tensor([0, 1])"
OTHER_CUDAS = ["an older", "a near", "a newer", "none"]


def _other_cuda(other: str) -> str | None:
    number = torch.ops.torchvision._cuda_version()
    major, minor = number // 1000, number % 1000 // 10
    older, near, newer = f"{major - 1}.{minor}", f"{major}.{minor + 1}", f"{major + 1}.{minor}"
    return {"an older": older, "a near": near, "a newer": newer, "none": None}[other]


@pytest.fixture(scope="module")
def ends() -> dict[str, tuple[int, str]]:
    """How the checks at build time end with each fault; one start of PyTorch for all."""
    begin = "import torch, torchvision\n"
    programs = {name: f"{begin}{fault}\n{_cudnn_check()}" for name, (fault, _) in CUDNN_FAULTS.items()}
    programs["operator"] = f"{begin}{WRONG_OPERATOR}\n{_check_code()}"
    for other in OTHER_CUDAS:
        programs[other] = f"{begin}torch.version.cuda = {_other_cuda(other)!r}\n{_check_code()}"
    command = [sys.executable, "-W", "ignore", "-c", _PROGRAMS, json.dumps(list(programs.values()))]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    return {name: tuple(end) for name, end in zip(programs, json.loads(run.stdout), strict=True)}


@pytest.mark.parametrize("name", CUDNN_FAULTS)
def test_the_cudnn_check_at_build_time_fails_on_its_fault(name: str, ends: dict[str, tuple[int, str]]) -> None:
    said, (status, error) = CUDNN_FAULTS[name][1], ends[name]
    assert (status == 0) is (said is None), error
    assert said is None or said in error


def test_the_check_at_build_time_passes_here() -> None:
    path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    run = subprocess.run(
        ["/bin/sh", "-c", _check()], cwd="/", env={"PATH": path}, capture_output=True, text=True, check=False
    )
    assert (run.returncode, run.stdout) == (0, ""), run.stderr


@pytest.mark.parametrize("other", OTHER_CUDAS)
def test_the_check_at_build_time_fails_on_two_cuda_versions_and_names_both(
    other: str, ends: dict[str, tuple[int, str]]
) -> None:
    # torch and torchvision each state what they were built for. torchvision, when it is imported, compares the major
    # versions by itself, so torch's word is changed after that.
    assert torchvision.__version__  # which loads its operators
    number = torch.ops.torchvision._cuda_version()
    if number < 0:
        pytest.skip("this torchvision is built for no CUDA")
    status, error = ends[other]
    assert status != 0
    assert f"AssertionError: ({number}, {_other_cuda(other)!r})" in error


def test_the_check_at_build_time_fails_where_the_operator_is_wrong(ends: dict[str, tuple[int, str]]) -> None:
    status, error = ends["operator"]
    assert status != 0
    assert "AssertionError: tensor([0, 1])" in error


def test_the_check_at_build_time_does_not_import_the_operator_library() -> None:
    # That raises ImportError on every healthy Linux install; see the comment in cog.yaml.
    imported = {
        alias.name
        for node in ast.walk(ast.parse(_check_code()))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    assert imported == {"torch", "torchvision"}


def _bake(url: str, torch_home: Path) -> subprocess.CompletedProcess[str]:
    """Run the command that bakes the accurate weights in, with another address and another TORCH_HOME."""
    *_, command = _cog()["build"]["run"]
    prologue = (
        "import torchvision\n"
        f"default = torchvision.models.get_model_weights({ACCURATE!r}).DEFAULT.value\n"
        f"object.__setattr__(default, 'url', {url!r})\n"
    )
    return subprocess.run(
        [sys.executable, "-c", prologue + _code(command)],
        env=os.environ | {"TORCH_HOME": str(torch_home)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """Return a file in the official form, its digits in its name."""
    buffer = BytesIO()
    torch.save({"some": torch.zeros(2)}, buffer)
    path = tmp_path / f"{ACCURATE}_coco-{hashlib.sha256(buffer.getvalue()).hexdigest()[:8]}.pth"
    path.write_bytes(buffer.getvalue())
    return path


def test_the_accurate_weights_are_baked_in_where_the_detector_looks_for_them(published: Path, tmp_path: Path) -> None:
    run = _bake(published.as_uri(), tmp_path / "baked")
    assert run.returncode == 0, run.stderr
    baked = tmp_path / "baked" / "hub" / "checkpoints" / published.name
    assert baked.read_bytes() == published.read_bytes()
    (home,) = [entry.partition("=")[2] for entry in _cog()["environment"] if entry.startswith("TORCH_HOME=")]
    assert PurePosixPath(home).is_absolute()
    assert not home.startswith("/src"), "the project's own files are laid over it"


def test_accurate_weights_of_another_sha256_end_the_build(published: Path, tmp_path: Path) -> None:
    published.write_bytes(published.read_bytes() + b"\0")
    run = _bake(published.as_uri(), tmp_path / "baked")
    assert run.returncode != 0
    assert "invalid hash value" in run.stderr
    assert not list((tmp_path / "baked").rglob("*.pth"))


def test_setup_makes_no_connection() -> None:
    code = (
        "import sys\n"
        "def hook(event, args):\n"
        "    assert event not in ('socket.connect', 'socket.getaddrinfo', 'urllib.Request'), (event, args)\n"
        "sys.addaudithook(hook)\n"
        "from predict import Predictor\n"
        "predictor = Predictor()\n"
        "predictor.setup()\n"
        "print(predictor.cropper.device.type)\n"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert run.stdout.split() in (["cpu"], ["cuda"])


# ---- the tree


def test_the_top_level_holds_the_product_and_nothing_else() -> None:
    names = {name.partition("/")[0] for name in _tracked()}
    assert {name for name in names if not name.startswith(".")} <= TOP_LEVEL


def test_every_sample_has_its_author_and_licence() -> None:
    rows = re.findall(r"^\| `([^`]+)` \|(.+)\|$", (SAMPLES / "SOURCES.md").read_text(), re.MULTILINE)
    files = {path.name for path in SAMPLES.iterdir() if path.name not in ("SOURCES.md", "index.html")}
    assert {name for name, _ in rows} == files
    for name, row in rows:
        cells = [cell.strip() for cell in row.split("|")]
        assert all(cells), name


def test_no_file_names_a_registry_or_a_folder_of_this_machine() -> None:
    found = []
    for name in _tracked():
        try:
            text = (ROOT / name).read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue  # a picture or weights
        found += [(name, word) for word in (*REGISTRIES, f"{Path.home()}/", f"{ROOT}/") if word in text]
        found += [(name, match[0]) for match in HOME.finditer(text)]
    assert found == []


@pytest.mark.parametrize("folder", ["home", "root", "work", "Users"])
def test_an_absolute_path_is_recognised_as_one(folder: str) -> None:
    assert HOME.search(f'open("/{folder}/me")')
    assert not HOME.search(f"https://example.org/{folder}/me and crop_core/{folder}/me")
