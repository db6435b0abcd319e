"""The options that commands share: every input of a request, the device."""

from __future__ import annotations

import argparse
from dataclasses import MISSING
from typing import TYPE_CHECKING, Any

from crop_core.device import DEVICES
from crop_core.errors import DeviceError
from crop_core.request import inputs

if TYPE_CHECKING:
    from crop_core.cropper import Cropper

    Commands = argparse._SubParsersAction[argparse.ArgumentParser]  # argparse has no public name for it
else:
    Commands = object


def add_inputs(parser: argparse.ArgumentParser) -> None:
    """Add every input of a request as an option, with --sidecars, the device and --dry-run."""
    for name, entry in inputs().items():
        add_input(parser, name, entry)
    parser.add_argument(
        "--sidecars",
        default="",
        metavar="ENDINGS",
        help="copy the files beside a picture with these endings, such as txt for photo.txt, beside each crop",
    )
    parser.add_argument("--device", choices=DEVICES, default="auto", help="where the networks run (auto)")
    parser.add_argument("--dry-run", action="store_true", help="decide where to cut, write no crops")


def add_input(parser: argparse.ArgumentParser, name: str, entry: Any) -> None:
    """Add a field of CropRequest as an option; CropRequest checks its values, not this function."""
    flag, text = "--" + name.replace("_", "-"), entry.metadata["help"].replace("%", "%%")
    assert entry.default is not MISSING
    default = ",".join(entry.default) if isinstance(entry.default, tuple) else entry.default
    kind = entry.metadata["kind"]
    if kind is bool:
        parser.add_argument(flag, action="store_true", help=text)
        return
    if default not in (None, ""):
        text += f" ({default})"
    choices = entry.metadata.get("choices")
    metavar = None if choices else name.upper()  # with none, argparse shows the choices
    parser.add_argument(flag, type=kind, default=default, choices=choices, help=text, metavar=metavar)


def cropper_class() -> type[Cropper]:
    """Return the class `Cropper`; importing it loads PyTorch.

    Raises:
        DeviceError: PyTorch or torchvision cannot be loaded.
    """
    try:
        from crop_core.cropper import Cropper
    except (ImportError, OSError, RuntimeError) as error:  # RuntimeError: torch and torchvision do not match
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise DeviceError(
            f"PyTorch or torchvision cannot be loaded ({reason}). Run crop-core doctor, which says how to repair it."
        ) from error
    return Cropper
