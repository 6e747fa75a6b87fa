"""What a cluster's owner decides for every sweep: names, images, storage, queues, deadlines."""

from __future__ import annotations

import re
from typing import ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from medsweep.config import Closed
from medsweep.version import __version__

ImageFamily = Literal["cpu", "cu126", "cu13"]

_PVC = "pvc://"
_NAME = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
# It becomes part of a shell command, so it may hold no character that a shell interprets.
_LOCATION = re.compile(r"(pvc://[a-z0-9][-a-z0-9.]*|(s3|gs)://[a-zA-Z0-9][-a-zA-Z0-9._/]*)")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
# What the API server allows in a taint: a value is that of a label, and a key is the name of one,
# which may begin with a DNS name and a slash.
_LABEL = r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
_DNS = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*"


class Toleration(Closed):
    """A taint that pods tolerate, with Kubernetes' field names.

    Attributes:
        key: key of the taint, such as `dedicated` or `cloud.google.com/gke-spot`.
        operator: `Equal` tolerates only the given value, `Exists` every value.
        value: value of the taint; required with `Equal`, None with `Exists`.
        effect: effect of the taint; None for every effect.
    """

    key: str = Field(pattern=rf"^({_DNS}/)?{_LABEL}$", max_length=317)
    operator: Literal["Equal", "Exists"] = "Equal"
    value: str | None = Field(default=None, pattern=rf"^({_LABEL})?$")
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None

    @model_validator(mode="after")
    def _value(self) -> Toleration:
        if (self.operator == "Exists") != (self.value is None):
            raise ValueError(
                f"{self.key}: operator {self.operator} with value {self.value!r}; give a value "
                "with Equal, and none with Exists"
            )
        return self


class ClusterSettings(Closed):
    """How MedSweep uses one Kubernetes cluster.

    Attributes:
        namespace: namespace in which everything is created.
        image: repository of the images, with its registry where it has one.
        image_tag: tag of all images, before `-cpu`, `-cu126` or `-cu13`.
        image_digests: `sha256:...` by image family; a digest takes precedence over the tag.
        image_pull_secret: secret of type dockerconfigjson; None for a registry without a login.
        results: `pvc://CLAIM`, `s3://bucket/prefix` or `gs://bucket/prefix`. A claim must be
            ReadWriteMany, because head and worker run on different nodes.
        results_secret: secret whose keys become environment variables, for the object store; None
            if the service account's own identity is enough.
        model_cache_claim: ReadWriteMany claim for downloaded weights; None downloads them for each
            job. Required with an object store: head and worker, which run on different nodes, share
            adapters and unfinished work through it.
        hf_secret: secret with the key `token`, given only to jobs of gated models.
        api_key_secret: secret with the key `api-key`, which clients of a served model must send.
        service_account: service account of every pod; no pod gets its token.
        operator_namespace: namespace of KubeRay's operator, which the network policies admit.
        runtime_class: RuntimeClass of workers with GPUs, such as `nvidia` where NVIDIA's runtime is
            not the nodes' default; None for the default.
        tolerations: taints that every pod tolerates, beside those of the GPU pools,
            `nvidia.com/gpu` and `medsweep.io/gpu`, which workers with GPUs tolerate in any case.
        queue: Kueue's LocalQueue; None leaves admission to the scheduler.
        head_cpus: CPUs of the head, where driver and load generator run.
        head_memory_gib: memory of the head.
        scratch_gib: disk for weights, logs and temporary files of one pod.
        start_deadline_s: a job fails if its pods are not running after this time.
        finetune_deadline_s: longest fine-tune, from its admission, including the wait for nodes.
        benchmark_deadline_s: longest cell, from its admission, including the wait for nodes.
        backoff_limit: how often a failed job is retried, each time on a new Ray cluster; a retry
            continues from what is stored.
        ttl_s: how long a finished job's Ray cluster stays, holding its GPUs; long enough for a few
            scrapes.
    """

    docs: ClassVar[str] = "reference/config.md#a-clusters-file"

    namespace: str = Field(default="medsweep", pattern=_NAME, max_length=63)
    image: str = Field(default="medsweep", min_length=1)
    image_tag: str = Field(default=__version__, pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,100}$")
    image_digests: dict[ImageFamily, str] = Field(default={})
    image_pull_secret: str | None = Field(default=None, pattern=_NAME)
    results: str = "pvc://medsweep-results"
    results_secret: str | None = Field(default=None, pattern=_NAME)
    model_cache_claim: str | None = Field(default=None, pattern=_NAME)
    hf_secret: str = Field(default="medsweep-hf", pattern=_NAME)
    api_key_secret: str = Field(default="medsweep-api-key", pattern=_NAME)
    service_account: str = Field(default="medsweep-job", pattern=_NAME)
    operator_namespace: str = Field(default="ray-system", pattern=_NAME, max_length=63)
    runtime_class: str | None = Field(default=None, pattern=_NAME)
    tolerations: list[Toleration] = Field(default=[])
    queue: str | None = Field(default=None, pattern=_NAME)
    head_cpus: int = Field(default=4, ge=1)
    head_memory_gib: int = Field(default=16, ge=2)
    scratch_gib: int = Field(default=100, ge=1)
    start_deadline_s: int = Field(default=3600, ge=60)
    finetune_deadline_s: int = Field(default=12 * 3600, ge=60)
    benchmark_deadline_s: int = Field(default=4 * 3600, ge=60)
    backoff_limit: int = Field(default=1, ge=0)
    ttl_s: int = Field(default=120, ge=60)

    @field_validator("results")
    @classmethod
    def _location(cls, location: str) -> str:
        if not _LOCATION.fullmatch(location):
            raise ValueError(
                f"{location!r} is not pvc://CLAIM, s3://bucket/prefix or gs://bucket/prefix"
            )
        return location.rstrip("/")

    @field_validator("image_digests")
    @classmethod
    def _digests(cls, digests: dict[ImageFamily, str]) -> dict[ImageFamily, str]:
        for family, digest in digests.items():
            if not _DIGEST.fullmatch(digest):
                raise ValueError(f"{family}: {digest!r} is not sha256: and 64 hexadecimal digits")
        return digests

    @model_validator(mode="after")
    def _deadlines(self) -> ClusterSettings:
        # KubeRay counts both from the moment that it makes the job's Ray cluster: after the queue,
        # before nodes and image pulls.
        for name in ("finetune_deadline_s", "benchmark_deadline_s"):
            if getattr(self, name) <= self.start_deadline_s:
                raise ValueError(
                    f"{name} ({getattr(self, name)}) must be greater than "
                    f"start_deadline_s ({self.start_deadline_s}), which it includes"
                )
        return self

    @property
    def results_claim(self) -> str | None:
        """Name of the claim that holds the results; None for an object store."""
        return self.results.removeprefix(_PVC) if self.results.startswith(_PVC) else None

    @property
    def out(self) -> str:
        """The `--out` of a job: the claim's mount point, or the object store's URL."""
        return RESULTS_MOUNT if self.results_claim else self.results


RESULTS_MOUNT = "/results"
