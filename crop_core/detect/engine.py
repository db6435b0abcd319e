"""What runs a network: the one place that knows its runtime, its device and the type of its input."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from crop_core.detect.network_input import by_shape
from crop_core.detect.steady_convolutions import keep_order


class Engine(Protocol):
    """A loaded network that can be asked.

    Attributes:
        device: Where its input must lie.
        input_dtype: The type of its input.
    """

    @property
    def device(self) -> torch.device:
        """Return where the input must lie."""

    @property
    def input_dtype(self) -> torch.dtype:
        """Return the type that the input must have."""

    def run(self, batch: Tensor) -> tuple[Tensor, ...]:
        """Return the network's outputs for a batch, one row for each picture.

        Args:
            batch: Tensor [N, 3, H, W] on `device`, of `input_dtype`.
        """


class TorchEngine:
    """A network that PyTorch runs.

    Attributes:
        device: Where its weights lie.
        input_dtype: The type of its weights.
    """

    def __init__(self, network: nn.Module, device: torch.device, dtype: torch.dtype = torch.float32) -> None:
        """Move the network to the device, ready to be asked.

        Args:
            network: It returns a tuple of tensors.
            device: Where it is to run.
            dtype: What its convolutions compute with.
        """
        self.device, self.input_dtype = device, dtype
        self._network = network.eval().requires_grad_(False)
        if device.type == "cpu":
            keep_order(self._network)
        self._network.to(device, dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks the three

    def run(self, batch: Tensor) -> tuple[Tensor, ...]:
        """Return the network's outputs, as `Engine.run`."""
        outputs: tuple[Tensor, ...] = self._network(batch)
        return outputs


def run_each(engine: Engine, inputs: Sequence[Tensor]) -> list[tuple[Tensor, ...]]:
    """Return the outputs for each input, float tensors [1, …]; inputs of one shape go through the network together.

    Args:
        engine: The network.
        inputs: Tensors [1, 3, H, W], as the engine wants them.
    """
    found: dict[int, tuple[Tensor, ...]] = {}
    for group in by_shape(inputs):
        outputs = engine.run(torch.cat([inputs[i] for i in group]))
        for place, i in enumerate(group):
            found[i] = tuple(output[place : place + 1].float() for output in outputs)
    return [found[i] for i in range(len(inputs))]
