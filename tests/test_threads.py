"""How many threads: the quota of a container counts, not the machine's cores."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from crop_core.threads import limit_threads, usable_cores

V2, V1 = "0::{}\n", "4:cpu,cpuacct:{}\n3:memory:/x\n"


def system(root: Path, cgroup: str, files: dict[str, str]) -> Path:
    for name, text in {"proc/self/cgroup": cgroup, **{f"sys/fs/cgroup/{k}": v for k, v in files.items()}}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.fixture(autouse=True)
def eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)


@pytest.mark.parametrize(
    ("cgroup", "files", "cores"),
    [
        ("", {}, 8),
        (V2.format("/"), {"cpu.max": "max 100000\n"}, 8),
        (V2.format("/"), {"cpu.max": "200000 100000\n"}, 2),
        (V2.format("/"), {"cpu.max": "150000 100000\n"}, 2),
        (V2.format("/"), {"cpu.max": "50000 100000\n"}, 1),
        (V2.format("/"), {"cpu.max": "6400000 100000\n"}, 8),
        (V2.format("/a/b"), {"a/cpu.max": "300000 100000\n", "a/b/cpu.max": "max 100000\n"}, 3),
        (V2.format("/a/b"), {"cpu.max": "200000 100000\n"}, 2),  # a container sees its own group as the root
        (V2.format("/../x"), {"cpu.max": "200000 100000\n"}, 2),
        (V2.format("/"), {"cpu.max": "rubbish\n"}, 8),
        (V1.format("/"), {"cpu/cpu.cfs_quota_us": "400000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 4),
        (V1.format("/"), {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 8),
    ],
    ids=[
        "no groups",
        "no quota",
        "two cores",
        "one and a half",
        "half",
        "more than there are",
        "the parent's",
        "the root's of a hidden path",
        "a path above the root",
        "no numbers",
        "version 1",
        "version 1 without",
    ],
)
def test_the_quota_sets_the_cores(cgroup: str, files: dict[str, str], cores: int, tmp_path: Path) -> None:
    assert usable_cores(system(tmp_path, cgroup, files)) == cores


@pytest.mark.parametrize(
    ("quota", "before", "after"),
    [("200000", None, "2"), ("200000", "5", "5"), ("max", None, None)],
    ids=["a quota", "the environment's own", "no quota"],
)
def test_pytorch_gets_the_quotas_threads(
    quota: str, before: str | None, after: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "")  # so that it is put back as it was
    monkeypatch.delenv("OMP_NUM_THREADS")
    if before:
        monkeypatch.setenv("OMP_NUM_THREADS", before)
    limit_threads(system(tmp_path, V2.format("/"), {"cpu.max": f"{quota} 100000\n"}))
    assert os.environ.get("OMP_NUM_THREADS") == after


def test_the_command_and_the_server_ask_for_it(tmp_path: Path) -> None:
    root = system(tmp_path, V2.format("/"), {"cpu.max": "100000 100000\n"})
    program = (
        "import sys; from pathlib import Path; from crop_core import threads; quota = threads._quota;"
        "threads._quota = lambda root: quota(Path(sys.argv[1]));"
        "from crop_core.run.process_settings import tune_process; tune_process();"
        "import torch; print(torch.get_num_threads())"
    )
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    printed = subprocess.run(
        [sys.executable, "-c", program, str(root)], check=True, capture_output=True, text=True, env=environment
    ).stdout
    assert printed == "1\n"
