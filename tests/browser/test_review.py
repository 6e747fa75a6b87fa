"""Clinicians' review in a real browser: rated by keyboard, saved to a file, and imported."""

from __future__ import annotations

import json
from pathlib import Path

import axe_core_python
import pytest

from chromium import browse, examine
from medsweep.review.ratings import merge
from medsweep.review.sheet import export
from reviewed import results

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture
def page(tmp_path: Path) -> Path:
    page = tmp_path / "review.html"
    export(results(tmp_path / "results"), page, questions=4, seed=1)
    return page


def test_the_page_runs_its_script_and_no_other(page: Path, tmp_path: Path) -> None:
    shown = browse(tmp_path, "--dump-dom", page.as_uri())
    assert "CONSOLE" not in shown.stderr
    assert "Answer 1 of 7; 0 rated in full" in shown.stdout
    assert "://" not in page.read_text(encoding="utf-8")


def test_answers_rated_by_keyboard_are_saved_and_imported(page: Path, tmp_path: Path) -> None:
    script = """
    const said = [];
    const press = (key) => document.activeElement.dispatchEvent(
      new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));
    const save = document.getElementById("save"), rater = document.getElementById("rater");
    let saved = null;
    URL.createObjectURL = (blob) => { saved = blob; return "#saved"; };
    save.click();
    said.push(saved === null); // without a name nothing is saved
    rater.value = "ab";
    document.querySelector("#axes input").focus();
    for (let answer = 0; answer < 7; answer += 1) {
      const water = /Water|Same/.test(document.getElementById("answer").textContent);
      for (let axis = 0; axis < 4; axis += 1) press(water ? "3" : "1");
      press(water ? "2" : "1");
      said.push(document.activeElement.id);
      if (answer < 6) document.activeElement.click();
    }
    said.push(document.getElementById("progress").textContent);
    document.getElementById("back").click();
    said.push(document.querySelectorAll("#axes input:checked").length);
    save.click();
    saved.text().then((text) => { document.title = JSON.stringify({ said, text }); });
    """
    found = examine(page, tmp_path, script)
    unnamed, *focused, progress, checked = found["said"]
    assert unnamed
    assert focused[:6] == ["next"] * 6
    assert progress == "Answer 7 of 7; 7 rated in full"
    assert checked == 5
    file = tmp_path / "ab.json"
    file.write_text(found["text"])
    assert json.loads(found["text"])["rater"] == "ab"
    summary = merge(tmp_path / "results", [file], seed=1)
    best = {system: axes["bias"]["best"] for system, axes in summary["systems"].items()}
    assert best == {"small-model on p, adapter": 1.0, "small-model on p, base": 0.25}
    assert summary["ranking"][0]["system"] == "small-model on p, adapter"


def test_axe_finds_no_fault(page: Path, tmp_path: Path) -> None:
    axe = Path(axe_core_python.__file__).with_name("axe.min.js").read_text(encoding="utf-8")
    found = "axe.run().then((found) => { document.title = JSON.stringify(found.violations); });"
    violations = examine(page, tmp_path, f"{axe};{found}")
    assert [(each["id"], each["nodes"][0]["html"][:200]) for each in violations] == []
