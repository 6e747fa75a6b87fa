import os
from pathlib import Path

import pytest

from medsweep.telemetry.host import THREAD, Host
from medsweep.telemetry.recording import Sample

TICKS = os.sysconf("SC_CLK_TCK")


def lay_out(root: Path, files: dict[str, str]) -> None:
    for path, text in files.items():
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


def stat(name: str, user: int, system: int, parent: int = 0) -> str:
    """A line as in /proc/<pid>/stat, with CPU time in seconds."""
    return (
        f"7 ({name}) S {parent} " + " ".join(["0"] * 9) + f" {user * TICKS} {system * TICKS} 0 0\n"
    )


def read(root: Path, **pids: int) -> Sample:
    sample = Sample(0.0)
    Host(pids, root).read(sample)
    return sample


def zone(number: str, name: str, energy_j: int) -> dict[str, str]:
    """The files of one RAPL zone."""
    folder = f"sys/class/powercap/intel-rapl:{number}"
    return {f"{folder}/name": f"{name}\n", f"{folder}/energy_uj": f"{energy_j}000000\n"}


def test_every_sensor_is_read(tmp_path: Path) -> None:
    lay_out(
        tmp_path,
        {
            "proc/stat": "cpu  10 20 30 400 50 6 7 8 9 9\ncpu0 1 1 1 1 1 1 1 1 1 1\n",
            "proc/self/cgroup": "0::/\n",
            "sys/fs/cgroup/cpu.stat": (
                "usage_usec 3000000\nnr_periods 50\nnr_throttled 5\nthrottled_usec 250000\n"
            ),
            "proc/net/dev": (
                "Inter-| Receive\n face |bytes\n    lo: 9 0 0 0 0 0 0 0 9 0\n"
                "  eth0: 100 1 0 0 0 0 0 0 40 1\n  eth1:5 1 0 0 0 0 0 0 2 1\n"
            ),
            "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq": "2000000\n",
            "sys/devices/system/cpu/cpu1/cpufreq/scaling_cur_freq": "3000000\n",
            **zone("0", "package-0", 5),
            **zone("0:0", "core", 1),
            "proc/42/stat": stat("ray::Engine) x", 9, 3),
            "proc/42/task/42/stat": stat("a b", 8, 2),
            "proc/42/task/43/stat": stat("idle", 0, 0),
        },
    )
    sample = read(tmp_path, engine=42)
    assert sample.counters == pytest.approx(
        {
            "cpu_ticks": 531,
            "cpu_idle_ticks": 450,
            "cpu_steal_ticks": 8,
            "group_cpu_s": 3.0,
            "cpu_periods": 50,
            "cpu_throttled_periods": 5,
            "cpu_throttled_s": 0.25,
            "network_received_bytes": 105,
            "network_sent_bytes": 42,
            "cpu_energy_j": 5.0,
            "engine_cpu_s": 12.0,
            f"{THREAD}engine/42": 10.0,
        }
    )
    assert sample.gauges == {"cpu_clock_hz": 2.5e9}
    assert sample.missing == {}


def test_the_clock_is_found_in_cpuinfo_too(tmp_path: Path) -> None:
    lay_out(tmp_path, {"proc/cpuinfo": "cpu MHz\t\t: 2200.0\ncpu MHz\t\t: 2400.0\n"})
    assert read(tmp_path).gauges == {"cpu_clock_hz": 2.3e9}


def test_a_bare_machine_says_why_each_sensor_is_silent(tmp_path: Path) -> None:
    sample = read(tmp_path, engine=1)
    assert (sample.counters, sample.gauges) == ({}, {})
    assert set(sample.missing) == {
        "cpu",
        "cpu_throttling",
        "network",
        "cpu_clock",
        "cpu_energy",
        "engine",
    }
    assert sample.missing["engine"] == "process 1 is not on this machine"
    assert sample.missing["cpu_energy"] == "RAPL (/sys/class/powercap) has no package"


def test_energy_is_of_packages_and_their_memory(tmp_path: Path) -> None:
    """psys, the whole board, contains the packages; cores are part of their package."""
    lay_out(
        tmp_path,
        {
            **zone("0", "package-0", 75),
            **zone("0:0", "core", 60),
            **zone("0:1", "dram", 10),
            **zone("1", "package-1", 75),
            **zone("1:0", "uncore", 5),
            **zone("1:1", "dram", 10),
            **zone("2", "psys", 400),
        },
    )
    assert read(tmp_path).counters["cpu_energy_j"] == 170


@pytest.mark.parametrize("unreadable", ["intel-rapl:1", "intel-rapl:0:0"])
def test_energy_that_is_read_in_part_is_not_known(tmp_path: Path, unreadable: str) -> None:
    lay_out(
        tmp_path,
        {**zone("0", "package-0", 75), **zone("0:0", "dram", 10), **zone("1", "package-1", 75)},
    )
    (tmp_path / "sys/class/powercap" / unreadable / "energy_uj").unlink()
    sample = read(tmp_path)
    assert "cpu_energy_j" not in sample.counters
    assert "may not be read" in sample.missing["cpu_energy"]


def test_the_board_alone_is_no_package(tmp_path: Path) -> None:
    lay_out(tmp_path, zone("0", "psys", 400))
    assert "no package" in read(tmp_path).missing["cpu_energy"]


def test_what_a_process_has_started_is_part_of_it(tmp_path: Path) -> None:
    lay_out(
        tmp_path,
        {
            "proc/42/stat": stat("engine", 1, 1),
            "proc/43/stat": stat("pipeline", 20, 2, parent=42),
            "proc/43/task/44/stat": stat("worker", 15, 0, parent=42),
            "proc/45/stat": stat("of the pipeline", 3, 0, parent=43),
            "proc/46/stat": stat("somebody else's", 100, 0, parent=1),
        },
    )
    host, before, after = Host({"engine": 42}, tmp_path), Sample(0.0), Sample(1.0)
    host.read(before)
    assert before.counters == {"engine_cpu_s": 27.0, f"{THREAD}engine/44": 15.0}
    # One has died and another has come in its place.
    (tmp_path / "proc/45/stat").unlink()
    lay_out(tmp_path, {"proc/47/stat": stat("another", 5, 0, parent=43)})
    host.read(after)
    assert after.counters["engine_cpu_s"] == 29.0


def test_this_process_is_seen_on_this_machine() -> None:
    sample = read(Path("/"), engine=os.getpid())
    assert sample.counters["engine_cpu_s"] > 0
    assert any(name.startswith(f"{THREAD}engine/") for name in sample.counters)
    assert sample.counters["cpu_ticks"] > sample.counters["cpu_idle_ticks"]
