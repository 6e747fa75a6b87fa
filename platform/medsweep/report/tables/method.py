"""How the rows were measured: software, machines, and the hardware wanted against that given."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from medsweep.comparison.batches import batch_drift
from medsweep.report.numbers import seconds
from medsweep.report.table import (
    TableCell,
    TableRow,
    build,
    column,
    count,
    hidden,
    make_table,
    text,
    texts,
)
from medsweep.report.tables.grouping import profile_order
from medsweep.results.aggregate import Row, distinct, first, group_by_columns, ok_rows, values

Range = tuple[float, float] | None


def _each(name: str, *, measured: bool = False) -> Callable[[Sequence[Row]], tuple[Any, ...]]:
    """Return what gives every value of a column once."""
    return lambda rows: distinct(ok_rows(rows) if measured else rows, name)


def _range(name: str) -> Callable[[Sequence[Row]], Range]:
    def ends(rows: Sequence[Row]) -> Range:
        numbers = values(ok_rows(rows), name)
        return (min(numbers), max(numbers)) if numbers else None

    return ends


def _accelerator(rows: Sequence[Row]) -> str | None:
    gpus, accelerator = first(rows, "gpus"), first(rows, "accelerator")
    return f"{gpus} \N{MULTIPLICATION SIGN} {accelerator}" if gpus and accelerator else None


@dataclass(frozen=True)
class HostRow(TableRow):
    """One machine that measured."""

    caption = "Machines that measured"

    name: str = column("Machine", lambda rows: first(rows, "hostname") or "unnamed")
    cpu_model: str | None = column("Processor")
    device: str | None = column("Device")
    governor: str | None = column("Governor", missing="not exposed by the machine")
    driver: str | None = column("GPU driver", missing="no GPU driver")
    throttled_periods: int | None = column(
        "Throttled", lambda rows: max(values(rows, "cpu_throttled_periods"), default=None), count
    )
    rows: int = column("Rows", len, count)


@dataclass(frozen=True)
class HardwareRow(TableRow):
    """What a hardware profile asks for, and what its cells were given."""

    caption = "Hardware that was requested, and hardware that was used"

    profile: str = column("Profile")
    basis: tuple[str, ...] = column(
        "Basis", _each("basis", measured=True), texts, missing="nothing ran"
    )
    cpus_asked: int | None = column("CPUs requested", "cpus", count)
    cpus_given: tuple[int, ...] = column("CPUs used", _each("cpus_given", measured=True), texts)
    threads: tuple[int, ...] = column("Threads", _each("threads", measured=True), texts)
    accelerator_asked: str | None = column("Accelerator requested", _accelerator, missing="none")
    device_given: tuple[str, ...] = column("Device used", _each("device", measured=True), texts)
    dtype_asked: tuple[str, ...] = column("dtype requested", _each("dtype"), texts)
    dtype_given: tuple[str, ...] = column("dtype used", _each("dtype_given", measured=True), texts)


def _times(rows: Sequence[Row]) -> tuple[str, ...]:
    times = sorted(str(time) for time in values(ok_rows(rows), "measured_at"))
    return tuple(time[:16].replace("T", " ") for time in (*times[:1], *times[-1:]))


def _batch_drift(rows: Sequence[Row]) -> str | None:
    found = batch_drift(rows)
    return None if found is None else found.sentence


def _versions(rows: Sequence[Row]) -> dict[str, str]:
    """Return the version of each software; several are joined by "and"."""
    versions: dict[str, dict[str, None]] = {}
    for document in distinct(rows, "versions"):
        for name, version in json.loads(document).items():
            versions.setdefault(name, {})[str(version)] = None
    return {name: " and ".join(each) for name, each in sorted(versions.items())}


def _span(ends: Sequence[str], missing: str = "not recorded") -> TableCell:
    return text(" to ".join(dict.fromkeys(ends)), missing)


def _bias(value: Range, missing: str) -> TableCell:
    if value is not None and value[0] < 0:
        return text(f"at most {seconds(max(map(abs, value)))}")
    return _span([seconds(end) for end in value or ()], missing)


def _listed(versions: Mapping[str, str]) -> TableCell:
    return texts(f"{name} {version}" for name, version in versions.items())


@dataclass(frozen=True)
class Method(TableRow):
    """How the rows came about. More than one value means that rows differ in it."""

    caption = "Method"

    measured_at: tuple[str, ...] = column("Measured (UTC)", _times, _span)
    repeats: int = column(
        "Repeats of a load point",
        lambda rows: max(values(ok_rows(rows), "repeat"), default=0),
        count,
    )
    batch_drift: str | None = column(
        "Batches of cells",
        _batch_drift,
        missing="one batch: repeats of all cells were interleaved",
    )
    engines: tuple[str, ...] = column("Engine", _each("engine"), texts)
    quantizations: tuple[str, ...] = column(
        "Quantization of the base weights", _each("quantization"), texts
    )
    max_tokens: tuple[int, ...] = column("Longest answer (tokens)", _each("max_tokens"), texts)
    instructions: tuple[str, ...] = column(
        "Instruction before each question", _each("instruction"), texts, missing="none"
    )
    dataset_sha256: tuple[str, ...] = column("Dataset, SHA-256", _each("dataset_sha256"), texts)
    client_ttft_bias_s: Range = column(
        "Client's bias of TTFT, from calibration",
        _range("client_ttft_bias_s"),
        _bias,
        missing="the client was not calibrated",
    )
    client_itl_bias_s: Range = hidden(_range("client_itl_bias_s"))
    versions: Mapping[str, str] = column("Versions", _versions, _listed)
    git_commits: tuple[str, ...] = column(
        "Commit of MedSweep", _each("git_commit"), texts, missing="not run from a checkout"
    )
    image_digests: tuple[str, ...] = column(
        "Container image", _each("image_digest"), texts, missing="not run from an image"
    )
    basis_reasons: tuple[str, ...] = column(
        "Why not observed", _each("basis_reason"), texts, missing="everything was observed"
    )

    @property
    def facts(self) -> list[tuple[str, TableCell]]:
        """Names and values, as the page lists them."""
        table = make_table(Method, [self])
        return [(each.title, cell) for each, cell in zip(table.columns, table.rows[0], strict=True)]


def method(rows: Sequence[Row]) -> Method:
    """Return how the rows were measured.

    Args:
        rows: of `benchmark.parquet`.
    """
    return build(Method, rows)


def _deployed(rows: Sequence[Row]) -> list[Row]:
    """Return the rows without those of external servers, whose machines nobody observed."""
    return [row for row in rows if row.get("server_url") is None]


def host_table(rows: Sequence[Row]) -> list[HostRow]:
    """Return one row per machine that measured."""
    groups = group_by_columns(ok_rows(_deployed(rows)), "hostname")
    return [build(HostRow, group) for group in groups.values()]


def hardware_table(rows: Sequence[Row]) -> list[HardwareRow]:
    """Return one row per hardware profile, in the catalogue's order."""
    groups = group_by_columns(_deployed(rows), "profile")
    profiles = sorted((profile for (profile,) in groups), key=profile_order)
    return [build(HardwareRow, groups[profile,]) for profile in profiles]
