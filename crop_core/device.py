"""Devices: found by name, and their precision, memory and health.

The functions import PyTorch themselves, so that importing this module stays fast.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from crop_core.errors import DeviceError

if TYPE_CHECKING:
    import torch

DEVICES = ("auto", "cpu", "cuda", "mps")


def resolve_device(name: str) -> torch.device:
    """Return the device of that name; `auto` is CUDA where there is one, else the CPU.

    Raises:
        DeviceError: The name is unknown, or the device is not there.
    """
    import torch

    if name not in DEVICES:
        raise DeviceError(f"device is one of {', '.join(DEVICES)}; got {name!r}.")
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return torch.device("cuda" if there["cuda"] else "cpu")
    if not there[name]:
        raise DeviceError(f"The device {name} was asked for, but PyTorch finds none here; use auto or cpu.")
    return torch.device(name)


def precision(device: torch.device) -> torch.dtype:
    """Return the dtype that the shipped networks compute in on the device.

    CUDA takes float16. A CPU takes bfloat16 if its hardware multiplies it: emulated, it is slower than float32.
    """
    import torch

    if device.type == "cuda":
        return torch.float16
    multiplies_bfloat16 = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)  # PyTorch has no public name
    return torch.bfloat16 if device.type == "cpu" and multiplies_bfloat16() else torch.float32


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether memory ran out; MPS, the CPU and some CUDA calls raise a RuntimeError that only its text tells."""
    import torch

    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(
        said in str(error)
        for said in ("out of memory", "can't allocate memory", "ALLOC_FAILED", "ALLOCATOR_FAILURE", "bad_alloc")
    )


def answers(device: torch.device) -> bool:
    """Return whether the device still computes: after some faults CUDA refuses every later call of the process."""
    import torch

    try:
        return torch.ones(2, device=device).sum().item() == 2
    except RuntimeError:
        return False


def free_memory(device: torch.device) -> None:
    """Return the memory that PyTorch caches to the device."""
    import torch

    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()
