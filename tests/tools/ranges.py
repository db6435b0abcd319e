"""Tests the package with the lowest and the newest versions that its ranges allow and the package index has.

    python tests/tools/ranges.py lowest newest [--work FOLDER] [--tests TEST …]

Each end gets a virtual environment of its own, with the package installed in it: about 6 GB of disk and five
minutes. The tests are the quick ones of pictures, detectors, framing and files; Ray, the server and the tools of
`crop-core batch` have pins of their own. Exit status 1: a test failed, or an end cannot be installed.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
# What the tests below need beside the package; their versions are those of the extra `test`.
TOOLS = ("cog", "coglet", "pytest", "hypothesis", "pyyaml", "onnx", "onnxruntime", "pillow-heif", "tifffile")
TESTS = (
    *("tests/photo", "tests/detect", "tests/frame", "tests/cut", "tests/run"),
    *("tests/test_cropper.py", "tests/test_result.py", "tests/test_request.py"),
    *("tests/test_detection.py", "tests/test_geometry.py"),
)


def ranges() -> dict[str, tuple[str, str]]:
    """Return name -> the lowest version that the package takes, and the whole range."""
    found = {}
    for line in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]:
        match = re.fullmatch(r"([a-z]+)(>=([0-9.]+),<[0-9.]+)(?:;.*)?", line)
        if match is None:
            raise ValueError(f"{line} is no range of the form name>=1.0,<2")
        found[match[1]] = (match[3], match[2])
    return found


def requirements(end: str) -> list[str]:
    """Return what pip is to install for an end: the exact lowest versions, or the ranges, of which it takes the newest.

    Args:
        end: ``lowest`` or ``newest``.
    """
    extra = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["test"]
    tools = [pin for pin in extra if re.split(r"[=\[]", pin)[0] in TOOLS]
    ends = [f"{name}=={low}" if end == "lowest" else f"{name}{whole}" for name, (low, whole) in ranges().items()]
    return [*ends, *tools]


def tested(end: str, folder: Path, tests: list[str]) -> bool:
    """Install the end into the folder, run the tests and return whether they pass."""
    python = folder / end / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder / end)], check=True)
    wanted = [*requirements(end), "--editable", str(ROOT)]  # a plain install would leave build/ in the tree
    if subprocess.run([python, "-m", "pip", "install", "-q", "--upgrade", *wanted], check=False).returncode:
        print(f"{end}: cannot be installed")
        return False
    names = tuple(ranges())
    code = f"from importlib.metadata import version as v; print(', '.join(f'{{n}} {{v(n)}}' for n in {names!r}))"
    said = subprocess.run([python, "-c", code], check=True, capture_output=True, text=True).stdout.strip()
    print(f"{end}: {said}", flush=True)
    path = f"{python.parent}{os.pathsep}{os.environ['PATH']}"
    command = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "not gpu and not shared", *tests]
    good = subprocess.run(command, cwd=ROOT, env={**os.environ, "PATH": path}, check=False).returncode == 0
    print(f"{end}: {'passes' if good else 'FAILS'}", flush=True)
    return good


def main() -> int:
    """Run the command, and return its exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ends", nargs="+", choices=("lowest", "newest"), metavar="END")
    parser.add_argument("--work", type=Path, help="keep the virtual environments here, and use those that are there")
    parser.add_argument("--tests", nargs="+", default=list(TESTS))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="crop-core-ranges-") as scratch:
        folder = arguments.work or Path(scratch)
        results = [tested(end, folder.resolve(), arguments.tests) for end in arguments.ends]
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
