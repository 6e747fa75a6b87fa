"""How it was measured: software, machines, and what was asked against what was given."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from medsweep.report.tables.grouping import profile_order
from medsweep.results.aggregate import Row, distinct, first, group_by, ok_rows


@dataclass(frozen=True)
class Host:
    """One machine that measured.

    Attributes:
        name: host name.
        cpu_model: processor.
        device: GPUs found, or the processor.
        governor: frequency governor.
        driver: GPU driver; None without one.
        throttled_periods: most cgroup periods throttled during a cell.
        rows: rows measured there.
    """

    name: str
    cpu_model: str | None
    device: str | None
    governor: str | None
    driver: str | None
    throttled_periods: int | None
    rows: int


@dataclass(frozen=True)
class CpuRow:
    """What a hardware profile asks for, and what its cells were given.

    Attributes:
        profile: hardware profile.
        cpus_asked: of the profile.
        cpus_given: cores that engines were pinned to, each count once.
        threads: threads that engines computed with, each count once.
        accelerator_asked: GPUs of the profile, in words; None without.
        device_given: what engines computed on, each once.
        dtype_asked: compute dtypes that the profile calls for.
        dtype_given: compute dtypes that were used.
        basis: each basis of its rows.
    """

    profile: str
    cpus_asked: int | None
    cpus_given: tuple[int, ...]
    threads: tuple[int, ...]
    accelerator_asked: str | None
    device_given: tuple[str, ...]
    dtype_asked: tuple[str, ...]
    dtype_given: tuple[str, ...]
    basis: tuple[str, ...]


@dataclass(frozen=True)
class Method:
    """How the rows came about. A tuple with more than one value means that rows differ in it.

    Attributes:
        versions: software by name; the values of several sets are joined by " and ".
        git_commits: commits of MedSweep.
        image_digests: container images.
        dataset_sha256: hashes of the dataset.
        engines: what turned prompts into tokens.
        quantizations: of the base weights.
        max_tokens: longest answers, in tokens.
        repeats: most independent measurements of a load point.
        client_ttft_bias_s: lowest and highest of what the client adds to TTFT, in seconds.
        client_itl_bias_s: likewise to a gap between tokens.
        basis_reasons: why rows are not observed.
        hosts: machines.
        cpus: asked against given, per profile.
        first_measured_at: UTC time of the first repeat's end.
        last_measured_at: of the last one's.
    """

    versions: dict[str, str]
    git_commits: tuple[str, ...]
    image_digests: tuple[str, ...]
    dataset_sha256: tuple[str, ...]
    engines: tuple[str, ...]
    quantizations: tuple[str, ...]
    max_tokens: tuple[int, ...]
    repeats: int
    client_ttft_bias_s: tuple[float, float] | None
    client_itl_bias_s: tuple[float, float] | None
    basis_reasons: tuple[str, ...]
    hosts: tuple[Host, ...]
    cpus: tuple[CpuRow, ...]
    first_measured_at: str | None
    last_measured_at: str | None


def method(rows: Sequence[Row]) -> Method:
    """Return how the rows were measured.

    Args:
        rows: of `benchmark.parquet`.
    """
    measured = ok_rows(rows)
    times = sorted(distinct(measured, "measured_at"))
    by_host = group_by(measured, lambda row: row["hostname"] or "unnamed")
    by_profile = group_by(rows, lambda row: str(row["profile"]))
    return Method(
        versions=_versions(distinct(rows, "versions")),
        git_commits=distinct(rows, "git_commit"),
        image_digests=distinct(rows, "image_digest"),
        dataset_sha256=distinct(rows, "dataset_sha256"),
        engines=distinct(rows, "engine"),
        quantizations=distinct(rows, "quantization"),
        max_tokens=distinct(rows, "max_tokens"),
        repeats=max((row["repeat"] or 0 for row in measured), default=0),
        client_ttft_bias_s=_range(distinct(measured, "client_ttft_bias_s")),
        client_itl_bias_s=_range(distinct(measured, "client_itl_bias_s")),
        basis_reasons=distinct(rows, "basis_reason"),
        hosts=tuple(_host(name, group) for name, group in by_host.items()),
        cpus=tuple(_cpus(name, by_profile[name]) for name in sorted(by_profile, key=profile_order)),
        first_measured_at=times[0] if times else None,
        last_measured_at=times[-1] if times else None,
    )


def _host(name: str, rows: Sequence[Row]) -> Host:
    throttled = distinct(rows, "cpu_throttled_periods")
    return Host(
        name=name,
        cpu_model=first(rows, "cpu_model"),
        device=first(rows, "device"),
        governor=first(rows, "governor"),
        driver=first(rows, "driver"),
        throttled_periods=max(throttled, default=None),
        rows=len(rows),
    )


def _cpus(profile: str, rows: Sequence[Row]) -> CpuRow:
    measured = ok_rows(rows)
    gpus, accelerator = first(rows, "gpus"), first(rows, "accelerator")
    return CpuRow(
        profile=profile,
        cpus_asked=first(rows, "cpus"),
        cpus_given=distinct(measured, "cpus_given"),
        threads=distinct(measured, "threads"),
        accelerator_asked=f"{gpus} of {accelerator}" if gpus and accelerator else None,
        device_given=distinct(measured, "device"),
        dtype_asked=distinct(rows, "dtype"),
        dtype_given=distinct(measured, "dtype_given"),
        basis=distinct(measured, "basis"),
    )


def _versions(documents: Sequence[str]) -> dict[str, str]:
    found: dict[str, dict[str, None]] = {}
    for document in documents:
        for name, version in json.loads(document).items():
            found.setdefault(name, {})[str(version)] = None
    return {name: " and ".join(versions) for name, versions in sorted(found.items())}


def _range(values: Sequence[float]) -> tuple[float, float] | None:
    return (min(values), max(values)) if values else None
