"""The tables of speed."""

from __future__ import annotations

import math
import re
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from report_reading.printed import Below, Expected, Near, Text, agrees
from report_reading.raw import Raw, mean_of, one_line, or_none


class Speed(Raw):
    """Latency, its spread, what bound it, throughput, and the roofline."""

    def latency(self, row: Text) -> Expected:
        rows = self.ok
        for column in ("model", "profile", "load", "variant"):
            rows = rows[rows[column] == row[column.replace("_", " ").capitalize()]]
        expected: Expected = {"Basis": rows["basis"].iloc[0], "Repeats": len(rows)}
        for latency in ("ttft", "tpot", "e2e"):
            title = f"{latency.upper()} mean (s)"
            expected[title], expected[f"{title}: note"] = self.interval(rows, latency)
        for latency, name in product(("ttft", "e2e"), ("p50", "p90")):
            expected[f"{latency.upper()} {name} (s)"] = self.averaged(rows, latency, name)
        sent, failed = (int(rows[each].sum()) for each in ("sent", "failed"))
        notes = ["client-limited"] if rows["client_limited"].eq(True).any() else []
        marked = rows["client_error_figures"].dropna().str.split(", ").explode().unique()
        notes += [f"over a tenth is client error: {', '.join(marked)}"] if len(marked) else []
        return expected | {
            "Load: note": "; ".join(notes) or None,
            "Requests (1/s)": mean_of(rows, "requests_per_s"),
            "Output tokens (1/s)": mean_of(rows, "output_tokens_per_s"),
            "Failed / sent": [failed, sent],
            "Client bias of TTFT (s)": _client_error(rows["client_ttft_bias_s"]),
            "Framework's TTFT (s)": mean_of(rows, "overhead_ttft_s"),
        }

    def spread(self, row: Text) -> Expected:
        rows = self.ok
        for column in ("model", "profile", "load", "variant", "basis"):
            rows = rows[rows[column] == row[column.replace("_", " ").capitalize()]]
        latency = row["Figure"].lower()
        frame = rows[["deployment", "repeat"]].copy()
        frame["times"] = [self.times(each, latency) for _, each in rows.iterrows()]
        frame["mean"] = [np.mean(each) for each in frame["times"]]
        mean, groups = frame["mean"].mean(), frame.groupby("deployment", dropna=False)["mean"]
        request = np.mean([np.var(each, ddof=1) for each in frame["times"]])
        of_requests = request / np.mean([len(each) for each in frame["times"]])
        count, total = len(groups), len(frame)
        between = (groups.size() * (groups.mean() - mean) ** 2).sum()
        squares: Expected = {"request": request, "deployment": None}
        if total == count:
            squares["repeat"] = between / (count - 1) - of_requests
        else:
            within = ((frame["mean"] - groups.transform("mean")) ** 2).sum() / (total - count)
            squares["repeat"] = within - of_requests
            if count > 1:
                size = (total - (groups.size() ** 2).sum() / total) / (count - 1)
                squares["deployment"] = (between / (count - 1) - within) / size
        percent = {
            name: None if each is None else 100 * math.sqrt(max(each, 0.0)) / mean
            for name, each in squares.items()
        }
        visible: Near | None = None
        if count > 1:
            # Two samples of so many deployments: the noncentral t of Cohen (1988).
            freedom, error = 2 * (count - 1), groups.mean().std() * math.sqrt(2 / count)
            critical = stats.t.ppf(0.975, freedom)
            grid = np.linspace(0, 60, 60_001)
            power = stats.nct.sf(critical, freedom, grid)
            share = 100 * error * grid[np.argmax(power >= 0.8)] / groups.mean().mean()
            visible = Near(share, 2e-3 * share)
        return {
            "Deployments": count,
            "Repeats": total,
            "Between deployments": percent["deployment"],
            "Between repeats": percent["repeat"],
            "Between requests": percent["request"],
            "Smallest visible difference": visible,
        }

    def bound(self, row: Text) -> Expected:
        rows = self.cell_of(row, "model", "profile", "basis", "load")
        rows = rows[rows["bound"].notna()]
        agreeing = int((rows["bound"] == row["Bound by"]).sum())
        assert agreeing == rows["bound"].value_counts().max()
        [*_, chosen] = [
            each
            for _, each in rows.iterrows()
            if each["bound_evidence"] and one_line(each["bound_evidence"]) == row["Evidence"]
        ]
        ratios = re.findall(r"(\w+) / (\w+) = ([\d.]+)", row["Evidence"])
        for above, below, printed in ratios:
            assert agrees(printed, chosen[above] / chosen[below]), (above, below, printed)
        for name, printed in re.findall(r"(?:^|; )(cpu_\w+) = ([\d.]+)", row["Evidence"]):
            assert agrees(printed, chosen[name]), (name, printed)
        return {
            "Bound by": chosen["bound"],
            "Repeats": [agreeing, len(rows)],
            "Evidence": row["Evidence"],
        }

    def throughput(self, row: Text) -> Expected:
        rows = self.cell_of(row, "model", "profile", "basis", "load")
        tpot = [self.statistic(each, "tpot", "mean") for _, each in rows.iterrows()]
        known = [each for each in tpot if each is not None]
        rate, gpus = mean_of(rows, "output_tokens_per_s"), mean_of(rows, "gpus")
        priced = rows[rows["basis"] == "observed"]
        return {
            "Tokens/s per user": 1 / float(np.mean(known)) if known else None,
            "Output tokens/s": rate,
            "Output tokens/s per GPU": rate / gpus if rate and gpus and len(priced) else None,
            "USD per 1M output tokens": or_none(
                (1e6 * priced["usd_per_hour"] / 3600 / priced["output_tokens_per_s"]).mean()
            ),
        }

    def roofline(self, row: Text) -> Expected:
        rows = self.ok
        for column in ("model", "profile", "load"):
            rows = rows[rows[column] == row[column.replace("_", " ").capitalize()]]
        measured, estimated = mean_of(rows, "tpot_mean_s"), mean_of(rows, "predicted_tpot_s")
        assert measured is not None
        assert estimated is not None
        return {
            "TPOT measured (s)": measured,
            "TPOT estimated (s)": estimated,
            "TPOT at least (s)": mean_of(rows, "least_tpot_s"),
            "Factor": measured / estimated,
            "Estimate bound by": rows["predicted_bound"].iloc[0],
            "Likely reason": row["Likely reason"],
        }


def _client_error(biases: Any) -> float | Below | None:
    """Return the largest error of the client either way."""
    largest = or_none(max(pd.to_numeric(biases).dropna(), key=abs, default=math.nan))
    return largest if largest is None or largest >= 0 else Below(-largest)
