from pathlib import Path

import pytest

from medsweep.hardware.cgroup import (
    CpuUse,
    available_memory,
    cpu_quota,
    cpu_throttled_periods,
    cpu_use,
    memory_limit,
)


def lay_out(root: Path, group: str, files: dict[str, str]) -> None:
    """Write cgroup files below a root; the keys are paths below sys/fs/cgroup."""
    (root / "proc/self").mkdir(parents=True)
    # A version 1 line beside the version 2 line, as hybrid systems have.
    (root / "proc/self/cgroup").write_text(f"1:cpu:/elsewhere\n0::{group}\n")
    for path, text in files.items():
        file = root / "sys/fs/cgroup" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text + "\n")


QUOTAS = [
    ({"cpu.max": "200000 100000"}, "/", 2.0),
    ({"cpu.max": "max 100000"}, "/", None),
    ({"pod/cpu.max": "50000 100000", "pod/box/cpu.max": "max 100000"}, "/pod/box", 0.5),
    ({"pod/cpu.max": "400000 100000", "pod/box/cpu.max": "150000 100000"}, "/pod/box", 1.5),
    ({}, "/pod/box", None),
]


@pytest.mark.parametrize(("files", "group", "cores"), QUOTAS)
def test_the_tightest_quota_on_the_way_up_counts(
    tmp_path: Path, files: dict[str, str], group: str, cores: float | None
) -> None:
    lay_out(tmp_path, group, files)
    assert cpu_quota(tmp_path) == cores


def test_what_is_left_is_the_least_of_machine_and_groups(tmp_path: Path) -> None:
    files = {
        "pod/memory.max": "9000000",
        "pod/memory.current": "5000000",
        "pod/memory.stat": "anon 1\nfile 1000000",
        "pod/box/memory.max": "max",
        "pod/box/memory.current": "1",
        "pod/box/memory.stat": "file 0",
    }
    lay_out(tmp_path, "/pod/box", files)
    assert available_memory(tmp_path) == 5_000_000
    text = "MemTotal:       16000 kB\nMemAvailable:    4000 kB\n"
    (tmp_path / "proc/meminfo").write_text(text)
    assert available_memory(tmp_path) == 4_096_000
    assert available_memory(tmp_path / "empty") is None


def test_memory_limit(tmp_path: Path) -> None:
    lay_out(tmp_path, "/pod/box", {"pod/memory.max": "4096", "pod/box/memory.max": "max"})
    assert memory_limit(tmp_path) == 4096


def test_throttled_periods_add_up_on_the_way_up(tmp_path: Path) -> None:
    stat = "usage_usec 5\nnr_periods 9\nnr_throttled {}\nthrottled_usec 7"
    lay_out(
        tmp_path,
        "/pod/box",
        {
            "cpu.stat": "usage_usec 5",
            "pod/cpu.stat": stat.format(3),
            "pod/box/cpu.stat": stat.format(4),
        },
    )
    assert cpu_throttled_periods(tmp_path) == 7


def test_use_is_the_group_s_own_and_refusals_are_of_all(tmp_path: Path) -> None:
    stat = "usage_usec {}\nnr_periods 9\nnr_throttled 3\nthrottled_usec 500000"
    files = {"pod/cpu.stat": stat.format(9_000_000), "pod/box/cpu.stat": stat.format(2_000_000)}
    lay_out(tmp_path, "/pod/box", files)
    assert cpu_use(tmp_path) == CpuUse(2.0, 18, 6, 1.0)


def test_version_1(tmp_path: Path) -> None:
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text("4:memory:/box\n2:cpu,cpuacct:/pod/box\n0::/\n")
    for path, text in {
        "cpu,cpuacct/pod/cpu.cfs_quota_us": "-1",
        "cpu,cpuacct/pod/cpu.cfs_period_us": "100000",
        "cpu,cpuacct/pod/box/cpu.cfs_quota_us": "150000",
        "cpu,cpuacct/pod/box/cpu.cfs_period_us": "100000",
        "cpu,cpuacct/pod/box/cpu.stat": "nr_periods 10\nnr_throttled 4\nthrottled_time 2000000000",
        "cpu,cpuacct/pod/box/cpuacct.usage": "3500000000",
        "memory/box/memory.limit_in_bytes": "4096",
        "memory/memory.limit_in_bytes": "9223372036854771712",
    }.items():
        file = tmp_path / "sys/fs/cgroup" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text + "\n")
    assert cpu_quota(tmp_path) == 1.5
    assert memory_limit(tmp_path) == 4096
    assert cpu_use(tmp_path) == CpuUse(3.5, 10, 4, 2.0)
    (tmp_path / "sys/fs/cgroup/memory/box/memory.limit_in_bytes").unlink()
    assert memory_limit(tmp_path) is None


def test_without_control_groups_nothing_is_known(tmp_path: Path) -> None:
    assert cpu_quota(tmp_path) is None
    assert memory_limit(tmp_path) is None
    assert cpu_throttled_periods(tmp_path) is None
    assert cpu_use(tmp_path) == CpuUse(None, None, None, None)
