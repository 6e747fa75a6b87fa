"""Every `medsweep` command that README and docs show is understood by its verb's own parser."""

from __future__ import annotations

import argparse
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


INLINE = [
    (page.name, command)
    for page in PAGES
    for command in re.findall(r"`medsweep ([^`\n]+)`", page.read_text(encoding="utf-8"))
    if not command.startswith(("VERB", "--"))
]


def own_verbs(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """The verbs of the program, or of a verb such as `k8s`, with their parsers."""
    choices = [
        action.choices
        for action in parser._actions
        if isinstance(action, argparse._SubParsersAction)
    ]
    return dict(choices[0]) if choices else {}


@pytest.mark.parametrize(("page", "command"), INLINE)
def test_a_command_in_a_sentence_names_a_verb_and_its_options(page: str, command: str) -> None:
    """It may leave arguments out."""
    verb, *words = command.split()
    assert verb in VERBS, page
    parser = own_verbs(parser_for(verb))[verb]
    if words and (children := own_verbs(parser)):
        assert words[0] in children, page
        parser = children[words[0]]
    options = {word for word in words if word.startswith("--")}
    assert options <= set(parser._option_string_actions), page
