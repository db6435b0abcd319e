"""Draws how time and memory grow with the picture, from what `crop-core bench --json` wrote, as an SVG.

crop-core bench --only peers,memory --json bench.json
python tests/bench/growth.py bench.json .github/growth.svg
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

OURS, PEER = "crop-core", "libvips attention"
COLORS = {OURS: "#c2410c", PEER: "#1d4ed8"}
WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT = 420, 300, 56, 44, 34, 16  # pixels of one panel
STEPS = (1, 2, 5)

Lines = Mapping[str, Mapping[float, float]]


def lines_of(report: Mapping[str, Any]) -> tuple[Lines, Lines]:
    """Return milliseconds and MB by cropper and megapixels."""
    times = {
        name: {float(size): row[name]["p50"] for size, row in report["beside_ms"].items()} for name in (OURS, PEER)
    }
    peaks = {
        name: {float(size): peak for size, peak in row.items() if peak is not None}
        for name, row in report["peak_mb"].items()
    }
    return times, peaks


def slope(line: Mapping[float, float]) -> float:
    """Return the slope of a line, per megapixel, by least squares."""
    x_mean, y_mean = (sum(values) / len(line) for values in (line.keys(), line.values()))
    return sum((x - x_mean) * (y - y_mean) for x, y in line.items()) / sum((x - x_mean) ** 2 for x in line)


def drawing(panels: Sequence[tuple[str, str, Lines]]) -> str:
    """Return an SVG of panels side by side, each with a title, a unit and lines over megapixels."""
    parts = [_panel(title, unit, lines, index * WIDTH) for index, (title, unit, lines) in enumerate(panels)]
    size = f'width="{WIDTH * len(panels)}" height="{HEIGHT}"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="12">\n'
        f'<rect {size} fill="white"/>\n{"".join(parts)}</svg>\n'
    )


def _panel(title: str, unit: str, lines: Lines, offset: int) -> str:
    x_end = max(x for line in lines.values() for x in line)
    x_ticks = _ticks(x_end)
    y_ticks = _ticks(max(y for line in lines.values() for y in line.values()))

    def at(x: float, y: float) -> tuple[float, float]:
        return (
            round(LEFT + x / x_ticks[-1] * (WIDTH - LEFT - RIGHT), 1),
            round(HEIGHT - BOTTOM - y / y_ticks[-1] * (HEIGHT - BOTTOM - TOP), 1),
        )

    drawn = [_text(LEFT, 18, title, "start", weight="bold")]
    for tick in y_ticks:
        (left, y), (right, _) = at(0, tick), at(x_ticks[-1], tick)
        drawn.append(f'<path d="M{left} {y}H{right}" stroke="#ddd"/>\n')
        drawn.append(_text(left - 6, y + 4, f"{tick:g}", "end"))
    drawn.extend(_text(at(tick, 0)[0], HEIGHT - BOTTOM + 18, f"{tick:g}", "middle") for tick in x_ticks)
    drawn.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 8, "megapixels", "middle"))
    for row, (name, line) in enumerate(lines.items()):
        points = [at(x, y) for x, y in line.items()]
        path = "L".join(f"{x} {y}" for x, y in points)
        drawn.append(f'<path d="M{path}" fill="none" stroke="{COLORS[name]}" stroke-width="2"/>\n')
        drawn.extend(f'<circle cx="{x}" cy="{y}" r="3" fill="{COLORS[name]}"/>\n' for x, y in points)
        said = f"{name}: {slope(line):.1f} {unit} a megapixel"
        drawn.append(_text(LEFT + 10, TOP + 14 + 16 * row, said, "start", color=COLORS[name]))
    return f'<g transform="translate({offset} 0)">\n{"".join(drawn)}</g>\n'


def _ticks(end: float) -> list[float]:
    """Return round numbers from 0 to one that is at least the end."""
    step = next(s * 10**p for p in range(-3, 9) for s in STEPS if s * 10**p * 6 >= end)
    return [step * n for n in range(int(-(-end // step)) + 1)]


def _text(x: float, y: float, text: str, anchor: str, *, weight: str = "normal", color: str = "#222") -> str:
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}" font-weight="{weight}" fill="{color}">{text}</text>\n'


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the report and write the drawing."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("report", type=Path)
    parser.add_argument("svg", type=Path)
    given = parser.parse_args(arguments)
    times, peaks = lines_of(json.loads(given.report.read_text()))
    panels = [("Time for a 1080 x 1080 crop, ms", "ms", times), ("Peak memory above an idle process, MB", "MB", peaks)]
    given.svg.write_text(drawing(panels))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
