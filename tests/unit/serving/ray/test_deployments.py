import logging
import pickle
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from medsweep.clock import FakeClock
from medsweep.errors import EnvironmentFault, StageError
from medsweep.finetune.adapter import read_adapter
from medsweep.hardware.catalog import ACCELERATORS, PROFILES
from medsweep.models.catalog import MODELS
from medsweep.serving.protocol import EngineSettings
from medsweep.serving.ray import deployments
from medsweep.serving.ray.deployments import CellDeployment, undeploy, wait_for
from support import adapter_of


def test_a_user_s_own_model_travels_to_the_process_that_serves_it() -> None:
    own = replace(MODELS["mistral-7b"], name="mine-7b", source="own")
    settings = EngineSettings("generate", own, "float32")
    sent = pickle.dumps(CellDeployment("cell", PROFILES["1xv100-1cpu"], settings))
    assert pickle.loads(sent).settings.model == own


def test_an_adapter_that_was_replaced_since_the_run_began_is_not_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deployments, "on_emulated_node", lambda: True)
    files = {"adapter_model.safetensors": b"checked", "adapter_config.json": b"{}"}
    adapter = read_adapter(adapter_of(tmp_path / "one", files))
    settings = EngineSettings("generate", MODELS["mistral-7b"], "float32", adapters={"a": adapter})
    deployed = CellDeployment("cell", PROFILES["1xv100-1cpu"], settings)
    assert deployed.settings_here().adapters == {"a": adapter}
    # All files of the new one fit each other.
    (tmp_path / "one").rename(tmp_path / "moved")
    adapter_of(tmp_path / "one", {**files, "adapter_model.safetensors": b"swapped"})
    with pytest.raises(StageError, match="another adapter than when this run began"):
        deployed.settings_here()


def test_a_node_without_the_gpu_that_it_should_have_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = EngineSettings("generate", MODELS["mistral-7b"], "float16")
    deployed = CellDeployment("cell", PROFILES["1xv100-1cpu"], settings)
    with pytest.raises(EnvironmentFault, match="1xv100-1cpu has 1 GPU, and this worker can use 0"):
        deployed.settings_here()
    monkeypatch.setattr(deployments, "on_emulated_node", lambda: True)
    assert deployed.settings_here().dtype == "float32"


def test_the_gpus_of_the_node_are_used_as_the_longest_request_allows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An L4 holds the 15.0 GiB of Llama 3 8B and 0.5 GiB for 4,096 tokens, not 8 for 65,536."""
    pair = replace(PROFILES["2xv100-4cpu"], accelerator=ACCELERATORS["l4"])
    settings = EngineSettings("vllm", MODELS["llama-3-8b"], "float16", quantization="none")
    settings = replace(settings, model=replace(settings.model, context_length=65_536))
    monkeypatch.setattr(deployments, "require_gpus", lambda _: None)
    monkeypatch.setattr(deployments, "observe_gpus", lambda: ["L4", "L4"])
    split = CellDeployment("cell", pair, settings).settings_here()
    assert (split.replicas, split.gpus, split.gpu_use) == (1, 2, "tensor parallel over 2")
    short = CellDeployment("cell", pair, replace(settings, max_model_len=4096)).settings_here()
    assert (short.replicas, short.gpus, short.gpu_use) == (2, 1, "2 replicas")


def test_each_engine_s_start_is_timed_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = FakeClock(100.0)
    ends_s = {"slow": (9.0, "RUNNING"), "quick": (1.0, "RUNNING"), "broken": (4.0, "DEPLOY_FAILED")}
    ends_s["dead"] = (2.0, "RUNNING")

    def status() -> Any:
        why = {"Engine": SimpleNamespace(message="no memory")}
        applications = {
            name: SimpleNamespace(
                status=ending if clock.now() >= 100 + after_s else "DEPLOYING", deployments=why
            )
            for name, (after_s, ending) in ends_s.items()
        }
        return SimpleNamespace(applications=applications)

    def ask(name: str, method: str, timeout_s: float) -> Any:
        assert (method, timeout_s > 0) == ("observed", True)
        return None if name == "dead" else {"hostname": name}

    fake_time = SimpleNamespace(monotonic=clock.now, sleep=clock.advance)
    monkeypatch.setattr(deployments, "time", fake_time)
    monkeypatch.setattr(deployments, "ask_engine", ask)
    serve = SimpleNamespace(status=status)
    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(serve=serve))
    started = wait_for(dict.fromkeys(ends_s, 600.0), 100.0)
    broken = started.pop("broken")
    assert isinstance(broken, StageError)
    assert "no memory" in str(broken)
    assert "it does not answer" in str(started.pop("dead"))
    assert {name: each["hostname"] for name, each in started.items()} == {
        "slow": "slow",
        "quick": "quick",
    }
    assert started["slow"]["started_after_s"] == pytest.approx(9.0, abs=deployments.POLL_S)
    assert started["quick"]["started_after_s"] == pytest.approx(1.0, abs=deployments.POLL_S)
    ends_s.clear()
    ends_s["never"] = (1e9, "RUNNING")
    assert "within 600 s" in str(wait_for({"never": 600.0}, clock.now())["never"])


def test_replicas_that_start_in_turn_have_the_time_of_each(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, targets = FakeClock(), []
    # Two slow starts, one after the other.
    runs_at_s = {"one": 550.0, "two": 1100.0, "late": 1100.0}

    def status() -> Any:
        states = {
            name: SimpleNamespace(status="RUNNING" if clock.now() >= at else "DEPLOYING")
            for name, at in runs_at_s.items()
        }
        return SimpleNamespace(applications=states)

    def run_many(given: list[Any], **_: bool) -> None:
        targets.extend(given)

    serve = SimpleNamespace(status=status, run_many=run_many)
    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(serve=serve))
    monkeypatch.setitem(sys.modules, "ray.serve", SimpleNamespace(RunTarget=SimpleNamespace))
    fake_time = SimpleNamespace(monotonic=clock.now, sleep=clock.advance)
    monkeypatch.setattr(deployments, "time", fake_time)
    monkeypatch.setattr(deployments, "_engine", lambda deployed: deployed)
    monkeypatch.setattr(deployments, "ask_engine", lambda *_: {})
    monkeypatch.setattr(deployments, "has_gpus", lambda _: True)
    settings = EngineSettings("vllm", MODELS["llama-3-8b"], "float16")
    started = deployments.deploy(
        [
            CellDeployment(name, PROFILES["2xv100-4cpu"], replace(settings, replicas=replicas))
            for name, replicas in (("one", 1), ("two", 2), ("late", 1))
        ]
    )
    assert [target.name for target in targets] == ["one", "two", "late"]
    assert "did not start within 600 s" in str(started.pop("late"))
    assert {name: round(each["started_after_s"]) for name, each in started.items()} == {
        "one": 550,
        "two": 1100,
    }


@pytest.mark.parametrize(("real", "limit_s"), [(True, 1200.0), (False, 600.0)])
def test_emulated_gpus_have_the_time_of_the_one_engine_that_starts(
    real: bool, limit_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deployments, "has_gpus", lambda _: real)
    settings = EngineSettings("vllm", MODELS["llama-3-8b"], "float16", replicas=2)
    deployed = CellDeployment("cell", PROFILES["2xv100-4cpu"], settings)
    assert deployed.start_timeout_s == limit_s


@pytest.mark.parametrize("status", [None, "DEPLOY_FAILED", "DEPLOYING", "RUNNING"])
def test_an_ingress_that_does_not_run_is_started_again(
    status: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    applications = {} if status is None else {"ingress": SimpleNamespace(status=status)}
    started: list[str] = []
    serve = SimpleNamespace(
        start=lambda **_: None,
        status=lambda: SimpleNamespace(applications=applications),
        run=lambda application, **_: started.append(application),
    )
    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(serve=serve))
    config = SimpleNamespace(HTTPOptions=SimpleNamespace)
    monkeypatch.setitem(sys.modules, "ray.serve.config", config)
    monkeypatch.setattr(logging.getLogger("ray.serve"), "filters", [])
    monkeypatch.setattr(deployments, "ingress_application", lambda *_, **__: "ingress")
    monkeypatch.setattr(deployments, "_quiet", lambda: None)
    assert deployments.start_ingress(7) == "http://127.0.0.1:7"
    assert started == ([] if status == "RUNNING" else ["ingress"])


def test_engines_that_do_not_stop_end_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, deleted = FakeClock(100.0), []
    gone_at_s = {"quick": 101.0, "slow": 100.0 + deployments.STOP_TIMEOUT_S - 1, "other": 1e9}

    def status() -> Any:
        return SimpleNamespace(
            applications={n: None for n in gone_at_s if clock.now() < gone_at_s[n]}
        )

    def delete(name: str, *, _blocking: bool) -> None:
        deleted.append((name, _blocking))

    fake_time = SimpleNamespace(monotonic=clock.now, sleep=clock.advance)
    monkeypatch.setattr(deployments, "time", fake_time)
    serve = SimpleNamespace(status=status, delete=delete)
    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(serve=serve))
    undeploy(["quick", "slow"])  # the ingress and others stay
    assert clock.now() == pytest.approx(gone_at_s["slow"], abs=deployments.POLL_S)
    assert deleted == [("quick", False), ("slow", False)]
    gone_at_s["never"] = 1e9
    with pytest.raises(StageError, match=r"did not stop within 300 s \(cells never\), so nothing"):
        undeploy(["quick", "never"])
