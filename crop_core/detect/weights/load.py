"""The shipped weights: where they lie, what they must be, and the one way to load them.

Each is checked against the SHA-256 written here before it is read, and none is unpickled: PyTorch's
are safetensors, OpenVINO's a graph in XML and its numbers. tests/tools/ made them; NOTICE has their licences.
"""

from __future__ import annotations

import hashlib
from importlib.resources import files
from typing import TYPE_CHECKING

from crop_core.errors import WeightsError

if TYPE_CHECKING:
    from torch import Tensor

SHA256 = {
    "composition.safetensors": "28cfc951d1e6b247cd458a8fd8401d991c1d2ddb96adabe021644a17c361ca57",
    "nanodet_g.bin": "601c06fd7552443ad5470068a64caa425ab84804c4c7193bc3e39ef7d605f7f0",
    "nanodet_g.safetensors": "7a7a1e54bea37e873914973497da6af902a1e2442424c17475d4b8a2527534ca",
    "nanodet_g.xml": "2017a6eed45b8d865f15adf2e9ce63dea9fd04fef2692ae04f293e3967441c44",
    "u2netp.bin": "6f97d7964b45029e42f26933f3835fa7e1671433f45b293733a98d089d6b5592",
    "u2netp.safetensors": "26e7ff27f12cfedc53ad46ea69ca5c8e9bb7d93a416acd167ae0c5f604a988f5",
    "u2netp.xml": "9372ca9ac700c87ef5238605e99d863c6d45a7aff3597b10a83f04f9fdf29fd6",
    "yunet_2023mar.bin": "3e931cdadc604ae8e58a034f0a62a4be2191f78f276abff142752733b299cb58",
    "yunet_2023mar.safetensors": "1961707362bcdc2c8888cc4ff04d8cba39499b6bdeea7516c3704abde2af9297",
    "yunet_2023mar.xml": "77cb5947a84096d6eff48e0bdecf54f73275ee5c4b8aa669501eef7de8ce6895",
}


def load_tensors(name: str) -> dict[str, Tensor]:
    """Return the tensors of a shipped file, in single precision.

    Args:
        name: A key of `SHA256` that ends in .safetensors.

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
        raise WeightsError(
            f"The weights file {name} is missing: this installation is damaged. Install crop-core again."
        ) from error
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
