from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from medsweep.cli import doctor, main
from medsweep.hardware.nvidia import ObservedGpu
from medsweep.hardware.profile import GIB


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(doctor, "_HUB_TIMEOUT_S", 1.0)
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.setenv("HOME", "/nonexistent")


def test_every_check_says_ok_warn_or_fail_and_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(["doctor", "--out", str(tmp_path), "--json"])
    checks = json.loads(capsys.readouterr().out)
    subjects = {check["what"] for check in checks}
    for what in ("Python", "memory", "PyTorch", "GPU", "Ray", "model hub", "results", "cluster"):
        assert what in subjects
    assert {check["state"] for check in checks} <= {"ok", "warn", "fail"}
    assert all((check["state"] == "ok") == (check["advice"] == "") for check in checks)
    assert code == any(check["state"] == "fail" for check in checks)
    main(["doctor", "--out", str(tmp_path)])
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.startswith(("ok  ", "warn", "FAIL")) for line in lines) == len(checks)


def found(check: object) -> list[tuple[str, str]]:
    return [(each.state, each.advice) for each in check()]  # type: ignore[operator]


def test_a_gpu_that_pytorch_does_not_see_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = ObservedGpu("NVIDIA L4", "580", "12.8", 24 * GIB, (8, 9))
    monkeypatch.setattr("medsweep.hardware.nvidia.observe_gpus", lambda: (gpu,))
    framework = SimpleNamespace(
        cuda=SimpleNamespace(is_available=lambda: False),
        __version__="2.13.0+cpu",
        version=SimpleNamespace(cuda=None),
        __spec__=SimpleNamespace(),
    )
    monkeypatch.setitem(sys.modules, "torch", framework)
    [(state, advice)] = found(doctor.gpu)
    assert state == "fail"
    assert "whl/cu126" in advice
    framework.cuda.is_available = lambda: True
    assert found(doctor.gpu) == [("ok", "")]


def test_what_is_not_installed_is_a_warning_with_the_extra(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(doctor.util, "find_spec", lambda name: None)
    for check in (doctor.torch, doctor.ray, doctor.hub):
        states = found(check)
        assert states
        assert all(state == "warn" and "pip install" in advice for state, advice in states)


@pytest.mark.parametrize(("free", "state"), [(0.5, "fail"), (5, "warn"), (500, "ok")])
def test_room_on_the_disk(
    free: float, state: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = SimpleNamespace(free=int(free * GIB))
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: usage)
    assert doctor._disk("results", tmp_path / "not" / "made").state == state


def test_a_folder_that_cannot_be_written_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor.os, "access", lambda *_: False)
    assert doctor._disk("results", tmp_path).state == "fail"


def test_a_check_that_breaks_is_a_finding_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken() -> object:
        raise ImportError("libfoo.so.1: cannot open shared object file")

    monkeypatch.setattr(doctor, "ray", broken)
    assert main(["doctor", "--out", str(tmp_path)]) == 1
    out = capsys.readouterr().out
    assert "FAIL  broken: ImportError: libfoo.so.1" in out
    assert "cluster: none configured" in out


def test_a_cluster_that_is_not_there_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    [(state, advice)] = found(doctor.cluster)
    assert state == "warn"
    assert "medsweep k8s doctor" in advice
