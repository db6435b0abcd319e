"""The served model on a device that is lost once it is ready: PyTorch's `meta`, which answers nothing."""

import torch

import predict


class Predictor(predict.Predictor):
    """The model, its device changed behind its back."""

    def setup(self) -> None:
        """Get ready on the device that is there, and lose it."""
        super().setup()
        self.cropper.device = torch.device("meta")
