"""The tables of quality."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from report_reading.printed import NUMBER, Around, Expected, Near, Text, agrees
from report_reading.raw import Raw, largest_of, most_questions, or_none, read_frame

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
PAIRED = QUALITY | {
    "Verified by rules": "verified",
    "Truncated answers": "truncated",
    "Refusals": "refused",
}


class Quality(Raw):
    """Quality, base against fine-tuned, single answers, the meter, and training."""

    def quality_of(self, rows: pd.DataFrame, name: str, *, max_too: bool = True) -> tuple[Any, Any]:
        """Return a figure averaged over cells, each at its load point with most questions."""
        cells = [most_questions(cell) for _, cell in rows.groupby("key", sort=False)]
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
                note += [of_cells(f"{name}_not_leaked{end}") for end in ("", "_low", "_high")]
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
        cells = [most_questions(cell) for _, cell in rows.groupby("key", sort=False)]
        pooled = pd.concat(cells)

        def of_cells(column: str) -> float | None:
            return or_none(np.mean([cell[column].mean() for cell in cells]))

        expected: Expected = {
            "Cells": len(cells),
            "Questions per repeat": int(pooled["questions"].min()),
            "Leaked questions": largest_of(pooled, "leaked_questions"),
            "Truncated answers": of_cells("truncated_share"),
            "References too long": of_cells("long_references_share"),
            "Corpus BLEU": of_cells("corpus_bleu"),
        }
        for title, name in QUALITY.items():
            expected[title], expected[f"{title}: note"] = self.quality_of(rows, name)
        return expected

    def paired(self, row: Text) -> Expected:
        tested = self._pairs(row["Model"], row["Basis"])
        base, tuned, p_value = tested[PAIRED[row["Figure"]]]
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
        agreement, reason = pooled["quantity_agreement"], pooled["finish_reason"]
        right = (agreement == 1) & (pooled["consistency"] == 1)
        pooled["verified"] = right.astype(float).where(agreement.notna())
        pooled["truncated"] = (reason == "length").astype(float).where(reason.notna())
        pooled["refused"] = pooled["refusal"].astype(float)
        for name in PAIRED.values():
            table = pooled.pivot_table(index="question_id", columns="variant", values=name)
            if {"base", "adapter"} <= set(table):
                table = table.dropna()
                if len(table):
                    base, tuned = table["base"].to_numpy(), table["adapter"].to_numpy()
                    found[name] = (base, tuned, _sign_flip_p(tuned - base))
        return found

    def worst(self, row: Text) -> Expected:
        answers = self._answers(row["Model"], row["Model: note"], "adapter")
        answers = asked_answers(answers, row["Question"])
        if "Answer" in row:
            answers = answers[answers["answer"].map(shown_text) == row["Answer"]]
        else:  # Without texts a question stands for the mean of its answers.
            answers = answers.assign(reference="", **answers[["token_f1", "consistency"]].mean())
        return {
            "Model: note": row["Model: note"],
            "Reference": shown_text(answers["reference"].iloc[0]),
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
        [question] = asked_answers(sides[0], row["Question"])["question_id"].unique()
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
            shown = set(side[side["question_id"] == question]["answer"].map(shown_text))
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
                for percent in NUMBER.findall(row.get("In short", "")):
                    assert agrees(percent, 100 * seen / tried)
        return expected

    def training(self, row: Text) -> Expected:
        [made] = self.folder.glob(f"adapters/{row['Model']}-*/provenance.json")
        provenance = json.loads(made.read_text())
        [record] = [
            each
            for path in self.folder.glob(f"adapters/{row['Model']}-*/training.parquet")
            for _, each in read_frame(path).iterrows()
            if each["epoch"] == int(row["Epoch"])
        ]
        taken = or_none(record.get("seconds")) or None
        expected: Expected = {
            "Fine-tuned on": provenance["profile"],
            "Basis": provenance["basis"],
            "Training loss": or_none(record["loss"]),
            "Held-out loss": or_none(record["eval_loss"]),
            "Time (s)": taken,
            "Tokens (1/s)": record["tokens"] / taken if taken else None,
            "Truncated answers": or_none(record.get("truncated_share")),
            "References too long": or_none(record.get("long_references_share")),
        }
        for title in ("Token F1", "ROUGE-L", "n-gram match", "Corpus BLEU"):
            name = QUALITY.get(title, "corpus_bleu")
            expected[title] = or_none(record[name])
            ends = [or_none(record.get(f"{name}_{end}")) for end in ("low", "high")]
            limits = [or_none(record.get(f"{name}_{end}")) for end in ("ceiling", "floor", "empty")]
            below = [each for each in [*ends, *limits] if each is not None]
            expected[f"{title}: note"] = below or None
        return expected


def asked_answers(answers: pd.DataFrame, question: str) -> pd.DataFrame:
    """Return the answers to a question, which is named by its id where no texts are kept."""
    kept = answers["question"].map(lambda each: each is not None and shown_text(each) == question)
    chosen: pd.DataFrame = answers[kept | (answers["question_id"] == question)]
    return chosen


def shown_text(text: str) -> str:
    """Return a text as a table shows it: cut after 300 characters, on one line."""
    if len(text) > 300:
        text = text[:300].rsplit(" ", 1)[0] + "\N{HORIZONTAL ELLIPSIS}"
    return "; ".join(text.splitlines()) or "(empty)"


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
