"""Makes the networks' files for OpenVINO from the torch modules, which are the truth.

    pip install nncf==3.4.0
    python tests/tools/convert_openvino.py FOLDER [nanodet] [yunet] [u2netp]

writes a NAME.xml and a NAME.bin for each. NanoDet-g computes in 8 bits where that costs no precision, the other two
in single precision. What 8 bits are to hold is learned from five pictures of `samples/` and from one that is drawn.
The SHA-256 of the files stand in `crop_core.detect.weights.load`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parents[2]))  # the tree, before an installed copy

from crop_core.detect import nanodet
from crop_core.detect.network_input import letterboxed, padded
from crop_core.detect.openvino_engine import TELEMETRY
from crop_core.detect.salient_object import SIDE, SalientObject
from crop_core.detect.weights.load import load_tensors
from crop_core.detect.yunet import YuNet

sys.modules[TELEMETRY] = None  # type: ignore[assignment]  # or OpenVINO and NNCF tell Google of each run
ov: Any = import_module("openvino")

SAMPLES = Path(__file__).parents[2] / "samples"
# What loses precision in 8 bits: the stem and the first two stages, the laterals and all sums and resizes between
# them, and the last convolution of each head.
SINGLE_PRECISION = (
    r"__module\.stem/.*",
    r"__module\.stages\.[01][./].*",
    r"__module\.laterals\.[012]/.*",
    r"aten::add/.*",
    r"aten::upsample_bilinear2d/.*",
    r"__module\.heads\.[012]\.2/.*",
)
# A picture more or less here would make other files than the ones that ship.
CALIBRATING = ("astronaut.jpg", "cat.jpg", "coffee.jpg", "pair.jpg", "rocket.jpg")
CUTS = 4  # parts of each sample that calibrate beside the whole


def converted(network: nn.Module, example: Tensor, sides: tuple[int, int] = (-1, -1)) -> Any:
    """Return the network as OpenVINO has it, in single precision, for one picture at a time.

    Args:
        network: With its weights.
        example: An input.
        sides: Height and width of all inputs; -1 for any.
    """
    model = ov.convert_model(network.eval(), example_input=example, input=[ov.PartialShape([1, 3, *sides])])
    for number, output in enumerate(model.outputs):
        output.get_tensor().set_names({f"output_{number}"})
    return model


def calibration() -> Iterator[NDArray[np.float32]]:
    """Yield inputs of NanoDet-g: the samples whole and in parts, each with its mirror image, and a drawn picture."""
    generator = np.random.default_rng(0)
    x, y = np.meshgrid(np.arange(640), np.arange(480))
    drawn = Image.fromarray(np.stack((x % 256, y % 256, np.full_like(x, 128)), -1).astype(np.uint8))
    for picture in [*(Image.open(SAMPLES / name).convert("RGB") for name in CALIBRATING), drawn]:
        width, height = picture.size
        boxes = [(0, 0, width, height)]
        for _ in range(CUTS):
            w, h = int(width * generator.uniform(0.4, 1)), int(height * generator.uniform(0.4, 1))
            left, top = int(generator.integers(width - w + 1)), int(generator.integers(height - h + 1))
            boxes.append((left, top, left + w, top + h))
        for box in boxes:
            pixels = torch.from_numpy(np.array(picture.crop(box))).permute(2, 0, 1)
            for one in (pixels, pixels.flip(-1)):
                yield padded(nanodet.normalized(letterboxed(one, nanodet.TRAINED_SIDE))).contiguous().numpy()


def in_8_bits(model: Any) -> Any:
    """Return the model with the convolutions that bear it in 8 bits.

    Weights have 7 of them: on processors without VNNI the sum of two products of 8 bits would not fit its 16.
    """
    import nncf
    from nncf.quantization.advanced_parameters import AdvancedQuantizationParameters, OverflowFix

    inputs = list(calibration())
    quantized: Any = nncf.quantize(
        model,
        nncf.Dataset(inputs),
        subset_size=len(inputs),
        preset=nncf.QuantizationPreset.MIXED,
        target_device=nncf.TargetDevice.CPU,
        fast_bias_correction=True,
        ignored_scope=nncf.IgnoredScope(patterns=list(SINGLE_PRECISION)),
        advanced_parameters=AdvancedQuantizationParameters(overflow_fix=OverflowFix.ENABLE),
    )
    return quantized


def loaded(network: nn.Module, weights: str) -> nn.Module:
    """Return the network with its shipped weights."""
    network.load_state_dict(load_tensors(weights))
    return network


def nanodet_model() -> Any:
    """Return NanoDet-g, in 8 bits where it bears them."""
    network = loaded(nanodet.NanoDet(), "nanodet_g.safetensors")
    return in_8_bits(converted(network, torch.rand(1, 3, 320, 416)))


def yunet_model() -> Any:
    """Return YuNet."""
    return converted(loaded(YuNet(), "yunet_2023mar.safetensors"), torch.rand(1, 3, 256, 320))


def u2netp_model() -> Any:
    """Return U2-Net-p."""
    return converted(loaded(SalientObject(), "u2netp.safetensors"), torch.rand(1, 3, SIDE, SIDE), (SIDE, SIDE))


# The weights of NanoDet-g were published in half precision: stored so, they lose nothing.
MODELS = {
    "nanodet": (nanodet_model, "nanodet_g", True),
    "yunet": (yunet_model, "yunet_2023mar", False),
    "u2netp": (u2netp_model, "u2netp", False),
}


def main() -> None:
    """Write the files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("networks", nargs="*", choices=[*MODELS, []], default=[])
    options = parser.parse_args()
    torch.manual_seed(0)
    for name in options.networks or MODELS:
        make, file, in_half = MODELS[name]
        ov.save_model(make(), str(options.folder / f"{file}.xml"), compress_to_fp16=in_half)
        print(f"{file}.xml and {file}.bin are in {options.folder}.")


if __name__ == "__main__":
    main()
