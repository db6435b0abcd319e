"""Tells a device that failed from one whose memory ran out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from crop_core.device import answers, is_out_of_memory
from crop_core.errors import CropError, DeviceError


class DeviceWatch:
    """Watches work on a device; once the device has failed, no more work is begun.

    Attributes:
        lost: The message for a device that has failed; empty while it works.
    """

    def __init__(self) -> None:
        """Begin with a device that works."""
        self.lost = ""

    @contextmanager
    def pass_over_memory(self, device: torch.device) -> Iterator[None]:
        """Suppress the error if memory runs out, so that the code after the block can try another way.

        Args:
            device: Where the block works.

        Raises:
            DeviceError: The device has failed, now or earlier: no later call on it can be trusted.
        """
        if self.lost:
            raise DeviceError(self.lost)
        try:
            yield
        except CropError:
            raise
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                if answers(device):
                    raise
                reason = str(error).partition("\n")[0]
                self.lost = (
                    f"The device {device.type} does not work any more ({reason}). Send the picture again once the "
                    "process is restarted."
                )
                raise DeviceError(self.lost) from error
