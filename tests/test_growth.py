"""The drawing of how time and memory grow."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import growth
import pytest


def report(scale: float) -> dict[str, object]:
    """Return what the benchmark writes, of lines with a slope of 2 and 1 times the scale."""
    sizes = ("1.0", "12.0", "100.0")
    return {
        "beside_ms": {
            size: {
                "crop-core": {"p50": 50 + 2 * scale * float(size)},
                "libvips attention": {"p50": scale * float(size)},
                "another": {"p50": 1},
            }
            for size in sizes
        },
        "peak_mb": {"crop-core": {"1.0": 20, "12.0": None, "100.0": 40}, "libvips attention": {"1.0": 5, "100.0": 9}},
    }


@pytest.mark.parametrize("scale", [0.01, 1, 700])
def test_lines_lie_within_the_drawing_and_say_their_slopes(scale: float, tmp_path: Path) -> None:
    (tmp_path / "bench.json").write_text(json.dumps(report(scale)))
    assert growth.main([str(tmp_path / "bench.json"), str(tmp_path / "growth.svg")]) == 0
    root = ElementTree.parse(tmp_path / "growth.svg").getroot()
    circles = [(float(c.get("cx", "")), float(c.get("cy", ""))) for c in root.iter() if c.tag.endswith("circle")]
    assert len(circles) == 3 + 3 + 2 + 2
    assert all(growth.LEFT <= x <= growth.WIDTH - growth.RIGHT for x, _ in circles)
    assert all(growth.TOP <= y <= growth.HEIGHT - growth.BOTTOM for _, y in circles)
    texts = [text.text for text in root.iter() if text.tag.endswith("text")]
    assert f"crop-core: {2 * scale:.1f} ms a megapixel" in texts
    assert f"libvips attention: {scale:.1f} ms a megapixel" in texts


def test_slope_is_that_of_the_line_nearest_to_the_points() -> None:
    assert growth.slope({0: 1, 1: 3, 2: 5}) == pytest.approx(2)
    assert growth.slope({0: 0, 1: 1, 2: 0}) == pytest.approx(0)
