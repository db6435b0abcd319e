"""crop-core: a photo goes in, a detector and a framing rule decide where to cut, crops come out.

Importing the package loads only the standard library. PyTorch is loaded when a name that needs it
is first used. So the command starts at once, and `crop-core doctor` runs where PyTorch does not.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from crop_core.detection import Detection
from crop_core.errors import CropError, DeviceError, ImageError, OutputError, RequestError, WeightsError
from crop_core.geometry import Box, Size, Window
from crop_core.request import CropRequest
from crop_core.result import Crop, CropResult
from crop_core.version import __version__

if TYPE_CHECKING:
    from crop_core.cropper import Cropper
    from crop_core.photo.read_photo import read_photo

__all__ = [
    "Box",
    "Crop",
    "CropError",
    "CropRequest",
    "CropResult",
    "Cropper",
    "Detection",
    "DeviceError",
    "ImageError",
    "OutputError",
    "RequestError",
    "Size",
    "WeightsError",
    "Window",
    "__version__",
    "read_photo",
]

_HEAVY = {
    "Cropper": "crop_core.cropper",
    "read_photo": "crop_core.photo.read_photo",
}  # name -> the module that loads PyTorch

if not TYPE_CHECKING:  # if a type checker saw this, it would accept any name of the package

    def __getattr__(name):
        """Load the module of a name in `_HEAVY`, and return the name's value (PEP 562)."""
        if name not in _HEAVY:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(_HEAVY[name]), name)
