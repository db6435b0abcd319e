"""Learns the composition head: from NanoDet-g's features to where a person placed a window.

    python tests/tools/learn_composition.py compose/train.json compose/images composition.safetensors

The ground truth is {file: {"size": [w, h], "human": [x1, y1, x2, y2]}}. Each photo counts twice, as it is and mirrored.
The head is linear. It starts from a ridge regression; then what is learned is what the crops are judged by, the
intersection over union with the human crop: of the box as it is, and of the largest window of the human crop's ratio
around the middle. The figures of a five-fold cross-validation are printed; a photo and its mirror image are in one
fold. The same photos and machine give the same coefficients on every run.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[2]))  # the tree, before an installed copy

from crop_core.detect import nanodet
from crop_core.detect.composition_head import pooled
from crop_core.detect.engine import TorchEngine
from crop_core.detect.network_input import View
from crop_core.detect.weights.load import load_tensors
from crop_core.photo.photo import open_photo
from crop_core.photo.transparency import on_white

# Of standardised features whose rows have a length of about 1. All were chosen by the cross-validation:
RIDGE = 1.0  # of the start, among 0.1, 0.3, 1, 3 and 10
MIDDLE_DECAY = 10.0  # of the middle's coefficients, among 3, 10 and 30
BOX_DECAY = 30.0  # of the box's, among 3, 10, 30, 100 and 300
STEPS = 60  # of L-BFGS
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


def fitted(rows: Numbers, targets: Numbers, sizes: Numbers) -> tuple[Numbers, Numbers]:
    """Return weight [features, 6] and bias [6] that place a box (4) and a middle (2).

    Args:
        rows: The features, [photos, features].
        targets: The human crops as fractions of the photos' sides, [photos, 4].
        sizes: Width and height of the photos, [photos, 2].
    """
    mean, spread = rows.mean(0), rows.std(0) + 1e-3 * rows.std()
    scale = spread * np.sqrt(rows.shape[1])
    scaled = torch.from_numpy((rows - mean) / scale)
    human, extents = torch.from_numpy(targets), torch.from_numpy(sizes)
    middles = (human[:, :2] + human[:, 2:]) / 2
    in_pixels = human * extents.repeat(1, 2)

    def of_boxes(boxes: Tensor) -> Tensor:
        return iou(boxes * extents.repeat(1, 2), in_pixels)

    def of_middles(placed: Tensor) -> Tensor:
        return iou(largest_at(placed * extents, in_pixels, extents), in_pixels)

    learned = [learn(scaled, human, of_boxes, BOX_DECAY), learn(scaled, middles, of_middles, MIDDLE_DECAY)]
    weight = torch.cat([one for one, _ in learned], 1).numpy() / scale[:, None]
    return weight, torch.cat([bias for _, bias in learned]).numpy() - mean @ weight


def learn(rows: Tensor, targets: Tensor, overlap: Callable[[Tensor], Tensor], decay: float) -> tuple[Tensor, Tensor]:
    """Return weight [features, outputs] and bias [outputs] of the largest mean overlap.

    Args:
        rows: Standardised features, [photos, features].
        targets: What the ridge regression, the start, should come near, [photos, outputs].
        overlap: From outputs to each photo's intersection over union.
        decay: What a squared coefficient costs.
    """
    # There are fewer photos than features, so the best coefficients are a sum of photos' rows: rows.T @ dual. With
    # the Gram matrix as root @ root.T, the length of root.T @ dual is that of the coefficients.
    unit = torch.eye(len(rows), dtype=rows.dtype)
    gram = rows @ rows.T
    start = torch.linalg.solve(gram + RIDGE * unit, targets - targets.mean(0))
    root = torch.linalg.cholesky(gram + 1e-6 * unit)
    coefficients = (root.T @ start).requires_grad_()
    bias = targets.mean(0).requires_grad_()
    optimizer = torch.optim.LBFGS([coefficients, bias], max_iter=STEPS, history_size=20, line_search_fn="strong_wolfe")

    def loss() -> float:
        optimizer.zero_grad()
        cost = decay * (coefficients**2).sum(0).mean() / len(rows) - overlap(root @ coefficients + bias).mean()
        cost.backward()
        return float(cost.detach())

    optimizer.step(loss)
    dual = torch.linalg.solve_triangular(root.T, coefficients.detach(), upper=True)
    return rows.T @ dual, bias.detach()


def iou(one: Tensor, other: Tensor) -> Tensor:
    """Return the intersection over union of each pair of boxes, [pairs]."""
    low, high = torch.maximum(one[:, :2], other[:, :2]), torch.minimum(one[:, 2:], other[:, 2:])
    shared = (high - low).clamp(min=0).prod(1)
    areas = [(boxes[:, 2:] - boxes[:, :2]).clamp(min=0).prod(1) for boxes in (one, other)]
    return shared / (areas[0] + areas[1] - shared)


def largest_at(middles: Tensor, human: Tensor, sizes: Tensor) -> Tensor:
    """Return the largest windows of the human crops' ratios around the middles, all in pixels."""
    extent = human[:, 2:] - human[:, :2]
    sides = extent * (sizes / extent).amin(1, keepdim=True)
    corners = torch.minimum((middles - sides / 2).clamp(min=0), sizes - sides)
    return torch.cat([corners, corners + sides], 1)


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
    views = ((plain, mirrored), (targets, flipped), (sizes, sizes))
    fold = np.random.default_rng(0).permutation(len(names)) % FOLDS
    placed = np.zeros((len(names), 6))
    for held_out in range(FOLDS):
        known = fold != held_out
        weight, bias = fitted(*(np.concatenate([one[known], other[known]]) for one, other in views))
        placed[~known] = plain[~known] @ weight + bias
    boxes, middles, extents = (torch.from_numpy(array) for array in (placed[:, :4], placed[:, 4:], sizes))
    drawn = torch.from_numpy(human)
    at_ratio = iou(largest_at(middles * extents, drawn, extents), drawn).mean()
    free = iou(boxes.clamp(0, 1) * extents.repeat(1, 2), drawn).mean()
    print(f"cross-validated IoU: at the ratio {at_ratio:.4f}, free {free:.4f}")
    weight, bias = fitted(*(np.concatenate(pair) for pair in views))
    save_file({"weight": torch.tensor(weight).half(), "bias": torch.tensor(bias).float()}, options.output)


if __name__ == "__main__":
    main()
