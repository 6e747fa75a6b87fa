"""The sample report names no machine and no path, and private answers make none."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from made_rows import UNANSWERED, row
from medsweep.errors import InputError
from medsweep.results.schema import BENCHMARK, QUALITIES, RESPONSES
from medsweep.results.store import write_rows

pytestmark = pytest.mark.slow  # draws every figure

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def sample() -> ModuleType:
    spec = importlib.util.spec_from_file_location("sample", DOCS / "sample.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def results(folder: Path, *, dataset: str = "embedded", text: str = "Rest.") -> Path:
    values = {"ok": 100, "ttft_mean_s": 0.1, "e2e_mean_s": 1.0, "requests_per_s": 2.0}
    measured = [
        row(hostname="ward-7-pc", repeat=number, token_f1=0.3, **values) for number in (1, 2)
    ]
    write_rows(folder / "benchmark.parquet", BENCHMARK, measured)
    answer = {
        **UNANSWERED,
        **dict.fromkeys(QUALITIES, 0.5),
        "load_point": "c2",
        "repeat": 1,
        "variant": "adapter",
        "index": 0,
        "question_id": "q",
        "question": "What helps?",
        "reference": "Rest.",
        "answer": text,
    }
    write_rows(folder / "cells" / "k" / "responses.parquet", RESPONSES, [answer])
    (folder / "sweep.yaml").write_text(f"name: small\ndataset: {dataset}\n")
    return folder


def test_it_says_when_and_with_what_it_was_measured() -> None:
    page = (DOCS / "sample-report.html").read_text(encoding="utf-8")
    [commit] = re.findall(r"<dt>Commit of MedSweep</dt>\n<dd>([0-9a-f]{40})</dd>", page)
    [day] = re.findall(r"<dt>Measured \(UTC\)</dt>\n<dd>[\d :-]+ to (\S+) ", page)
    assert f"A sample, measured on {day} with commit {commit[:7]}:" in page
    readme = (DOCS.parent / "README.md").read_text(encoding="utf-8")
    assert f"measured on {day} with commit `{commit[:7]}`" in readme


def test_it_names_no_machine(sample: ModuleType, tmp_path: Path) -> None:
    folder, page = results(tmp_path / "r", dataset="{name: embedded}"), tmp_path / "page.html"
    sample.sample_page(folder, page)
    html = page.read_text(encoding="utf-8")
    assert "What helps?" in html
    assert "ward-7-pc" not in html
    assert not (folder / "report.html").exists()


def test_a_path_or_a_private_dataset_makes_no_page(sample: ModuleType, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    with pytest.raises(InputError, match="would name /home/ward/x"):
        sample.sample_page(
            results(tmp_path / "a", dataset="{name: embedded}", text="See /home/ward/x now."), page
        )
    with pytest.raises(InputError, match="not public"):
        sample.sample_page(results(tmp_path / "b", dataset="{path: own.jsonl}"), page)
    assert not page.exists()


def test_the_sample_that_is_published_names_no_path(sample: ModuleType) -> None:
    html = sample.PAGE.read_text(encoding="utf-8")
    assert len(html.encode()) < sample.MOST_BYTES
    assert sample._PATH.findall(html) == []
    assert 'href="data:text/csv' in html
    assert "unnamed" in html  # the machine
