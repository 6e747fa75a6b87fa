"""The report of a real sweep in a real browser."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Sequence
from html import escape, unescape
from pathlib import Path
from typing import Any

import axe_core_python
import pytest

from chromium import browse, examine
from made_rows import row
from medsweep.decide.candidates import candidates
from medsweep.decide.limits import make_limits
from medsweep.decide.recommend import recommend
from medsweep.loadgen.spec import load_in_words
from medsweep.report.page import write_report
from medsweep.results.schema import BENCHMARK
from medsweep.results.store import write_rows
from support import Story

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def test_report_renders_without_network_or_errors(story: Story, tmp_path: Path) -> None:
    page = story.runner.results / "report.html"
    picture = tmp_path / "report.png"
    shown = browse(tmp_path, f"--screenshot={picture}", "--window-size=1200,4000", page.as_uri())
    assert picture.stat().st_size > 50_000, shown.stderr
    assert "CONSOLE" not in shown.stderr
    html = page.read_text(encoding="utf-8")
    assert not re.search(r"""(src|href)=["'](https?:)?//""", html)
    assert "emulated" in html.lower()


def test_a_filter_in_the_address_hides_other_rows(story: Story, tmp_path: Path) -> None:
    page = story.runner.results / "report.html"
    shown = browse(tmp_path, "--dump-dom", f"{page.as_uri()}#profile=host")
    assert "CONSOLE" not in shown.stderr
    rows = re.findall(
        r"<tr(?: data-place=\"\d+\")?( hidden=\"\")?>(.*?)</tr>", shown.stdout, flags=re.S
    )
    hidden = [row for mark, row in rows if mark]
    left = [row for mark, row in rows if not mark]
    assert hidden
    assert not any('data-value="host"' in row for row in hidden)
    assert any('data-value="host"' in row for row in left)
    assert not any('data-value="1xv100-1cpu"' in row for row in left)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_fault(story: Story, tmp_path: Path, scheme: str) -> None:
    axe = Path(axe_core_python.__file__).with_name("axe.min.js").read_text(encoding="utf-8")
    # What is folded or inside a picture axe leaves open; the next test decides the latter.
    found = """
    for (const each of document.querySelectorAll("details")) each.open = true;
    axe.run().then(({ violations, incomplete }) => {
      const outside = ({ target }) => !document.querySelector(target[0]).closest(".card svg");
      const undecided = incomplete.filter(({ id }) => id === "color-contrast")
        .map(({ id, nodes }) => ({ id, nodes: nodes.filter(outside) }))
        .filter(({ nodes }) => nodes.length);
      document.title = JSON.stringify([...violations, ...undecided]);
    });"""
    dark = ["--force-dark-mode", "--blink-settings=preferredColorScheme=0"]
    faults = examine(
        story.runner.results / "report.html",
        tmp_path,
        f"{axe};{found}",
        *(dark if scheme == "dark" else []),
    )
    assert [(each["id"], node["html"][:200]) for each in faults for node in each["nodes"][:3]] == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_letters_of_charts_stand_out(story: Story, tmp_path: Path, scheme: str) -> None:
    """axe takes a chart for a picture: what lies below each of its texts is looked up here."""
    script = """
    const parse = (colour) => colour.match(/[\\d.]+/g).map(Number);
    const light = ([r, g, b]) => [r, g, b].map((part) => part / 255)
      .map((part) => (part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4))
      .reduce((sum, part, place) => sum + part * [0.2126, 0.7152, 0.0722][place], 0);
    const ground = parse(getComputedStyle(document.body).backgroundColor);
    const isFilled = (shape) => {
      const { fill, fillOpacity, opacity } = getComputedStyle(shape);
      return fill !== "none" && fillOpacity > 0 && opacity > 0;
    };
    const faint = [];
    let count = 0;
    for (const text of document.querySelectorAll(".card svg text")) {
      text.scrollIntoView({ block: "center", inline: "center" });
      const { left, top, width, height } = text.getBoundingClientRect();
      const under = document.elementsFromPoint(left + width / 2, top + height / 2);
      const shapes = under.filter((each) => each.matches("svg path, svg rect, svg use"));
      const shape = shapes.find(isFilled);
      const colour = shape ? getComputedStyle(shape).fill : "";
      const back = colour.startsWith("rgb") ? parse(colour) : colour ? [NaN, NaN, NaN] : ground;
      const letters = parse(getComputedStyle(text).fill);
      const [one, other] = [light(letters), light(back)].sort((a, b) => a - b);
      count += 1;
      if (!((other + 0.05) / (one + 0.05) >= 4.5)) faint.push([text.textContent, colour]);
    }
    document.title = JSON.stringify({ count, faint });
    """
    dark = ["--force-dark-mode", "--blink-settings=preferredColorScheme=0"]
    found = examine(
        story.runner.results / "report.html", tmp_path, script, *(dark if scheme == "dark" else [])
    )
    assert found["count"] > 50
    assert found["faint"] == []


def test_the_values_of_a_chart_are_told_by_keyboard_and_by_pointer(
    story: Story, tmp_path: Path
) -> None:
    script = """
    const card = document.querySelector(".card"), box = document.getElementById("tip"), said = [];
    const press = (key) => {
      card.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));
      said.push(box.textContent);
    };
    card.focus();
    said.push(box.textContent);
    for (const key of ["ArrowRight", "ArrowRight", "ArrowLeft", "Escape"]) press(key);
    const mark = card.querySelector(".tip");
    mark.scrollIntoView({ block: "center" });
    const { left, top, width, height } = mark.getBoundingClientRect();
    const at = { clientX: left + width / 2, clientY: top + height / 2, bubbles: true };
    mark.dispatchEvent(new PointerEvent("pointermove", at));
    said.push(box.textContent);
    card.dispatchEvent(new PointerEvent("pointerleave", at));
    said.push(box.textContent);
    const inside = box.getBoundingClientRect().right <= innerWidth;
    document.title = JSON.stringify({ said, inside, marks: card.querySelectorAll(".tip").length });
    """
    found = examine(story.runner.results / "report.html", tmp_path, script)
    before, first, second, back, escaped, pointed, left = found["said"]
    assert found["marks"] >= 2  # the two cells of the sweep
    assert "token F1" in first
    assert "token F1" in second
    assert first != second
    assert back == first
    assert first in pointed.split("\n")
    assert before == escaped == left == ""
    assert found["inside"]


def test_nothing_moves_on_a_phone(story: Story, tmp_path: Path) -> None:
    # Headless windows are at least 500 pixels wide, so the page is shown in a frame.
    page = story.runner.results / "report.html"
    shift = """
    let moved = 0;
    new PerformanceObserver((list) => {
      for (const entry of list.getEntries()) moved += entry.value;
    }).observe({ type: "layout-shift", buffered: true });
    setTimeout(() => {
      document.title = JSON.stringify({
        moved, wide: document.documentElement.scrollWidth, window: innerWidth,
      });
      parent.document.title = document.title;
    }, 2000);
    """
    html = page.read_text(encoding="utf-8")
    html = re.sub(r"<meta http-equiv=\"Content-Security-Policy\"[^>]*>", "", html)
    html = html.replace("<head>", f"<head><script>{shift}</script>", 1)
    outer = tmp_path / "phone.html"
    frame = f'<iframe width="390" height="844" srcdoc="{escape(html)}"></iframe>'
    outer.write_text(f"<title></title>{frame}", encoding="utf-8")
    shown = browse(tmp_path, "--virtual-time-budget=30000", "--dump-dom", outer.as_uri())
    title = re.search(r"<title>(.*?)</title>", shown.stdout, flags=re.S)
    assert title is not None
    found = json.loads(unescape(title[1]))
    assert found["window"] == 390 or found["window"] == 375  # less a scroll bar
    assert found["moved"] == 0
    assert found["wide"] <= found["window"]  # tables and charts scroll, the page does not


def test_it_prints(story: Story, tmp_path: Path) -> None:
    printed = tmp_path / "report.pdf"
    page = story.runner.results / "report.html"
    browse(tmp_path, "--no-pdf-header-footer", f"--print-to-pdf={printed}", page.as_uri())
    assert printed.read_bytes().startswith(b"%PDF")
    assert printed.stat().st_size > 50_000


def test_the_verdict_its_chart_and_its_table_print_on_one_page(tmp_path: Path) -> None:
    # Twelve configurations, as in the paper.
    _, page = made_page(tmp_path, [(f"model-{place}", 0.3 + place / 50) for place in range(6)])
    html = page.read_text(encoding="utf-8")
    pages = {}
    for name in ("one", "whole"):
        copy = tmp_path / f"{name}.html"
        copy.write_text(
            html.replace('id="whole"', 'id="whole" checked') if name == "whole" else html,
            encoding="utf-8",
        )
        printed = tmp_path / f"{name}.pdf"
        browse(tmp_path, "--no-pdf-header-footer", f"--print-to-pdf={printed}", copy.as_uri())
        pages[name] = len(re.findall(rb"/Type ?/Page\b", printed.read_bytes()))
    assert pages["one"] == 1
    assert pages["whole"] > 3


def test_on_a_phone_tables_are_cards_and_navigation_takes_one_line(tmp_path: Path) -> None:
    _, page = made_page(tmp_path, (("good", 0.5), ("quick", 0.3)))
    html = re.sub(r"<meta http-equiv=[^>]*>", "", page.read_text(encoding="utf-8"))
    script = """
    const bar = document.querySelector(".bar"), closed = bar.offsetHeight;
    menu.click();
    const open = bar.offsetHeight;
    document.querySelector("nav").dispatchEvent(new Event("click"));
    parent.document.title = JSON.stringify({
      line: closed < 50 && open > 100 && bar.offsetHeight === closed,
      wide: document.documentElement.scrollWidth <= innerWidth,
      over: [...document.querySelectorAll("tbody tr")].filter((row) =>
        row.getBoundingClientRect().right > innerWidth).length,
      title: getComputedStyle(document.querySelector("tbody td"), "::before").content,
    });
    """
    html = html.replace("</body>", f"<script>{script}</script></body>")
    outer = tmp_path / "phone.html"
    frame = f'<iframe width="390" height="844" srcdoc="{escape(html)}"></iframe>'
    outer.write_text(f"<title></title>{frame}", encoding="utf-8")
    shown = browse(tmp_path, "--virtual-time-budget=30000", "--dump-dom", outer.as_uri())
    found = re.search(r"<title>(.*?)</title>", shown.stdout, flags=re.S)
    assert found is not None
    assert json.loads(unescape(found[1])) == {
        "line": True,
        "wide": True,
        "over": 0,
        "title": '"Basis"',
    }


def made_page(
    folder: Path, models: Sequence[tuple[str, float]]
) -> tuple[list[dict[str, Any]], Path]:
    """Return rows of two load points and three repeats of each model, and their page."""
    rows = [
        row(
            model=model,
            cell=f"{model}@{profile}",
            key=f"{model}-{profile}",
            profile=profile,
            load_point=point,
            repeat=number,
            ok=100,
            ttft_p95_s=ttft * spread / (2 if profile == "q" else 1),
            tpot_mean_s=ttft / 10,
            e2e_mean_s=2 * ttft,
            requests_per_s=rate,
            output_tokens_per_s=10 * rate,
            usd_per_hour=3.6 if profile == "p" else 7.2,
            usd_per_answer=(0.001 if profile == "p" else 0.002) / rate * spread,
            token_f1=f1,
            token_f1_low=f1 - 0.05,
            token_f1_high=f1 + 0.05,
        )
        for model, f1 in models
        for profile in ("p", "q")
        for point, ttft, rate in (
            ("c1", 0.4 if model == "good" else 0.1, 1.0),
            ("c8", 1.6 if model == "good" else 0.2, 4.0),
        )
        for number, spread in enumerate((0.9, 1.0, 1.1), 1)
    ]
    write_rows(folder / "benchmark.parquet", BENCHMARK, rows)
    return rows, write_report(folder)


def test_limits_on_the_page_decide_as_recommend_does(tmp_path: Path) -> None:
    rows, page = made_page(tmp_path, (("good", 0.5), ("quick", 0.3)))
    draw = random.Random(3)
    ranges = {
        "max-p95-ttft": (0.03, 2.5),
        "min-token-f1": (0.15, 0.55),
        "max-usd-per-1k": (0.2, 2.5),
    }
    fields = {"max-p95-ttft": 1000.0}  # in milliseconds on the page
    tries: list[dict[str, float]] = [
        {
            name: round(draw.uniform(*ranges[name]), 3)
            for name in draw.sample(list(ranges), draw.randint(1, 3))
        }
        for _ in range(300)
    ]
    script = f"""
    const said = [];
    const fields = {json.dumps(fields)};
    for (const given of {json.dumps(tries)}) {{
      for (const input of limits.elements) {{
        const bound = given[input.name];
        input.value = bound === undefined ? "" : bound * (fields[input.name] ?? 1);
      }}
      limits.dispatchEvent(new Event("input"));
      said.push(document.getElementById("chosen").textContent);
    }}
    document.title = JSON.stringify(said);
    """
    standings = set()
    for given, told in zip(tries, examine(page, tmp_path, script), strict=True):
        ranked = recommend(candidates(rows), make_limits(given))
        first = ranked[0]
        standings.add(first.standing)
        name = f"{first.candidate.name} at {load_in_words(first.candidate.load_point)} ("
        if first.is_met:
            assert told.startswith(f"Take {name}"), given
        elif first.standing == 1:
            assert told.startswith("No configuration is known to meet the limits."), given
            assert name in told, given
        else:
            assert told == "Every configuration misses a limit.", given
    assert standings == {0, 1, 2}


def test_the_filter_acts_on_charts_and_on_the_choice(tmp_path: Path) -> None:
    _, page = made_page(tmp_path, (("good", 0.5), ("quick", 0.3)))
    script = """
    form.elements.model.value = "quick";
    form.elements.profile.value = "q";
    form.dispatchEvent(new Event("change"));
    const marks = [...document.querySelectorAll("svg [data-model]")];
    const left = marks.filter((mark) => !mark.classList.contains("off"));
    const chosen = document.getElementById("chosen").textContent;
    form.elements.model.value = form.elements.profile.value = "";
    form.dispatchEvent(new Event("change"));
    document.title = JSON.stringify({
      all: marks.length, chosen, none: document.getElementById("chosen").textContent,
      left: [...new Set(left.map(({ dataset }) => dataset.model + " " + dataset.profile))],
      back: marks.filter((mark) => mark.classList.contains("off")).length,
    });
    """
    found = examine(page, tmp_path, script)
    assert found["left"] == ["quick q"]
    assert found["all"] > 20
    assert found["chosen"].startswith("Of what the filter leaves, quick@q at ")
    assert (found["none"], found["back"]) == ("", 0)


def test_headings_sort_their_table_and_tell_their_meaning(tmp_path: Path) -> None:
    _, page = made_page(tmp_path, (("good", 0.5), ("quick", 0.3)))
    script = """
    const link = document.querySelector("a[download='throughput.csv']");
    const table = link.closest("table");
    const headings = [...table.tHead.rows[0].cells];
    const at = headings.findIndex((each) => each.textContent.includes("per user"));
    const heading = headings[at], button = heading.firstChild;
    const figure = (row) => parseFloat(row.cells[at].textContent);
    const column = () => [...table.tBodies[0].rows].map(figure);
    const before = column(), seen = [];
    button.focus();
    const meaning = document.getElementById("tip").textContent;
    for (const turn of [1, 2, 3]) {
      button.click();
      seen.push([heading.getAttribute("aria-sort"), column()]);
    }
    button.blur();
    const csv = atob(link.href.split(",")[1]);
    document.title = JSON.stringify({ before, seen, meaning, csv });
    """
    found = examine(page, tmp_path, script)
    (up, rising), (down, falling), (off, restored) = found["seen"]
    assert (up, down, off) == ("ascending", "descending", None)
    assert rising == sorted(found["before"]) != falling
    assert falling == rising[::-1]
    assert restored == found["before"]
    assert found["meaning"].startswith("1 / mean TPOT")
    table = (tmp_path / "tables" / "throughput.csv").read_bytes()
    assert found["csv"].encode("latin-1") == table
