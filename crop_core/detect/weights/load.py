"""The shipped weights: where they lie, what they must be, and the one way to load them.

Both files are safetensors, never unpickled, and checked against the SHA-256 written here before
they are read. `convert` made them; NOTICE has their licences.
"""

from __future__ import annotations

import hashlib
from importlib.resources import files
from typing import TYPE_CHECKING

from crop_core.errors import WeightsError

if TYPE_CHECKING:
    from torch import Tensor

SHA256 = {
    "nanodet_g.safetensors": "7a7a1e54bea37e873914973497da6af902a1e2442424c17475d4b8a2527534ca",
    "composition.safetensors": "2fc89bf50415bb1f849326f1dcbffb44ff1efe8d9334d2b11e76dae56b90cd8f",
    "u2netp.safetensors": "26e7ff27f12cfedc53ad46ea69ca5c8e9bb7d93a416acd167ae0c5f604a988f5",
    "yunet_2023mar.safetensors": "1961707362bcdc2c8888cc4ff04d8cba39499b6bdeea7516c3704abde2af9297",
}


def load_tensors(name: str) -> dict[str, Tensor]:
    """Return the tensors of a shipped file, in single precision.

    Args:
        name: A key of `SHA256`.

    Raises:
        WeightsError: The file is missing, or its bytes are not the ones that were shipped.
    """
    import safetensors.torch

    return {key: tensor.float() for key, tensor in safetensors.torch.load(checked_bytes(name)).items()}


def checked_bytes(name: str) -> bytes:
    """Return the bytes of a shipped file, their SHA-256 checked; PyTorch is not needed for it.

    Args:
        name: A key of `SHA256`.

    Raises:
        WeightsError: The file is missing, or its bytes are not the ones that were shipped.
    """
    try:
        data = files(__package__).joinpath(name).read_bytes()
    except OSError as error:
        raise WeightsError(f"The weights file {name} is missing; install crop-core again.") from error
    check_sha256(name, data, SHA256[name])
    return data


def check_sha256(name: str, data: bytes, expected: str) -> None:
    """Check that the data's SHA-256 begins with `expected`.

    Raises:
        WeightsError: It does not.
    """
    found = hashlib.sha256(data).hexdigest()
    if not found.startswith(expected):
        raise WeightsError(
            f"The weights file {name} has SHA-256 {found[:16]}…, expected {expected[:16]}…: it is damaged or was "
            "replaced. Install crop-core again, or download the file again."
        )
