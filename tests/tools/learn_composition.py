"""Learns the composition head: from NanoDet-g's features to the window that a person drew.

    python tests/tools/learn_composition.py compose/train.json compose/images composition.safetensors

The ground truth is {file: {"size": [w, h], "human": [x1, y1, x2, y2]}}. Each photo counts twice, as it is and mirrored.
The figures of a five-fold cross-validation are printed; a photo and its mirror image are in one fold. The same photos
and machine give the same coefficients on every run.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file

sys.path.insert(0, str(Path(__file__).parents[2]))  # the tree, before an installed copy

from crop_core.detect import nanodet
from crop_core.detect.composition_head import pooled
from crop_core.detect.engine import TorchEngine
from crop_core.detect.network_input import View
from crop_core.detect.weights.load import load_tensors
from crop_core.photo.photo import open_photo
from crop_core.photo.transparency import on_white

RIDGE = 1.0  # of standardised features whose rows have a length of about 1; chosen among 0.1, 0.3, 1, 3 and 10
FOLDS = 5
Numbers = NDArray[np.float64]


def features(images: Path, names: list[str]) -> tuple[Numbers, Numbers]:
    """Return the features of the photos and of their mirror images, [photos, 6912] each."""
    network = nanodet.NanoDet()
    network.load_state_dict(load_tensors("nanodet_g.safetensors"))
    engine = TorchEngine(network, torch.device("cpu"))
    plain, mirrored = [], []
    for name in names:
        photo = open_photo((images / name).read_bytes())
        pixels = on_white(photo.small(2 * 960))
        with torch.inference_mode():
            for rows, one in ((plain, pixels), (mirrored, pixels.flip(-1))):
                (passed,) = nanodet.passes_of(engine, [View(one, photo.size)], nanodet.TRAINED_SIDE)
                rows.append(pooled(passed).double().numpy())
    return np.stack(plain), np.stack(mirrored)


def fitted(rows: Numbers, targets: Numbers) -> tuple[Numbers, Numbers]:
    """Return weight [features, 4] and bias [4] of the ridge regression."""
    middle, spread = rows.mean(0), rows.std(0) + 1e-3 * rows.std()
    scaled = (rows - middle) / spread / np.sqrt(rows.shape[1])
    center = targets.mean(0)
    dual = np.linalg.solve(scaled @ scaled.T + RIDGE * np.eye(len(scaled)), targets - center)
    weight = (scaled.T @ dual) / np.sqrt(rows.shape[1]) / spread[:, None]
    return weight, center - middle @ weight


def iou(one: Numbers, other: Numbers) -> float:
    """Return the mean intersection over union of pairs of boxes."""
    low, high = np.maximum(one[:, :2], other[:, :2]), np.minimum(one[:, 2:], other[:, 2:])
    shared = (high - low).clip(0).prod(1)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(1) for boxes in (one, other)]
    return float((shared / (areas[0] + areas[1] - shared)).mean())


def largest_at(predicted: Numbers, human: Numbers, sizes: Numbers) -> Numbers:
    """Return the largest windows of the human crops' ratios around the predicted middles, in pixels."""
    extent = human[:, 2:] - human[:, :2]
    sides = extent * (sizes / extent).min(1, keepdims=True)
    middles = (predicted[:, :2] + predicted[:, 2:]) / 2 * sizes
    corners = np.clip(middles - sides / 2, 0, sizes - sides)
    return np.concatenate([corners, corners + sides], 1)


def main() -> None:
    """Learn, print the cross-validation, write the coefficients."""
    parser = argparse.ArgumentParser(description="Learn where people place a window.")
    parser.add_argument("ground_truth", type=Path)
    parser.add_argument("images", type=Path)
    parser.add_argument("output", type=Path)
    options = parser.parse_args()
    truth = json.loads(options.ground_truth.read_text())
    names = sorted(truth)
    human = np.array([truth[name]["human"] for name in names], float)
    sizes = np.array([truth[name]["size"] for name in names], float)
    targets = human / np.tile(sizes, 2)
    flipped = targets[:, [2, 1, 0, 3]] * [-1, 1, -1, 1] + [1, 0, 1, 0]
    plain, mirrored = features(options.images, names)
    fold = np.random.default_rng(0).permutation(len(names)) % FOLDS
    predicted = np.zeros_like(targets)
    for held_out in range(FOLDS):
        learn = fold != held_out
        weight, bias = fitted(
            np.concatenate([plain[learn], mirrored[learn]]), np.concatenate([targets[learn], flipped[learn]])
        )
        predicted[~learn] = plain[~learn] @ weight + bias
    free = predicted.clip(0, 1) * np.tile(sizes, 2)
    print(f"cross-validated IoU: at the ratio {iou(largest_at(predicted, human, sizes), human):.4f}", end=", ")
    print(f"free {iou(free, human):.4f}")
    weight, bias = fitted(np.concatenate([plain, mirrored]), np.concatenate([targets, flipped]))
    save_file({"weight": torch.tensor(weight).half(), "bias": torch.tensor(bias).float()}, options.output)


if __name__ == "__main__":
    main()
