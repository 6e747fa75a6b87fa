"""The meaning of the words on the page."""

from __future__ import annotations

from collections.abc import Iterable

from medsweep.report.table import ReportTable
from medsweep.results.schema import LATENCIES

_LATENCIES = {
    "TTFT": "ttft",
    "TPOT": "tpot",
    "ITL": "itl",
    "E2E": "e2e",
}
_WORDS = {
    "Cell": "one model on one hardware profile",
    "Hardware profile": "one machine configuration: GPUs, CPUs, memory and price",
    "Load": "how many requests arrive. 8 clients: each sends its next request when the last one "
    "is answered (closed loop, c8 in the data). 2 requests/s: they arrive whether or not earlier "
    "ones have ended (open loop, r2)",
    "Repeat": "one independent measurement of a load point",
    "Adapter": "LoRA weights that a fine-tune produced; the base model is the model without them",
    "Observed": "measured on the hardware that the profile names",
    "Emulated": "measured on other hardware in its place",
    "Predicted": "computed, not measured",
    "Stand-in": "a tiny model with the architecture of a real one, and none of its knowledge",
    "p95": "the value that 95 % of the requests do not exceed",
}


def glossary(tables: Iterable[ReportTable]) -> dict[str, str]:
    """Return the meaning of each term: the words above, and the headings of the tables.

    Args:
        tables: of the page.
    """
    latencies = {term: LATENCIES[name] for term, name in _LATENCIES.items()}
    headings = {
        column.title: column.meaning
        for table in tables
        if table.rows
        for column in table.columns
        if column.meaning
    }
    return dict(sorted((_WORDS | latencies | headings).items(), key=lambda entry: entry[0].lower()))
