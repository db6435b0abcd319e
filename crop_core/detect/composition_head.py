"""Where people would place a window, read off features that NanoDet-g computes anyway.

Linear, from the third and fourth stage of the backbone to a box and a middle, learned from the crops that people drew
in 1,204 photos and their mirror images: its windows are to overlap as much as they can with those. How that is done
says tests/tools/learn_composition.py.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from crop_core.detect.candidates import NetworkPass

STRIDES = (16, 32)  # of the stages that are read
CELLS = 3  # along each side; the means of 2 x 2 of twice as many, so that every size of picture gives all of them


class CompositionHead:
    """The head, on the device of the network whose features it reads."""

    def __init__(self, tensors: dict[str, Tensor], device: torch.device) -> None:
        """Move the coefficients to the device.

        Args:
            tensors: `weight`, float [6912, 6], and `bias`, float [6].
            device: The network's.
        """
        self._weight, self._bias = tensors["weight"].to(device), tensors["bias"].to(device)

    def placed(self, passes: Sequence[NetworkPass]) -> Tensor:
        """Return where a person would place a window in each picture, float tensor [N, 6].

        Args:
            passes: Each picture's pass at 416 px.

        Returns:
            As fractions of the picture's sides, 0 to 1: x1, y1, x2, y2 of a window of free ratio, then x, y of the
            middle of a window of a given ratio.
        """
        return self._read([pooled(one) for one in passes])

    def placed_in_mirrored(self, passes: Sequence[NetworkPass]) -> Tensor:
        """Return the same, read off passes with the features of the mirror image.

        Args:
            passes: Each picture's pass at 416 px, from `nanodet.look_again`.

        Returns:
            As `placed`, in the picture as it is.
        """
        x1, y1, x2, y2, x, y = self._read([pooled(one, mirrored=True) for one in passes]).unbind(1)
        return torch.stack((1 - x2, y1, 1 - x1, y2, 1 - x, y), 1)

    def _read(self, features: Sequence[Tensor]) -> Tensor:
        return (torch.stack(tuple(features)) @ self._weight + self._bias).clamp(0, 1)


def pooled(one: NetworkPass, *, mirrored: bool = False) -> Tensor:
    """Return what the head reads of a picture, float tensor [6912]: means of cells, without the padding.

    Args:
        one: The pass at 416 px.
        mirrored: Whether its features are those of the mirror image, whose padding is on the left.
    """
    height, width = one.input_hw
    parts = []
    for stage, stride in zip(one.outputs[-len(STRIDES) :], STRIDES, strict=True):
        rows, columns = -(-height // stride), -(-width // stride)
        content = stage[:, :, :rows, -columns:] if mirrored else stage[:, :, :rows, :columns]
        parts.append(F.avg_pool2d(F.adaptive_avg_pool2d(content, 2 * CELLS), 2).flatten())
    return torch.cat(parts)
