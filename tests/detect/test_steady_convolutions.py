"""On a CPU, PyTorch gives one picture the same numbers whatever the number of threads."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from crop_core.detect.engine import TorchEngine
from crop_core.detect.nanodet import NanoDet
from crop_core.detect.salient_object import SIDE, SalientObject
from crop_core.detect.steady_convolutions import MOST_CHANNELS, in_parts, keep_order
from crop_core.detect.weights.load import load_tensors
from crop_core.detect.yunet import YuNet

CPU = torch.device("cpu")


def noise(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("network", "weights", "sides"),
    [
        (NanoDet, "nanodet_g", (416, 192)),  # 13 x 6 cells in the last stage: few, so channels are shared out
        (NanoDet, "nanodet_g", (64, 416)),
        (YuNet, "yunet_2023mar", (320, 192)),
        (SalientObject, "u2netp", (SIDE, SIDE)),
    ],
)
def test_pytorch_gives_the_same_numbers_with_any_number_of_threads(
    network: type[nn.Module], weights: str, sides: tuple[int, int]
) -> None:
    module = network()
    module.load_state_dict(load_tensors(f"{weights}.safetensors"))
    engine, value = TorchEngine(module, CPU), noise(1, 3, *sides)
    before, outputs = torch.get_num_threads(), []
    try:
        with torch.inference_mode():
            for threads in (1, 2, 3):
                torch.set_num_threads(threads)
                outputs.append(engine.run(value))
    finally:
        torch.set_num_threads(before)
    for other in outputs[1:]:
        assert all(map(torch.equal, outputs[0], other))


@pytest.mark.parametrize(
    "convolution",
    [
        nn.Conv2d(200, 8, 3, padding=1),
        nn.Conv2d(128, 8, 1, bias=False),
        nn.Conv2d(65, 8, 3, stride=2, padding=2, dilation=2),
    ],
)
def test_convolution_in_parts_is_the_convolution(convolution: nn.Conv2d) -> None:
    value = noise(2, convolution.in_channels, 9, 7)
    torch.testing.assert_close(in_parts(convolution, value, MOST_CHANNELS), convolution(value), rtol=0, atol=1e-5)


def test_convolution_of_few_channels_and_one_of_groups_stay_whole() -> None:
    network = nn.Sequential(nn.Conv2d(MOST_CHANNELS, 4, 1), nn.Conv2d(128, 128, 1, groups=128))
    keep_order(network)
    assert not any("forward" in vars(module) for module in network)
