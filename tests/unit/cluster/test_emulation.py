import sys
from types import SimpleNamespace
from typing import Any

import pytest

from medsweep.cluster.emulation import EMULATED, has_gpus
from medsweep.hardware.catalog import PROFILES
from medsweep.hardware.profile import GIB, HardwareProfile

PAIR = PROFILES["2xv100-4cpu"]
CPUS = HardwareProfile("two", 2, 0, None, 8 * GIB)


def node(*resources: str, emulated: bool = True, alive: bool = True) -> dict[str, Any]:
    labels = {**PAIR.labels, **({EMULATED: "true"} if emulated else {})}
    return {"Alive": alive, "Labels": labels, "Resources": dict.fromkeys(("CPU", *resources), 1.0)}


@pytest.mark.parametrize(
    ("profile", "nodes", "real"),
    [
        (PAIR, [node()], False),
        (PAIR, [node("accelerator_type:V100")], True),
        (PAIR, [node(emulated=False)], True),
        (PAIR, [], True),  # an autoscaler may start one yet
        (PAIR, [node(alive=False)], True),
        (CPUS, [], False),
    ],
)
def test_a_profile_has_gpus_unless_its_nodes_stand_in_for_them(
    profile: HardwareProfile, nodes: list[Any], real: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray = SimpleNamespace(is_initialized=lambda: True, nodes=lambda: nodes)
    monkeypatch.setitem(sys.modules, "ray", ray)
    assert has_gpus(profile) is real
