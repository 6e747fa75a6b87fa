"""Every `medsweep` command that README and docs show is understood by its verb's own parser."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from medsweep.cli import VERBS, parser_for

ROOT = Path(__file__).parents[3]
PAGES = [
    ROOT / "README.md",
    *(
        page
        for page in sorted((ROOT / "docs").rglob("*.md"))
        if page.parent.name != "reference"  # made from the parsers themselves
    ),
]


def commands(page: Path) -> list[str]:
    """The commands in the blocks of a page, continued lines joined, without what comes after."""
    text = page.read_text(encoding="utf-8")
    found = []
    for block in re.findall(r"^```(?:bash|sh|console)?\n(.*?)^```", text, flags=re.S | re.M):
        for line in re.sub(r"\\\n\s*", " ", block).splitlines():
            command = re.split(r"\s+#|\s[|>&]|;", line.strip())[0]
            if command.startswith("medsweep "):
                found.append(command)
    return found


SHOWN = [(page.name, command) for page in PAGES for command in commands(page)]


def test_the_commands_are_found() -> None:
    assert len(SHOWN) > 40
    assert len({page for page, _ in SHOWN}) > 10


@pytest.mark.parametrize(("page", "command"), SHOWN)
def test_a_shown_command_is_understood(page: str, command: str) -> None:
    _, *words = shlex.split(command)
    assert words[0] in VERBS, page
    assert callable(parser_for(words[0]).parse_args(words).run)
