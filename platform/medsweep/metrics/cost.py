"""What answers cost in money and in energy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

ANSWERS = 1000
HOUR_S = 3600
MILLION = 1_000_000


def cost_columns(row: Mapping[str, Any]) -> dict[str, float]:
    """Return the columns of cost; what cannot be known is absent.

    A price and an energy belong to the hardware that they are of, so only observed rows have any,
    and none whose rate was the client's.
    There is no cost per correct answer: no figure of overlap establishes that one is correct. The
    cost per verified answer divides by the share of answers that were, and takes its interval from
    that share's.

    Args:
        row: the rest of a row of `benchmark.parquet`.
    """
    rate, window_s = row.get("requests_per_s"), row.get("window_s")
    if row.get("basis") != "observed" or not rate or row.get("client_limited"):
        return {}
    columns: dict[str, float] = {}
    if row.get("usd_per_hour") is not None:
        columns["usd_per_answer"] = row["usd_per_hour"] / HOUR_S / rate
        columns["usd_per_1000_answers"] = ANSWERS * columns["usd_per_answer"]
        for bound, other in (("", ""), ("_low", "_high"), ("_high", "_low")):
            if verified := row.get(f"verified_share{other}"):
                columns[f"usd_per_verified_answer{bound}"] = columns["usd_per_answer"] / verified
    energy_j = _energy_j(row)
    if energy_j is not None and window_s:
        columns["energy_j_per_1000_answers"] = ANSWERS * energy_j / (rate * window_s)
    return columns


def usd_per_million_tokens(row: Mapping[str, Any]) -> float | None:
    """Return the price of 1,000,000 output tokens; None where an answer has no price.

    Args:
        row: of `benchmark.parquet`.
    """
    price, tokens_per_s = row.get("usd_per_answer"), row.get("output_tokens_per_s")
    if price is None or not tokens_per_s:
        return None
    return float(MILLION * price * row["requests_per_s"] / tokens_per_s)


def _energy_j(row: Mapping[str, Any]) -> float | None:
    """Return the energy of GPUs and CPU packages; None where that which computes has no sensor."""
    gpu, cpu = row.get("gpu_energy_j"), row.get("cpu_energy_j")
    if row.get("gpus") and gpu is None:
        return None
    known = [value for value in (gpu, cpu) if value is not None]
    return sum(known) if known else None
