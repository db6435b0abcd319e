"""crop-core: a photo goes in, a detector and a framing rule decide where to cut, crops come out."""

from crop_core.box import Box, Size, Window
from crop_core.cropper import Cropper
from crop_core.detection import Detection
from crop_core.errors import CropError, DeviceError, ImageError, RequestError, WeightsError
from crop_core.request import CropRequest
from crop_core.result import Crop, CropResult
from crop_core.version import __version__

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
    "RequestError",
    "Size",
    "WeightsError",
    "Window",
    "__version__",
]
