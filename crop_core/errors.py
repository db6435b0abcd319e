"""The error tree.

    CropError
    ├── ImageError    (ValueError)    the picture cannot be cropped: not a picture, broken, too large
    ├── RequestError  (ValueError)    an input is out of bounds or makes no sense beside another
    ├── WeightsError  (RuntimeError)  a detector's weights are missing or are not the ones expected
    ├── DeviceError   (RuntimeError)  the device asked for is not there or does not work
    ├── OutputError   (OSError)       the disk does not take the crops
    └── SettingError  (ValueError)    an environment variable has a value that makes no sense

A message is read by whoever called the API: what was expected, what came and what to do, with
numbers and units, and no path of the machine that the model runs on.
"""

from __future__ import annotations


class CropError(Exception):
    """The root of all errors that crop-core raises on purpose."""


class ImageError(CropError, ValueError):
    """The picture cannot be cropped."""


class RequestError(CropError, ValueError):
    """The request is out of bounds or contradicts itself."""


class WeightsError(CropError, RuntimeError):
    """A detector's weights are missing or are not the ones expected."""


class DeviceError(CropError, RuntimeError):
    """The device asked for is not there or does not work."""


class SettingError(CropError, ValueError):
    """An environment variable has a value that makes no sense."""


class OutputError(CropError, OSError):
    """The disk does not take the crops; it is built as the `OSError` that says why."""

    def __str__(self) -> str:
        """Return the sentence, without the path of the file."""
        mend = "Make that place writable, or ask for fewer or smaller crops."
        return f"The crops cannot be written: {self.strerror}. {mend}"
