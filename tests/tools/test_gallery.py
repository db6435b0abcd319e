"""The gallery shows every sample, as the product crops it; a browser shows the same windows."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

ROOT = Path(__file__).parents[2]
SAMPLES = ROOT / "samples"
RATIOS = ("16:9", "1:1", "4:5", "9:16")
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

# Asks the browser where it draws each window in its photo, with every ratio in turn, and writes that into the page.
ASK = """<script>addEventListener("load", () => {
const seen = {};
document.querySelectorAll("input").forEach((input) => {
  input.click();
  document.querySelectorAll("figure").forEach((figure) => {
    const inner = figure.querySelector(".whole div").getBoundingClientRect();
    const whole = figure.querySelector(".whole img").getBoundingClientRect();
    (seen[figure.id] ??= {})[input.value] = {
      told: figure.querySelector("figcaption code").textContent,
      outline: [inner.left - whole.left, inner.top - whole.top, inner.right - whole.left, inner.bottom - whole.top]
        .map((side, i) => 100 * side / (i % 2 ? whole.height : whole.width)),
    };
  });
});
const answer = document.createElement("pre");
answer.id = "seen";
answer.textContent = JSON.stringify(seen);
document.body.append(answer);
});</script>"""
# Leaves only the crops to be seen, and chooses a ratio as a reader would.
CHOOSE = """<style>body * { visibility: hidden; outline: none !important } .crop { visibility: visible }</style>
<script>addEventListener("load", () => document.querySelector('input[value="@RATIO@"]').click());</script>"""
# Two pixels of a screen: one because a box may begin within a pixel, and one for what blends with the page around it.
TOLERANCE = 2


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with what the command makes now."""
    folder = tmp_path_factory.mktemp("gallery")
    command = [sys.executable, ROOT / "tests" / "tools" / "gallery.py"]
    command += ["--image", folder / "gallery.jpg", "--page", folder / "index.html"]
    subprocess.run(command, check=True, cwd=ROOT)
    return folder


def _data(page: Path) -> dict[str, Any]:
    found = re.search(r"const samples = (\{.*?\});\n", page.read_text(), re.DOTALL)
    assert found
    data: dict[str, Any] = json.loads(found[1])
    return data


def test_the_page_shows_every_sample() -> None:
    assert set(_data(SAMPLES / "index.html")) == {path.name for path in SAMPLES.glob("*.jpg")}


def test_every_sample_is_small() -> None:
    sizes = {path.name: path.stat().st_size for path in SAMPLES.glob("*.jpg")}
    assert max(sizes.values()) <= 200_000, sizes
    assert sum(sizes.values()) <= 1_500_000, sizes


def test_the_gallery_is_what_the_command_makes(made: Path) -> None:
    ours, theirs = _data(SAMPLES / "index.html"), _data(made / "index.html")
    for name, sample in theirs.items():
        for ratio, window in sample["windows"].items():
            assert ours[name]["windows"][ratio] == pytest.approx(window, abs=1), (name, ratio)
    assert _without_numbers(SAMPLES / "index.html") == _without_numbers(made / "index.html")
    with Image.open(ROOT / ".github" / "gallery.jpg") as old, Image.open(made / "gallery.jpg") as new:
        assert old.size == new.size
        # Another processor may move a window by a pixel; what it shows stays the same from afar.
        small = [np.asarray(picture.convert("RGB").reduce(8), np.float64) for picture in (old, new)]
    assert np.abs(small[0] - small[1]).mean() < 1


def _without_numbers(page: Path) -> str:
    """Return the page without positions and windows, in which processors may differ."""
    text = re.sub(r"const samples = .*?;\n", "", page.read_text(), flags=re.DOTALL)
    return re.sub(r"\d+(\.\d+)?%", "", text)


def test_the_page_crops_in_the_first_ratio_before_any_script_runs() -> None:
    text = (SAMPLES / "index.html").read_text()
    for name, sample in _data(SAMPLES / "index.html").items():
        figure = text.split(f'<figure id="{name}">')[1].split("</figure>")[0]
        position = sample["positions"][RATIOS[0]]
        assert f'style="aspect-ratio: 16/9; object-position: {position}"' in figure, name
        outline = [float(share) for share in re.findall(r"(?:left|top|width|height): ([\d.]+)%", figure)]
        x1, y1, x2, y2 = sample["windows"][RATIOS[0]]
        assert outline == pytest.approx([x1, y1, x2 - x1, y2 - y1], abs=0.002), name


def test_the_page_asks_nothing_of_another_site_and_credits_who_asks_for_it() -> None:
    text = (SAMPLES / "index.html").read_text()
    assert not re.search(r"https?://|//\w|url\(|@import", text)
    for name, row in re.findall(r"^\| `([^`]+)` \|(.+)\|$", (SAMPLES / "SOURCES.md").read_text(), re.MULTILINE):
        if "CC BY" in row:
            author = row.split("|")[1].split(",")[0].strip()
            caption = text.split(f'<figure id="{name}">')[1].split("</figcaption>")[0]
            assert author in caption, name
            assert "CC BY" in caption, name


in_a_browser = pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")


def _browse(page: Path, *options: str) -> str:
    always = ("--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=5000", "--force-color-profile=srgb")
    command = [str(BROWSER), *always, *options, page.as_uri()]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout


@in_a_browser
def test_the_page_outlines_the_window_of_each_ratio_and_tells_its_position(tmp_path: Path) -> None:
    page = tmp_path / "asked.html"
    text = (SAMPLES / "index.html").read_text().replace("<head>", f'<head><base href="{SAMPLES.as_uri()}/">')
    page.write_text(text.replace("</body>", ASK + "</body>"))
    found = re.search(r'<pre id="seen">(.*?)</pre>', _browse(page, "--dump-dom"), re.DOTALL)
    assert found
    seen, samples = json.loads(found[1]), _data(SAMPLES / "index.html")
    assert set(seen) == set(samples)
    for name, by_ratio in seen.items():
        assert set(by_ratio) == set(RATIOS)
        for ratio, one in by_ratio.items():
            assert one["outline"] == pytest.approx(samples[name]["windows"][ratio], abs=0.5), (name, ratio)
            assert one["told"] == f"object-position: {samples[name]['positions'][ratio]}", (name, ratio)


@in_a_browser
@pytest.mark.parametrize("ratio", RATIOS)
def test_a_browser_shows_the_pixels_of_the_window(ratio: str, tmp_path: Path) -> None:
    samples = _data(SAMPLES / "index.html")
    for number, name in enumerate(samples):
        with Image.open(SAMPLES / name) as photo:
            _ramp(photo.size, number).save(tmp_path / f"{name}.png")
    page, shot = tmp_path / "asked.html", tmp_path / "shot.png"
    text = re.sub(r'src="([^"]+)"', r'src="\1.png"', (SAMPLES / "index.html").read_text())
    page.write_text(text.replace("</body>", CHOOSE.replace("@RATIO@", ratio) + "</body>"))
    _browse(page, "--hide-scrollbars", "--window-size=1200,9000", f"--screenshot={shot}")
    with Image.open(shot) as image:
        screen = np.asarray(image.convert("RGB"), np.float64)
    for number, (name, sample) in enumerate(samples.items()):
        window, pixel, shape = _shown(screen, number)
        wide, tall = map(int, ratio.split(":"))
        assert shape == pytest.approx(wide / tall, rel=0.02), (name, ratio)
        for side, expected, share in zip(window, sample["windows"][ratio], pixel * 2, strict=True):
            assert side == pytest.approx(expected, abs=TOLERANCE * share), (name, ratio)


def _blue(number: int) -> int:
    """Return the blue by which a sample's ramp is told from the others' and from the page."""
    return 20 + 20 * number


def _ramp(size: tuple[int, int], number: int) -> Image.Image:
    """Return a picture in whose pixels stands where they lie: red is the share of the width, green of the height."""
    width, height = size
    pixels = np.full((height, width, 3), _blue(number), np.float64)
    pixels[..., 0] = 255 * (np.arange(width) + 0.5) / width
    pixels[..., 1] = 255 * ((np.arange(height) + 0.5) / height)[:, None]
    return Image.fromarray(np.rint(pixels).astype(np.uint8))


def _shown(screen: NDArray[np.float64], number: int) -> tuple[list[float], tuple[float, float], float]:
    """Return what the screen shows of a sample's ramp.

    That is x1, y1, x2, y2 in per cent of the picture's sides; what a pixel of the screen is along each, also in per
    cent; and the width of what is shown by its height.
    """
    rows, columns = np.nonzero(np.abs(screen[..., 2] - _blue(number)) < 3)
    assert rows.size, "the crop is not on the screen"
    top, bottom, left, right = rows.min(), rows.max() + 1, columns.min(), columns.max() + 1
    part = screen[top:bottom, left:right] / 255 * 100
    # A line through the colours of all pixels but the outermost gives more digits than the 8 bits of any one.
    across, x1 = np.polyfit(np.arange(1, right - left - 1) + 0.5, part[1:-1, 1:-1, 0].mean(0), 1)
    down, y1 = np.polyfit(np.arange(1, bottom - top - 1) + 0.5, part[1:-1, 1:-1, 1].mean(1), 1)
    x2, y2 = x1 + across * (right - left), y1 + down * (bottom - top)
    return [x1, y1, x2, y2], (across, down), (right - left) / (bottom - top)
