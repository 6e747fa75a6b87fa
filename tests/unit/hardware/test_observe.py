import os
from dataclasses import replace
from pathlib import Path

import pytest

from medsweep.hardware.catalog import A100, PROFILES
from medsweep.hardware.observe import (
    HOST,
    ObservedHardware,
    cpu_list,
    host_profile,
    matches,
    numa_nodes,
    observe_host,
)
from medsweep.hardware.profile import GIB

# What a machine of the profile 1xa100-2cpu reports: the CPUs of a pod with a quota on a larger VM,
# and a little less memory than was sold.
SEEN = ObservedHardware(
    hostname="node-1",
    cpu_model="Intel Xeon",
    cpus=12,
    cpu_quota=2.0,
    memory_bytes=int(31.3 * GIB),
    governor=None,
    gpus=("NVIDIA A100-SXM4-40GB",),
    gpu_memory_bytes=40 * GIB,
    compute_capability=(8, 0),
)

DIFFERENCES = [
    ({}, None),
    ({"gpus": ("A100-SXM4-40GB",)}, None),
    ({"cpu_quota": None, "cpus": 2}, None),
    ({"cpu_quota": None}, "has 2 CPUs, this process may use 12"),
    ({"cpu_quota": 1.5}, "may use 1.5"),
    ({"gpus": ()}, "this machine has no GPU"),
    ({"gpus": ("NVIDIA A100-SXM4-80GB",)}, "this machine has 1 x NVIDIA A100-SXM4-80GB"),
    ({"gpus": SEEN.gpus * 2}, "this machine has 2 x NVIDIA A100-SXM4-40GB"),
    ({"gpus": ("NVIDIA A100-SXM4-40GB (MIG)",)}, "(MIG)"),
    ({"memory_bytes": 8 * GIB}, "has 32 GiB of host memory, this machine has 8.0 GiB"),
]


@pytest.mark.parametrize(("change", "says"), DIFFERENCES)
def test_matches_says_what_differs(change: dict[str, object], says: str | None) -> None:
    answer = matches(PROFILES["1xa100-2cpu"], replace(SEEN, **change))  # type: ignore[arg-type]
    if says is None:
        assert answer is None
    else:
        assert answer is not None
        assert says in answer


def test_the_host_profile_always_matches_its_machine() -> None:
    odd = replace(SEEN, cpu_quota=1.5)
    assert host_profile(odd).cpus == 2
    assert matches(host_profile(odd), odd) is None


def test_the_host_profile_knows_a_catalogued_gpu() -> None:
    assert host_profile(SEEN).accelerator is A100
    assert host_profile(SEEN).usd_per_hour is None


def test_the_host_profile_keeps_only_what_is_known_of_another_gpu() -> None:
    other = replace(
        SEEN, gpus=("NVIDIA B200",), gpu_memory_bytes=178 * GIB, compute_capability=(10, 0)
    )
    accelerator = host_profile(other).accelerator
    assert accelerator is not None
    assert (accelerator.name, accelerator.memory_bytes) == ("B200", 178 * GIB)
    assert accelerator.native_bf16
    assert accelerator.memory_bandwidth_bytes_per_s is None


def test_this_machine_can_be_observed() -> None:
    seen = observe_host()
    assert 1 <= seen.cpus <= (os.cpu_count() or 1)
    assert seen.memory_bytes > 2**28
    found = host_profile()
    assert (found.name, found.gpus) == (HOST, len(seen.gpus))
    assert found.cpus >= 1


def test_files_of_the_machine_are_read_below_the_root(tmp_path: Path) -> None:
    cpufreq = tmp_path / "sys/devices/system/cpu/cpu0/cpufreq"
    cpufreq.mkdir(parents=True)
    (cpufreq / "scaling_governor").write_text("performance\n")
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/cpuinfo").write_text("processor\t: 0\nmodel name\t: Xeon @ 2.2GHz\n")
    (tmp_path / "proc/self/cgroup").write_text("0::/\n")
    group = tmp_path / "sys/fs/cgroup"
    group.mkdir(parents=True)
    (group / "cpu.max").write_text("50000 100000\n")
    (group / "memory.max").write_text("1048576\n")
    seen = observe_host(tmp_path)
    assert (seen.governor, seen.cpu_model) == ("performance", "Xeon @ 2.2GHz")
    assert (seen.cpu_quota, seen.usable_cpus, seen.memory_bytes) == (0.5, 0.5, 1048576)


@pytest.mark.parametrize(
    ("text", "cpus"),
    [("0-3,8\n", {0, 1, 2, 3, 8}), ("5", {5}), ("\n", set()), ("0-1,4-5", {0, 1, 4, 5})],
)
def test_cpu_list(text: str, cpus: set[int]) -> None:
    assert cpu_list(text) == cpus


def test_nodes_of_the_cpus_that_the_process_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for node, cpus in (("node0", "0-3"), ("node1", "4-7"), ("node2", "")):
        folder = tmp_path / "sys/devices/system/node" / node
        folder.mkdir(parents=True)
        (folder / "cpulist").write_text(cpus + "\n")
    for own, count in (({0, 1}, 1), ({3, 4}, 2), ({99}, None)):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _, own=own: own, raising=False)
        assert numa_nodes(tmp_path) == count
    assert numa_nodes(tmp_path / "elsewhere") is None
