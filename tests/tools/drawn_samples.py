"""Draws the samples that are no photos: a product on white, a landscape and a slide with text.

    python tests/tools/drawn_samples.py [FOLDER]

writes product.jpg, landscape.jpg and slide.jpg, into `samples/` unless a folder is given.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont

SAMPLES = Path(__file__).parents[2] / "samples"
FINER = 3  # pictures are drawn this much larger and then reduced, which makes their edges smooth
Numbers = NDArray[np.float64]
Color = tuple[int, int, int]


def _reduced(large: Image.Image) -> Image.Image:
    return large.resize((large.width // FINER, large.height // FINER), Image.Resampling.LANCZOS)


def product() -> Image.Image:
    """Return an enamel mug with its shadow on white, right of the middle, 960 x 640 px."""
    width, height = 960 * FINER, 640 * FINER
    left, top, wide, tall = 500 * FINER, 170 * FINER, 230 * FINER, 290 * FINER
    rim = 46 * FINER  # height of the ellipse that the opening is
    picture = Image.new("RGB", (width, height), "white")
    shadow = Image.new("L", (width, height), 0)
    ImageDraw.Draw(shadow).ellipse(
        (left - 30 * FINER, top + tall - 22 * FINER, left + wide + 90 * FINER, top + tall + 44 * FINER), fill=120
    )
    picture.paste((150, 150, 155), mask=shadow.filter(ImageFilter.GaussianBlur(16 * FINER)))

    handle = Image.new("L", (width, height), 0)
    ring = ImageDraw.Draw(handle)
    ring.ellipse((left + wide - 60 * FINER, top + 62 * FINER, left + wide + 88 * FINER, top + 226 * FINER), fill=255)
    ring.ellipse((left + wide - 32 * FINER, top + 90 * FINER, left + wide + 60 * FINER, top + 198 * FINER), fill=0)
    picture.paste((18, 70, 92), mask=handle)

    body = Image.new("L", (width, height), 0)
    shape = ImageDraw.Draw(body)
    shape.rectangle((left, top, left + wide, top + tall), fill=255)
    shape.ellipse((left, top + tall - rim // 2, left + wide, top + tall + rim // 2), fill=255)
    # A cylinder that light falls on from the left: dark edges, and a bright band at a third of its width.
    x = (np.arange(width) - left) / wide
    light = np.clip(1.08 - 1.5 * np.abs(x - 0.33) ** 1.6, 0.3, 1.1) + 0.5 * np.exp(-(((x - 0.26) / 0.035) ** 2))
    row = np.clip(light[:, None] * np.array([32, 112, 142]), 0, 255).astype(np.uint8)
    picture.paste(Image.fromarray(np.broadcast_to(row, (height, width, 3)).copy()), mask=body)

    draw = ImageDraw.Draw(picture)
    draw.ellipse((left, top - rim // 2, left + wide, top + rim // 2), fill=(238, 240, 238))
    edge = 7 * FINER
    draw.ellipse(
        (left + edge, top - rim // 2 + edge, left + wide - edge, top + rim // 2 - edge // 3), fill=(140, 150, 152)
    )
    center = (left + wide * 0.45, top + tall * 0.56)
    for turn in range(8):  # a flower as the mug's print
        angle = turn * math.pi / 4
        px, py = center[0] + 40 * FINER * math.cos(angle), center[1] + 40 * FINER * math.sin(angle)
        size = 24 * FINER
        draw.ellipse((px - size, py - size, px + size, py + size), fill=(246, 240, 224))
    size = 24 * FINER
    draw.ellipse((center[0] - size, center[1] - size, center[0] + size, center[1] + size), fill=(226, 160, 60))
    return _reduced(picture)


def _ridge(width: int, base: float, rough: float, generator: np.random.Generator) -> Numbers:
    """Return the height of a chain of hills at each column, px from the top: waves of ever half the length."""
    x = np.arange(width) / width
    line = np.full(width, float(base))
    for octave in range(1, 9):
        line += rough * 0.55**octave * np.sin(2 * math.pi * (2**octave * x * 0.7 + generator.uniform()))
    return line


def landscape() -> Image.Image:
    """Return hills at sunset with a hut on the nearest one, at the left, 1200 x 675 px."""
    width, height = 1200 * FINER, 675 * FINER
    generator = np.random.default_rng(7)
    y = (np.arange(height) / height)[:, None]
    sky = np.array([92, 132, 178]) * (1 - y) + np.array([255, 205, 150]) * y
    pixels = np.broadcast_to(sky[:, None], (height, width, 3)).copy()
    rows, columns = np.arange(height)[:, None], np.arange(width)[None]
    far = np.hypot(rows - 300 * FINER, columns - 860 * FINER) / FINER
    glow = np.clip(1 - far / 420, 0, 1) ** 2 * 0.7 + (far < 34)
    pixels = pixels * (1 - glow[..., None].clip(0, 1)) + np.array([255, 240, 205]) * glow[..., None].clip(0, 1)
    hills = [(330, 90, (176, 160, 176)), (400, 80, (130, 128, 150)), (470, 70, (86, 100, 118)), (560, 50, (46, 66, 68))]
    for base, rough, color in hills:
        line = _ridge(width, base * FINER, rough * FINER, generator)
        pixels[rows >= line[None]] = color
    noise = generator.normal(0, 2.5, (height // FINER, width // FINER, 1)).repeat(FINER, 0).repeat(FINER, 1)
    picture = Image.fromarray(np.clip(pixels + noise, 0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(picture)

    def polygon(points: list[tuple[int, int]], color: Color) -> None:
        draw.polygon([(x * FINER, y * FINER) for x, y in points], fill=color)

    polygon([(230, 470), (350, 470), (350, 575), (230, 575)], (146, 70, 52))
    polygon([(214, 476), (290, 418), (366, 476)], (58, 40, 44))
    polygon([(276, 520), (304, 520), (304, 575), (276, 575)], (60, 34, 30))
    for x in (244, 318):
        polygon([(x, 494), (x + 22, 494), (x + 22, 514), (x, 514)], (255, 226, 140))
    for x, tall in ((150, 120), (182, 90), (398, 105)):
        for step in range(3):
            y, half = 575 - step * tall // 4, 34 - 8 * step
            polygon([(x - half, y), (x + half, y), (x, y - tall // 2)], (24, 48, 44))
    return _reduced(picture)


def slide() -> Image.Image:
    """Return a slide with a title, three lines of text and a chart, 1280 x 720 px."""
    width, height = 1280 * FINER, 720 * FINER
    picture = Image.new("RGB", (width, height), (250, 250, 247))
    draw = ImageDraw.Draw(picture)

    def text(x: int, y: int, words: str, size: int, color: Color) -> None:
        draw.text((x * FINER, y * FINER), words, fill=color, font=ImageFont.load_default(size * FINER))

    def bar(box: tuple[int, int, int, int], color: Color) -> None:
        draw.rectangle(tuple(FINER * side for side in box), fill=color)

    bar((0, 0, 1280, 12), (0, 114, 178))
    text(80, 70, "More people walk to work", 58, (30, 34, 40))
    text(80, 150, "Share of all ways, in per cent", 30, (110, 116, 124))
    for row, words in enumerate(("Safer crossings", "Wider pavements", "Shade in summer")):
        bar((84, 282 + 90 * row, 98, 296 + 90 * row), (213, 94, 0))
        text(120, 264 + 90 * row, words, 38, (50, 54, 60))
    for column, (year, share) in enumerate((("2021", 11), ("2022", 13), ("2023", 18), ("2024", 24), ("2025", 31))):
        x = 660 + 112 * column
        bar((x, 600 - 11 * share, x + 72, 600), (0, 114, 178) if column < 4 else (213, 94, 0))
        text(x + 14, 560 - 11 * share, str(share), 32, (50, 54, 60))
        text(x + 2, 614, year, 28, (110, 116, 124))
    bar((640, 600, 1210, 603), (50, 54, 60))
    return _reduced(picture)


PICTURES = {"product": product, "landscape": landscape, "slide": slide}


def main() -> None:
    """Draw the pictures and write them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=SAMPLES)
    folder = parser.parse_args().folder
    for name, draw in PICTURES.items():
        draw().save(folder / f"{name}.jpg", quality=90, subsampling=0)
    print(f"{', '.join(f'{name}.jpg' for name in PICTURES)} are in {folder}.")


if __name__ == "__main__":
    main()
