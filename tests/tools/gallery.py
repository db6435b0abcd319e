"""Makes the gallery of the samples: a picture of all of them, and a page that shows them in a browser.

    python tests/tools/gallery.py [--samples FOLDER] [--image FILE] [--page FILE]

writes .github/gallery.jpg, each sample with its boxes, its windows and its crops in four ratios, and
samples/index.html, where `object-position` alone crops the samples. Both show what the detector `fast` finds on a CPU.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from gallery_page import Sample, page_of
from PIL import Image

from crop_core import Cropper, CropRequest, CropResult
from crop_core.cut.preview import SHEET_HEIGHT

ROOT = Path(__file__).parents[2]
RATIOS = ("16:9", "1:1", "4:5", "9:16")
WIDTH, GUTTER = 1200, 8  # px; of the gallery's picture
# In the order of the gallery: what each sample shows, for who cannot see it.
ALTERNATIVES = {
    "astronaut.jpg": "A woman in an orange space suit, a flag behind her",
    "pair.jpg": "A cat and an astronaut side by side",
    "product.jpg": "A blue mug with a flower on it, on white, right of the middle",
    "coffee.jpg": "A cup of coffee on a wooden table",
    "palace.jpg": "A tower with four roofs above trees and a lake",
    "cat.jpg": "The face of a ginger cat",
    "landscape.jpg": "Hills at sunset, a hut at the left",
    "slide.jpg": "A slide with a title, three points and a bar chart that rises",
    "rocket.jpg": "A rocket on its launch pad at night, between masts",
}


@dataclass(frozen=True, slots=True, eq=False)
class Looked:
    """A sample and what the product makes of it."""

    name: str
    result: CropResult


def looked_at(folder: Path) -> list[Looked]:
    """Return the samples of the folder, cropped in all ratios."""
    cropper = Cropper(device="cpu", detector="fast")
    request = CropRequest(aspect_ratios=RATIOS, output_format="jpg", preview=True)
    return [Looked(name, cropper.crop((folder / name).read_bytes(), request, source=name)) for name in ALTERNATIVES]


def picture_of(samples: Sequence[Looked]) -> Image.Image:
    """Return a row for each sample, all as wide: the photo with its boxes and windows, then its crops."""
    rows = [_row(sample.result) for sample in samples]
    sheet = Image.new("RGB", (WIDTH, sum(row.height + GUTTER for row in rows) - GUTTER), "white")
    top = 0
    for row in rows:
        sheet.paste(row, (0, top))
        top += row.height + GUTTER
    return sheet


def _row(result: CropResult) -> Image.Image:
    assert result.preview is not None
    preview = Image.open(BytesIO(result.preview)).convert("RGB")
    scale = min(SHEET_HEIGHT / result.size.height, 2 * SHEET_HEIGHT / result.size.width)  # as the preview has it
    source = preview.crop((0, 0, round(scale * result.size.width), round(scale * result.size.height)))
    pictures = [source, *(Image.open(BytesIO(crop.data)).convert("RGB") for crop in result.crops if crop.data)]
    ratios = [picture.width / picture.height for picture in pictures]
    height = int((WIDTH - GUTTER * (len(pictures) - 1)) / sum(ratios))
    row = Image.new("RGB", (WIDTH, height), "white")
    left = 0
    for picture, ratio in zip(pictures, ratios, strict=True):
        row.paste(picture.resize((round(ratio * height), height), Image.Resampling.LANCZOS), (left, 0))
        left += round(ratio * height) + GUTTER
    return row


def for_the_page(samples: Sequence[Looked]) -> list[Sample]:
    """Return what the page shows of the samples, positions and windows by ratio."""
    shown = []
    for sample in samples:
        result, size = sample.result, sample.result.size
        windows = {
            crop.plan.aspect_ratio: tuple(
                100 * side / whole for side, whole in zip(crop.window.xyxy, (size.width, size.height) * 2, strict=True)
            )
            for crop in result.crops
        }
        positions = {crop.plan.aspect_ratio: result.object_position(crop) or "50% 50%" for crop in result.crops}
        shown.append(Sample(sample.name, ALTERNATIVES[sample.name], (size.width, size.height), positions, windows))
    return shown


def main() -> None:
    """Write the picture and the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=Path, default=ROOT / "samples")
    parser.add_argument("--image", type=Path, default=ROOT / ".github" / "gallery.jpg")
    parser.add_argument("--page", type=Path, default=ROOT / "samples" / "index.html")
    options = parser.parse_args()
    samples = looked_at(options.samples)
    picture_of(samples).save(options.image, quality=80)
    options.page.write_text(page_of(for_the_page(samples), RATIOS))


if __name__ == "__main__":
    main()
