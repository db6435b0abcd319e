"""The gallery shows every sample, as the product crops it; a browser shows the same windows."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]
SAMPLES = ROOT / "samples"
RATIOS = ("16:9", "1:1", "4:5", "9:16")
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

# Asks the browser where it puts each picture behind its box, with every ratio in turn, and writes that into the page.
ASK = """<script>
const seen = {};
document.querySelectorAll("input").forEach((input) => {
  input.click();
  document.querySelectorAll("figure").forEach((figure) => {
    const crop = figure.querySelector(".crop"), style = getComputedStyle(crop), box = crop.getBoundingClientRect();
    const inner = figure.querySelector(".whole div").getBoundingClientRect();
    const whole = figure.querySelector(".whole img").getBoundingClientRect();
    (seen[figure.id] ??= {})[input.value] = {
      fit: style.objectFit, position: style.objectPosition, box: [box.width, box.height],
      picture: [crop.naturalWidth, crop.naturalHeight],
      outline: [inner.left - whole.left, inner.top - whole.top, inner.right - whole.left, inner.bottom - whole.top]
        .map((side, i) => 100 * side / (i % 2 ? whole.height : whole.width)),
    };
  });
});
const answer = document.createElement("pre");
answer.id = "seen";
answer.textContent = JSON.stringify(seen);
document.body.append(answer);
</script>"""


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
    without = [
        re.sub(r"const samples = .*?;\n", "", path.read_text(), flags=re.DOTALL)
        for path in (SAMPLES / "index.html", made / "index.html")
    ]
    assert without[0] == without[1]
    with Image.open(ROOT / ".github" / "gallery.jpg") as old, Image.open(made / "gallery.jpg") as new:
        assert old.size == new.size


@pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")
def test_a_browser_shows_the_window_of_each_ratio(made: Path) -> None:
    page = made / "asked.html"
    text = (SAMPLES / "index.html").read_text().replace("<head>", f'<head><base href="{SAMPLES.as_uri()}/">')
    # Pictures have their sizes once the page is loaded.
    ask = ASK.replace("<script>", '<script>addEventListener("load", () => {').replace("</script>", "});</script>")
    page.write_text(text.replace("</body>", ask + "</body>"))
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=5000", "--dump-dom"]
    dumped = subprocess.run(
        [str(BROWSER), *options, page.as_uri()], check=True, capture_output=True, text=True, timeout=60
    ).stdout
    found = re.search(r'<pre id="seen">(.*?)</pre>', dumped, re.DOTALL)
    assert found
    seen, samples = json.loads(found[1]), _data(SAMPLES / "index.html")
    assert set(seen) == set(samples)
    for name, by_ratio in seen.items():
        assert set(by_ratio) == set(RATIOS)
        assert len({one["position"] + str(one["box"]) for one in by_ratio.values()}) == len(RATIOS)
        for ratio, one in by_ratio.items():
            window = samples[name]["windows"][ratio]
            assert one["outline"] == pytest.approx(window, abs=0.5), (name, ratio)
            assert one["fit"] == "cover"
            assert _visible(one) == pytest.approx(window, abs=0.5), (name, ratio)


def _visible(one: dict[str, Any]) -> list[float]:
    """Return what a box with `object-fit: cover` shows, x1, y1, x2, y2 in per cent of the picture's sides."""
    (width, height), (wide, tall) = one["picture"], one["box"]
    scale = max(wide / width, tall / height)
    shares = [float(share.removesuffix("%")) / 100 for share in one["position"].split()]
    parts = (wide / scale / width, tall / scale / height)
    starts = [share * (1 - part) for share, part in zip(shares, parts, strict=True)]
    return [100 * side for side in (*starts, *(start + part for start, part in zip(starts, parts, strict=True)))]
