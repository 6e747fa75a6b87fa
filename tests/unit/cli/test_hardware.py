from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from medsweep.cli import hardware as verb
from medsweep.cli import main
from medsweep.hardware.catalog import A100, L4, PROFILES
from medsweep.hardware.observe import ObservedHardware, matches
from medsweep.hardware.own import OwnProfileSpec
from medsweep.hardware.profile import GIB

PLAIN = ObservedHardware("pc", "Some CPU", 4, None, int(15.7 * GIB), None)


def with_gpu(product: str, memory_bytes: int, capability: tuple[int, int]) -> ObservedHardware:
    return replace(
        PLAIN,
        gpus=(product,),
        gpu_memory_bytes=memory_bytes,
        compute_capability=capability,
        memory_bytes=64 * GIB,
    )


@pytest.mark.parametrize(
    ("machine", "name", "accelerator"),
    [
        (PLAIN, "4cpu-16gib", None),
        (with_gpu(L4.product, L4.memory_bytes, (8, 9)), "1xl4-4cpu", "l4"),
        (with_gpu("NVIDIA Thing 9", 96 * GIB, (12, 0)), "1xthing9-4cpu", "NVIDIA Thing 9"),
    ],
)
def test_an_own_profile_is_this_machine(
    machine: ObservedHardware,
    name: str,
    accelerator: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(verb, "observe_host", lambda: machine)
    path = tmp_path / "own.yaml"
    assert main(["hardware", "--own", str(path)]) == 0
    assert "it is none of the nine profiles" in capsys.readouterr().out
    [entry] = yaml.safe_load(path.read_text())["own_profiles"]
    profile = OwnProfileSpec.model_validate(entry).profile()
    assert profile.name == name
    assert matches(profile, machine) is None, "its rows would be observed here"
    given = entry.get("accelerator")
    assert (given["product"] if isinstance(given, dict) else given) == accelerator
    assert main(["hardware", "--own", str(path)]) == 2
    assert "exists already" in capsys.readouterr().err


def test_a_machine_of_the_catalogue_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    machine = replace(with_gpu(A100.product, A100.memory_bytes, (8, 0)), cpus=2)
    monkeypatch.setattr(verb, "observe_host", lambda: machine)
    assert main(["hardware"]) == 0
    assert "it is the profile 1xa100-2cpu, whose rows are observed here" in capsys.readouterr().out
    assert main(["hardware", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {row["profile"] for row in rows if row["is_this_machine"]} == {"1xa100-2cpu", "host"}
    assert len(rows) == len(PROFILES) + 1
    assert main(["hardware", "--own", str(tmp_path / "own.yaml")]) == 2
    assert "is the profile 1xa100-2cpu already" in capsys.readouterr().err
