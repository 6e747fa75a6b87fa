"""External servers: what the sweep declares, and what they report about themselves."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from medsweep.report.table import TableRow, build, column, count, fraction, number, prose, texts
from medsweep.results.aggregate import Row, distinct, first, group_by_columns, values

NOT_SAID = "the server does not say"
UNKNOWN = "not declared"


def _highest(name: str) -> Callable[[Sequence[Row]], float | None]:
    return lambda rows: max(values(rows, name), default=None)


def _missing(rows: Sequence[Row]) -> str | None:
    reasons = [json.loads(each).get("server") for each in distinct(rows, "telemetry_missing")]
    return "; ".join(filter(None, reasons)) or None


@dataclass(frozen=True)
class ServerRow(TableRow):
    """One server that MedSweep did not start."""

    caption = "External servers: what they report about themselves"

    server: str = column("Server", "profile")
    url: str | None = column("Address", "server_url")
    software: str | None = column("Software", "server_software", missing=NOT_SAID)
    served: tuple[str, ...] = column(
        "Its names of the models", lambda rows: distinct(rows, "served_model"), texts
    )
    hardware: str | None = column("Hardware, as declared", "hardware", missing=UNKNOWN)
    waiting: float | None = column(
        "Waiting, at most", _highest("server_queue_max"), number, missing=NOT_SAID
    )
    running: float | None = column(
        "Running, at most", _highest("server_running_max"), number, missing=NOT_SAID
    )
    kv_use: float | None = column(
        "KV cache in use, at most", _highest("server_kv_use_max"), fraction, missing=NOT_SAID
    )
    preemptions: int | None = column(
        "Preemptions",
        lambda rows: round(sum(found)) if (found := values(rows, "server_preemptions")) else None,
        count,
        missing=NOT_SAID,
    )
    before: float | None = column(
        "Requests of others before a load, at most",
        _highest("server_requests_before"),
        number,
        missing=NOT_SAID,
    )
    why: str | None = column("What it does not show", _missing, prose, missing="nothing")


def server_table(rows: Sequence[Row]) -> list[ServerRow]:
    """Return one row per external server.

    Args:
        rows: of `benchmark.parquet`.
    """
    external = [row for row in rows if first([row], "server_url") is not None]
    return [build(ServerRow, group) for group in group_by_columns(external, "profile").values()]
