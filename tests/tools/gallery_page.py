"""The page of the gallery: plain HTML in which `object-position` crops each sample."""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from dataclasses import dataclass

PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>crop-core: samples</title>
<style>
:root { color-scheme: light dark; --line: #e69f00; font: 16px/1.5 system-ui, sans-serif; }
body { max-width: 64rem; margin: 0 auto; padding: 1rem; }
fieldset { position: sticky; top: 0; z-index: 1; border: 0; margin: 0; padding: .5rem 0; background: Canvas; }
label { margin-right: 1rem; }
figure { display: grid; grid-template-columns: 3fr 2fr; gap: 1rem; align-items: center; margin: 1.5rem 0; }
figcaption { grid-column: 1 / -1; }
.whole { position: relative; overflow: hidden; }
.whole img { display: block; width: 100%; height: auto; }
.whole div { position: absolute; border: 3px solid var(--line); box-sizing: border-box;
  box-shadow: 0 0 0 100vmax rgb(0 0 0 / 45%); }
.crop { display: block; width: 100%; max-width: 20rem; object-fit: cover; justify-self: center; }
img { outline: 1px solid rgb(128 128 128 / 40%); }
code { overflow-wrap: anywhere; }
@media (max-width: 34rem) { figure { grid-template-columns: 1fr; } }
</style>
</head>
<body>
<h1>Samples</h1>
<p>Each photo is shown whole, with the window that crop-core chose, and beside it as a browser crops it. On your own
site, take a crop's <code>object_position</code> from <code>detections.json</code>:
<code>&lt;img style="aspect-ratio: 16/9; object-fit: cover; object-position: 50% 12.5%"&gt;</code>.
<a href="SOURCES.md">SOURCES.md</a> names who made each picture, and its licence.</p>
<fieldset><legend>Ratio</legend>
@RATIOS@
</fieldset>
@FIGURES@
<script>
const samples = @DATA@;
function show(ratio) {
  document.querySelectorAll("figure").forEach((figure) => {
    const sample = samples[figure.id], [x1, y1, x2, y2] = sample.windows[ratio];
    const crop = figure.querySelector(".crop").style;
    crop.aspectRatio = ratio.replace(":", "/");
    crop.objectPosition = sample.positions[ratio];
    Object.assign(figure.querySelector(".whole div").style,
      {left: x1 + "%", top: y1 + "%", width: x2 - x1 + "%", height: y2 - y1 + "%"});
    figure.querySelector("figcaption code").textContent = "object-position: " + sample.positions[ratio];
  });
}
document.querySelectorAll("input").forEach((input) => input.addEventListener("change", () => show(input.value)));
show(document.querySelector("input:checked").value);
</script>
</body>
</html>
"""


@dataclass(frozen=True, slots=True)
class Sample:
    """A picture on the page.

    Attributes:
        name: Of its file, beside the page.
        alternative: What it shows, in words.
        credit: What its licence asks to be said beside it; usually empty.
        size: Width and height, px.
        positions: By ratio: its CSS `object-position`.
        windows: By ratio: x1, y1, x2, y2 of the window, per cent of the picture's sides.
    """

    name: str
    alternative: str
    credit: str
    size: tuple[int, int]
    positions: dict[str, str]
    windows: dict[str, tuple[float, ...]]


def page_of(samples: Sequence[Sample], ratios: Sequence[str]) -> str:
    """Return the page as HTML; the first ratio is chosen when it opens."""
    radios = "\n".join(
        f'<label><input type="radio" name="ratio" value="{ratio}"{" checked" if ratio == ratios[0] else ""}> '
        f"{ratio}</label>"
        for ratio in ratios
    )
    data = {
        sample.name: {
            "positions": sample.positions,
            "windows": {ratio: [round(side, 3) for side in window] for ratio, window in sample.windows.items()},
        }
        for sample in samples
    }
    page = PAGE.replace("@RATIOS@", radios).replace(
        "@FIGURES@", "\n".join(_figure(sample, ratios[0]) for sample in samples)
    )
    return page.replace("@DATA@", json.dumps(data, indent=1))


def _figure(sample: Sample, ratio: str) -> str:
    """Return a sample as the page has it before a script runs: whole, and cropped in the ratio."""
    name, words = html.escape(sample.name), html.escape(sample.alternative)
    credit = f"; {html.escape(sample.credit)}" if sample.credit else ""
    width, height = sample.size
    position = sample.positions[ratio]
    x1, y1, x2, y2 = sample.windows[ratio]
    outline = f"left: {x1:.3f}%; top: {y1:.3f}%; width: {x2 - x1:.3f}%; height: {y2 - y1:.3f}%"
    return (
        f'<figure id="{name}">\n<figcaption>{words} (<code>object-position: {position}</code>){credit}</figcaption>\n'
        f'<div class="whole"><img src="{name}" alt="{words}" width="{width}" height="{height}">'
        f'<div style="{outline}"></div></div>\n'
        f'<img class="crop" src="{name}" alt="{words}, cropped" '
        f'style="aspect-ratio: {ratio.replace(":", "/")}; object-position: {position}">\n</figure>'
    )
