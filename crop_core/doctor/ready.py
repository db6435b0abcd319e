"""Makes a cropper that is known to work: checked, loaded and warmed up."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from crop_core.doctor.finding import REPAIR_PAIR, Finding, tried
from crop_core.doctor.one_detection import check_detection
from crop_core.doctor.report import environment_in_use
from crop_core.errors import DeviceError

if TYPE_CHECKING:
    from crop_core.cropper import Cropper


def ready_cropper(device: str = "auto", detector: str = "auto") -> Cropper:
    """Return a loaded and warmed-up cropper on a device that was checked.

    Raises:
        DeviceError: PyTorch, torchvision or the device does not work, or finds something else than the CPU.
        WeightsError: The weights are absent or damaged.
        RequestError: No detector has that name.
    """
    _require(environment_in_use(device))
    from crop_core.cropper import Cropper

    cropper = Cropper(device=device, detector=detector)
    _require([tried("one detection", partial(check_detection, device, cropper), REPAIR_PAIR)])
    cropper.warm_up()
    return cropper


def _require(findings: Sequence[Finding]) -> None:
    for finding in findings:
        if finding.needed and not finding.ok:
            found = finding.found.rstrip(".")
            raise DeviceError(f"The model cannot run here. {finding.what}: {found}. {finding.remedy}".strip())
