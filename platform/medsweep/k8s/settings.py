"""What a cluster's owner decides, and no sweep does: names, images, storage, queues, deadlines."""

from __future__ import annotations

import re
from typing import ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from medsweep import __version__
from medsweep.config import Closed

ImageFamily = Literal["cpu", "cu126", "cu13"]

_PVC = "pvc://"
_NAME = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
# It stands in a command that a shell reads: nothing in it may mean anything there.
_PLACE = re.compile(r"(pvc://[a-z0-9][-a-z0-9.]*|(s3|gs)://[a-zA-Z0-9][-a-zA-Z0-9._/]*)")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


class ClusterSettings(Closed):
    """How MedSweep uses one Kubernetes cluster.

    Attributes:
        namespace: where everything is created.
        image: repository of the images, with its registry where it has one.
        image_tag: tag of all images, before `-cpu`, `-cu126` or `-cu13`.
        image_digests: `sha256:...` by image family; one that is given wins over the tag.
        image_pull_secret: secret of type dockerconfigjson; None for a registry that asks nothing.
        results: `pvc://CLAIM`, `s3://bucket/prefix` or `gs://bucket/prefix`. A claim must be
            ReadWriteMany: head and worker are on two nodes.
        results_secret: secret whose keys become environment variables, for the object store; None
            where the service account's own identity is enough.
        model_cache_claim: ReadWriteMany claim for downloaded weights; None downloads for each job.
            With an object store jobs need it: head and worker, which are on two nodes, hand
            the adapter and what is half done to each other through it.
        hf_secret: secret with the key `token`, given to jobs of gated models alone.
        api_key_secret: secret with the key `api-key`, which a served model asks its clients for.
        service_account: of every pod; no pod gets its token.
        queue: Kueue's LocalQueue; None leaves admission to the scheduler.
        head_cpus: CPUs of the head, where driver and load generator run.
        head_memory_gib: memory of the head.
        scratch_gib: disk for weights, logs and temporary files of one pod.
        start_deadline_s: a job whose pods are not up by then has failed.
        finetune_deadline_s: longest fine-tune, from its admission, waiting for nodes included.
        benchmark_deadline_s: longest cell, from its admission, waiting for nodes included.
        backoff_limit: further tries of a job, each on a new Ray cluster; they go on from what is
            stored.
        ttl_s: a finished job's Ray cluster stays so long; a few scrapes, since it holds its GPUs.
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
    def _place(cls, place: str) -> str:
        if not _PLACE.fullmatch(place):
            raise ValueError(
                f"{place!r} is not pvc://CLAIM, s3://bucket/prefix or gs://bucket/prefix"
            )
        return place.rstrip("/")

    @field_validator("image_digests")
    @classmethod
    def _digests(cls, digests: dict[ImageFamily, str]) -> dict[ImageFamily, str]:
        for family, digest in digests.items():
            if not _DIGEST.fullmatch(digest):
                raise ValueError(f"{family}: {digest!r} is not sha256: and 64 hexadecimal digits")
        return digests

    @model_validator(mode="after")
    def _deadlines(self) -> ClusterSettings:
        # activeDeadlineSeconds runs from the job's creation, pulling images and queueing included.
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
        """What a job is given as `--out`: the claim's mount, or the object store's URL."""
        return RESULTS_MOUNT if self.results_claim else self.results


RESULTS_MOUNT = "/results"
