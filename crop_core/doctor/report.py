"""Can the model run here, and if not: why, and what mends it.

Starts where torch and torchvision are absent or do not match, so it imports neither before it has
looked at what is installed.
"""

from __future__ import annotations

from functools import partial

from crop_core.doctor.finding import MEND_PAIR, Finding, runnable, tried
from crop_core.doctor.installed import engine_finding, installed_findings, torch_findings, weights_findings
from crop_core.doctor.on_device import device_findings, is_for_gpu
from crop_core.doctor.one_detection import accurate_weights, check_detection


def examine(device: str = "auto") -> list[Finding]:
    """Return the findings for the device, in the order in which they matter.

    Args:
        device: One of `device.DEVICES`.
    """
    findings = environment(device)
    if runnable(findings):
        findings.append(tried("one detection", partial(check_detection, device, None), MEND_PAIR))
    return findings


def environment(device: str) -> list[Finding]:
    """Return the findings on everything but a whole detection."""
    findings, loads = installed_findings()
    weights = weights_findings()
    if not loads:
        return [*findings, *weights]
    return [*findings, *device_findings(device), engine_finding(), *weights, accurate_weights(device)]


def environment_in_use(device: str) -> list[Finding]:
    """Return the findings that tell whether pictures can be cropped: on a CPU torchvision is not needed.

    Its import takes longer than all else that a server waits for.
    """
    findings, loads = torch_findings()
    if not loads:
        return findings
    on_device = device_findings(device, torchvision=False)
    if not runnable(on_device) or is_for_gpu(device):
        return environment(device)
    return [*findings, *on_device, *weights_findings()]
