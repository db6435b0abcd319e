"""What a crop on a CPU does not load."""

from __future__ import annotations

import subprocess
import sys

import pytest
from conftest import ROOT

CROP = """
import sys
from pathlib import Path
from crop_core import Cropper, CropRequest
from crop_core.doctor.ready import ready_cropper
cropper = {cropper}
request = CropRequest(mode={mode!r}, detector={detector!r}, width=100, output_format="jpg", preview=True)
cropper.crop(Path("samples/pair.jpg").read_bytes(), request)
print(*({{name.split(".")[0] for name in sys.modules}} & {{"torchvision", "nncf", "openvino_telemetry"}}))
"""


@pytest.mark.parametrize(
    ("cropper", "mode", "detector"),
    [
        ("Cropper(device='cpu')", "subject", "auto"),
        ("Cropper(device='cpu')", "faces", "balanced"),
        ("ready_cropper('cpu')", "subject", "auto"),
    ],
    ids=["subject", "faces with balanced", "the server's"],
)
def test_a_crop_on_a_cpu_does_not_wait_for_torchvision(cropper: str, mode: str, detector: str) -> None:
    code = CROP.format(cropper=cropper, mode=mode, detector=detector)
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == ""
