"""What is left to try when memory runs out, and whether a device can be trusted after a fault."""

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


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether memory ran out; MPS, the CPU and some CUDA calls have no class of their own for it."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(
        said in str(error) for said in ("out of memory", "can't allocate memory", "ALLOC_FAILED", "ALLOCATOR_FAILURE")
    )


def answers(device: torch.device) -> bool:
    """Return whether the device still computes: after some faults CUDA refuses every later call of the process."""
    try:
        return torch.ones(2, device=device).sum().item() == 2
    except RuntimeError:
        return False


def free_memory(device: torch.device) -> None:
    """Give back what PyTorch keeps of the device's memory for later."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()
