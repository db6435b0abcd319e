"""The ways to crop a picture that are left when a device's memory runs out."""

from __future__ import annotations

from dataclasses import dataclass

import torch

ALONE = "The device's memory ran out for several pictures at once, so this one was done alone."


@dataclass(frozen=True, slots=True)
class Attempt:
    """One way to crop a picture.

    Attributes:
        device: Where the networks run.
        pixels: Where the picture is decoded, cut and resized: a CUDA device or the CPU. PyTorch has neither a
            decoder nor an antialiased resize of bytes for MPS.
        note: What the result says of it.
    """

    device: torch.device
    pixels: torch.device
    note: str = ""


def attempts(device: torch.device) -> tuple[Attempt, ...]:
    """Return the ways to crop a picture, each for when the one before ran out of memory."""
    cpu = torch.device("cpu")
    ways = [Attempt(device, device if device.type == "cuda" else cpu)]
    ran_out = f"The memory of {device.type} ran out, so"
    if device.type == "cuda":
        ways.append(Attempt(device, cpu, f"{ran_out} no more than detection was done there."))
    if device.type != "cpu":
        ways.append(Attempt(cpu, cpu, f"{ran_out} the CPU did it all."))
    return tuple(ways)
