"""The detectors that are loaded, each once, whatever the number of threads that ask."""

from __future__ import annotations

from threading import Lock

import torch

from crop_core.detect.choose_detector import load_detector, resolve
from crop_core.detect.detector import Detector


class LoadedDetectors:
    """Detectors by their names and devices, loaded when one is first asked for."""

    def __init__(self, default: str) -> None:
        """Load nothing yet.

        Args:
            default: What ``auto`` means; itself ``auto`` for the best of the device.
        """
        self._default = default
        self._loaded: dict[tuple[str, str], Detector] = {}
        self._lock = Lock()

    def put(self, name: str, device: torch.device, detector: Detector) -> None:
        """Let a name mean a detector of the caller's own."""
        self._loaded[name, device.type] = detector

    def get(self, name: str, device: torch.device) -> Detector:
        """Return the detector that a name means on the device, loaded if it is not yet.

        Raises:
            RequestError: No detector has that name.
            WeightsError: Its weights are absent or not the ones expected.
        """
        name = resolve(self._default if name == "auto" else name, device)
        with self._lock:  # two threads must not load one detector twice
            if (name, device.type) not in self._loaded:
                self._loaded[name, device.type] = load_detector(name, device)
            return self._loaded[name, device.type]
