"""The verbs as a person types them, against the API server in this process."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from apiserver.check import object_faults
from apiserver.definitions import crd_documents, installed
from apiserver.operator import Operator, Player, succeed
from apiserver.sandbox import Sandbox, commands_on, sandbox
from apiserver.server import ApiServer
from medsweep.cli import main
from medsweep.k8s.client import Object, connect
from medsweep.k8s.conventions import CELL, ROLE
from medsweep.k8s.resources import PODS, RAY_JOBS, RAY_SERVICES
from medsweep.k8s.sweeps import selector_of
from medsweep.results.cells import CellFolder
from medsweep.results.store import read_rows

SWEEP = """\
name: trial
stand_ins: true
cells: [distilgpt2@1xv100-1cpu, distilgpt2@1xa100-1cpu]
load: {points: [{concurrency: 2, requests: 4}], repeats: 1, max_tokens: 8}
"""


class Place:
    """A cluster whose pods run, a claim, and the files of a person."""

    def __init__(self, cluster: Sandbox, server: ApiServer, folder: Path) -> None:
        self.cluster, self.server, self.folder = cluster, server, folder
        (folder / "sweep.yaml").write_text(SWEEP)

    def call(self, *words: str) -> int:
        return main(["k8s", *words, "--namespace", self.cluster.namespace])

    @property
    def sweep(self) -> str:
        return str(self.folder / "sweep.yaml")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    claim = tmp_path / "claim"

    with ApiServer(object_faults, commands_on(claim)) as server:
        monkeypatch.setenv("KUBECONFIG", str(server.kubeconfig(tmp_path / "kubeconfig")))
        api = connect()
        with installed(api, crd_documents(schemas=False)), sandbox(api) as cluster:
            yield Place(cluster, server, tmp_path)


@pytest.mark.slow
def test_submit_status_logs_cancel_delete(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    with Player(place.cluster.operator, selector_of("trial")):
        assert place.call("submit", place.sweep) == 0
    assert capsys.readouterr().out == "3 jobs: 3 done\n"
    assert place.call("status", "trial", "--json") == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["phase"] for row in rows] == ["done"] * 3
    job = next(row["job"] for row in rows if row["stage"] == "finetune")
    place.server.logs[f"{job}-xyz-head"] = (
        "\x1b[36m(pid=7)\x1b[0m epoch 1\n\x1b]0;title\x07epoch 2\tdone\r\n10 %\r100 %\x08"
    )
    assert place.call("logs", "trial", job) == 0
    assert capsys.readouterr().out == "(pid=7) epoch 1\nepoch 2\tdone\n100 %\n"
    assert place.call("logs", "trial", "bm-") == 2
    assert "more than one job of sweep trial" in capsys.readouterr().err
    assert place.call("cancel", place.sweep) == 0
    assert "nothing to delete" in capsys.readouterr().out
    with Player(place.cluster.operator, selector_of("trial")):
        assert place.call("delete", "trial") == 0
    assert capsys.readouterr().out.count("deleted rayjobs/") == 3
    assert place.call("status", "trial") == 0
    assert "no jobs of sweep trial" in capsys.readouterr().out


def test_an_operator_that_is_down_is_found_by_submit_and_delete(
    place: Place, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("medsweep.k8s.sweeps.STALLED_S", 0.1)
    with monkeypatch.context() as patch:
        patch.setattr("medsweep.k8s.submit.OPERATOR_TIMEOUT_S", 0.2)
        assert place.call("submit", place.sweep) == 4
    assert "KubeRay's operator does not react: 1 RayJobs" in capsys.readouterr().err
    (job,) = place.cluster.api.objects(RAY_JOBS, place.cluster.namespace)
    served = apply_service(place, capsys)
    for resource, name in ((RAY_JOBS, job["metadata"]["name"]), (RAY_SERVICES, served)):
        place.cluster.operator.adopt(resource, name)  # and then it goes down
    assert place.call("delete", "trial") == 4
    text = capsys.readouterr()
    assert f"deleted rayjobs/{job['metadata']['name']}" in text.out
    assert "2 objects are marked for deletion but still exist" in text.err
    assert f"rayjobs/{job['metadata']['name']}: ray.io/rayjob-finalizer" in text.err
    assert f"rayservices/{served}: ray.io/rayservice-finalizer" in text.err
    # The same commands work again once the operator is back and has finished the deletion.
    with (
        Player(place.cluster.operator, selector_of("trial")),
        Player(place.cluster.operator, selector_of("trial"), leave, RAY_SERVICES),
    ):
        assert place.call("delete", "trial") == 0
        assert place.cluster.api.objects(RAY_SERVICES, place.cluster.namespace) == []
        assert place.call("submit", place.sweep) == 0


def test_render_prints_what_submit_applies(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["k8s", "render", place.sweep]) == 0
    kinds = [document["kind"] for document in yaml.safe_load_all(capsys.readouterr().out)]
    assert kinds == ["RayJob"] * 3
    cell = ["--cell", "standin-distilgpt2@1xa100-1cpu"]
    assert main(["k8s", "render", place.sweep, "--stage", "serve", *cell]) == 0
    (service,) = yaml.safe_load_all(capsys.readouterr().out)
    assert service["kind"] == "RayService"
    assert main(["k8s", "render", place.sweep, "--cell", "gemma@nowhere"]) == 2
    assert "no such cell can run; these can: standin-distilgpt2@" in capsys.readouterr().err


def test_doctor_fails_where_something_is_missing(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    assert place.call("doctor") == 1
    assert "names no registry" in capsys.readouterr().out


def test_a_fault_of_the_cluster_is_one_line_and_the_page_that_tells_more(
    place: Place, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(place.server, "tokens", set())
        assert place.call("status", "trial") == 4
    text = capsys.readouterr().err
    assert text.startswith("medsweep: the cluster does not accept the login")
    assert [line[:9] for line in text.splitlines()] == ["medsweep:", "see: meds"]


def test_wrong_options_are_said_before_anything_is_asked(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    place.server.requests.clear()
    assert main(["k8s", "status", "trial", "--namespace", "Not_One"]) == 2
    assert "--namespace Not_One: expected at most 63 lower-case letters" in capsys.readouterr().err
    with pytest.raises(SystemExit) as left:
        place.call("submit", place.sweep, "--max-at-once", "0")
    assert left.value.code == 2
    assert "expected 1 or more" in capsys.readouterr().err
    assert place.server.requests == []


def apply_service(place: Place, capsys: pytest.CaptureFixture[str]) -> str:
    """Serve the sweep's model; return the RayService's name."""
    cell = "standin-distilgpt2@1xa100-1cpu"
    render = ["k8s", "render", place.sweep, "--stage", "serve", "--cell", cell]
    capsys.readouterr()
    assert main([*render, "--namespace", place.cluster.namespace]) == 0
    (service,) = yaml.safe_load_all(capsys.readouterr().out)
    name: str = place.cluster.api.apply(RAY_SERVICES, service)["metadata"]["name"]
    return name


def leave(operator: Operator, value: Object) -> None:
    """Leave what a test plays itself."""


def test_status_shows_served_models(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    served = apply_service(place, capsys)
    assert place.call("status", "trial", "--json") == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["job"], row["stage"]) == (served, "serve")
    assert row["phase"] == "starting"
    place.cluster.operator.adopt(RAY_SERVICES, served)
    with Player(place.cluster.operator, selector_of("trial"), leave, RAY_SERVICES):
        assert place.call("delete", "trial") == 0
    assert "deleted rayservices/sv-" in capsys.readouterr().out
    assert place.cluster.api.objects(RAY_SERVICES, place.cluster.namespace) == []


@pytest.mark.slow
def test_a_client_that_is_terminated_ends_at_once(place: Place) -> None:
    """The chart's controller, when its pod is deleted: the jobs stay, the client is gone."""
    command = [sys.executable, "-m", "medsweep", "k8s", "submit", place.sweep]
    command += ["--namespace", place.cluster.namespace]
    # As the first process of a container Python would ignore the signal.
    ignore = "import signal, sys, os; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
    ignore += "os.execv(sys.argv[1], sys.argv[1:])"
    process = subprocess.Popen(
        [sys.executable, "-c", ignore, *command], stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    assert process.stderr.readline().endswith("] finetune standin-distilgpt2: starting\n")
    process.terminate()
    _, text = process.communicate(timeout=60)
    assert process.returncode == 3
    assert "interrupted" in text
    assert len(place.cluster.api.objects(RAY_JOBS, place.cluster.namespace)) == 1


@pytest.mark.slow
def test_a_client_that_is_killed_finds_its_jobs_again(place: Place) -> None:
    command = [sys.executable, "-m", "medsweep", "k8s", "submit", place.sweep]
    command += ["--namespace", place.cluster.namespace]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    assert process.stderr.readline().endswith("] finetune standin-distilgpt2: starting\n")
    process.kill()
    process.communicate()
    api, namespace = place.cluster.api, place.cluster.namespace
    (before,) = api.objects(RAY_JOBS, namespace)
    with Player(place.cluster.operator, selector_of("trial")):
        done = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert (done.returncode, done.stdout) == (0, "3 jobs: 3 done\n")
    after = {job["metadata"]["uid"] for job in api.objects(RAY_JOBS, namespace)}
    assert len(after) == 3
    assert before["metadata"]["uid"] in after, "it was found, not made again"


def half_fails(cells: Path) -> Callable[[Operator, Object], None]:
    """Play jobs of which one cell's fails before it writes a result."""
    cells.mkdir(parents=True)

    def play(operator: Operator, job: Object) -> None:
        key = job["metadata"]["labels"].get(CELL)
        if key and "v100" in job["metadata"]["name"]:
            operator.start(job)
            operator.finish(job["metadata"]["name"], reason="AppFailed")
            return
        if key:
            CellFolder(cells / key).finish("ok", None, [row(key)])
        succeed(operator, job)

    return play


@pytest.mark.slow
@pytest.mark.parametrize("where", ["a laptop", "the chart's controller"])
def test_run_on_k8s_ends_in_a_report(
    where: str, place: Place, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The controller has the claim itself, and may not create pods to read it."""
    play = half_fails(place.folder / "claim" / "trial" / "cells")
    laptop = where == "a laptop"
    out = place.folder / ("out" if laptop else "claim")
    if not laptop:
        monkeypatch.setattr("medsweep.k8s.run.RESULTS_MOUNT", str(out))
        monkeypatch.setattr(Path, "is_mount", lambda path: path == out)
    run = ["run", place.sweep, "--on", "k8s", "--out", str(out)]
    run += ["--namespace", place.cluster.namespace]
    place.server.requests.clear()
    with Player(place.cluster.operator, selector_of("trial"), play), Kubelet(place.cluster):
        assert main(run) == 1
    text = capsys.readouterr().out
    assert "measured 1 cell now; all cells: 1 failed, 1 ok" in text
    assert "failed: standin-distilgpt2@1xv100-1cpu: AppFailed" in text
    rows = read_rows(out / "trial" / "benchmark.parquet")
    assert sorted(each["status"] for each in rows) == ["failed", "ok"]
    assert (out / "trial" / "report.html").is_file()
    assert place.cluster.api.objects(PODS, place.cluster.namespace, f"{ROLE}=fetch") == []
    assert laptop == any("/exec" in path for _, path in place.server.requests)


def row(key: str) -> dict[str, Any]:
    return {
        "sweep": "trial",
        "cell": "standin-distilgpt2@1xa100-1cpu",
        "key": key,
        "model": "standin-distilgpt2",
        "profile": "1xa100-1cpu",
        "load_point": "c2",
        "repeat": 1,
        "variant": "adapter",
        "basis": "emulated",
        "basis_reason": "no GPU is here",
        "status": "ok",
        "requests_per_s": 1.0,
        "ttft_mean_s": 0.1,
    }


class Kubelet(Player):
    """Lets the pods that read the claim run."""

    def __init__(self, cluster: Sandbox) -> None:
        super().__init__(cluster.operator, f"{ROLE}=fetch", resource=PODS, play=let_run)


def let_run(operator: Operator, pod: Object) -> None:
    operator.status(PODS, pod["metadata"]["name"], {"phase": "Running"})
