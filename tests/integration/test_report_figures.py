"""The report read line by line: every figure of every table against the raw files."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sacrebleu
from rouge_score.rouge_scorer import RougeScorer  # type: ignore[import-untyped]
from scipy import stats

from report_reading import KEYS, Reading, misprints
from report_reading.printed import page_tables, tables_of
from support import Story

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def reading(story: Story) -> Reading:
    return Reading(story.runner.results)


def test_every_figure_of_every_table_is_that_of_the_raw_files(reading: Reading) -> None:
    tables = tables_of(reading.folder)
    assert set(tables) <= set(KEYS), "a table that nobody reads"
    assert len(tables) >= 15
    wrong = [each for name, rows in tables.items() for each in misprints(reading, name, rows)]
    assert not wrong, "\n".join(wrong)


def test_the_page_says_what_its_csv_files_say(reading: Reading) -> None:
    shown = page_tables(reading.folder / "report.html")
    for name, rows in tables_of(reading.folder).items():
        assert rows in shown, name


def test_a_misprint_would_be_found(reading: Reading) -> None:
    rows = tables_of(reading.folder)["latency"]
    titles = [title for title in rows[0] if re.fullmatch(r"(TTFT|E2E) mean \(m?s\)", title)]
    assert len(titles) == 2
    for title in (*titles, "Requests (1/s)", "Failed / sent"):
        digits = list(rows[0][title])
        place = max(place for place, each in enumerate(digits) if each.isdigit())
        digits[place] = "7" if digits[place] != "7" else "2"
        changed = [{**rows[0], title: "".join(digits)}]
        assert len(misprints(reading, "latency", changed)) == 1, title


def test_counts_rates_and_latencies_are_those_of_the_requests(reading: Reading) -> None:
    for _, row in reading.ok.iterrows():
        every = reading.of(row, "requests")
        assert every is not None
        measured = every[every["phase"] == "measure"]
        answered = measured[measured["status"] == "ok"]
        assert (row["sent"], row["ok"]) == (len(measured), len(answered))
        for latency in ("ttft", "tpot", "e2e"):
            for name in ("mean", "p50", "p90", "p95", "p99", "max"):
                expected = reading.statistic(row, latency, name)
                figure = row[f"{latency}_{name}_s"]
                assert figure == pytest.approx(expected) if expected else np.isnan(figure or np.nan)
        assert row["prompt_tokens_mean"] == pytest.approx(answered["prompt_tokens"].mean())
        assert row["output_tokens_mean"] == pytest.approx(answered["output_tokens"].mean())
        window, answers, tokens = _rates(row, every)
        assert row["window_s"] == pytest.approx(window)
        assert row["requests_per_s"] == pytest.approx(answers / window)
        assert row["output_tokens_per_s"] == pytest.approx(tokens / window)


def _rates(row: Any, every: Any) -> tuple[float, float, float]:
    """Return the window, and the answers and tokens that count in it."""
    measured, done = every[every["phase"] == "measure"], every[every["status"] == "ok"]
    if np.isnan(row["rate_rps"]):
        start, stop = measured["sent_s"].min(), measured["end_s"].max()

        def inside(begin: Any) -> Any:
            overlap = np.minimum(done["end_s"], stop) - np.maximum(begin, start)
            return np.clip(overlap / (done["end_s"] - begin), 0, 1)

        spread = inside(done["first_text_s"])
        at_once = done["first_text_s"] >= done["end_s"]
        ended = (done["end_s"] > start) & (done["end_s"] <= stop)
        share = spread.where(~at_once, ended.astype(float))
        return stop - start, inside(done["sent_s"]).sum(), (share * done["output_tokens"]).sum()
    answered = measured[measured["status"] == "ok"]
    due = answered["due_s"]
    line = stats.linregress(due, answered["end_s"] - due)
    if line.slope >= 0.05 and line.slope > 2 * line.stderr:
        start, stop = answered["end_s"].min(), measured["end_s"].max()
        counted = done[(done["end_s"] > start) & (done["end_s"] <= stop)]
    else:
        start, stop = measured["due_s"].min(), measured["due_s"].max()
        counted = done[(done["due_s"] >= start) & (done["due_s"] <= stop)]
        stop += 1 / row["rate_rps"]
    return stop - start, len(counted), counted["output_tokens"].sum()


def test_quality_is_that_of_the_texts(reading: Reading) -> None:
    rouge = RougeScorer(["rouge1", "rouge2", "rougeL"])
    for _, row in reading.ok.iterrows():
        answers = reading.of(row, "responses")
        assert answers is not None
        texts = list(zip(answers["answer"], answers["reference"], strict=True))
        scores = [rouge.score(reference, answer) for answer, reference in texts]
        figures = {
            "token_f1": [_f1(*pair) for pair in texts],
            "exact_match": [float(_words(one) == _words(other)) for one, other in texts],
            "bleu": [
                sacrebleu.sentence_bleu(answer, [reference]).score / 100
                for answer, reference in texts
            ],
            "rouge1": [each["rouge1"].fmeasure for each in scores],
            "rouge2": [each["rouge2"].fmeasure for each in scores],
            "rouge_l": [each["rougeL"].fmeasure for each in scores],
        }
        for name, values in figures.items():
            by_question = answers.assign(score=values).groupby("question_id")["score"].mean()
            assert row[name] == pytest.approx(by_question.mean(), abs=1e-9), name
            assert row[f"{name}_max"] == pytest.approx(max(values), abs=1e-9), name
            assert row[f"{name}_low"] <= row[name] <= row[f"{name}_high"]
            assert row[f"{name}_empty"] == 0
        low, high = stats.binomtest(0, len(by_question)).proportion_ci()
        assert sum(figures["exact_match"]) == 0
        ends = (row["exact_match_low"], row["exact_match_high"])
        assert ends == pytest.approx((low, high))
        assert row["questions"] == len(by_question)
        corpus = sacrebleu.corpus_bleu(list(answers["answer"]), [list(answers["reference"])])
        assert row["corpus_bleu"] == pytest.approx(corpus.score / 100, abs=1e-9)
        words = [len(each.split()) for each in answers["answer"]]
        assert row["answer_words_mean"] == pytest.approx(np.mean(words))
        assert row["empty_answers"] == sum(not each.strip() for each in answers["answer"])
        assert row["truncated_share"] == pytest.approx(
            (answers["finish_reason"] == "length").mean()
        )


def _words(text: str) -> list[str]:
    plain = re.sub(r"[!-/:-@\[-`{-~]", "", text.lower())
    return re.sub(r"\b(a|an|the)\b", " ", plain).split()


def _f1(answer: str, reference: str) -> float:
    first, second = Counter(_words(answer)), Counter(_words(reference))
    common = (first & second).total()
    return 2 * common / (first.total() + second.total()) if common else 0.0


def test_the_sentences_agree_with_the_rows(reading: Reading) -> None:
    page = (reading.folder / "report.html").read_text()
    section = page[page.index('id="decision"') :]
    sentences = re.findall(r"<li>(.*?)</li>", section[: section.index("</ul>")], flags=re.S)
    tables = tables_of(reading.folder)
    told = set()
    for basis in ("observed", "emulated"):
        of_basis = [row for row in tables["quality"] if row["Basis"] == basis]
        best_of_basis = [each for each in sentences if each.startswith(f"Best token F1 ({basis})")]
        # Emulated answers of a model that was observed are neither in the tables nor told.
        assert len(best_of_basis) == bool(of_basis)
        for sentence in best_of_basis:
            told.add(basis)
            best = max(of_basis, key=lambda row: float(row["Token F1"]))
            ends = best["Token F1: note"].partition(";")[0]
            assert f"({best['Variant']}), {best['Token F1']} [{ends}]." in sentence
            # Both variants answered the same questions, so that their test decides.
            [test] = [
                row
                for row in tables["paired"]
                if (row["Basis"], row["Figure"]) == (basis, "Token F1")
            ]
            better = {"higher": "adapter", "lower": "base"}.get(test["Verdict"])
            assert ("it is not clearly better than" in sentence) == (better != best["Variant"])
            assert "overlap" not in sentence
            [effect] = [each for each in sentences if f"({basis}): token F1" in each]
            assert f"{test['Base']} to {test['Fine-tuned']}, {test['Difference']} [" in effect
            assert f"over {test['Changed / questions'].partition(' / ')[2]} questions" in effect
        [row] = [row for row in tables["decision"] if row["Basis"] == basis]
        [sentence] = [
            each
            for each in sentences
            if each.startswith(f"Shortest mean end-to-end time at 2 clients ({basis})")
        ]
        [(fastest, unit, ends)] = re.findall(r"([\d.]+) (m?s) \[(.*)\]\.", sentence)
        title = f"E2E mean ({unit})"
        assert (row[title], row[f"{title}: note"]) == (fastest, ends)
    assert told == {"observed"}


def test_the_summary_of_a_run_counts_the_rows(story: Story, reading: Reading) -> None:
    states = Counter(
        group["status"].iloc[0] for _, group in reading.every.groupby(["model", "profile"])
    )
    counts = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
    lines = story.finished.stdout.splitlines()
    assert lines[0] == f"measured 1 cell now; all cells: {counts}"
    assert story.again.stdout.splitlines()[0] == f"measured 0 cells now; all cells: {counts}"
    for line in lines[1:]:
        assert Path(line.split()[-1]).is_file()
