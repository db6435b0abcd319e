"""What the doctor says of a healthy machine and of real faults, which the tests make.

One cannot be made here: wheels for the CPU alone are not to be had where CUDA wheels of the same
version are the index's own, so what is said of such a pair is tested on the values that it states.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from importlib.metadata import distribution
from importlib.resources import files
from pathlib import Path

import pytest
import torch
import torchvision
from cog_server import running
from conftest import ROOT

from crop_core import CropError, DeviceError, WeightsError
from crop_core.cli.main import main
from crop_core.detect import torchvision_models as models
from crop_core.detect.choose_detector import ACCURATE
from crop_core.detect.weights import load as weights
from crop_core.detection import Detection
from crop_core.doctor import on_device
from crop_core.doctor.finding import PAIR, REPAIR_PAIR, Finding, runnable, tried
from crop_core.doctor.installed import judged_builds
from crop_core.doctor.on_device import cuda_trouble, judged_cudnn, judged_kernels
from crop_core.doctor.one_detection import agree as agree_on
from crop_core.doctor.ready import ready_cropper
from crop_core.doctor.report import examine
from crop_core.geometry import Box

# A device that is not there: no machine has both.
ABSENT = "mps" if torch.cuda.is_available() or not torch.backends.mps.is_available() else "cuda"
OTHER_TORCHVISION = "0.24.1"  # built for torch 2.9.1
OTHER_TORCH = "2.9.1"
NO_OPERATOR = "operator torchvision::nms does not exist"


def finding(findings: list[Finding], what: str) -> Finding:
    (found,) = [one for one in findings if one.what.startswith(what)]
    return found


def in_process(*arguments: str, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run Python in the checkout, the folder before all other packages."""
    python_path = os.pathsep.join(map(str, filter(None, (path, ROOT))))
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": python_path},
        capture_output=True,
        text=True,
        check=False,
    )


def wrong_lines(output: str) -> dict[str, tuple[str, str]]:
    """Return, for what is wrong, what was found and the remedy in the line below."""
    lines = re.findall(r"^WRONG ([^:]+(?:::\w+)?): (.+)\n {6}(.+)$", output, re.MULTILINE)
    return {what: (found, remedy) for what, found, remedy in lines}


@pytest.fixture(scope="session")
def other_torchvision(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a torchvision of another release, as the package index ships it."""
    folder = tmp_path_factory.mktemp("other") / "site"
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder)]
    run = subprocess.run([*command, f"torchvision=={OTHER_TORCHVISION}"], capture_output=True, text=True, check=False)
    if run.returncode:
        pytest.skip(
            f"the package index gives no torchvision {OTHER_TORCHVISION}: {run.stderr.strip().splitlines()[-1]}"
        )
    return folder


@pytest.fixture
def torchvision_without_operators(tmp_path: Path) -> Path:
    """Return a folder with this torchvision, less its operator library."""
    package = Path(torchvision.__file__).parent
    shutil.copytree(package, tmp_path / "torchvision", ignore=shutil.ignore_patterns("_C*", "__pycache__"))
    return tmp_path


@pytest.fixture
def own_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Have the loader read a copy of the weights; return its folder."""
    for name in weights.SHA256:
        shutil.copy(str(files("crop_core.detect.weights") / name), tmp_path / name)
    monkeypatch.setattr(weights, "files", lambda package: tmp_path)
    return tmp_path


# ---- a healthy machine


@pytest.mark.parametrize("arguments", [[], ["--device", "auto"], ["--device", "cpu"]], ids=str)
def test_doctor_finds_this_machine_well(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", *arguments]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert all(line.startswith("ok    ") for line in lines)
    for said in (
        f"torch {torch.__version__}",
        "matched pair",
        "CUDA builds",
        "torchvision.ops.nms",
        "torchvision.ops.roi_align",
        "JPEG decoder",
        "PyInit__C",
        ACCURATE,
        "engine",
        "one detection",
        *weights.SHA256,
    ):
        assert sum(said in line for line in lines) == 1, said


@pytest.mark.gpu
def test_doctor_finds_the_gpu_well(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--device", "cuda"]) == 0
    output = capsys.readouterr().out
    assert torch.cuda.get_device_name() in output
    assert "compute capability {}.{}".format(*torch.cuda.get_device_capability()) in output
    assert "as on the CPU" in output
    assert "WRONG" not in output


@pytest.mark.skipif(sys.platform != "linux", reason="the error is Linux's")
def test_import_error_of_the_operator_library_is_real_and_said_to_be_no_fault() -> None:
    with pytest.raises(ImportError, match="PyInit__C"):
        from torchvision import _C  # noqa: F401
    found = finding(examine("cpu"), "from torchvision import _C")
    assert found.ok
    assert "on every healthy Linux install" in found.found


def test_cropper_that_setup_gets_is_examined_loaded_and_warm() -> None:
    cropper = ready_cropper("cpu", "fast")
    assert cropper.device.type == "cpu"


def test_pair_that_doctor_names_is_the_pinned_one() -> None:
    pins = [line for line in (ROOT / "requirements.txt").read_text().splitlines() if line.startswith("torch")]
    assert tuple(pins) == PAIR


# ---- a pair that does not match, or is not there


def test_torchvision_of_another_release_really_lacks_its_operator(other_torchvision: Path) -> None:
    run = in_process("-c", "import torchvision", path=other_torchvision)
    assert f"RuntimeError: {NO_OPERATOR}" in run.stderr


def test_torchvision_of_another_release_is_named_with_its_remedy(other_torchvision: Path) -> None:
    run = in_process("-m", "crop_core.cli", "doctor", path=other_torchvision)
    assert (run.returncode, run.stderr) == (1, "")
    wrong = wrong_lines(run.stdout)
    assert set(wrong) == {"matched pair", "PyTorch loads"}
    pair, remedy = wrong["matched pair"]
    assert f"torchvision {OTHER_TORCHVISION} is built for torch {OTHER_TORCH}" in pair
    assert str(other_torchvision) in remedy, "the copy that is in the way must go; to install another repairs nothing"
    found, remedy = wrong["PyTorch loads"]
    assert NO_OPERATOR in found
    assert "_C.so" in found or "lib" in found, "why the operators did not load, which torchvision keeps to itself"
    assert pair in remedy
    for name in weights.SHA256:
        assert f"ok    weights {name}" in run.stdout


on_a_cpu = pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU needs torchvision")


@on_a_cpu
def test_torchvision_of_another_release_keeps_no_cpu_from_cropping(other_torchvision: Path) -> None:
    run = in_process("-c", "from predict import Predictor; Predictor().setup()", path=other_torchvision)
    assert (run.returncode, run.stderr) == (0, "")
    run = in_process("-m", "crop_core.cli", "crop", "samples/cat.jpg", "--dry-run", path=other_torchvision)
    assert (run.returncode, run.stderr) == (0, "")


@on_a_cpu
def test_torchvision_of_another_release_ends_the_crop_command_that_needs_it_in_one_sentence(
    other_torchvision: Path,
) -> None:
    command = ("-m", "crop_core.cli", "crop", "samples/cat.jpg", "--dry-run", "--detector", "accurate")
    run = in_process(*command, path=other_torchvision)
    assert run.returncode in (1, 2)
    line = run.stderr.splitlines()[-1]
    assert NO_OPERATOR in line
    assert "crop-core doctor says what repairs it" in line


@pytest.fixture
def broken_torch(tmp_path: Path) -> Path:
    """Return a folder with a torch that does not load."""
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text("raise ImportError('libtorch_cpu.so: file too short')")
    return tmp_path


def test_torch_that_does_not_load_ends_setup_in_one_sentence(broken_torch: Path) -> None:
    run = in_process("-c", "from predict import Predictor; Predictor().setup()", path=broken_torch)
    assert run.returncode == 1
    last = run.stderr.strip().splitlines()[-1]
    assert last.startswith("crop_core.errors.DeviceError: The model cannot run here. PyTorch loads: ")
    assert "file too short" in last
    assert "pip install --force-reinstall torch==" in last


def test_server_whose_torch_does_not_load_says_setup_failed_and_why(
    broken_torch: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(broken_torch))
    with pytest.raises(CropError, match="SETUP_FAILED"), running(tmp_path / "log", tmp_path):
        pass
    log = (tmp_path / "log").read_text()
    assert "The model cannot run here. PyTorch loads: " in log
    assert "file too short" in log


def test_operator_library_that_is_missing_is_named(torchvision_without_operators: Path) -> None:
    run = in_process("-m", "crop_core.cli", "doctor", path=torchvision_without_operators)
    assert run.returncode == 1
    found, remedy = wrong_lines(run.stdout)["PyTorch loads"]
    assert NO_OPERATOR in found
    assert "_C.so is missing" in found
    assert "pip install --force-reinstall torch==" in remedy


def test_doctor_starts_where_pytorch_is_absent() -> None:
    run = in_process("-S", "-m", "crop_core.cli", "doctor")  # without the folder that packages are installed in
    assert (run.returncode, run.stderr) == (1, "")
    found, remedy = wrong_lines(run.stdout)["versions"]
    assert "torch absent, torchvision absent" in found
    assert "pip install" in remedy


@pytest.mark.parametrize(
    ("own", "vision", "ok", "said"),
    [
        ("12.8", 12080, True, "both for CUDA 12.8"),
        ("13.0", 13000, True, "both for CUDA 13.0"),
        (None, -1, True, "both without CUDA"),
        ("12.8", 12060, False, "torch is built for CUDA 12.8, torchvision for CUDA 12.6"),
        ("11.8", 12080, False, "torch is built for CUDA 11.8, torchvision for CUDA 12.8"),
        (None, 13000, False, "torch is built for the CPU alone, torchvision for CUDA 13.0"),
        ("12.8", -1, False, "torch is built for CUDA 12.8, torchvision for the CPU alone"),
    ],
)
def test_builds_for_two_cudas_are_wrong(own: str | None, vision: int, ok: bool, said: str) -> None:
    found = judged_builds(own, vision)
    assert (found.ok, found.found) == (ok, said)
    assert ok or "one index" in found.remedy


def test_this_pair_states_the_builds_that_are_judged() -> None:
    found = judged_builds(torch.version.cuda, torch.ops.torchvision._cuda_version())
    assert found.ok
    assert distribution("torchvision").version.partition("+")[0] == torchvision.__version__.partition("+")[0]


# ---- the device


def test_device_that_is_not_there_is_wrong_with_a_remedy(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--device", ABSENT]) == 1
    wrong = wrong_lines(capsys.readouterr().out)
    assert set(wrong) == {"device"}
    found, remedy = wrong["device"]
    assert found.startswith(f"The device {ABSENT} was asked for")
    assert remedy


def test_device_that_is_not_there_ends_setup_in_one_sentence() -> None:
    with pytest.raises(DeviceError, match=f"The model cannot run here. device: The device {ABSENT} was asked for"):
        ready_cropper(ABSENT)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_gpu_that_is_not_there_is_explained() -> None:
    assert "driver" in finding(examine("cuda"), "device").remedy


@pytest.mark.gpu
def test_gpu_that_is_hidden_is_explained() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "crop_core.cli", "doctor", "--device", "cuda"],
        cwd=ROOT,
        env=os.environ | {"CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 1
    assert "unset CUDA_VISIBLE_DEVICES" in wrong_lines(run.stdout)["device"][1]


@pytest.mark.parametrize(
    ("build", "driver", "visible", "cause"),
    [
        (None, 12080, None, "built for the CPU alone"),
        (None, None, None, "built for the CPU alone"),
        ("12.8", None, None, "no NVIDIA driver"),
        ("13.0", 12080, None, "supports at most CUDA 12.8"),
        ("12.8", 11080, "", "supports at most CUDA 11.8"),
        ("12.8", 12020, "", "CUDA_VISIBLE_DEVICES"),
        ("12.8", 12020, None, "no GPU answers"),
        ("12.8", 13000, None, "no GPU answers"),
    ],
)
def test_missing_gpu_has_its_cause(build: str | None, driver: int | None, visible: str | None, cause: str) -> None:
    why, remedy = cuda_trouble(build, driver, visible)
    assert cause in why
    assert remedy


@pytest.mark.parametrize(
    ("capability", "built", "ok"),
    [
        ((7, 5), ["sm_70", "sm_75", "sm_80"], True),
        ((8, 6), ["sm_80"], True),
        ((8, 0), ["sm_86"], False),
        ((8, 9), ["sm_80", "sm_90"], True),
        ((9, 0), ["sm_80", "sm_86"], False),
        ((9, 0), ["sm_90a"], True),
        ((9, 1), ["sm_90a"], False),
        ((12, 0), ["sm_100", "sm_120"], True),
        ((12, 0), ["sm_100"], False),
        ((12, 0), ["sm_90", "compute_90"], True),
        ((6, 1), ["sm_70", "compute_90"], False),
        ((8, 0), [], False),
    ],
    ids=str,
)
def test_wheel_without_kernels_for_the_device_is_wrong(capability: tuple[int, int], built: list[str], ok: bool) -> None:
    found = judged_kernels(capability, built)
    assert found.ok == ok
    assert bool(found.remedy) != ok


def test_operator_that_is_not_built_for_the_device_is_wrong() -> None:
    # The meta device stands for a GPU: it is on every machine, and torchvision refuses to run its operators on it.
    found = tried("nms", lambda: on_device._check_nms(torch.device("meta")), REPAIR_PAIR)
    assert not found.ok
    assert found.remedy == REPAIR_PAIR


@pytest.mark.parametrize("operator", ["nms", "roi_align"])
def test_operator_with_a_wrong_answer_is_wrong(operator: str, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = {"nms": torch.tensor([0, 1, 2]), "roi_align": torch.zeros(1, 1, 2, 2)}
    monkeypatch.setattr(torchvision.ops, operator, lambda *_, **__: answers[operator])
    findings = examine("cpu")
    wrong = finding(findings, f"torchvision.ops.{operator}")
    assert not wrong.ok
    assert "is right" in wrong.found
    assert not runnable(findings)


PERSON = Detection("person", 0.7, Box(10, 10, 50, 90))


@pytest.mark.parametrize(
    ("other", "agree"),
    [
        ((PERSON,), True),
        ((replace(PERSON, score=0.71, box=Box(11, 10, 50, 91.5)),), True),
        ((), False),
        ((PERSON, PERSON), False),
        ((replace(PERSON, label="dog"),), False),
        ((replace(PERSON, score=0.73),), False),
        ((replace(PERSON, box=Box(10, 10, 50, 93)),), False),
    ],
    ids=["same", "near", "nothing", "more", "another label", "another score", "another box"],
)
def test_device_that_sees_something_else_than_the_cpu_is_told_apart(other: tuple[Detection, ...], agree: bool) -> None:
    assert agree_on((PERSON,), other) == agree


# ---- weights


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def swapped(path: Path) -> None:
    other, *_ = sorted(one for one in path.parent.glob("*.safetensors") if one != path)
    path.write_bytes(other.read_bytes())


@pytest.mark.parametrize("name", weights.SHA256)
@pytest.mark.parametrize("damage", [truncated, swapped, Path.unlink], ids=["truncated", "swapped", "missing"])
def test_damaged_weights_are_wrong(
    own_weights: Path, name: str, damage: object, capsys: pytest.CaptureFixture[str]
) -> None:
    assert callable(damage)
    damage(own_weights / name)
    assert main(["doctor", "--device", "cpu"]) == 1
    wrong = wrong_lines(capsys.readouterr().out)
    assert set(wrong) == {f"weights {name}"}
    found, remedy = wrong[f"weights {name}"]
    assert name in found
    assert "pip install" in remedy
    with pytest.raises(DeviceError, match=f"The model cannot run here. weights {name}"):
        ready_cropper("cpu")


@pytest.fixture
def accurate_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return where the accurate detector's weights belong; there is nothing there."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    path = models.weights_path(ACCURATE)
    path.parent.mkdir(parents=True)
    return path


def test_accurate_weights_that_are_absent_are_no_fault(accurate_file: Path) -> None:
    assert not accurate_file.exists()
    found = finding(examine("cpu"), f"weights of {ACCURATE}")
    assert found.ok
    assert "absent" in found.found


def test_accurate_weights_that_are_damaged_are_wrong_and_stop_nobody_on_a_cpu(accurate_file: Path) -> None:
    accurate_file.write_bytes(b"half a file")
    findings = examine("cpu")
    found = finding(findings, f"weights of {ACCURATE}")
    assert not found.ok
    assert "SHA-256" in found.found
    assert str(accurate_file) in found.remedy
    assert runnable(findings)
    with pytest.raises(WeightsError):
        ready_cropper("cpu", "accurate")


# ---- cuDNN


@pytest.mark.parametrize(
    ("loaded", "ok"),
    [((9, 10, 2), True), ((9, 19, 0), True), ((9, 10, 1), True), ((9, 8, 0), False), ((8, 10, 2), False)],
    ids=["the same", "newer", "older by a patch", "older", "another major version"],
)
def test_cudnn_must_be_no_older_than_pytorch_was_built_with(loaded: tuple[int, int, int], ok: bool) -> None:
    found = judged_cudnn((9, 10, 2), loaded, [Path("/opt/wrong/libcudnn.so.9")])
    assert found.ok is ok
    assert not found.needed
    if not ok:
        said = f"{found.found} {found.remedy}"
        assert all(word in said for word in ("9.10.2", ".".join(map(str, loaded)), "/opt/wrong", "LD_LIBRARY_PATH"))


@pytest.fixture
def foreign_cudnn(tmp_path: Path) -> Path:
    """Return a folder with the part of a cuDNN 9.8.0 that knows its version.

    torch finds its own libcudnn.so.9 by its RPATH. That looks for its parts by its RUNPATH, which LD_LIBRARY_PATH
    outranks: so parts of an older cuDNN come in where a folder of the system's stands there.
    """
    compiler = shutil.which("cc")
    if compiler is None or torch.version.cuda is None or sys.platform != "linux":
        pytest.skip("needs a C compiler, and a PyTorch for CUDA on Linux")
    source = tmp_path / "cudnn.c"
    source.write_text(
        "#include <stddef.h>\n"
        "size_t cudnnGetVersion(void) { return 90800; }\n"
        "int cudnnGetProperty(int what, int *value) { *value = what == 0 ? 9 : what == 1 ? 8 : 0; return 0; }\n"
    )
    library = tmp_path / "libcudnn_graph.so.9"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", str(library), str(source)], check=True)
    return tmp_path


def test_an_older_cudnn_in_the_loaders_way_is_found_and_named(foreign_cudnn: Path) -> None:
    code = "from crop_core.doctor import on_device; f = on_device._cudnn(); print(f.ok, f.found, f.remedy)"
    environment = {**os.environ, "LD_LIBRARY_PATH": str(foreign_cudnn)}
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    assert run.stdout.startswith("False PyTorch was compiled with cuDNN 9.")
    assert f"cuDNN 9.8.0 is loaded from {foreign_cudnn}" in run.stdout
    assert "LD_LIBRARY_PATH" in run.stdout


def test_a_convolution_with_a_wrong_answer_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.nn.functional, "conv2d", lambda *_, **__: torch.zeros(1, 1, 6, 6))
    with pytest.raises(RuntimeError, match="is right"):
        on_device._check_convolution(torch.device("cpu"))
