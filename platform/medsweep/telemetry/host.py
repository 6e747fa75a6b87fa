"""Figures that Linux gives of the machine and of the watched processes."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from medsweep.hardware import cgroup
from medsweep.telemetry.recording import Sample

_POWERCAP = "/sys/class/powercap"
_PACKAGE = re.compile(r"package-\d+(-die-\d+)?")
_TICK_S = 1 / os.sysconf("SC_CLK_TCK")

THREAD = "thread/"
"""Prefix of counters `thread/<process>/<thread id>`: CPU time in seconds."""


class Host:
    """The sensors of the operating system.

    Args:
        pids: processes to watch, by their names in the counters.
        root: root of the file system; tests make one of their own.
    """

    def __init__(self, pids: Mapping[str, int], root: Path) -> None:
        self._pids = pids
        self._root = root
        self._families: dict[str, list[int]] = {}  # each process and those that it started

    def read(self, sample: Sample) -> None:
        """Add the system's figures to a sample."""
        self._read_machine(sample)
        self._read_group(sample)
        self._read_network(sample)
        self._read_clock(sample)
        self._read_energy(sample)
        for name, pid in self._pids.items():
            self._read_process(name, pid, sample)

    def _read_machine(self, sample: Sample) -> None:
        # proc(5), /proc/stat: user nice system idle iowait irq softirq steal; guest is in user.
        line = _lines(self._root / "proc/stat")[:1]
        ticks = [int(value) for value in line[0].split()[1:9]] if line else []
        if len(ticks) < 8:
            sample.missing["cpu"] = "/proc/stat cannot be read"
            return
        sample.counters["cpu_ticks"] = sum(ticks)
        sample.counters["cpu_idle_ticks"] = ticks[3] + ticks[4]
        sample.counters["cpu_steal_ticks"] = ticks[7]

    def _read_group(self, sample: Sample) -> None:
        use = cgroup.cpu_use(self._root)
        for name, value in (
            ("group_cpu_s", use.used_s),
            ("cpu_periods", use.periods),
            ("cpu_throttled_periods", use.throttled_periods),
            ("cpu_throttled_s", use.throttled_s),
        ):
            if value is not None:
                sample.counters[name] = value
        if use.periods is None:
            sample.missing["cpu_throttling"] = "no control group has a cpu.stat"

    def _read_network(self, sample: Sample) -> None:
        # proc(5), /proc/net/dev: the first and the ninth figure are bytes received and sent.
        lines = [line.partition(":") for line in _lines(self._root / "proc/net/dev")[2:]]
        figures = {name.strip(): values.split() for name, _, values in lines}
        figures.pop("lo", None)  # the loopback is not a network
        if not figures:
            sample.missing["network"] = "no interface but the loopback"
            return
        sample.counters["network_received_bytes"] = sum(int(each[0]) for each in figures.values())
        sample.counters["network_sent_bytes"] = sum(int(each[8]) for each in figures.values())

    def _read_clock(self, sample: Sample) -> None:
        files = (self._root / "sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq/scaling_cur_freq")
        hz = [int(line) * 1e3 for file in files for line in _lines(file)[:1]]
        if not hz:
            hz = [
                float(line.partition(":")[2]) * 1e6
                for line in _lines(self._root / "proc/cpuinfo")
                if line.startswith("cpu MHz")
            ]
        if hz:
            sample.gauges["cpu_clock_hz"] = sum(hz) / len(hz)
        else:
            sample.missing["cpu_clock"] = "neither cpufreq nor /proc/cpuinfo has it"

    def _read_energy(self, sample: Sample) -> None:
        # Linux, Documentation/power/powercap: a zone's file `name` says what it is. `package-N` is
        # a socket with its cores; `psys` is the whole board and contains the packages; `dram` is
        # the memory of a socket, beside its package. Needs root on most systems.
        entries = sorted((self._root / _POWERCAP[1:]).glob("intel-rapl:*"))
        zones = {each: _lines(each / "name")[:1] for each in entries}
        packages = [each for each, name in zones.items() if name and _PACKAGE.fullmatch(name[0])]
        counted = packages + [each for each, name in zones.items() if name == ["dram"]]
        values = [line for each in counted for line in _lines(each / "energy_uj")[:1]]
        if packages and len(values) == len(counted):
            sample.counters["cpu_energy_j"] = sum(int(value) for value in values) / 1e6
        elif packages:
            sample.missing["cpu_energy"] = f"RAPL ({_POWERCAP}) may not be read"
        else:
            sample.missing["cpu_energy"] = f"RAPL ({_POWERCAP}) has no package"

    def _read_process(self, name: str, pid: int, sample: Sample) -> None:
        """Add the CPU time of a process and those that it started, and of each of their threads."""
        family = self._families.get(name, [])
        used = [_cpu_s(self._root / f"proc/{each}/stat") for each in family]
        if (
            not family or None in used
        ):  # a search through all processes is too slow for every sample
            family = self._families[name] = _family(self._root / "proc", pid)
            used = [_cpu_s(self._root / f"proc/{each}/stat") for each in family]
        if used[0] is None:
            sample.missing[name] = f"process {pid} is not on this machine"
            return
        sample.counters[f"{name}_cpu_s"] = sum(seconds or 0.0 for seconds in used)
        for each in family:
            for task in (self._root / f"proc/{each}/task").glob("*/stat"):
                seconds = _cpu_s(task)
                if seconds:
                    sample.counters[f"{THREAD}{name}/{task.parent.name}"] = seconds


def _family(proc: Path, pid: int) -> list[int]:
    """Return a process and its descendants that are still running."""
    children: dict[int, list[int]] = {}
    for stat in proc.glob("[0-9]*/stat"):
        fields = _fields(stat)
        if fields:
            children.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    tree = [pid]
    for each in tree:  # grows during the loop
        tree += children.get(each, [])
    return tree


def _cpu_s(stat: Path) -> float | None:
    # proc(5): fields 14 and 15 are user and system time.
    fields = _fields(stat)
    return (int(fields[11]) + int(fields[12])) * _TICK_S if fields else None


def _fields(stat: Path) -> list[str]:
    """Return the fields of a process from the third on; the name before them may hold anything."""
    lines = _lines(stat)
    return lines[0].rpartition(")")[2].split() if lines else []


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []
