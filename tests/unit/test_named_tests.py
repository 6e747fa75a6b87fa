"""The tests that pages name for their guarantees exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from gpu.stages import STAGES

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "SECURITY.md", ROOT / "docs/results/security.md"]
FIGURES = ROOT / "docs/results/true-figures.md"
KUBERNETES = ROOT / "docs/results/kubernetes.md"
QUALITY = ROOT / "docs/quality.md"
GPU = ROOT / "docs/results/gpu.md"
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


def rows(page: Path) -> list[str]:
    """The rows of the page's table that have a number."""
    return [line for line in page.read_text(encoding="utf-8").splitlines() if _number(line)]


def _number(line: str) -> str | None:
    found = re.match(r"\| (\d+) \|", line)
    return found[1] if found else None


@pytest.mark.parametrize("page", [*PAGES, FIGURES, KUBERNETES, QUALITY], ids=lambda page: page.name)
def test_every_test_that_is_named_exists(page: Path) -> None:
    named = NAMED.findall(page.read_text(encoding="utf-8"))
    assert len(named) > 10
    files = set(re.findall(r"`(tests/[\w/]+\.py)", page.read_text(encoding="utf-8")))
    assert [file for file in sorted(files) if not (ROOT / file).is_file()] == []
    for file, test in named:
        tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
        functions = {
            node.name
            for node in tree.body
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        }
        assert test in functions, f"{page.name}: {file}::{test}"


@pytest.mark.parametrize("page", [*PAGES, KUBERNETES, QUALITY], ids=lambda page: page.name)
def test_every_guarantee_names_a_test(page: Path) -> None:
    assert len(rows(page)) >= 11
    assert [row for row in rows(page) if not NAMED.search(row)] == []


def test_the_pages_name_the_same_guarantees() -> None:
    first, second = ([_number(row) for row in rows(page)] for page in PAGES)
    assert first == list(dict.fromkeys(second))


@pytest.mark.parametrize(("page", "last"), [(KUBERNETES, 15), (QUALITY, 11)])
def test_no_requirement_is_missing(page: Path, last: int) -> None:
    numbers = [_number(row) for row in rows(page)]
    assert numbers == [str(number) for number in range(1, last + 1)]


def test_the_promises_about_gpus_name_tests_and_stages_that_exist() -> None:
    table = GPU.read_text(encoding="utf-8").partition("## What is tested where")[2]
    table = table.partition("\n## ")[0]
    lines = [line for line in table.splitlines() if line.startswith("| ")][2:]
    promises = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert [row[0] for row in promises if row[0]] == [str(number) for number in range(1, 21)]
    for _, what, tests, stages, _ in promises:
        files = re.findall(r"`(tests/[\w/]+\.py)`", tests)
        assert files, what
        assert [file for file in files if not (ROOT / file).is_file()] == [], what
        assert set(re.findall(r"`([\w-]+)`", stages)) <= set(STAGES), what


def test_every_figure_that_was_wrong_names_its_test() -> None:
    numbers = [_number(row) for row in rows(FIGURES)]
    assert numbers == [str(number) for number in range(1, 25)]
    later = FIGURES.read_text(encoding="utf-8").partition("were found since")[2]
    found = [line for line in later.splitlines() if line.startswith("| ")][2:]
    assert len(found) > 10
    assert [row for row in [*rows(FIGURES), *found] if "`tests/" not in row] == []
