"""What the guides quote from the product is in the product."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
import yaml

from medsweep.version import __version__

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
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


def test_citation_and_chart_name_the_version() -> None:
    for file, field in (("CITATION.cff", "version"), ("helm/medsweep/Chart.yaml", "appVersion")):
        assert yaml.safe_load((ROOT / file).read_text())[field] == __version__
