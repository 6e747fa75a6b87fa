"""Render the RayJob or RayService of a stage of a plan; the only place that builds them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from medsweep.errors import InputError
from medsweep.hardware.observe import HOST
from medsweep.hardware.profile import HardwareProfile
from medsweep.k8s.conventions import (
    QUEUE,
    RESULTS,
    ROLE,
    Stage,
    image_family,
    image_reference,
    labels,
    object_name,
    pod_labels,
)
from medsweep.k8s.pods import (
    HOME,
    METRICS_PORT,
    NO_DRAIN,
    SERVE_PORT,
    Manifest,
    head_template,
    load_template,
    submitter_template,
    worker_template,
)
from medsweep.k8s.settings import ClusterSettings
from medsweep.loadgen.shard import LABELS
from medsweep.models.spec import ModelSpec
from medsweep.serving.admission import Limits
from medsweep.sweep.cell import AdapterPlan, Cell
from medsweep.sweep.spec import SweepSpec

RAY_VERSION = "2.60.0"
"""Version in the images; a test compares it with the package's dependency."""

# This must not be empty: KubeRay writes resources and labels into it, and a webhook that reads and
# writes complete objects (Kueue's) turns a missing map into null, which the CRD refuses.
_START_PARAMS = {"disable-usage-stats": "true"}

SWEEP_VARIABLE = "MEDSWEEP_SWEEP"
"""Environment variable with the sweep as JSON, reduced to what the job does."""


def finetune_job(sweep: SweepSpec, adapter: AdapterPlan, settings: ClusterSettings) -> Manifest:
    """Return the RayJob that fine-tunes one adapter.

    Args:
        sweep: the sweep.
        adapter: to fine-tune, with its profile.
        settings: of the cluster.

    Raises:
        InputError: the profile is this machine, or the settings lack a claim.
    """
    # Every cell of the model leads to the same adapter, whose key does not depend on the profile.
    cells = [f"{adapter.model.name}@{profile}" for profile in sweep.catalog.profiles]
    return _job(
        _Stage("finetune", sweep, adapter.model, adapter.profile, adapter.key, settings),
        cells=cells,
        command=f"python {HOME}/jobs/finetune.py --adapter {adapter.key} --out {settings.out}",
        deadline_s=settings.finetune_deadline_s,
    )


def benchmark_job(sweep: SweepSpec, cell: Cell, settings: ClusterSettings) -> Manifest:
    """Return the RayJob that measures one cell.

    Args:
        sweep: the sweep.
        cell: to measure; its adapter exists when the job starts.
        settings: of the cluster.

    Raises:
        InputError: the cell cannot run, its profile is this machine, or the settings lack a claim.
    """
    _check_runs(cell)
    return _job(
        _Stage("benchmark", sweep, cell.model, cell.profile, cell.key, settings),
        cells=[cell.place],
        command=f"python {HOME}/jobs/benchmark.py --cell {cell.key} --out {settings.out} "
        f"--metrics-port {METRICS_PORT}",
        deadline_s=settings.benchmark_deadline_s,
        shards=sweep.load.shards,
    )


def serve_service(sweep: SweepSpec, cell: Cell, settings: ClusterSettings) -> Manifest:
    """Return the RayService that serves a cell's adapter to clients of the cluster.

    Args:
        sweep: the sweep.
        cell: to serve; its adapter exists when the service starts.
        settings: of the cluster.

    Raises:
        InputError: the cell cannot run, its profile is this machine, or the settings lack a claim.
    """
    _check_runs(cell)
    stage = _Stage("serve", sweep, cell.model, cell.profile, cell.key, settings)
    key = {"name": settings.api_key_secret, "key": "api-key"}
    environment = [
        *stage.sweep_variable([cell.place]),
        {"name": "MEDSWEEP_API_KEY", "valueFrom": {"secretKeyRef": key}},
    ]
    application = {
        "name": "medsweep",
        "route_prefix": "/",
        "import_path": "jobs.serve:application",
        "args": {"cell": cell.key, "out": settings.out},
    }
    served = {
        # KubeRay probes each worker's own proxy (kuberay#4994).
        "proxy_location": "EveryNode",
        "http_options": {"host": "0.0.0.0", "port": SERVE_PORT},  # noqa: S104 the pod's own network
        "applications": [application],
    }
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayService",
        "metadata": stage.metadata(),
        "spec": {
            # Another spec starts a second cluster, which takes over when it answers.
            "upgradeStrategy": {"type": "NewCluster"},
            # The longest answer of the first one.
            "rayClusterDeletionDelaySeconds": int(Limits().timeout_s),
            "serveConfigV2": json.dumps(served, indent=2, sort_keys=True),
            "rayClusterConfig": stage.cluster(environment, serves=True),
        },
    }


class _Stage:
    """Renders what the objects of all stages have in common."""

    def __init__(
        self,
        stage: Stage,
        sweep: SweepSpec,
        model: ModelSpec,
        profile: HardwareProfile,
        key: str,
        settings: ClusterSettings,
    ) -> None:
        if profile.name == HOST:
            raise InputError(
                f"{model.name}@{HOST}: `{HOST}` is the machine that MedSweep runs on, not a node "
                f"pool; choose one of {', '.join(sweep.catalog.profiles)}"
            )
        if settings.results_claim is None and settings.model_cache_claim is None:
            raise InputError(
                f"cluster settings: results ({settings.results}): an object store needs a "
                "model_cache_claim too, through which head and worker share their files"
            )
        self.sweep, self.model, self.profile, self.settings = sweep, model, profile, settings
        self.name = object_name(stage, sweep.name, model.name, profile.name, key)
        self.labels = labels(stage, sweep.name, key, profile.name)
        self.pod_labels = pod_labels(stage, sweep.name, key, profile.name)

    def metadata(self) -> Manifest:
        """Return name, namespace and labels of the object."""
        queue = {QUEUE: self.settings.queue} if self.settings.queue else {}
        return {
            "name": self.name,
            "namespace": self.settings.namespace,
            "labels": {**self.labels, **queue},
        }

    def sweep_variable(self, cells: list[str]) -> list[Manifest]:
        """Return the variable that holds the sweep, reduced to some of its cells."""
        finetune = self.sweep.finetune.model_copy(update={"profile": self.profile.name})
        reduced = self.sweep.model_copy(
            update={"cells": cells, "models": None, "finetune": finetune}
        )
        return [{"name": SWEEP_VARIABLE, "value": reduced.model_dump_json(exclude_defaults=True)}]

    def cluster(
        self, environment: list[Manifest], *, serves: bool = False, shards: int = 1
    ) -> Manifest:
        """Return the Ray cluster: a head without CPUs, one worker with the profile's hardware.

        With several shards of the load generator there is also a pod of the CPU pool for each.
        """
        settings, profile = self.settings, self.profile
        resources = {"CPU": str(profile.cpus)}
        if profile.gpus:
            resources["GPU"] = str(profile.gpus)
        family = image_family(profile)
        # The head writes the rows, which name the image that was measured: the worker's.
        image = {"name": "MEDSWEEP_IMAGE_DIGEST", "value": image_reference(settings, family)}
        shared_env = [image] if serves else [image, NO_DRAIN]
        worker = worker_template(
            settings, self.pod_labels, profile, family, [*shared_env, *self._token()]
        )
        head = head_template(settings, self.pod_labels, [*shared_env, *environment], serves=serves)
        if serves:
            # If only Serve's own config changed, KubeRay would restart the model in place.
            head["metadata"]["annotations"][RESULTS] = settings.out
        return {
            "rayVersion": RAY_VERSION,
            # Whoever can call Ray can run code in it. The operator makes a Secret with a random
            # token and gives it to the pods of this cluster and to the submitter.
            "authOptions": {"mode": "token"},
            "headGroupSpec": {
                "serviceType": "ClusterIP",
                "rayStartParams": dict(_START_PARAMS),
                # Nothing that is measured may run on the head.
                "resources": {"CPU": "0"},
                "labels": {ROLE: "head"},
                "template": head,
            },
            "workerGroupSpecs": [
                _group(
                    "gpu" if profile.gpus else "cpu",
                    1,
                    resources,
                    {**profile.labels, ROLE: "worker"},
                    worker,
                ),
                *self._load_group(shards),
            ],
        }

    def _load_group(self, shards: int) -> list[Manifest]:
        """Return the group of the load generator's shards; with one, it runs in the head."""
        if shards == 1:
            return []
        template = load_template(self.settings, self.pod_labels)
        return [_group("load", shards, {"CPU": "1"}, LABELS, template)]

    def _token(self) -> list[Manifest]:
        """Return a reference to the hub's token if the model is gated."""
        if not self.model.gated:
            return []
        key = {"name": self.settings.hf_secret, "key": "token"}
        return [{"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": key}}]


def _group(
    name: str,
    replicas: int,
    resources: Mapping[str, str],
    labels: Mapping[str, str],
    template: Manifest,
) -> Manifest:
    return {
        "groupName": name,
        "replicas": replicas,
        "minReplicas": replicas,
        "maxReplicas": replicas,
        # The operator adds this field if it is missing, and so becomes the owner of the list: the
        # next server-side apply would then conflict with it.
        "scaleStrategy": {},
        "rayStartParams": dict(_START_PARAMS),
        "resources": dict(resources),
        "labels": dict(labels),
        "template": template,
    }


def _job(
    stage: _Stage, *, cells: list[str], command: str, deadline_s: int, shards: int = 1
) -> Manifest:
    settings = stage.settings
    spec: dict[str, Any] = {
        "entrypoint": command,
        "submissionMode": "K8sJobMode",
        "backoffLimit": settings.backoff_limit,
        "preRunningDeadlineSeconds": settings.start_deadline_s,
        "activeDeadlineSeconds": deadline_s,
        "shutdownAfterJobFinishes": True,
        "ttlSecondsAfterFinished": settings.ttl_s,
        # A restarted submitter first checks whether its job already exists.
        "submitterConfig": {"backoffLimit": 2},
        "submitterPodTemplate": submitter_template(settings, stage.pod_labels),
        "rayClusterSpec": stage.cluster(stage.sweep_variable(cells), shards=shards),
    }
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayJob",
        "metadata": stage.metadata(),
        "spec": spec,
    }


def _check_runs(cell: Cell) -> None:
    if cell.refused is not None:
        raise InputError(f"{cell.name} cannot run: {cell.refused}")
