"""The served model on a device that fails once the model is ready: PyTorch's `meta`, which computes nothing."""

import torch
import unwarmed


class Predictor(unwarmed.Predictor):
    """The model, with its device replaced after `setup`."""

    def setup(self) -> None:
        """Set up on the real device, then replace it."""
        super().setup()
        self.cropper.device = torch.device("meta")
