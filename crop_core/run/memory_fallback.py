"""The ways to crop a picture, from the fastest to the one that needs the least memory on the device."""

from __future__ import annotations

from dataclasses import dataclass

import torch

ALONE = "The device's memory ran out for several pictures at once, so this one was cropped alone."


@dataclass(frozen=True, slots=True)
class Attempt:
    """One way to crop a picture.

    Attributes:
        device: Where the networks run.
        pixels: Where the picture is decoded, cut and resized: a CUDA device or the CPU. For MPS PyTorch has neither a
            decoder nor an antialiased resize of bytes.
        note: The result's note about it.
    """

    device: torch.device
    pixels: torch.device
    note: str = ""


def attempts(device: torch.device) -> tuple[Attempt, ...]:
    """Return the ways to crop a picture, each to be tried after the one before ran out of memory."""
    cpu = torch.device("cpu")
    ways = [Attempt(device, device if device.type == "cuda" else cpu)]
    ran_out = f"The memory of {device.type} ran out, so"
    if device.type == "cuda":
        ways.append(Attempt(device, cpu, f"{ran_out} only the networks ran there."))
    if device.type != "cpu":
        ways.append(Attempt(cpu, cpu, f"{ran_out} the CPU did everything."))
    return tuple(ways)
