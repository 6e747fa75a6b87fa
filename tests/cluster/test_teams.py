"""Teams in namespaces of their own: neither reaches what the other has, and quotas hold."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from apiserver.definitions import until
from apiserver.operator import Player
from apiserver.sandbox import ROLE_BINDINGS, Object, Sandbox, sandbox
from medsweep.errors import EnvironmentFault
from medsweep.hardware.observe import host_profile
from medsweep.k8s.client import Api, Request
from medsweep.k8s.fetch import fetch_cells
from medsweep.k8s.resources import (
    CLAIMS,
    LOCAL_QUEUES,
    PODS,
    RAY_CLUSTERS,
    RAY_JOBS,
    RAY_SERVICES,
    SECRETS,
    WORKLOADS,
    Resource,
)
from medsweep.k8s.run import run_jobs
from medsweep.k8s.submit import tasks_of
from medsweep.k8s.sweeps import log_lines, remove, selector_of, sweep_states
from medsweep.k8s.watch import Watch
from medsweep.sweep.plan import Plan, make_plan, model_names
from medsweep.sweep.spec import SweepSpec
from support import make_spec

SPEC = make_spec(name="trial", cells=["distilgpt2@1xv100-1cpu", "llama-3-8b@1xa100-2cpu"])
ACCOUNTS = ("medsweep-controller", "medsweep-job")


def planned(spec: SweepSpec) -> Plan:
    return make_plan(spec, "d" * 64, dict.fromkeys(model_names(spec), "r"), host_profile())


class Team:
    """A namespace in which a job of the sweep runs, with a secret."""

    def __init__(self, cluster: Sandbox) -> None:
        self.cluster, api, namespace = cluster, cluster.api, cluster.namespace
        secret = {"metadata": {"name": "medsweep-hf"}, "stringData": {"token": "x"}}
        api.create(SECRETS, namespace, {"apiVersion": "v1", "kind": "Secret", **secret})
        # So that it may fetch, which a team's account may not do by itself.
        binding = api.get(ROLE_BINDINGS, namespace, "medsweep-controller")
        assert binding is not None
        fetches = {"name": "medsweep-fetch", "namespace": namespace}
        role = {**binding["roleRef"], "name": fetches["name"]}
        api.apply(ROLE_BINDINGS, {**binding, "metadata": fetches, "roleRef": role})
        task = tasks_of(SPEC, planned(SPEC), cluster.settings)[0]
        self.job = self.controller.apply(RAY_JOBS, task.manifest())
        cluster.operator.start(self.job)
        cluster.operator.run(task.name)
        self.names: dict[Resource, str] = {
            RAY_JOBS: task.name,
            RAY_CLUSTERS: f"{task.name}-xyz",
            PODS: f"{task.name}-xyz-head",
            SECRETS: "medsweep-hf",
            CLAIMS: "medsweep-results",
        }

    @property
    def controller(self) -> Api:
        return self.cluster.as_account("medsweep-controller")

    def uids(self) -> dict[str, str]:
        """What there is."""
        return {
            f"{resource.plural}/{value['metadata']['name']}": value["metadata"]["uid"]
            for resource in self.names
            for value in self.cluster.api.objects(resource, self.cluster.namespace)
        }


@pytest.fixture
def teams(cluster: Sandbox) -> Iterator[tuple[Team, Team]]:
    with sandbox(cluster.api) as other:
        yield Team(cluster), Team(other)


def refused(call: Callable[[], object], verb: str) -> None:
    with pytest.raises(EnvironmentFault, match=f"not allowed to {verb}: ") as fault:
        call()
    assert fault.value.exit_code == 4


def test_a_team_s_accounts_read_nothing_of_another_team(teams: tuple[Team, Team]) -> None:
    ours, theirs = teams
    namespace = theirs.cluster.namespace
    kinds = (*ours.names, RAY_SERVICES, WORKLOADS, LOCAL_QUEUES)
    for account in ACCOUNTS:
        api = ours.cluster.as_account(account)
        for resource in kinds:
            name = theirs.names.get(resource, "medsweep")
            everywhere = replace(resource, namespaced=False)
            refused(lambda api=api, it=resource: api.objects(it, namespace), "list")
            refused(lambda api=api, it=everywhere: api.objects(it, ""), "list")
            refused(lambda api=api, it=resource, name=name: api.get(it, namespace, name), "get")
            watch = Watch(api, resource, namespace, "")
            refused(lambda watch=watch: next(watch.changes()), "watch")
        for part in ("log", "exec"):
            request = Request("GET", "get", PODS, namespace, theirs.names[PODS], part)
            refused(lambda api=api, request=request: api.call(request), "get")
    refused(lambda: sweep_states(ours.controller, namespace, "trial"), "list")
    job = theirs.names[RAY_JOBS]
    refused(lambda: list(log_lines(ours.controller, namespace, "trial", job, follow=False)), "list")


def test_a_team_s_accounts_change_nothing_of_another_team(
    teams: tuple[Team, Team], tmp_path: Path
) -> None:
    ours, theirs = teams
    namespace, before = theirs.cluster.namespace, theirs.uids()
    for account in ACCOUNTS:
        api = ours.cluster.as_account(account)
        for resource, name in theirs.names.items():
            refused(
                lambda api=api, it=resource, name=name: api.delete(it, namespace, name), "delete"
            )
        stolen: Object = copy.deepcopy(ours.job)
        stolen["metadata"] = {"name": "stolen", "namespace": namespace}
        refused(lambda api=api, job=stolen: api.apply(RAY_JOBS, job), "apply")
    refused(lambda: remove(ours.controller, namespace, "trial"), "list")
    settings = theirs.cluster.settings
    refused(
        lambda: fetch_cells(lambda: ours.controller, settings, "trial", ["cell"], tmp_path),
        "create",
    )
    # What a team does at home does not reach the sweep of the same name next door.
    with Player(ours.cluster.operator, selector_of("trial")):
        (gone,) = remove(ours.controller, ours.cluster.namespace, "trial")
        assert gone == f"rayjobs/{ours.names[RAY_JOBS]}"
        until(
            lambda: not ours.cluster.api.objects(RAY_JOBS, ours.cluster.namespace), "it does not go"
        )
    assert theirs.uids() == before


def test_a_quota_that_refuses_a_job_is_named_and_the_same_command_goes_on(
    cluster: Sandbox,
) -> None:
    def run() -> set[str]:
        controller, plan = cluster.as_account("medsweep-controller"), planned(SPEC)
        states = run_jobs(controller, SPEC, plan, cluster.settings, max_jobs=2, out=io.StringIO())
        return {each.job.phase for each in states}

    count = "count/rayjobs.ray.io"
    cluster.limit("team", {count: "1"})
    with pytest.raises(EnvironmentFault) as fault:
        run()
    message = str(fault.value)
    assert message.startswith(f"rayjobs.ray.io {cluster.namespace}/ft-")
    assert f"exceeded quota: team, requested: {count}=1, used: {count}=1, limited:" in message
    assert message.endswith("; request more quota, or give a smaller --max-at-once")
    (first,) = cluster.api.objects(RAY_JOBS, cluster.namespace)
    assert "deletionTimestamp" not in first["metadata"]
    cluster.limit("team", {count: "4"})
    with Player(cluster.operator, selector_of(SPEC.name)):
        assert run() == {"done"}
    names = {each["metadata"]["uid"] for each in cluster.api.objects(RAY_JOBS, cluster.namespace)}
    assert len(names) == 4
    assert first["metadata"]["uid"] in names
