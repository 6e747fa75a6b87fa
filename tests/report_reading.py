"""Reads a report: what each cell of each table should say, computed from the raw files alone.

Nothing of the package is used here, so that a definition that is wrong there is not repeated.
"""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from html.parser import HTMLParser
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from scipy import stats

DASH = "\N{EN DASH}"

PAPER = {  # exact match (%), BLEU, ROUGE, F1 and response time of the paper's Table 4
    "llama-2-7b": (0.0, 0.058, 0.49, 0.21, 22.95),
    "mistral-7b": (1.0, 0.069, 1.00, 0.28, 9.72),
    "llama-3-8b": (81.34, 0.58, 0.54, 0.73, 63.66),
    "gemma-1.1-7b": (76.45, 0.53, 0.50, 0.71, 44.32),
    "distilgpt2": (46.92, 0.25, 0.21, 0.62, 7.03),
}
COUNTS_NGRAMS = ("llama-3-8b", "gemma-1.1-7b", "distilgpt2")

QUALITY = {
    "Exact match": "exact_match",
    "n-gram match": "ngram_match",
    "BLEU": "bleu",
    "ROUGE-1": "rouge1",
    "ROUGE-2": "rouge2",
    "ROUGE-L": "rouge_l",
    "Token F1": "token_f1",
    "Quantities": "quantity_agreement",
    "Consistency": "consistency",
    "Concepts": "concept_f1",
}

_NUMBER = re.compile(r"(?<![A-Za-z\d])[+\N{MINUS SIGN}-]?\d[\d,]*(?:\.\d+)?")

Text = dict[str, str]
Expected = dict[str, Any]


@dataclass(frozen=True)
class Near:
    """A number that is itself an estimate, such as a p value of drawn signs."""

    value: float
    tolerance: float


@dataclass(frozen=True)
class Around:
    """An interval of which only its place is known: around a mean, about as wide as Student's."""

    mean: float
    margin: float


@dataclass(frozen=True)
class Below:
    """A time that was measured as less than 0 by so much: at most the double is printed."""

    amount: float


def agrees(text: str, expected: object, *, tens: bool = False) -> bool:
    """Return whether a cell says what is expected, within half a unit of its last digit.

    Args:
        text: of the cell.
        expected: what it should say.
        tens: its zeros at the end may stand for rounded digits.
    """
    if expected is None:
        return text in (DASH, "")
    if isinstance(expected, str):
        return text == expected
    printed = [_value(each, tens=tens) for each in _NUMBER.findall(text)]
    if isinstance(expected, Below):
        [(value, _)] = printed
        return text.startswith("< ") and expected.amount <= value <= 2 * expected.amount
    if isinstance(expected, Near):
        [(value, half)] = printed
        return abs(value - expected.value) <= half + expected.tolerance
    if isinstance(expected, Around):
        (low, half), (high, _) = printed
        inside = low - half <= expected.mean <= high + half
        return inside and 0.5 * expected.margin <= (high - low) / 2 + half
    wanted = [expected] if isinstance(expected, (int, float)) else list(expected)  # type: ignore[call-overload]
    return len(printed) == len(wanted) and all(
        abs(value - each) <= half * (1 + 1e-6) + 1e-12
        for (value, half), each in zip(printed, wanted, strict=True)
    )


def _value(text: str, *, tens: bool = False) -> tuple[float, float]:
    """Return a printed number, and half a unit of its last digit."""
    plain = text.replace(",", "").replace("\N{MINUS SIGN}", "-")
    zeros = len(plain) - len(plain.rstrip("0")) if tens and "." not in plain else 0
    return float(plain), 0.5 * 10.0 ** (zeros - len(plain.partition(".")[2]))


def _in_ms(expected: object) -> object:
    """Return what is expected of a time, or of several, in milliseconds."""
    if isinstance(expected, Below):
        return Below(1000 * expected.amount)
    if isinstance(expected, float):
        return 1000 * expected
    return [1000 * each for each in expected] if isinstance(expected, list) else expected


def tables_of(folder: Path) -> dict[str, list[Text]]:
    """Return the rows of each CSV table of a report, by its name."""
    tables = {}
    for path in sorted((folder / "tables").glob("*.csv")):
        with path.open(newline="", encoding="utf-8") as lines:
            tables[path.stem] = list(csv.DictReader(lines))
    return tables


class _Tables(HTMLParser):
    """Collects the tables of a page: a row is a list of texts, notes behind their cells."""

    def __init__(self) -> None:
        super().__init__()
        self.tables: list[list[list[tuple[str, str]]]] = []
        self._at = ""

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append(("", ""))
            self._at = "text"
        elif tag == "small" and self._at:
            self._at = "note"
        elif tag == "summary" and self._at:
            self._at = "label"  # of folded text

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th"):
            self._at = ""
        elif tag in ("small", "summary") and self._at:
            self._at = "text"

    def handle_data(self, data: str) -> None:
        if self._at in ("text", "note"):
            text, note = self.tables[-1][-1].pop()
            added = (text + data, note) if self._at == "text" else (text, note + data)
            self.tables[-1][-1].append(added)


def page_tables(page: Path) -> list[list[Text]]:
    """Return the tables of a page in the form of its CSV files: a note is a column of its own."""
    parser = _Tables()
    parser.feed(page.read_text(encoding="utf-8"))
    found = []
    for head, *rows in parser.tables:
        titles = [title.strip() for title, _ in head]
        noted = [any(row[place][1] for row in rows) for place in range(len(titles))]
        found.append(
            [
                {
                    name: "; ".join(text.strip().splitlines())
                    for title, cell, both in zip(titles, row, noted, strict=True)
                    for name, text in zip((title, f"{title}: note"), cell[: 1 + both], strict=False)
                }
                for row in rows
            ]
        )
    return found


class Reading:
    """What the tables of a report should say.

    Args:
        folder: of the results, with `benchmark.parquet` and, where there are, the raw files.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        every = _frame(folder / "benchmark.parquet")
        self.every, self.ok = every, every[every["status"] == "ok"]

    # What the rows say.

    def cell_of(self, row: Text, *columns: str) -> pd.DataFrame:
        """Return the measured rows of a table's row, of the adapter where it answered."""
        chosen = self.ok
        for column in columns:
            chosen = chosen[chosen[column] == row[column.replace("_", " ").capitalize()]]
        return _headline(chosen)

    @cache  # noqa: B019
    def raw(self, key: str, name: str) -> pd.DataFrame | None:
        """Return the requests or responses of a cell."""
        path = self.folder / "cells" / key / f"{name}.parquet"
        return _frame(path) if path.exists() else None

    def of(self, row: Any, name: str) -> pd.DataFrame | None:
        """Return the requests or responses of one row of `benchmark.parquet`."""
        table = self.raw(row["key"], name)
        if table is None:
            return None
        for column in ("load_point", "repeat", "variant"):
            table = table[table[column] == row[column]]
        return table

    def times(self, row: Any, latency: str) -> list[float] | None:
        """Return a latency of each answered request of one measurement; None without the file."""
        requests = self.of(row, "requests")
        if requests is None:
            return None
        requests = requests[(requests["phase"] == "measure") & (requests["status"] == "ok")]
        start = requests["due_s"].fillna(requests["sent_s"])
        if latency == "ttft":
            return list((requests["first_text_s"] - start).dropna())
        if latency == "e2e":
            return list(requests["end_s"] - start)
        taken = (requests["end_s"] - requests["first_text_s"]) / (requests["output_tokens"] - 1)
        return list(taken[[_has_tpot(each) for _, each in requests.iterrows()]])

    def statistic(self, row: Any, latency: str, name: str) -> float | None:
        """Return the mean or a percentile of one measurement, from its requests."""
        times = self.times(row, latency)
        if times is None:
            return _null(row[f"{latency}_{name}_s"])
        fewest = {"mean": 1, "p50": 11, "p90": 64, "p95": 130, "p99": 662, "max": 1}[name]
        if len(times) < fewest:
            return None
        if name in ("mean", "max"):
            return float(np.mean(times) if name == "mean" else np.max(times))
        return float(np.percentile(times, float(name[1:])))

    def averaged(self, rows: pd.DataFrame, latency: str, name: str) -> float | None:
        """Return the mean over repeats of a statistic."""
        found = [self.statistic(row, latency, name) for _, row in rows.iterrows()]
        known = [each for each in found if each is not None]
        return float(np.mean(known)) if known else None

    def interval(self, rows: pd.DataFrame, latency: str) -> tuple[float | None, Any]:
        """Return the mean of a load point and what is printed below it."""
        known = [
            (row["deployment"], value)
            for _, row in rows.iterrows()
            if (value := self.statistic(row, latency, "mean")) is not None
        ]
        if not known:
            return None, None
        frame = pd.DataFrame(known, columns=["deployment", "value"])
        groups = frame.groupby("deployment", dropna=False, sort=False)["value"]
        values = list(groups.mean() if len(groups) > 1 else frame["value"])
        mean = float(np.mean(values))
        if len(values) < 3:
            return mean, values if len(values) == 2 else None
        error = np.std(values, ddof=1) / math.sqrt(len(values))
        factor = math.exp(stats.t.ppf(0.975, len(values) - 1) * error / mean)
        return mean, [mean / factor, mean * factor]

    # The tables.

    def decision(self, row: Text) -> Expected:
        rows = self.cell_of(row, "model", "profile", "basis")
        e2e, spread = self.interval(_lightest(rows), "e2e")
        point, rate = _busiest(rows)
        f1, note = self._quality(rows, "token_f1", max_too=False)
        return {
            "Best trade-off": "yes" if self._is_best(row) else "",
            "Token F1": f1,
            "Token F1: note": note,
            "E2E mean (s)": e2e,
            "E2E mean (s): note": spread,
            "Requests (1/s)": rate,
            "Requests (1/s): note": f"at {point}" if point else None,
            "USD per 1,000 answers": _usd_per_1k(rows[rows["load_point"] == point]),
        }

    def _is_best(self, row: Text) -> bool:
        """Whether nothing of the same basis is at least as good in all and better in something."""
        rows = _headline(self.ok)
        point = _points(rows)[0]
        rows = rows[(rows["load_point"] == point) & (rows["basis"] == row["Basis"])]
        choices: dict[tuple[str, str], tuple[float, float, float]] = {}
        prices = rows["usd_per_hour"].notna().all()
        for (model, profile), group in rows.groupby(["model", "profile"]):
            limited = group["client_limited"].eq(True).any()
            marked = group["client_error_figures"].fillna("").str.split(", ").explode()
            failed = group["failed"].sum() / group["sent"].sum()
            f1 = group["token_f1"].mean()
            e2e = group["e2e_mean_s"].mean()
            if limited or "e2e_mean_s" in set(marked) or failed > 0.05 or math.isnan(f1 + e2e):
                continue
            price = group["usd_per_hour"].mean() if prices else 0.0
            choices[str(model), str(profile)] = (f1, -e2e, -price)
        ours = choices.get((row["Model"], row["Profile"]))
        return ours is not None and not any(
            all(a >= b for a, b in zip(other, ours, strict=True)) and other != ours
            for other in choices.values()
        )

    def matrix(self, row: Text) -> Expected:
        expected: Expected = {}
        for model in (each for each in row if each != "Hardware profile" and ": note" not in each):
            cell = self.every[
                (self.every["profile"] == row["Hardware profile"]) & (self.every["model"] == model)
            ]
            states = set(cell["status"])
            state = next((each for each in ("failed", "ok", "refused") if each in states), None)
            if state != "ok":
                expected |= {model: state or "not in sweep", f"{model}: note": None}
                continue
            rows = _headline(cell[cell["status"] == "ok"])
            ttft, _ = self.interval(_lightest(rows), "ttft")
            f1 = _most_questions(rows)["token_f1"].mean()
            if ttft is not None and ttft < 1:
                ttft *= 1000  # it stands there in milliseconds
            shown = [each for each in (f1, ttft) if each is not None and not math.isnan(each)]
            expected |= {model: f"ok, {rows['basis'].iloc[0]}", f"{model}: note": shown}
        return expected

    def latency(self, row: Text) -> Expected:
        rows = self.ok
        for column in ("model", "profile", "load_point", "variant"):
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
            "Load point: note": "; ".join(notes) or None,
            "Requests (1/s)": _mean(rows, "requests_per_s"),
            "Output tokens (1/s)": _mean(rows, "output_tokens_per_s"),
            "Failed / sent": [failed, sent],
            "Client bias of TTFT (s)": _client_error(rows["client_ttft_bias_s"]),
            "Framework's TTFT (s)": _mean(rows, "overhead_ttft_s"),
        }

    def spread(self, row: Text) -> Expected:
        rows = self.ok
        for column in ("model", "profile", "load_point", "variant", "basis"):
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
        rows = self.cell_of(row, "model", "profile", "basis", "load_point")
        rows = rows[rows["bound"].notna()]
        agreeing = int((rows["bound"] == row["Bound by"]).sum())
        assert agreeing == rows["bound"].value_counts().max()
        [*_, chosen] = [
            each
            for _, each in rows.iterrows()
            if each["bound_evidence"] and _one_line(each["bound_evidence"]) == row["Evidence"]
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

    def _quality(self, rows: pd.DataFrame, name: str, *, max_too: bool = True) -> tuple[Any, Any]:
        """Return a figure averaged over cells, each at its load point with most questions."""
        cells = [_most_questions(cell) for _, cell in rows.groupby("key", sort=False)]
        known = [cell for cell in cells if cell[name].notna().any()]
        if not known:
            return None, None
        pooled = pd.concat(cells)

        def of_cells(column: str) -> float:
            return float(np.mean([cell[column].mean() for cell in known]))

        note = [of_cells(f"{name}_low"), of_cells(f"{name}_high")]
        note = [] if any(map(math.isnan, note)) else note
        if max_too:
            if (pooled["leaked_questions"] > 0).any():
                note.append(of_cells(f"{name}_not_leaked"))
            seen = pooled[f"{name}_errors_seen"].mean()
            note += [] if math.isnan(seen) or not seen else [100 * seen]
            note.append(pooled[f"{name}_max"].max())
        for bound in ("ceiling", "floor", "empty"):
            note.append(pooled[f"{name}_{bound}"].mean())
        if max_too and name.startswith("rouge") and of_cells("beyond_rouge_share") > 0:
            note.append(100 * of_cells("beyond_rouge_share"))
        return of_cells(name), [each for each in note if not math.isnan(each)]

    def quality(self, row: Text) -> Expected:
        rows = self.ok
        for column in ("model", "variant", "basis"):
            rows = rows[rows[column] == row[column.capitalize()]]
        cells = [_most_questions(cell) for _, cell in rows.groupby("key", sort=False)]
        pooled = pd.concat(cells)

        def of_cells(column: str) -> float | None:
            return _null(np.mean([cell[column].mean() for cell in cells]))

        expected: Expected = {
            "Cells": len(cells),
            "Questions": int(pooled["questions"].min()),
            "Leaked questions": _largest(pooled, "leaked_questions"),
            "Truncated answers": of_cells("truncated_share"),
            "References too long": of_cells("long_references_share"),
            "Corpus BLEU": of_cells("corpus_bleu"),
        }
        for title, name in QUALITY.items():
            expected[title], expected[f"{title}: note"] = self._quality(rows, name)
        return expected

    def paired(self, row: Text) -> Expected:
        tested = self._pairs(row["Model"], row["Basis"])
        base, tuned, p_value = tested[QUALITY[row["Figure"]]]
        differences = tuned - base
        changed = int(np.count_nonzero(differences))
        adjusted = _holm(p_value, self._family(row["Basis"])) if p_value else None
        verdict = "no clear difference"
        if len(differences) < 6:
            verdict = "too few questions"
        elif adjusted is not None and adjusted.value <= 0.05:
            verdict = "higher" if differences.mean() > 0 else "lower"
        return {
            "Base": base.mean(),
            "Fine-tuned": tuned.mean(),
            "Difference": differences.mean(),
            "95 % interval": _around(differences),
            "p value": adjusted,
            "Changed / questions": [changed, len(differences)],
            "Verdict": verdict,
        }

    def _family(self, basis: str) -> list[Near]:
        """Return the p values that are corrected together: all of one basis."""
        models = self.ok[self.ok["basis"] == basis]["model"].unique()
        tested = [each for model in models for each in self._pairs(model, basis).values()]
        return [p_value for _, _, p_value in tested if p_value is not None]

    @cache  # noqa: B019
    def _pairs(self, model: str, basis: str) -> dict[str, Any]:
        """Return each figure's base and tuned scores by question, with the p value of signs."""
        rows = self.ok[(self.ok["model"] == model) & (self.ok["basis"] == basis)]
        pools = []
        for key in rows["key"].unique():
            answers = self.raw(key, "responses")
            if answers is None:
                continue
            points = [
                set(answers[answers["variant"] == v]["load_point"]) for v in ("base", "adapter")
            ]
            pools.append(answers[answers["load_point"].isin(points[0] & points[1])])
        if not pools:
            return {}
        pooled, found = pd.concat(pools), {}
        for name in QUALITY.values():
            table = pooled.pivot_table(index="question_id", columns="variant", values=name)
            if {"base", "adapter"} <= set(table):
                table = table.dropna()
                if len(table):
                    base, tuned = table["base"].to_numpy(), table["adapter"].to_numpy()
                    found[name] = (base, tuned, _sign_flip_p(tuned - base))
        return found

    def throughput(self, row: Text) -> Expected:
        rows = self.cell_of(row, "model", "profile", "basis", "load_point")
        tpot = [self.statistic(each, "tpot", "mean") for _, each in rows.iterrows()]
        known = [each for each in tpot if each is not None]
        rate, gpus = _mean(rows, "output_tokens_per_s"), _mean(rows, "gpus")
        priced = rows[rows["basis"] == "observed"]
        return {
            "Tokens/s per user": 1 / float(np.mean(known)) if known else None,
            "Output tokens/s": rate,
            "Output tokens/s per GPU": rate / gpus if rate and gpus else None,
            "USD per 1M output tokens": _null(
                (1e6 * priced["usd_per_hour"] / 3600 / priced["output_tokens_per_s"]).mean()
            ),
        }

    def worst(self, row: Text) -> Expected:
        answers = self._answers(row["Model"], row["Model: note"], "adapter")
        answers = _asked(answers, row["Question"])
        if "Answer" in row:
            answers = answers[answers["answer"].map(_shown) == row["Answer"]]
        else:  # Without texts a question stands for the mean of its answers.
            answers = answers.assign(reference="", **answers[["token_f1", "consistency"]].mean())
        return {
            "Model: note": row["Model: note"],
            "Reference": _shown(answers["reference"].iloc[0]),
            "Token F1": answers["token_f1"].iloc[0],
            "Consistency": answers["consistency"].iloc[0],
        }

    def worsened(self, row: Text) -> Expected:
        names = {"Token F1": "token_f1", "Consistency": "consistency"}
        sides = [
            self._answers(row["Model"], row["Model: note"], each) for each in ("base", "adapter")
        ]
        means = [side.groupby("question_id")[list(names.values())].mean() for side in sides]
        before, after = (each.loc[means[0].index.intersection(means[1].index)] for each in means)
        f1, consistency = (after[each] - before[each] for each in names.values())
        [question] = _asked(sides[0], row["Question"])["question_id"].unique()
        expected: Expected = {
            "Model: note": row["Model: note"],
            "Token F1 fell / rose / questions": [
                int((f1 < -1e-12).sum()),
                int((f1 > 1e-12).sum()),
                len(before),
            ],
            "Token F1 fell / rose / questions: note": [int((consistency < -1e-12).sum())],
        }
        for title, name in names.items():
            expected[title] = [before.loc[question, name], after.loc[question, name]]
        for title, side in zip(("Base", "Fine-tuned"), sides, strict=True):
            if title not in row:
                continue
            shown = set(side[side["question_id"] == question]["answer"].map(_shown))
            expected[title] = row[title] if row[title] in shown else f"one of {shown}"
        return expected

    def _answers(self, model: str, basis: str, variant: str) -> pd.DataFrame:
        rows = self.ok[(self.ok["model"] == model) & (self.ok["basis"] == basis)]
        tables = [self.raw(key, "responses") for key in rows["key"].unique()]
        answers = pd.concat([each for each in tables if each is not None])
        return answers[answers["variant"] == variant]

    def meter(self, row: Text) -> Expected:
        detections = json.loads((self.folder / "meter.json").read_text())["detections"]
        titles = {"harmless rewrite": "False alarms", "any error": "Any error"}
        expected: Expected = {"In short": row.get("In short")}
        for each in (line for line in detections if line["figure"] == QUALITY[row["Figure"]]):
            title = f"{titles.get(each['kind'], each['kind'])} ({each['tried']})"
            seen, tried = each["seen"], each["tried"]
            expected[title] = expected[f"{title}: note"] = None
            if each["share"] is not None:
                exact = stats.binomtest(seen, tried).proportion_ci()
                expected[title] = 100 * seen / tried
                expected[f"{title}: note"] = [100 * exact.low, 100 * exact.high]
            if each["kind"] == "any error":
                for percent in _NUMBER.findall(row.get("In short", "")):
                    assert agrees(percent, 100 * seen / tried)
        return expected

    def cost(self, row: Text) -> Expected:
        rows = self.cell_of(row, "model", "profile", "basis")
        point, rate = _busiest(rows)
        rows = rows[rows["load_point"] == point]
        source = rows["price_source"].dropna()
        return {
            "Load point": point,
            "USD per hour": _mean(rows, "usd_per_hour"),
            "Price from": f"{source.iloc[0]}, {rows['price_date'].dropna().iloc[0]}"
            if len(source)
            else None,
            "Requests (1/s)": rate,
            "USD per 1,000 answers": _usd_per_1k(rows),
            "Energy per 1,000 answers (J)": _mean(rows, "energy_j_per_1000_answers"),
            **self._verified(rows),
        }

    def _verified(self, rows: pd.DataFrame) -> Expected:
        """Return what is printed of answers that were verified, and of their price."""
        shown: Expected = {}
        for title, name in (
            ("Verified answers", "verified_share"),
            ("USD per verified answer", "usd_per_verified_answer"),
        ):
            ends = [_mean(rows, f"{name}_{end}") for end in ("low", "high")]
            shown[title] = _mean(rows, name)
            known = [each for each in ends if each is not None]
            shown[f"{title}: note"] = known if shown[title] is not None and known else None
        return shown

    def roofline(self, row: Text) -> Expected:
        rows = self.ok
        for column in ("model", "profile", "load_point"):
            rows = rows[rows[column] == row[column.replace("_", " ").capitalize()]]
        measured, estimated = _mean(rows, "tpot_mean_s"), _mean(rows, "predicted_tpot_s")
        assert measured is not None
        assert estimated is not None
        return {
            "TPOT measured (s)": measured,
            "TPOT estimated (s)": estimated,
            "TPOT at least (s)": _mean(rows, "least_tpot_s"),
            "Factor": measured / estimated,
            "Estimate bound by": rows["predicted_bound"].iloc[0],
            "Likely reason": row["Likely reason"],
        }

    def training(self, row: Text) -> Expected:
        bases = self.every[self.every["model"] == row["Model"]]["basis"].dropna().unique()
        [record] = [
            each
            for path in self.folder.glob(f"adapters/{row['Model']}-*/training.parquet")
            for _, each in _frame(path).iterrows()
            if each["epoch"] == int(row["Epoch"])
        ]
        taken = _null(record.get("seconds")) or None
        expected: Expected = {
            "Basis of its cells": ", ".join(bases) or None,
            "Training loss": _null(record["loss"]),
            "Held-out loss": _null(record["eval_loss"]),
            "Time (s)": taken,
            "Tokens (1/s)": record["tokens"] / taken if taken else None,
            "Truncated answers": _null(record.get("truncated_share")),
            "References too long": _null(record.get("long_references_share")),
        }
        for title in ("Token F1", "ROUGE-L", "n-gram match", "Corpus BLEU"):
            name = QUALITY.get(title, "corpus_bleu")
            expected[title] = _null(record[name])
            ends = [_null(record.get(f"{name}_{end}")) for end in ("low", "high")]
            limits = [_null(record.get(f"{name}_{end}")) for end in ("ceiling", "floor", "empty")]
            below = [each for each in [*ends, *limits] if each is not None]
            expected[f"{title}: note"] = below or None
        return expected

    def paper_cells(self, row: Text) -> Expected:
        rows = _lightest(self.cell_of(row, "model", "profile", "basis"))
        real = rows["stands_in_for"].iloc[0] or row["Model"]
        ours, spread = self.interval(rows, "e2e")
        assert ours is not None
        paper = PAPER[real][4]
        prose = row["Likely reason"]
        if "at our token rate" in prose:
            ttft, tpot = (self.interval(rows, each)[0] for each in ("ttft", "tpot"))
            assert ttft is not None
            assert tpot is not None
            [tokens] = re.findall(r"its time is ([\d,.]+) tokens", prose)
            assert agrees(tokens, 1 + (paper - ttft) / tpot)
            assert prose.endswith(f"ours are cut at {rows['max_tokens'].iloc[0]:.0f}")
        return {
            "Model: note": self._note(row["Model"]),
            "Load point": rows["load_point"].iloc[0],
            "In the paper's Table 3": row["In the paper's Table 3"],
            "Ours (s)": ours,
            "Ours (s): note": spread,
            "Paper's Table 4 (s)": paper,
            "Paper over ours": paper / ours,
            "Paper's text": row["Paper's text"],
            "Likely reason": prose,
        }

    def _note(self, model: str) -> str | None:
        named = self.every[self.every["model"] == model]["stands_in_for"].dropna()
        return f"tiny stand-in with the architecture of {named.iloc[0]}" if len(named) else None

    def _ours(self, model: str, basis: str) -> dict[str, float | None]:
        """Return our figures for the paper's Table 4."""
        rows = self.ok[(self.ok["model"] == model) & (self.ok["basis"] == basis)]
        rows = rows[rows["variant"] == "adapter"]
        graded = pd.concat([_most_questions(cell) for _, cell in rows.groupby("key")])
        times = [
            time
            for _, group in rows.groupby(["profile", "load_point"])
            if (time := self.interval(group, "e2e")[0]) is not None
        ]
        exact, ngram = (self._quality(rows, each)[0] for each in ("exact_match", "ngram_match"))
        return {
            "Exact match (%)": 100 * exact,
            "n-gram match (%)": 100 * ngram,
            "BLEU, best answer": graded["bleu_max"].max(),
            "ROUGE, best answer": graded["rouge_l_max"].max(),
            "F1, best answer": graded["token_f1_max"].max(),
            "fastest": min(times),
            "slowest": max(times),
        }

    def paper(self, row: Text) -> Expected:
        titles = ["Exact match (%)", "BLEU, best answer", "ROUGE, best answer", "F1, best answer"]
        if row["Source"] == "paper":
            *figures, time = PAPER[row["Model"]]
            known = dict(zip(titles, figures, strict=True))
            return known | {
                "Model: note": None,
                "n-gram match (%)": None,
                "Response time (s)": time,
            }
        ours = self._ours(row["Model"], row["Source"])
        slowest, fastest = ours.pop("slowest"), ours.pop("fastest")
        times = [fastest] if slowest == fastest else [fastest, slowest]
        return ours | {"Model: note": self._note(row["Model"]), "Response time (s)": times}

    def paper_figures(self, row: Text) -> Expected:
        ours = self._ours(row["Model"], row["Basis"])
        real = self.every[self.every["model"] == row["Model"]]["stands_in_for"].iloc[0]
        exact, bleu, rouge, f1, time = PAPER[real or row["Model"]]
        assert row["Figure"].startswith(("n-gram", "exact")) is (row["Figure"].endswith("(%)"))
        assert (row["Figure"] != "n-gram match (%)") or (real or row["Model"]) in COUNTS_NGRAMS
        mine, paper = {
            "n-gram match (%)": (ours["n-gram match (%)"], exact),
            "exact match (%)": (ours["Exact match (%)"], exact),
            "BLEU, best answer": (ours["BLEU, best answer"], bleu),
            "ROUGE, best answer": (ours["ROUGE, best answer"], rouge),
            "F1, best answer": (ours["F1, best answer"], f1),
            "response time (s), shortest of our cells": (ours["fastest"], time),
        }[row["Figure"]]
        return {
            "Model: note": self._note(row["Model"]),
            "Ours": mine,
            "Paper": paper,
            "Why they need not agree": row["Why they need not agree"],
        }

    def failures(self, row: Text) -> Expected:
        rows = self.every[
            (self.every["model"] == row["Model"]) & (self.every["profile"] == row["Profile"])
        ]
        rows = rows[rows["status"] == row["Status"]]
        reason = rows["reason"].dropna().unique()
        assert row["Reason"] in [_one_line(each) for each in reason]
        kinds: dict[str, int] = {}
        for counts in rows["failed_by_kind"].dropna():
            for kind, count in dict(counts).items():
                kinds[kind] = kinds.get(kind, 0) + count
        listed = ", ".join(f"{kind}: {count}" for kind, count in sorted(kinds.items()))
        points = rows["load_point"].dropna().unique()
        return {
            "Load point": row["Load point"] if row["Load point"] in points else None,
            "Reason": row["Reason"],
            "Failed requests": listed or None,
        }

    def cpus(self, row: Text) -> Expected:
        every = self.every[self.every["profile"] == row["Profile"]]
        rows = every[every["status"] == "ok"]
        gpus, accelerator = every["gpus"].iloc[0], every["accelerator"].iloc[0]
        return {
            "Basis": _listed(rows, "basis"),
            "CPUs asked": _mean(every, "cpus"),
            "CPUs given": _listed(rows, "cpus_given"),
            "Threads": _listed(rows, "threads"),
            "Accelerator asked": f"{gpus:.0f} of {accelerator}" if accelerator and gpus else None,
            "Device given": _listed(rows, "device"),
            "dtype asked": _listed(every, "dtype"),
            "dtype given": _listed(rows, "dtype_given"),
        }

    def hosts(self, row: Text) -> Expected:
        rows = self.ok[self.ok["hostname"] == row["Machine"]]
        one = {
            "Processor": "cpu_model",
            "Device": "device",
            "Governor": "governor",
            "GPU driver": "driver",
        }
        first = {title: rows[name].dropna() for title, name in one.items()}
        return {
            **{title: each.iloc[0] if len(each) else None for title, each in first.items()},
            "Throttled": _largest(rows, "cpu_throttled_periods"),
            "Rows": len(rows),
        }


KEYS = {
    "decision": ("Model", "Profile", "Basis"),
    "matrix": ("Hardware profile",),
    "latency": ("Model", "Profile", "Load point", "Variant"),
    "spread": ("Model", "Profile", "Load point", "Variant", "Basis", "Figure"),
    "bound": ("Model", "Profile", "Load point", "Basis"),
    "quality": ("Model", "Variant", "Basis"),
    "paired": ("Model", "Figure", "Basis"),
    "throughput": ("Model", "Profile", "Load point", "Basis"),
    "worst": ("Model", "Question", "Answer"),
    "worsened": ("Model", "Question"),
    "meter": ("Figure",),
    "cost": ("Model", "Profile", "Basis"),
    "roofline": ("Model", "Profile", "Load point"),
    "training": ("Model", "Epoch"),
    "paper_cells": ("Model", "Profile", "Basis"),
    "paper": ("Model", "Source"),
    "paper_figures": ("Model", "Basis", "Figure"),
    "failures": ("Model", "Profile", "Status"),
    "cpus": ("Profile",),
    "hosts": ("Machine",),
}
"""What names a row of each table; every other column is computed again."""


def misprints(reading: Reading, name: str, rows: Sequence[Text]) -> list[str]:
    """Return what a table says wrongly, and the columns that nothing here computes."""
    found = []
    compute: Callable[[Text], Expected] = getattr(reading, name)
    for row in rows:
        expected = compute(row)
        subject = " ".join(row.get(key, "") for key in KEYS[name])
        for title, text in row.items():
            if title in KEYS[name]:
                continue
            in_s = title.replace("(ms)", "(s)")
            if in_s not in expected:
                found.append(f"{name}, {subject}: nobody reads {title}")
                continue
            wanted = expected[in_s] if in_s == title else _in_ms(expected[in_s])
            # A time with an interval is rounded to what this bears.
            tens = "(s)" in in_s and bool(row.get(f"{title.removesuffix(': note')}: note"))
            if not agrees(text, wanted, tens=tens):
                found.append(f"{name}, {subject}: {title}: {text!r}, not {wanted!r}")
    return found


def _frame(path: Path) -> pd.DataFrame:
    table = pd.DataFrame(pq.read_table(path).to_pylist())
    return table.astype({each: object for each in table if table[each].dtype == "str"})


def _null(value: Any) -> float | None:
    return None if value is None or math.isnan(value) else float(value)


def _mean(rows: pd.DataFrame, column: str) -> float | None:
    # A file that an earlier version wrote lacks the columns that were added since.
    return _null(pd.to_numeric(rows[column]).mean()) if column in rows else None


def _largest(rows: pd.DataFrame, column: str) -> float | None:
    return _null(pd.to_numeric(rows[column]).max())


def _client_error(biases: Any) -> float | Below | None:
    """Return the largest error of the client either way."""
    largest = _null(max(pd.to_numeric(biases).dropna(), key=abs, default=math.nan))
    return largest if largest is None or largest >= 0 else Below(-largest)


def _listed(rows: pd.DataFrame, column: str) -> str | None:
    values = rows[column].dropna().unique()
    return (
        ", ".join(f"{each:.0f}" if isinstance(each, float) else str(each) for each in values)
        or None
    )


def _one_line(text: str) -> str:
    return "; ".join(text.splitlines())


def _asked(answers: pd.DataFrame, question: str) -> pd.DataFrame:
    """Return the answers to a question, which is named by its id where no texts are kept."""
    kept = answers["question"].map(lambda each: each is not None and _shown(each) == question)
    chosen: pd.DataFrame = answers[kept | (answers["question_id"] == question)]
    return chosen


def _shown(text: str) -> str:
    """Return a text as a table shows it: cut after 300 characters, on one line."""
    if len(text) > 300:
        text = text[:300].rsplit(" ", 1)[0] + "\N{HORIZONTAL ELLIPSIS}"
    return "; ".join(text.splitlines()) or "(empty)"


def _headline(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the adapter's rows of each cell, or the base model's where it has no other."""
    has_adapter = rows.groupby(["model", "profile"])["variant"].transform(
        lambda variants: (variants == "adapter").any()
    )
    chosen: pd.DataFrame = rows[(rows["variant"] == "adapter") | ~has_adapter.astype(bool)]
    return chosen


def _points(rows: pd.DataFrame) -> list[str]:
    """Return the load points: closed loops by concurrency, then open loops by rate."""
    points = rows[["load_point", "concurrency", "rate_rps"]].drop_duplicates()
    points = points.assign(is_open=points["concurrency"].isna())
    ordered = points.sort_values(["is_open", "concurrency", "rate_rps", "load_point"])
    return list(ordered["load_point"])


def _lightest(rows: pd.DataFrame) -> pd.DataFrame:
    return rows[rows["load_point"] == _points(rows)[0]]


def _busiest(rows: pd.DataFrame) -> tuple[str | None, float | None]:
    rates = rows.groupby("load_point")["requests_per_s"].mean().dropna()
    return (str(rates.idxmax()), float(rates.max())) if len(rates) else (None, None)


def _most_questions(rows: pd.DataFrame) -> pd.DataFrame:
    point = rows.iloc[int(rows["questions"].fillna(0).to_numpy().argmax())]["load_point"]
    chosen: pd.DataFrame = rows[rows["load_point"] == point]
    return chosen


def _usd_per_1k(rows: pd.DataFrame) -> float | None:
    """Return the hourly price over the answers of an hour; only what was observed has one."""
    rows = rows[(rows["basis"] == "observed") & ~rows["client_limited"].eq(True)]
    return _null((1000 * rows["usd_per_hour"] / 3600 / rows["requests_per_s"]).mean())


def _has_tpot(request: Any) -> bool:
    """Whether at most a fifth of the tokens after the first came with it."""
    tokens = request["output_tokens"]
    if math.isnan(tokens) or tokens < 2 or math.isnan(request["first_text_s"]):
        return False
    gaps, counts = list(request["chunk_gaps_s"]), request["chunk_tokens"]
    together = 1
    while together <= len(gaps) and gaps[together - 1] == 0:
        together += 1
    came = sum(counts[:together]) if counts is not None else tokens * together / (1 + len(gaps))
    return bool((came - 1) / (tokens - 1) <= 0.2)


def _around(differences: Any) -> Around | None:
    if len(differences) < 2:
        return None
    error = float(np.std(differences, ddof=1)) / math.sqrt(len(differences))
    return Around(float(np.mean(differences)), 1.96 * error)


def _sign_flip_p(differences: Any) -> Near | None:
    """Return the two-sided p value of sign flips, with the error of its draws; None if too few."""
    count = len(differences)
    if count < 6 or not np.count_nonzero(differences):
        return None
    rng = np.random.default_rng(12345)
    signs = rng.choice([-1.0, 1.0], size=(40_000, count))
    p = float((np.abs(signs @ differences) >= abs(differences.sum()) - 1e-9).mean())
    # Ours are of 2,000 draws.
    p = max(p, 1 / 2001)
    return Near(p, 5 * math.sqrt(p / 2000))


def _holm(mine: Near, family: Sequence[Near]) -> Near:
    ordered = sorted(family, key=lambda each: each.value)
    highest, tolerance = 0.0, 0.0
    for place, each in enumerate(ordered):
        factor = len(ordered) - place
        if each.value * factor >= highest:
            highest, tolerance = each.value * factor, each.tolerance * factor
        if each is mine:
            break
    return Near(min(highest, 1.0), tolerance)
