"""Draws the preview, a contact sheet: the picture with boxes and windows, then the crops."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO

from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from crop_core.detection import Detection
from crop_core.frame.plan import CropPlan
from crop_core.frame.portrait import corners
from crop_core.geometry import Size

SHEET_HEIGHT = 560  # px
GAP = 8  # px
TILE_HEIGHT, BAR = SHEET_HEIGHT // 2 - GAP // 2, 18  # px; of a crop's tile, and of the bar above it
LINE = 3  # px; how thick a window is drawn
BACKGROUND = (32, 32, 32)
# Colours that most colour-blind people can tell apart (Okabe and Ito, 2008).
WINDOW_COLORS = ((230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (213, 94, 0), (204, 121, 167))
BOX_COLOR, FACE_COLOR = (255, 255, 255), (255, 105, 180)


@dataclass(frozen=True, slots=True, eq=False)
class Shown:
    """A crop as the sheet shows it.

    Attributes:
        plan: Where it was cut.
        small: Its pixels, as `tile_of` makes them; none if nothing was cut.
    """

    plan: CropPlan
    small: Image.Image | None


def tile_of(pixels: Tensor) -> Image.Image:
    """Return a crop's pixels, small enough for the sheet.

    Args:
        pixels: uint8 tensor [3 or 4, H, W] on any device.
    """
    image = Image.fromarray(pixels.permute(1, 2, 0).contiguous().cpu().numpy()).convert("RGBA")
    image.thumbnail((TILE_HEIGHT * 2, TILE_HEIGHT - BAR))
    return image


def draw_preview(
    pixels: Tensor, size: Size, detections: Sequence[Detection], crops: Sequence[Shown], icc_profile: bytes | None
) -> bytes:
    """Return the contact sheet as a JPEG.

    Args:
        pixels: uint8 tensor [3, H, W], the upright picture at any scale.
        size: The upright source picture's size; `detections` and `crops` are in its pixels.
        detections: Drawn with thin lines, with label and score; faces with their landmarks.
        crops: Each window is drawn with thick lines, and each crop follows under a bar of its window's colour.
        icc_profile: The colour profile of the pixels.
    """
    source = Image.fromarray(pixels.permute(1, 2, 0).contiguous().cpu().numpy())
    scale = min(SHEET_HEIGHT / size.height, 2 * SHEET_HEIGHT / size.width)
    source = source.resize((max(1, round(size.width * scale)), max(1, round(size.height * scale))))
    _draw_boxes(source, detections, scale)
    for index, crop in enumerate(crops):
        _draw_window(source, crop, index, scale)
    tiles = [_tile(crop.plan, crop.small, _color(index)) for index, crop in enumerate(crops) if crop.small is not None]
    sheet = _sheet(source, tiles)
    buffer = BytesIO()
    sheet.save(buffer, "JPEG", quality=85, **({"icc_profile": icc_profile} if icc_profile else {}))
    return buffer.getvalue()


def _color(index: int) -> tuple[int, int, int]:
    return WINDOW_COLORS[index % len(WINDOW_COLORS)]


def _draw_window(source: Image.Image, crop: Shown, index: int, scale: float) -> None:
    if crop.plan.angle:
        points = corners(crop.plan.frame or crop.plan.window, crop.plan.angle)
        shape = [(x * scale, y * scale) for x, y in points]
        ImageDraw.Draw(source).polygon(shape, outline=_color(index), width=LINE)
        return
    x1, y1, x2, y2 = (side * scale for side in crop.plan.window.xyxy)
    # Insetting keeps windows that share a border visible; the limits keep tiny windows visible.
    inset = min(index * LINE, 10 * LINE, (x2 - x1) / 4, (y2 - y1) / 4)
    left, top = x1 + inset, y1 + inset
    right, bottom = max(x2 - 1 - inset, left + LINE - 1), max(y2 - 1 - inset, top + LINE - 1)
    ImageDraw.Draw(source).rectangle((left, top, right, bottom), outline=_color(index), width=LINE)


def _draw_boxes(source: Image.Image, detections: Sequence[Detection], scale: float) -> None:
    draw = ImageDraw.Draw(source)
    font = ImageFont.load_default(12)
    for detection in reversed(detections):  # the most confident on top
        color = FACE_COLOR if detection.landmarks else BOX_COLOR
        x1, y1, x2, y2 = (side * scale for side in detection.box.xyxy)
        draw.rectangle((x1, y1, max(x1, x2 - 1), max(y1, y2 - 1)), outline=color)
        for x, y in detection.landmarks or ():
            draw.ellipse((x * scale - 1, y * scale - 1, x * scale + 1, y * scale + 1), fill=color)
        text = f"{detection.label} {detection.score:.2f}"
        place = draw.textbbox((x1 + 2, y1 + 1), text, font=font)
        draw.rectangle(place, fill=BACKGROUND)
        draw.text((x1 + 2, y1 + 1), text, fill=color, font=font)


def _tile(plan: CropPlan, image: Image.Image, color: tuple[int, int, int]) -> Image.Image:
    """Return the small crop under a bar in its window's colour; the bar names its ratio and rule."""
    height, bar = TILE_HEIGHT, BAR
    text = f"{plan.aspect_ratio} {plan.rule} {plan.output_size.width}x{plan.output_size.height}"
    font = ImageFont.load_default(12)
    width = max(image.width, round(font.getlength(text)) + 6)
    tile = Image.new("RGB", (width, height), BACKGROUND)
    ImageDraw.Draw(tile).rectangle((0, 0, width, bar - 2), fill=color)
    ImageDraw.Draw(tile).text((3, 1), text, fill=(0, 0, 0), font=font)
    tile.paste(image, (0, bar), image)
    return tile


def _sheet(source: Image.Image, tiles: list[Image.Image]) -> Image.Image:
    """Return the source at the left and the tiles in two rows beside it."""
    columns = [tiles[i : i + 2] for i in range(0, len(tiles), 2)]
    width = source.width + sum(GAP + max(tile.width for tile in column) for column in columns)
    sheet = Image.new("RGB", (width, max(SHEET_HEIGHT, source.height)), BACKGROUND)
    sheet.paste(source, (0, 0))
    x = source.width + GAP
    for column in columns:
        for row, tile in enumerate(column):
            sheet.paste(tile, (x, row * (SHEET_HEIGHT // 2 + GAP // 2)))
        x += max(tile.width for tile in column) + GAP
    return sheet
