"""What the guides quote from the product is in the product; their links lead somewhere."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
import yaml

from links import broken_links, leads_somewhere, links
from medsweep.version import __version__

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [
    *sorted(ROOT.glob("*.md")),
    *sorted(page for folder in ("docs", "helm", "k8s") for page in (ROOT / folder).rglob("*.md")),
]
VALUE = "\0"
VARIABLE = re.compile(r"\b(?:MEDSWEEP|HF|RAY|HTTP|HTTPS|NO|CUDA|OMP)_[A-Z][A-Z_]+\b")


def _texts() -> list[str]:
    """Return the texts of the package's code; a value that is put in is one NUL."""
    texts = []
    for path in sorted((ROOT / "platform").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                texts.append(node.value)
            elif isinstance(node, ast.JoinedStr):
                texts.append(
                    "".join(
                        str(part.value) if isinstance(part, ast.Constant) else VALUE
                        for part in node.values
                    )
                )
    return texts


def test_every_message_of_the_troubleshooting_page_is_in_the_code() -> None:
    page = (DOCS / "troubleshooting.md").read_text(encoding="utf-8")
    quoted = re.findall(r"^### `(.+)`$", page, flags=re.MULTILINE)
    assert len(quoted) > 15
    texts = "\n".join(_texts())
    missing = [
        message
        for message in quoted
        if not re.search(r"[^\n]*?".join(map(re.escape, message.split("…"))), texts)
    ]
    assert missing == []


@pytest.mark.parametrize("prefix", ["MEDSWEEP_"])
def test_the_page_of_environment_variables_names_those_that_the_code_reads(prefix: str) -> None:
    page = set(VARIABLE.findall((DOCS / "environment.md").read_text(encoding="utf-8")))
    sources = [*(ROOT / "platform").rglob("*.py"), *(ROOT / "jobs").glob("*.py")]
    code = {name for path in sources for name in VARIABLE.findall(path.read_text(encoding="utf-8"))}
    assert {name for name in page if name.startswith(prefix)} == {
        name for name in code if name.startswith(prefix)
    }


def test_every_link_leads_to_a_file_and_a_heading() -> None:
    assert sum(len(links(page)) for page in PAGES) > 200
    broken = [f"{page.name}: {link}" for page in PAGES for link in broken_links(page)]
    assert broken == []


def test_every_page_that_a_message_names_exists() -> None:
    texts = (text.removeprefix("docs/") for text in _texts())
    named = {text for text in texts if re.fullmatch(r"[\w/-]+\.md(#[\w-]+)?", text)}
    named.remove("README.md")  # an adapter's own
    assert len(named) > 30
    assert [target for target in sorted(named) if not leads_somewhere(DOCS, target)] == []


def test_a_broken_link_is_found(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("# One & two\n[b](b.md) [c](#c) [d](#one--two)\n## C\n")
    assert list(broken_links(tmp_path / "a.md")) == ["b.md", "#one--two"]


def test_citation_and_chart_name_the_version() -> None:
    for file, field in (("CITATION.cff", "version"), ("helm/medsweep/Chart.yaml", "appVersion")):
        assert yaml.safe_load((ROOT / file).read_text())[field] == __version__
