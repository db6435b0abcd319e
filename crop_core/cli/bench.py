"""`crop-core bench`: measures where time and memory go."""

from __future__ import annotations

import json
from pathlib import Path

from crop_core.cli.inputs import Commands, add_input, cropper_class
from crop_core.device import DEVICES
from crop_core.errors import RequestError
from crop_core.request import inputs
from crop_core.run.process_settings import tune_process


def add_parser(commands: Commands) -> None:
    """Add the command's options."""
    bench = commands.add_parser("bench", help="measure where time and memory go")
    bench.add_argument("--device", choices=DEVICES, default="auto", help="where the networks run (auto)")
    add_input(bench, "detector", inputs()["detector"])
    bench.add_argument("--megapixels", default="1,3,12,48,100", metavar="LIST", help="sizes of the photos")
    bench.add_argument("--runs", type=int, default=20, metavar="N", help="crops per size (20)")
    bench.add_argument("--picture", type=Path, metavar="FILE", help="what the photos show (a sample)")
    bench.add_argument(
        "--only", default="", metavar="LIST", help="some of stages,throughput,memory,cold; all when empty"
    )
    bench.add_argument("--json", dest="json_target", type=Path, metavar="FILE", help="also write the figures there")
    bench.set_defaults(run=measure)


def measure(
    device: str,
    detector: str,
    megapixels: str,
    runs: int,
    picture: Path | None,
    only: str,
    json_target: Path | None,
) -> int:
    """Measure, print, and return the command's exit status."""
    try:
        sizes = [float(size) for size in megapixels.split(",")]
    except ValueError:
        sizes = []
    if not sizes or not all(0.1 <= size <= 200 for size in sizes):
        raise RequestError(f"--megapixels is a list of numbers from 0.1 to 200, such as 1,12; got {megapixels!r}.")
    if runs < 1:
        raise RequestError(f"--runs is at least 1; got {runs}.")
    tune_process()
    cropper_class()  # says what to do where PyTorch does not load
    from crop_core.bench.pictures import SAMPLE
    from crop_core.bench.run import PARTS, run

    parts = [part for part in only.split(",") if part] or list(PARTS)
    if unknown := [part for part in parts if part not in PARTS]:
        raise RequestError(f"--only takes some of {', '.join(PARTS)}; got {', '.join(unknown)}.")
    report = run(sizes, runs, device, picture or SAMPLE, parts, detector)
    if json_target is not None:
        try:
            json_target.write_text(json.dumps(report, indent=1) + "\n")
        except OSError as error:
            raise RequestError(
                f"--json {json_target} cannot be written: {error.strerror}. Name another file."
            ) from error
    return 0
