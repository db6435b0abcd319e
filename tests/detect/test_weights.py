"""The shipped weights are the ones written down, and the converter makes them from their sources."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

import convert_weights as convert
import numpy as np
import pytest
import safetensors.torch
import torch

from crop_core.detect.nanodet import NanoDet
from crop_core.detect.weights import load as weights
from crop_core.detect.weights.load import SHA256, check_sha256, checked_bytes, load_tensors
from crop_core.detect.yunet import HEADS, YuNet
from crop_core.errors import WeightsError

DATA = Path(__file__).parent / "data"
NANODET, YUNET = "nanodet_g.safetensors", "yunet_2023mar.safetensors"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a copy of the shipped weights, from which the loader reads."""
    for name in SHA256:
        shutil.copy(str(files("crop_core.detect.weights") / name), tmp_path / name)
    monkeypatch.setattr(weights, "files", lambda package: tmp_path)
    return tmp_path


def test_every_shipped_file_is_written_down() -> None:
    entries = [Path(entry.name) for entry in files("crop_core.detect.weights").iterdir()]
    assert {entry.name for entry in entries if entry.suffix in (".safetensors", ".xml", ".bin")} == set(SHA256)


@pytest.mark.parametrize("name", SHA256)
def test_file_has_the_sha256_that_is_written_down(name: str) -> None:
    assert hashlib.sha256((files("crop_core.detect.weights") / name).read_bytes()).hexdigest() == SHA256[name]


@pytest.mark.parametrize(
    ("name", "on_disk", "count"),
    [(NANODET, torch.float16, 3_786_068), (YUNET, torch.float32, 53_104)],
)
def test_tensors_are_loaded_in_single_precision(name: str, on_disk: torch.dtype, count: int) -> None:
    stored = safetensors.torch.load((files("crop_core.detect.weights") / name).read_bytes())
    assert {tensor.dtype for tensor in stored.values()} == {on_disk}
    loaded = load_tensors(name)
    assert {tensor.dtype for tensor in loaded.values()} == {torch.float32}
    assert sum(tensor.numel() for tensor in loaded.values()) == count
    for key, tensor in loaded.items():
        assert torch.equal(tensor, stored[key].float())


@pytest.mark.parametrize("name", SHA256)
@pytest.mark.parametrize(
    "damaged",
    [
        lambda data: b"",
        lambda data: data[:-1],
        lambda data: data + b"\0",
        lambda data: data[:1000] + bytes([data[1000] ^ 1]) + data[1001:],
        lambda data: safetensors.torch.save({"another": torch.zeros(3)}),
    ],
    ids=["empty", "truncated", "a byte more", "one bit turned", "another file"],
)
def test_file_that_is_not_the_shipped_one_is_refused(
    folder: Path, name: str, damaged: Callable[[bytes], bytes]
) -> None:
    (folder / name).write_bytes(damaged((folder / name).read_bytes()))
    with pytest.raises(WeightsError, match=f"{name} has SHA-256 .*Install crop-core again"):
        checked_bytes(name)


def test_swapped_files_are_refused(folder: Path) -> None:
    (folder / NANODET).rename(folder / "kept")
    (folder / YUNET).rename(folder / NANODET)
    (folder / "kept").rename(folder / YUNET)
    for name in (NANODET, YUNET):
        with pytest.raises(WeightsError, match="SHA-256"):
            load_tensors(name)


@pytest.mark.parametrize("name", SHA256)
def test_missing_file_is_refused_without_naming_the_folder(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(WeightsError, match=f"{name} is missing: this installation is damaged") as error:
        checked_bytes(name)
    assert str(folder) not in str(error.value)


def test_intact_copy_loads(folder: Path) -> None:
    for name in SHA256:
        assert load_tensors(name) if name.endswith(".safetensors") else checked_bytes(name)


@pytest.mark.parametrize("expected", ["e3b0c442", hashlib.sha256(b"").hexdigest()], ids=["8", "all"])
def test_check_takes_the_first_digits(expected: str) -> None:
    check_sha256("x.pth", b"", expected)


@pytest.mark.parametrize("expected", ["E3B0C442", "f", "e3b0c443", hashlib.sha256(b"").hexdigest() + "0"])
def test_check_refuses_other_digits(expected: str) -> None:
    with pytest.raises(WeightsError, match=r"x\.pth"):
        check_sha256("x.pth", b"", expected)


def test_converter_makes_the_shipped_yunet_to_the_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = tmp_path / YUNET
    monkeypatch.setattr(sys, "argv", ["convert", "yunet", str(DATA / "yunet_2023mar.onnx"), str(output)])
    convert.main()
    assert hashlib.sha256(output.read_bytes()).hexdigest() == SHA256[YUNET]


def csp_block(stage: int, channels: int, pairs: int) -> list[tuple[str, tuple[int, int, int, int]]]:
    half = channels // 2
    block = [("first", (3, 3, channels, channels))]
    for pair in range(pairs):
        block += [(f"pairs.{pair}.0", (3, 3, channels, half)), (f"pairs.{pair}.1", (3, 3, half, half))]
    block.append(("last", (3, 3, channels, channels)))
    return [(f"stages.{stage}.{name}", shape) for name, shape in block]


# The original graph's convolutions in its order: the port's name, and the kernel's height, width, in and out
# (as nanodet.json gives them).
CONVOLUTIONS = [
    ("stem", (3, 3, 3, 32)),
    *csp_block(0, 32, 1),
    *csp_block(1, 64, 2),
    *csp_block(2, 128, 2),
    *csp_block(3, 256, 3),
    ("laterals.0", (1, 1, 128, 128)),
    ("laterals.1", (1, 1, 256, 128)),
    ("laterals.2", (1, 1, 512, 128)),
    ("heads.0.0", (3, 3, 128, 128)),
    ("heads.0.2", (1, 1, 128, 124)),
    ("heads.1.0", (3, 3, 128, 128)),
    ("heads.1.2", (1, 1, 128, 124)),
    ("heads.2.0", (3, 3, 128, 128)),
    ("heads.2.2", (1, 1, 128, 124)),
]
BIAS_NUMBERS = [*range(0, 56, 2), 60, 62, 66, 68, 70, 72]


@pytest.fixture(scope="module")
def exported() -> dict[str, np.ndarray]:
    """Return the tensors of a TensorFlow.js export like NanoDet-g's, with random values."""
    random = np.random.default_rng(0)

    def noise(*shape: int) -> np.ndarray:
        return random.standard_normal(shape, np.float32).astype(np.float16)

    tensors = {"unknown_58": np.array([0, 80], np.int32)}  # one of the constants that stand between
    for index, ((_, shape), number) in enumerate(zip(CONVOLUTIONS, BIAS_NUMBERS, strict=True)):
        tensors[f"PartitionedCall/split_{index}" if index else "PartitionedCall/split"] = noise(*shape)
        tensors[f"unknown_{number}"] = noise(shape[-1])
    return dict(sorted(tensors.items()))


def write_export(folder: Path, tensors: dict[str, np.ndarray], extra: bytes = b"", cut: int = 0) -> Path:
    """Write the model as TensorFlow.js does, its data in two parts; return the graph's path."""
    entries = []
    for name, values in tensors.items():
        entry = {"name": name, "shape": list(values.shape), "dtype": "int32"}
        if values.dtype == np.float16:
            entry |= {"dtype": "float32", "quantization": {"dtype": "float16", "original_dtype": "float32"}}
        entries.append(entry)
    data = b"".join(values.tobytes() for values in tensors.values()) + extra
    data = data[: len(data) - cut]
    (folder / "one.bin").write_bytes(data[:100_001])
    (folder / "two.bin").write_bytes(data[100_001:])
    graph = folder / "nanodet.json"
    graph.write_text(json.dumps({"weightsManifest": [{"paths": ["one.bin", "two.bin"], "weights": entries}]}))
    return graph


def test_nanodet_has_the_convolutions_of_the_original() -> None:
    assert len(CONVOLUTIONS) == 34
    shapes = {name: tuple(tensor.shape) for name, tensor in NanoDet().state_dict().items()}
    expected = {f"{name}.weight": (out, into, h, w) for name, (h, w, into, out) in CONVOLUTIONS}
    expected |= {f"{name}.bias": (shape[-1],) for name, shape in CONVOLUTIONS}
    assert shapes == expected


def test_converter_puts_every_kernel_of_nanodet_where_it_belongs(
    tmp_path: Path, exported: dict[str, np.ndarray]
) -> None:
    tensors = convert.nanodet_tensors(write_export(tmp_path, exported))
    assert len(tensors) == 2 * len(CONVOLUTIONS)
    for index, ((name, _), number) in enumerate(zip(CONVOLUTIONS, BIAS_NUMBERS, strict=True)):
        kernel = exported[f"PartitionedCall/split_{index}" if index else "PartitionedCall/split"]
        weight = tensors[f"{name}.weight"]
        assert weight.dtype == torch.float16
        np.testing.assert_array_equal(weight.numpy(), np.einsum("hwio->oihw", kernel))
        np.testing.assert_array_equal(tensors[f"{name}.bias"].numpy(), exported[f"unknown_{number}"])


def test_converter_writes_nanodet_the_same_to_the_byte_on_every_run(
    tmp_path: Path, exported: dict[str, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = write_export(tmp_path, exported)
    for name in ("first", "second"):
        monkeypatch.setattr(sys, "argv", ["convert", "nanodet", str(graph), str(tmp_path / name)])
        convert.main()
    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()


@pytest.mark.parametrize(("extra", "cut"), [(b"\0", 0), (b"\0" * 64, 0), (b"", 1), (b"", 64)], ids=str)
def test_converter_refuses_bytes_that_do_not_add_up(
    tmp_path: Path, exported: dict[str, np.ndarray], extra: bytes, cut: int
) -> None:
    graph = write_export(tmp_path, exported, extra, cut)
    with pytest.raises(ValueError, match=r"bytes of weights|buffer is smaller"):
        convert.nanodet_tensors(graph)


def test_converter_refuses_a_graph_of_other_shapes(tmp_path: Path, exported: dict[str, np.ndarray]) -> None:
    others = exported | {"PartitionedCall/split": np.zeros((3, 3, 4, 32), np.float16)}
    with pytest.raises(RuntimeError, match=r"stem\.weight"):
        convert.nanodet_tensors(write_export(tmp_path, others))


def test_yunet_has_the_parameters_of_the_shipped_file() -> None:
    shipped = load_tensors(YUNET)
    network = YuNet()
    network.load_state_dict(shipped)  # every name and shape fits, and none is missing
    assert sum(one.numel() for one in network.state_dict().values()) == sum(one.numel() for one in shipped.values())
    # The network has side by side what the file has head by head.
    heads = [shipped[f"heads.1.{name}.depth.bias"] for name in HEADS]
    assert torch.equal(network.state_dict()["heads.1.depth.bias"], torch.cat(heads))


def test_yunet_without_one_of_its_heads_is_refused() -> None:
    shipped = load_tensors(YUNET)
    del shipped["heads.2.obj.point.weight"]
    with pytest.raises(RuntimeError, match=r"heads\.2\.point\.weight"):
        YuNet().load_state_dict(shipped)
