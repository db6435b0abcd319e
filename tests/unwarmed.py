"""The served model without its warm-up, which takes four seconds of a start and is not what these servers are for."""

from crop_core import Cropper
from predict import Predictor

__all__ = ["Predictor"]

Cropper.warm_up = lambda cropper: None
