import base64
import hashlib
import re
from html import escape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from medsweep.errors import InputError
from medsweep.report.page import write_report
from medsweep.report.samples import public_answers
from medsweep.reporter import harmless
from medsweep.results.reader import Results
from medsweep.results.schema import BENCHMARK
from medsweep.results.store import write_rows

pytestmark = pytest.mark.slow  # draws every figure: twenty seconds

Rows = list[dict[str, Any]]
VOID = {"meta", "link", "br", "hr", "img", "input", "col"}


class Page(HTMLParser):
    """A page's tags, ids, addresses and the texts of its table rows; tags must balance."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.addresses: list[str] = []
        self.attributes: list[tuple[str, dict[str, str | None]]] = []
        self.rows: list[list[str]] = []
        self.headings: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.tags.append(tag)
        self.attributes.append((tag, found))
        self.ids += [found["id"] or ""] if "id" in found else []
        self.addresses += [
            found[name] or "" for name in ("src", "href", "xlink:href") if name in found
        ]
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if tag in ("h1", "h2"):
            self.headings.append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if {"td", "th"} & set(self.open):
            self.rows[-1][-1] += data
        if {"h1", "h2"} & set(self.open):
            self.headings[-1] += data


@pytest.fixture
def html(reported: Path) -> str:
    return (reported / "report.html").read_text(encoding="utf-8")


def test_the_sections_come_in_order(html: str) -> None:
    assert Page(html).headings == [
        "small",
        "Nothing can be decided here: only stand-ins were measured.",
        "Which configuration should I take?",
        "How good is each model?",
        "Sample answers",
        "How fast is each configuration?",
        "What bound it?",
        "What does it cost?",
        "How did training go?",
        "Where does it disagree with the paper and the roofline?",
        "What failed or was refused?",
        "How was it measured?",
        "Glossary",
    ]


def test_nothing_is_loaded_from_elsewhere(html: str) -> None:
    page = Page(html)
    assert page.addresses
    assert all(address.startswith(("#", "data:,", "data:text/csv;")) for address in page.addresses)
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", html))
    assert "@import" not in html
    # The one script is the page's own, and the only one that it lets run.
    [script] = re.findall(r"<script>(.*?)</script>", html, flags=re.S)
    sha256 = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert page.tags.count("script") == 1
    assert f"script-src 'sha256-{sha256}'" in html
    addresses = set(re.findall(r"https?://[^\"' <]+", html))
    assert addresses <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}


def test_ids_are_unique_and_every_link_has_its_target(html: str) -> None:
    page = Page(html)
    assert len(set(page.ids)) == len(page.ids)
    inside = [address[1:] for address in page.addresses if address.startswith("#")]
    inside += re.findall(r"url\(#([^)]*)\)", html)
    inside += [
        found["aria-labelledby"] or "" for _, found in page.attributes if "aria-labelledby" in found
    ]
    assert set(inside) <= set(page.ids)


def test_tables_have_captions_and_scopes(html: str) -> None:
    page = Page(html)
    assert page.tags.count("table") == page.tags.count("caption") == 16
    headings = [found for tag, found in page.attributes if tag == "th"]
    assert headings
    assert {found.get("scope") for found in headings} == {"col", "row"}


def test_the_banner_and_the_pictures_say_emulated(html: str) -> None:
    page = Page(html)
    assert "<b>3</b> cells ok, <b>1</b> failed, <b>1</b> refused" in html
    assert "Emulated: not measured on the named hardware." in html
    assert page.tags.count("svg") == 6
    assert len(re.findall(r"<text[^>]*>EMULATED: not measured", html)) == 6


def test_texts_are_escaped(html: str, small: Any) -> None:
    assert small.answer not in html
    assert "&lt;script&gt;alert(" in html
    assert "Rest &amp; water" in html
    assert "<did>" not in html


def test_three_questions_are_shown_with_reference_and_both_variants(html: str, small: Any) -> None:
    samples = html.partition('<section id="samples"')[2].partition("</section>")[0]
    shown = re.findall(r"What helps against illness (\d)\?", samples)
    assert shown == ["0", "1", "2"]
    assert samples.count("Rest and water.") == 3
    for who in (f"{small.llama}, base", f"{small.llama}, adapter", f"{small.distil}, adapter"):
        assert samples.count(who) == 3


def test_failed_and_refused_are_shown_with_their_reason(html: str, small: Any) -> None:
    rows = [row for row in Page(html).rows if len(row) == 6]
    failed = next(row for row in rows if row[2] == "failed")
    assert failed[4] == small.failure
    assert failed[5] == "timeout: 3"
    assert next(row for row in rows if row[2] == "refused")[4] == small.refusal


def test_a_stand_in_is_never_labelled_as_the_model(html: str) -> None:
    rows = Page(html).rows
    for row in rows:
        if row and row[0] in {"llama-3-8b", "distilgpt2"}:
            assert row[1] == "paper"
    ours = [row for row in rows if row[0].startswith("standin-llama-3-8btiny stand-in")]
    # Cell by cell, then Table 4 as a whole and figure by figure.
    assert [row[1] for row in ours] == ["1xa100-1cpu", *["emulated"] * 6]
    takeaways = html.partition('<section id="decision"')[2].partition("</ul>")[0]
    assert not re.search(r"(?<!standin-)(llama-3-8b|distilgpt2)", takeaways)


def test_the_paper_s_figures_stand_as_it_prints_them(html: str) -> None:
    papers = {row[0]: row for row in Page(html).rows if row[1:2] == ["paper"]}
    missing = "\N{EN DASH}"
    assert papers["mistral-7b"][2:] == ["1", missing, "0.069", "1.00", "0.28", "9.72"]
    assert papers["gemma-1.1-7b"][2:] == ["76.45", missing, "0.53", "0.50", "0.71", "44.32"]


def test_the_sentences_to_take_away_carry_figures_and_basis(html: str, small: Any) -> None:
    found = html.partition('<section id="decision"')[2].partition("</ul>")[0]
    sentences = re.findall(r"<li>(.*?)</li>", found)
    assert sentences[0].startswith(f"Best token F1 (observed): {small.distil} (adapter), 0.300")
    assert (
        f"Shortest mean end-to-end time at 1 client (emulated): {small.distil} on 1xv100-1cpu"
        in found
    )
    assert "It was measured on another machine" in found
    change = "token F1 does not clearly differ after fine-tuning: from 0.22 to 0.35, +0.13 ["
    assert change in sentences[-1]
    assert sentences[-1].startswith(f"{small.llama} (emulated)")


def test_missing_values_are_dashes_that_explain_themselves(html: str) -> None:
    assert '<span title="not measured, or too few samples">\N{EN DASH}</span>' in html
    assert "None" not in re.sub(r"None of these answers", "", html)
    assert ">nan<" not in html


def test_figures_are_written_and_a_second_report_is_the_same(reported: Path, html: str) -> None:
    names = {path.name for path in (reported / "figures").iterdir()}
    figures = (
        "matrix", "latency-by-configuration", "quality-by-epoch", "quality-against-latency",
        "speed-against-load", "throughput-against-user-speed",
    )  # fmt: skip
    assert names == {f"{name}.{ending}" for name in figures for ending in ("svg", "png")}
    assert write_report(reported).read_text(encoding="utf-8") == html


def test_a_folder_with_nothing_but_refusals_has_a_page(tmp_path: Path, rows: Rows) -> None:
    refused = [row for row in rows if row["status"] == "refused"]
    write_rows(tmp_path / "benchmark.parquet", BENCHMARK, refused)
    html = write_report(tmp_path).read_text(encoding="utf-8")
    page = Page(html)
    assert "Nothing was measured, so there are no takeaways." in html
    assert "No texts of answers are kept" in html
    assert "No training records" in html
    assert 'class="banner"' not in html
    assert page.tags.count("svg") == 1


def test_a_folder_without_rows_has_a_page(tmp_path: Path) -> None:
    write_rows(tmp_path / "benchmark.parquet", BENCHMARK, [])
    assert "<b>0</b> cells ok" in write_report(tmp_path).read_text(encoding="utf-8")


def test_a_load_test_of_a_server_has_a_page(tmp_path: Path) -> None:
    """Rows as `medsweep bench --out` writes them: no variant, no hardware, no grades."""
    point = dict.fromkeys(("e2e_mean_s", "ttft_mean_s", "tpot_mean_s"), 0.5)
    bench: Any = {"sweep": "bench", "key": "bench", "model": "my-model", "profile": "endpoint"}
    bench |= {"basis": "observed", "status": "ok", "sent": 9, "ok": 9, "failed": 0, "repeat": 1}
    points = [
        {**bench, **point, "load_point": f"c{each}", "concurrency": each, "requests_per_s": 2.0}
        for each in (1, 8)
    ]
    write_rows(tmp_path / "benchmark.parquet", BENCHMARK, points)
    html = write_report(tmp_path).read_text(encoding="utf-8")
    latency = [row for row in Page(html).rows if row[:2] == ["my-model", "endpoint"]]
    assert "Token F1 against end-to-end time" not in html  # nothing was graded
    assert (
        "Shortest mean end-to-end time at 1 client (observed): my-model on endpoint, 500 ms" in html
    )
    assert {row[2] for row in latency} >= {"1 client", "8 clients"}


@pytest.mark.parametrize(
    "model", ["a$\\frac$b", "$x$", "m" * 300, "x\ny\x1b[31m", "<b>&\"'", "a_b^c{d}", "Модель"]
)
def test_a_model_of_any_name_has_a_page(tmp_path: Path, model: str) -> None:
    """Dollar signs are formulas to matplotlib, and a long label left no room for the panel."""
    bench: Any = {"sweep": "bench", "key": "k", "model": model, "profile": model or "p"}
    bench |= {"basis": "observed", "status": "ok", "sent": 9, "ok": 9, "failed": 0, "repeat": 1}
    bench |= {"e2e_mean_s": 0.5, "ttft_mean_s": 0.5, "token_f1": 0.5, "load_point": "c1"}
    write_rows(tmp_path / "benchmark.parquet", BENCHMARK, [bench])
    page = Page(write_report(tmp_path).read_text(encoding="utf-8"))
    assert any(row[0].strip() == harmless(model).strip() for row in page.rows if row)


def test_answers_whose_texts_are_not_kept_are_not_shown(
    folder: Path, responses: dict[str, Rows]
) -> None:
    from medsweep.results.schema import RESPONSES

    nothing = dict.fromkeys(("question", "reference", "answer"))
    for key, found in responses.items():
        path = folder / "cells" / key / "responses.parquet"
        write_rows(path, RESPONSES, [answer | nothing for answer in found])
    html = write_report(folder).read_text(encoding="utf-8")
    assert "No texts of answers are kept" in html
    assert "token F1 does not clearly differ after fine-tuning" in html


def test_a_dataset_that_is_not_known_to_be_public_is_not_shown(folder: Path) -> None:
    for sweep in ("name: small\ndataset: {name: local, path: private.csv}\n", "name: small\n", "["):
        (folder / "sweep.yaml").write_text(sweep)
        assert public_answers(Results.open(folder)) == {}
    (folder / "sweep.yaml").unlink()
    assert public_answers(Results.open(folder)) == {}
    assert Results.open(folder).question_scores()


def test_every_mark_of_a_chart_tells_its_value(html: str, small: Any) -> None:
    tips = re.findall(
        r'<g class="tip" data-model="[^"]*" data-profile="[^"]*"><title>([^<]*)</title>', html
    )
    assert len(tips) > 40
    assert f"{small.distil} on host (observed), 1 client: 100 ms [90 to 120] over 1 repeats" in tips
    assert f"{small.distil} on host (observed), 1 client: 200 tokens/s" in tips
    assert f"{small.llama}, epoch 2: Token F1 0.200" in tips
    assert any(tip.endswith(f"failed, {escape(small.failure)}") for tip in tips)
    assert any(tip.endswith("a best trade-off") for tip in tips)


def test_a_folder_without_a_benchmark_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no benchmark\.parquet there; give the folder"):
        write_report(tmp_path)
