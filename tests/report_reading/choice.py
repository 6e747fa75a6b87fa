"""The tables that one chooses by."""

from __future__ import annotations

import math

import pandas as pd

from report_reading.printed import Expected, Text
from report_reading.quality import Quality
from report_reading.raw import (
    busiest,
    headline,
    in_words,
    lightest,
    load_points,
    mean_of,
    most_questions,
    usd_per_1k,
)


class Choice(Quality):
    """The decision, the matrix and the cost."""

    def decision(self, row: Text) -> Expected:
        rows = self.cell_of(row, "model", "profile", "basis")
        e2e, spread = self.interval(lightest(rows), "e2e")
        point, rate = busiest(rows)
        f1, note = self.quality_of(rows, "token_f1", max_too=False)
        return {
            "Best trade-off": "yes" if self._is_best(row) else "",
            "Token F1": f1,
            "Token F1: note": note,
            "E2E mean (s)": e2e,
            "E2E mean (s): note": spread,
            "Requests (1/s)": rate,
            "Requests (1/s): note": f"at {in_words(point)}" if point else None,
            "USD per 1,000 answers": usd_per_1k(rows[rows["load_point"] == point]),
        }

    def _is_best(self, row: Text) -> bool:
        """Whether nothing of the same basis is at least as good in all and better in something."""
        rows = headline(self.ok)
        point = load_points(rows)[0]
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
            rows = headline(cell[cell["status"] == "ok"])
            ttft, _ = self.interval(lightest(rows), "ttft")
            f1 = most_questions(rows)["token_f1"].mean()
            if ttft is not None and ttft < 1:
                ttft *= 1000  # it stands there in milliseconds
            shown = [each for each in (f1, ttft) if each is not None and not math.isnan(each)]
            expected |= {model: f"ok, {rows['basis'].iloc[0]}", f"{model}: note": shown}
        return expected

    def cost(self, row: Text) -> Expected:
        rows = self.cell_of(row, "model", "profile", "basis")
        point, rate = busiest(rows)
        rows = rows[rows["load_point"] == point]
        priced = rows[rows["basis"] == "observed"]
        priced = priced[priced["usd_per_hour"].notna()]
        source = priced["price_source"].dropna()
        return {
            "Load": in_words(point),
            "USD per hour": mean_of(priced, "usd_per_hour"),
            "Price from": f"{source.iloc[0]}, {priced['price_date'].dropna().iloc[0]}"
            if len(source)
            else None,
            "Requests (1/s)": rate,
            "USD per 1,000 answers": usd_per_1k(rows),
            "Energy per 1,000 answers (J)": mean_of(rows, "energy_j_per_1000_answers"),
            **self._verified(rows),
        }

    def _verified(self, rows: pd.DataFrame) -> Expected:
        """Return what is printed of answers that were verified, and of their price."""
        shown: Expected = {}
        for title, name in (
            ("Verified answers", "verified_share"),
            ("USD per verified answer", "usd_per_verified_answer"),
        ):
            ends = [mean_of(rows, f"{name}_{end}") for end in ("low", "high")]
            shown[title] = mean_of(rows, name)
            known = [each for each in ends if each is not None]
            shown[f"{title}: note"] = known if shown[title] is not None and known else None
        return shown
