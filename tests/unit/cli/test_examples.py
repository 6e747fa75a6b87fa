"""The examples of `--help` parse, and every page that help and errors name is there."""

from __future__ import annotations

import re
import shlex
from functools import partial
from pathlib import Path

import pytest

from links import leads_somewhere
from medsweep import errors
from medsweep.cli import VERBS, main, parser_for
from medsweep.cli.examples import EXAMPLES, GUIDES
from medsweep.config import load_config
from medsweep.errors import ConfigError, MedSweepError, UnknownName
from medsweep.k8s.settings import ClusterSettings
from medsweep.sweep.spec import SweepSpec

DOCS = Path(__file__).parents[3] / "docs"
is_there = partial(leads_somewhere, DOCS)


def every_error() -> list[type[MedSweepError]]:
    found, left = [], [MedSweepError]
    while left:
        each = left.pop()
        found.append(each)
        left += [child for child in each.__subclasses__() if child.__module__ == errors.__name__]
    return found


def test_every_verb_has_an_example_and_a_page() -> None:
    assert list(EXAMPLES) == list(GUIDES) == list(VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_examples_are_understood(verb: str) -> None:
    assert EXAMPLES[verb]
    for example in EXAMPLES[verb]:
        program, *words = shlex.split(re.split(r" [|>] ", example)[0])
        assert (program, words[0]) == ("medsweep", verb)
        assert callable(parser_for(verb).parse_args(words).run)


@pytest.mark.parametrize("verb", VERBS)
def test_help_shows_the_examples(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([verb, "--help"])
    text = capsys.readouterr().out
    assert all(example in text for example in EXAMPLES[verb])
    assert is_there(GUIDES[verb]), GUIDES[verb]


def test_every_page_that_an_error_names_is_there() -> None:
    found = every_error()
    assert len(found) == 10
    places = {each.docs for each in found} | set(errors._PAGES.values())
    places |= {SweepSpec.docs, ClusterSettings.docs, ConfigError("a", []).docs}
    places |= {f"reference/config.md#{name}" for name in ("load", "serve", "finetune", "dataset")}
    assert [place for place in sorted(places) if not is_there(place)] == []
    assert not is_there("models.md#no-such-heading")


def test_a_fault_leads_to_its_section(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "wrong.yaml"
    file.write_text("name: a\ncells: paper\nload: {points: [{concurrency: 0}]}\n")
    assert main(["validate", str(file)]) == 2
    assert capsys.readouterr().err.endswith("\nsee: medsweep docs reference/config.md#load\n")
    with pytest.raises(ConfigError) as raised:
        load_config(SweepSpec, file, ["nme=b"])
    assert raised.value.docs == "reference/config.md#load"


def test_an_unknown_name_leads_to_where_one_is_added() -> None:
    assert UnknownName("model", "x", ["y"]).docs == "models.md#your-own-model"
    assert UnknownName("adapter", "x", ["y"]).docs == "reference/exit-codes.md#2"
