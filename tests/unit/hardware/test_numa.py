import os
from pathlib import Path

import pytest

from medsweep.hardware.numa import cpu_list, numa_nodes


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
