"""Makes the gallery of the samples: a picture of all of them, and a page that shows them in a browser.

    python tests/tools/gallery.py [--samples FOLDER] [--image FILE] [--page FILE]

writes .github/gallery.jpg, each sample with its boxes, its windows and its crops in four ratios, and
samples/index.html, where `object-position` alone crops the samples. Both show what the detector `fast` finds on a CPU.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from gallery_page import Sample, page_of
from PIL import Image, ImageDraw, ImageFont

sys.path.insert(0, str(Path(__file__).parents[2]))  # the tree, before an installed copy

from crop_core import Cropper, CropRequest, CropResult
from crop_core.cut.preview import BACKGROUND, BOX_COLOR, FACE_COLOR, WINDOW_COLORS

ROOT = Path(__file__).parents[2]
RATIOS = ("16:9", "1:1", "4:5", "9:16")
SHAPES = [tuple(map(int, ratio.split(":"))) for ratio in RATIOS]
HEIGHT, SOURCE_WIDTH, GUTTER, HEAD, LINE = 200, 356, 8, 32, 2  # px; of the gallery's picture: a row, its photo, …
BORDER = (200, 200, 200)
# The samples in the order of the gallery, with the alternative text of each.
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
CREDITS = {"palace.jpg": "photo: danielbuechele, CC BY 2.0, cropped"}  # that licence asks for it wherever it is shown


@dataclass(frozen=True, slots=True, eq=False)
class Looked:
    """A sample and what the product makes of it."""

    name: str
    result: CropResult


def looked_at(folder: Path) -> list[Looked]:
    """Return the samples of the folder, cropped in all ratios."""
    cropper = Cropper(device="cpu", detector="fast")
    request = CropRequest(aspect_ratios=RATIOS, output_format="png")
    return [Looked(name, cropper.crop((folder / name).read_bytes(), request, source=name)) for name in ALTERNATIVES]


def picture_of(samples: Sequence[Looked], folder: Path) -> Image.Image:
    """Return a row for each sample: the photo with its boxes and windows, then its crops, a column for each ratio."""
    widths = [SOURCE_WIDTH, *(round(HEIGHT * wide / tall) for wide, tall in SHAPES)]
    lefts = [sum(widths[:column]) + GUTTER * column for column in range(len(widths))]
    sheet = Image.new("RGB", (lefts[-1] + widths[-1], HEAD + len(samples) * (HEIGHT + GUTTER) - GUTTER), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(16)
    for left, width, ratio, color in zip(lefts[1:], widths[1:], RATIOS, WINDOW_COLORS, strict=False):
        draw.rectangle((left, 0, left + width - 1, HEAD - GUTTER), fill=color)
        draw.text((left + width / 2, (HEAD - GUTTER) / 2), ratio, fill="black", font=font, anchor="mm")
    for row, sample in enumerate(samples):
        top = HEAD + row * (HEIGHT + GUTTER)
        source = _source(Image.open(folder / sample.name).convert("RGB"), sample.result)
        _paste(sheet, source, SOURCE_WIDTH - source.width, top + (HEIGHT - source.height) // 2)
        for left, width, crop in zip(lefts[1:], widths[1:], sample.result.crops, strict=True):
            assert crop.data is not None  # nothing is a dry run here
            cut = Image.open(BytesIO(crop.data)).convert("RGB")
            _paste(sheet, cut.resize((width, HEIGHT), Image.Resampling.LANCZOS), left, top)
    return sheet


def _paste(sheet: Image.Image, picture: Image.Image, left: int, top: int) -> None:
    """Put the picture on the sheet with a fine line around it, without which white has no border on white."""
    sheet.paste(picture, (left, top))
    ImageDraw.Draw(sheet).rectangle((left, top, left + picture.width - 1, top + picture.height - 1), outline=BORDER)


def _source(photo: Image.Image, result: CropResult) -> Image.Image:
    """Return the photo, made to fit its column, with its boxes and windows."""
    scale = min(HEIGHT / photo.height, SOURCE_WIDTH / photo.width)
    small = photo.resize((round(photo.width * scale), round(photo.height * scale)), Image.Resampling.LANCZOS)
    draw, font = ImageDraw.Draw(small), ImageFont.load_default(11)
    for number, (crop, color) in enumerate(zip(result.crops, WINDOW_COLORS, strict=False)):
        inset = number * LINE  # without it, windows that share a border would hide each other
        x1, y1, x2, y2 = (side * scale for side in crop.window.xyxy)
        draw.rectangle((x1 + inset, y1 + inset, x2 - 1 - inset, y2 - 1 - inset), outline=color, width=LINE)
    # A word's place is taken once: a second word that would lie on it goes below.
    taken: list[tuple[float, float, float, float]] = []
    for detection in result.detections:
        color = FACE_COLOR if detection.landmarks else BOX_COLOR
        x1, y1, x2, y2 = (side * scale for side in detection.box.xyxy)
        draw.rectangle((x1 - 1, y1 - 1, x2, y2), outline=BACKGROUND, width=3)  # so that a white box is seen on white
        draw.rectangle((x1, y1, x2 - 1, y2 - 1), outline=color)
        above = y1 - 15 if y1 > 15 else y1 + 10  # a word inside a face's box would hide the face
        place = draw.textbbox((x1 + 3, above), detection.label, font=font)
        while any(place[0] < other[2] and other[0] < place[2] and place[1] < other[3] for other in taken):
            place = (place[0], place[1] + 12, place[2], place[3] + 12)
        taken.append(place)
        draw.rectangle((place[0] - 2, place[1] - 1, place[2] + 1, place[3] + 1), fill=BACKGROUND)
        draw.text(place[:2], detection.label, fill=color, font=font, anchor="lt")
    return small


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
        words, credit = ALTERNATIVES[sample.name], CREDITS.get(sample.name, "")
        shown.append(Sample(sample.name, words, credit, (size.width, size.height), positions, windows))
    return shown


def main() -> None:
    """Write the picture and the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=Path, default=ROOT / "samples")
    parser.add_argument("--image", type=Path, default=ROOT / ".github" / "gallery.jpg")
    parser.add_argument("--page", type=Path, default=ROOT / "samples" / "index.html")
    options = parser.parse_args()
    samples = looked_at(options.samples)
    picture_of(samples, options.samples).save(options.image, quality=80)
    options.page.write_text(page_of(for_the_page(samples), RATIOS))
    print(f"The picture is {options.image}, the page {options.page}.")


if __name__ == "__main__":
    main()
