"""The report of a real sweep in a real browser."""

from __future__ import annotations

import json
import re
import subprocess
from html import escape, unescape
from pathlib import Path
from typing import Any

import axe_core_python
import pytest

from made_rows import row
from medsweep.decide.candidates import candidates
from medsweep.decide.limits import make_limits
from medsweep.decide.recommend import recommend
from medsweep.report.page import write_report
from medsweep.results.schema import BENCHMARK
from medsweep.results.store import write_rows
from support import Story, tool

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def browse(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the browser once, with a profile of its own and no network of its own accord."""
    command = [tool("chromium"), "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"]
    command += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
    command += [f"--user-data-dir={folder / 'profile'}", "--enable-logging=stderr", "--v=0"]
    return subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=120)


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
    rows = re.findall(r"<tr( hidden=\"\")?>(.*?)</tr>", shown.stdout, flags=re.S)
    hidden = [row for mark, row in rows if mark]
    left = [row for mark, row in rows if not mark]
    assert hidden
    assert not any('data-value="host"' in row for row in hidden)
    assert any('data-value="host"' in row for row in left)
    assert not any('data-value="1xv100-1cpu"' in row for row in left)


def examine(page: Path, folder: Path, script: str, *arguments: str) -> Any:
    """Run a script in a copy of the page and return what it puts into the title as JSON."""
    # The page forbids other scripts than its own; the copy that is examined does not.
    html = page.read_text(encoding="utf-8")
    html = re.sub(r"<meta http-equiv=\"Content-Security-Policy\"[^>]*>", "", html)
    copy = folder / "report.html"
    copy.write_text(
        html.replace("</body>", f"<script>{{{script}}}</script></body>"), encoding="utf-8"
    )
    options = ["--virtual-time-budget=30000", "--dump-dom", *arguments]
    shown = browse(folder, *options, copy.as_uri())
    assert [line for line in shown.stderr.splitlines() if "CONSOLE" in line] == []
    title = re.search(r"<title>(.*?)</title>", shown.stdout, flags=re.S)
    assert title is not None
    return json.loads(unescape(title[1]))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_fault(story: Story, tmp_path: Path, scheme: str) -> None:
    axe = Path(axe_core_python.__file__).with_name("axe.min.js").read_text(encoding="utf-8")
    found = "axe.run().then((found) => { document.title = JSON.stringify(found.violations); });"
    dark = ["--force-dark-mode", "--blink-settings=preferredColorScheme=0"]
    violations = examine(
        story.runner.results / "report.html",
        tmp_path,
        f"{axe};{found}",
        *(dark if scheme == "dark" else []),
    )
    assert [(each["id"], each["nodes"][0]["html"][:200]) for each in violations] == []


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


def test_limits_on_the_page_decide_as_recommend_does(tmp_path: Path) -> None:
    rows = [
        row(
            model=model,
            key=f"{model}-{point}",
            load_point=point,
            repeat=number,
            ok=100,
            ttft_p95_s=ttft * spread,
            e2e_mean_s=2 * ttft,
            requests_per_s=rate,
            token_f1=f1,
            token_f1_low=f1 - 0.05,
            token_f1_high=f1 + 0.05,
        )
        for model, f1 in (("good", 0.5), ("quick", 0.3))
        for point, ttft, rate in (
            ("c1", 0.4 if model == "good" else 0.1, 1.0),
            ("c8", 1.6 if model == "good" else 0.2, 4.0),
        )
        for number, spread in enumerate((0.9, 1.0, 1.1), 1)
    ]
    write_rows(tmp_path / "benchmark.parquet", BENCHMARK, rows)
    page = write_report(tmp_path)
    tries: list[dict[str, float]] = [
        {"max-p95-ttft": 0.15},
        {"max-p95-ttft": 0.3},
        {"max-p95-ttft": 0.6},
        {"max-p95-ttft": 3.0},
        {"min-token-f1": 0.4},
        {"min-token-f1": 0.5},
        {"max-p95-ttft": 3.0, "min-token-f1": 0.4},
        {"max-p95-ttft": 0.01},
    ]
    script = f"""
    const said = [];
    for (const given of {json.dumps(tries)}) {{
      for (const input of limits.elements) input.value = given[input.name] ?? "";
      limits.dispatchEvent(new Event("input"));
      said.push(document.getElementById("chosen").textContent);
    }}
    document.title = JSON.stringify(said);
    """
    for given, told in zip(tries, examine(page, tmp_path, script), strict=True):
        first = recommend(candidates(rows), make_limits(given))[0]
        if first.is_met:
            name = f"Take {first.candidate.name} at {first.candidate.load_point} ("
            assert told.startswith(name), given
        else:
            assert told.startswith("Every" if first.is_missed else "No configuration is known"), (
                given
            )
