"""Checks whether the model can run here; if not, says why and what repairs it.

It must work even if torch and torchvision are missing or do not match. So it looks at what is
installed before it imports either.
"""

from __future__ import annotations

from functools import partial

from crop_core.doctor.finding import REPAIR_PAIR, Finding, runnable, tried
from crop_core.doctor.installed import engine_finding, installed_findings, torch_findings, weights_findings
from crop_core.doctor.on_device import device_findings, is_for_gpu
from crop_core.doctor.one_detection import accurate_weights, check_detection


def examine(device: str = "auto") -> list[Finding]:
    """Return the findings for the device, the most basic first.

    Args:
        device: One of `device.DEVICES`.
    """
    findings = environment(device)
    if runnable(findings):
        findings.append(tried("one detection", partial(check_detection, device, None), REPAIR_PAIR))
    return findings


def environment(device: str) -> list[Finding]:
    """Return the findings on everything except a whole detection."""
    findings, loads = installed_findings()
    weights = weights_findings()
    if not loads:
        return [*findings, *weights]
    return [*findings, *device_findings(device), engine_finding(), *weights, accurate_weights(device)]


def environment_in_use(device: str) -> list[Finding]:
    """Return the findings that decide whether pictures can be cropped.

    A CPU does not need torchvision, so it is not imported there: that import is the slowest part of a server's start.
    """
    findings, loads = torch_findings()
    if not loads:
        return findings
    on_device = device_findings(device, torchvision=False)
    if not runnable(on_device) or is_for_gpu(device):
        return environment(device)
    return [*findings, *on_device, *weights_findings()]
