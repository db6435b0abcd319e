"""Whether a device can still be trusted, and whether its memory ran out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from crop_core.device import answers, is_out_of_memory
from crop_core.errors import CropError, DeviceError


class DeviceWatch:
    """Watches work on a device; once the device is lost, no later work is begun.

    Attributes:
        lost: Why the device is not to be trusted any more; empty while it is.
    """

    def __init__(self) -> None:
        """Trust the device."""
        self.lost = ""

    @contextmanager
    def pass_over_memory(self, device: torch.device) -> Iterator[None]:
        """Pass over memory that runs out, so that what follows the block can try another way.

        Args:
            device: Where the block works.

        Raises:
            DeviceError: The device is lost, now or earlier: no later call on it can be trusted.
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
                self.lost = f"The device {device.type} does not work any more ({reason}). Restart the process."
                raise DeviceError(self.lost) from error
