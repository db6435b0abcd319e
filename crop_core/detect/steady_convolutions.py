"""Convolutions on a CPU whose sums do not depend on the number of threads.

Where a convolution has many channels and a small picture, oneDNN shares the channels among the threads, so the number
of threads decides the order of the sum and with it the last digits. One picture would then give two results, since
the load of the machine decides how many threads a network gets.
"""

from __future__ import annotations

from functools import partial

from torch import Tensor, nn
from torch.nn import functional as F

# oneDNN adds up so few channels in one order. Of 128 it does not, neither with AVX-512 nor, in a 1x1, without.
MOST_CHANNELS = 64
# A 1x1 with one output is a product of a matrix and a vector, whose sum's order depends on the threads at any length.
MOST_FOR_ONE_OUTPUT = 1


def keep_order(network: nn.Module) -> None:
    """Make the network's convolutions compute in parts of few channels, added up in their order.

    Args:
        network: Changed in place; its weights stay as they are. Grouped convolutions stay as they are too.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and module.groups == 1 and module.in_channels > _most(module):
            module.forward = partial(in_parts, module, channels=_most(module))  # type: ignore[method-assign]


def _most(convolution: nn.Conv2d) -> int:
    of_one_output = convolution.kernel_size == (1, 1) and convolution.out_channels == 1
    return MOST_FOR_ONE_OUTPUT if of_one_output else MOST_CHANNELS


def in_parts(convolution: nn.Conv2d, x: Tensor, channels: int) -> Tensor:
    """Return the convolution as the sum of those of every `channels` channels, float tensor [N, out, H, W].

    Args:
        convolution: One group, padded with zeros.
        x: Float tensor [N, in, H, W].
        channels: The most that are added up at once.
    """
    count = -(-x.shape[1] // channels)
    total: Tensor | None = None
    for part, weight in zip(x.chunk(count, 1), convolution.weight.chunk(count, 1), strict=True):
        of_part = F.conv2d(part, weight, None, convolution.stride, convolution.padding, convolution.dilation)
        total = of_part if total is None else total + of_part
    assert total is not None
    return total if convolution.bias is None else total + convolution.bias[:, None, None]
