"""Regions of a mask: connected cells, each with its box, its mean and its share of the picture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

THRESHOLD = 0.5  # of the mask, as the original's evaluation has it
LEAST_SHARE = 0.01  # of the picture; smaller ones are mostly noise
OF_LARGEST = 0.15  # of the largest region's cells; smaller ones are parts or shadows of it


@dataclass(frozen=True, slots=True)
class Region:
    """One connected part of a mask.

    Attributes:
        box: x1, y1, x2, y2 as fractions of the picture's sides.
        mean: The mask's mean in it, 0 to 1.
        share: Of the picture's area, 0 to 1.
    """

    box: tuple[float, float, float, float]
    mean: float
    share: float


def regions_of(mask: NDArray[np.float32]) -> list[Region]:
    """Return the mask's regions, the largest first.

    Cells that share a side belong together. Row by row, runs of cells are joined with those above them.

    Args:
        mask: [rows, columns], 0 to 1.
    """
    rows, columns = mask.shape
    padded = np.zeros((rows, columns + 2), np.int8)
    padded[:, 1:-1] = mask >= THRESHOLD
    turns = np.diff(padded, axis=1)
    sums = np.concatenate([np.zeros((rows, 1)), np.cumsum(mask, axis=1, dtype=np.float64)], axis=1)
    parent: list[int] = []
    parts: list[_Part] = []

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    above: list[tuple[int, int, int]] = []
    for y in range(rows):
        here = []
        starts, ends = np.flatnonzero(turns[y] == 1).tolist(), np.flatnonzero(turns[y] == -1).tolist()
        for x1, x2 in zip(starts, ends, strict=True):
            index = len(parent)
            parent.append(index)
            parts.append(_Part(x1, y, x2, y + 1, x2 - x1, float(sums[y, x2] - sums[y, x1])))
            for other_x1, other_x2, other in above:
                if other_x1 < x2 and other_x2 > x1 and (one := root(other)) != (two := root(index)):
                    parent[two] = one
                    parts[one] = parts[one].joined(parts[two])
            here.append((x1, x2, index))
        above = here
    whole = [parts[index] for index in range(len(parent)) if parent[index] == index]
    least = max(LEAST_SHARE * rows * columns, OF_LARGEST * max((part.cells for part in whole), default=0))
    found = [part.region(rows, columns) for part in whole if part.cells >= least]
    return sorted(found, key=lambda region: (-region.share, region.box))


@dataclass(frozen=True, slots=True)
class _Part:
    x1: int
    y1: int
    x2: int
    y2: int
    cells: int
    total: float

    def joined(self, other: _Part) -> _Part:
        return _Part(
            min(self.x1, other.x1),
            min(self.y1, other.y1),
            max(self.x2, other.x2),
            max(self.y2, other.y2),
            self.cells + other.cells,
            self.total + other.total,
        )

    def region(self, rows: int, columns: int) -> Region:
        box = (self.x1 / columns, self.y1 / rows, self.x2 / columns, self.y2 / rows)
        return Region(box, min(1.0, self.total / self.cells), self.cells / (rows * columns))
