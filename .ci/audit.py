"""The pins against the index's list of known vulnerabilities, which pip-audit reads.

    audit.py pins            print every pin: requirements.txt, the extras, the build's own
    audit.py judge REPORT    read pip-audit's JSON; fail on a finding that .ci/audit-exceptions does not list

A line of .ci/audit-exceptions is an advisory's ID and the reason why it does not matter here.
"""

from __future__ import annotations

import json
import sys
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
EXCEPTIONS = ROOT / ".ci" / "audit-exceptions"


def pins() -> list[str]:
    """Return every pin of the project once."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    lines += [pin for extra in project["project"]["optional-dependencies"].values() for pin in extra]
    lines += project["build-system"]["requires"]
    return sorted({line.partition("#")[0].strip() for line in lines} - {""})


def exceptions(text: str) -> dict[str, str]:
    """Return ID -> reason of the lines that are no comments.

    Raises:
        ValueError: A line gives no reason.
    """
    entries = [line.strip().split(maxsplit=1) for line in text.splitlines() if line.strip() and line[0] != "#"]
    for entry in entries:
        if len(entry) != 2:
            raise ValueError(f"audit-exceptions: {entry[0]} has no reason")
    return dict(entries)


def judged(report: dict[str, Any], excused: dict[str, str]) -> tuple[list[str], bool]:
    """Return what to print of pip-audit's report, and whether it is good enough.

    What the index could not tell is said and held against nobody: it may be out of reach.
    """
    lines, good, met = [], True, set()
    skipped = [entry for entry in report["dependencies"] if "skip_reason" in entry]
    for entry in report["dependencies"]:
        for finding in entry.get("vulns", ()):
            names = {finding["id"], *finding.get("aliases", ())}
            fixed = ", ".join(finding["fix_versions"]) or "no version"
            what = f"{entry['name']} {entry['version']}: {finding['id']}, fixed in {fixed}"
            known = names & excused.keys()
            met |= known
            good = good and bool(known)
            lines.append(f"{what}; excused: {excused[min(known)]}" if known else f"{what}; NOT EXCUSED")
    if not lines and not skipped:
        lines.append("no known vulnerability")
    if skipped:
        lines.append(f"not audited: {', '.join(entry['name'] for entry in skipped)} ({skipped[0]['skip_reason']})")
    elif stale := excused.keys() - met:
        lines.append(f"no finding needs these exceptions any more: {', '.join(sorted(stale))}")
    return lines, good


def main(arguments: list[str]) -> int:
    """Run the command, and return its exit status."""
    match arguments:
        case ["pins"]:
            print("\n".join(pins()))
            return 0
        case ["judge", report]:
            try:
                found = json.loads(Path(report).read_text())
            except (OSError, ValueError):
                print("audit: the list of vulnerabilities cannot be reached; nothing was audited")
                return 0
            lines, good = judged(found, exceptions(EXCEPTIONS.read_text()))
            for line in lines:
                print(f"audit: {line}")
            return 0 if good else 1
    print(__doc__, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
