"""The tables beside the paper's."""

from __future__ import annotations

import re

import pandas as pd

from report_reading.printed import Expected, Text, agrees
from report_reading.quality import Quality
from report_reading.raw import lightest, most_questions

PAPER = {  # exact match (%), BLEU, ROUGE, F1 and response time of the paper's Table 4
    "llama-2-7b": (0.0, 0.058, 0.49, 0.21, 22.95),
    "mistral-7b": (1.0, 0.069, 1.00, 0.28, 9.72),
    "llama-3-8b": (81.34, 0.58, 0.54, 0.73, 63.66),
    "gemma-1.1-7b": (76.45, 0.53, 0.50, 0.71, 44.32),
    "distilgpt2": (46.92, 0.25, 0.21, 0.62, 7.03),
}

COUNTS_NGRAMS = ("llama-3-8b", "gemma-1.1-7b", "distilgpt2")


class Paper(Quality):
    """Cells and figures beside the paper's tables."""

    def paper_cells(self, row: Text) -> Expected:
        rows = lightest(self.cell_of(row, "model", "profile", "basis"))
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
            "Load": rows["load"].iloc[0],
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
        graded = pd.concat([most_questions(cell) for _, cell in rows.groupby("key")])
        times = [
            time
            for _, group in rows.groupby(["profile", "load_point"])
            if (time := self.interval(group, "e2e")[0]) is not None
        ]
        exact, ngram = (self.quality_of(rows, each)[0] for each in ("exact_match", "ngram_match"))
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
            "Why they may differ": row["Why they may differ"],
        }
