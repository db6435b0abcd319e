"""`crop-core doctor`: says whether the model can run here, and why not."""

from __future__ import annotations

from crop_core.cli.inputs import Commands
from crop_core.device import DEVICES


def add_parser(commands: Commands) -> None:
    """Add the command's options."""
    doctor = commands.add_parser("doctor", help="say whether the model can run here, and why not")
    doctor.add_argument("--device", choices=DEVICES, default="auto", help="the device to check (auto)")
    doctor.set_defaults(run=diagnose)


def diagnose(device: str) -> int:
    """Print the findings and return the command's exit status."""
    from crop_core.doctor.finding import runnable
    from crop_core.doctor.report import examine

    findings = examine(device)
    for finding in findings:
        print(f"{'ok   ' if finding.ok else 'WRONG'} {finding.what}: {finding.found}")
        if not finding.ok:
            print(f"      {finding.remedy}")
    return 0 if runnable(findings) else 1
