"""The error tree.

    CropError
    ├── ImageError    (ValueError)    the picture cannot be cropped: not a picture, broken, too large
    ├── RequestError  (ValueError)    an input is out of bounds or makes no sense beside another
    ├── WeightsError  (RuntimeError)  a detector's weights are missing or are not the ones expected
    ├── DeviceError   (RuntimeError)  the device asked for is not there or does not work
    ├── OutputError   (OSError)       the disk does not take the crops
    └── SettingError  (ValueError)    an environment variable has a value that makes no sense

A message is for the caller of the API. It says what was expected, what came and what to do, with
numbers and units. It names only what any caller can do: one over HTTP has no disk and no pip. It
holds no path of the machine that the model runs on.
"""

from __future__ import annotations

import errno


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
    """The disk does not take the crops. Build it from the three arguments of the `OSError` that says why."""

    def __str__(self) -> str:
        """Return the message, without the path of the file."""
        is_full = self.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        remedy = "Ask for fewer or smaller crops." if is_full else "Choose a folder that you can write to."
        return f"The crops cannot be written: {self.strerror}. {remedy}"
