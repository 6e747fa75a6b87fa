"""Every command of docs/paper.md is understood, has its files, and runs in miniature."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from medsweep.cli import parser_for
from medsweep.config import load_config
from medsweep.hardware.catalog import PROFILES
from medsweep.report.paper import TABLE_3
from medsweep.sweep.spec import SweepSpec
from support import Runner, Story

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "paper.md").read_text(encoding="utf-8")
SWEEP, SEARCH, PROMPTS = (
    f"jobs/sweeps/{name}" for name in ("paper.yaml", "paper-search.yaml", "paper-prompts.txt")
)
RESULTS = "results/paper"

SMALL = {"stand_ins": True, "dataset": {"name": "embedded", "sample": 40, "eval_fraction": 0.1}}


@dataclass(frozen=True)
class Line:
    """A line of the page's table.

    Attributes:
        subject: a table or figure of the paper.
        commands: the words after `medsweep`.
        place: where to look.
    """

    subject: str
    commands: list[list[str]]
    place: str


def table() -> list[Line]:
    lines = re.findall(
        r"^\| ((?:Figure|Table) \d) [^|]*\| ([^|]*) \| ([^|]*) \|$", PAGE, flags=re.MULTILINE
    )
    return [
        Line(
            subject, [shlex.split(each) for each in re.findall(r"`medsweep ([^`]+)`", told)], place
        )
        for subject, told, place in lines
    ]


def test_each_table_and_figure_of_the_paper_has_a_command() -> None:
    subjects = [line.subject for line in table()]
    expected = [f"Figure {number}" for number in (1, 2, 3)]
    expected += [f"Table {number}" for number in (1, 2, 3, 4, 5)]
    assert sorted(subjects) == expected
    assert all(line.commands for line in table())


def test_each_command_is_understood_and_its_files_are_there() -> None:
    spec, search = (load_config(SweepSpec, ROOT / name) for name in (SWEEP, SEARCH))
    [searched] = {str(cell).partition("@")[0] for cell in search.cells}
    files = set()
    for line in table():
        for verb, *words in line.commands:
            assert callable(parser_for(verb).parse_args([verb, *words]).run)
            files |= {word for word in words if word.endswith((".yaml", ".txt"))}
    assert files == {SWEEP, SEARCH, PROMPTS}
    assert all((ROOT / name).is_file() for name in files)
    assert f"results/{spec.name}" == RESULTS
    [picture] = re.findall(r"`([^`]+search\.svg)`", PAGE)
    assert picture == f"results/{search.name}/search/{searched}/search.svg"


@pytest.mark.slow
def test_the_commands_run_in_miniature(story: Story, tmp_path: Path) -> None:
    """On the results of a small sweep; what trains is planned and rendered instead."""
    (tmp_path / "jobs" / "sweeps").mkdir(parents=True)
    for name in (SWEEP, SEARCH):
        spec = yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))
        (tmp_path / name).write_text(yaml.safe_dump(spec | SMALL))
    shutil.copy(ROOT / PROMPTS, tmp_path / PROMPTS)
    derived = shutil.ignore_patterns("report.html", "figures", "tables")
    shutil.copytree(story.runner.results, tmp_path / RESULTS, ignore=derived)
    [adapter] = (path.name for path in (tmp_path / RESULTS / "adapters").glob("standin-*"))

    said: dict[str, str] = {}
    for line in table():
        for given in line.commands:
            words = [word.replace("/NAME", f"/{adapter}") for word in given]
            if words[0] == "search":
                words[0] = "plan"
            elif words[0] == "run":
                assert words[2:] == ["--on", "k8s"]
                words = ["k8s", "render", words[1]]
            said[" ".join(words)] = _run(story.runner, tmp_path, words)

    pairs = said[f"datasets {SWEEP} --show 3"]
    assert pairs.count("\nprompt: ") == pairs.count("\noutput: ") == 3
    assert "standin-llama-3-8b@1xa100-2cpu" in said[f"plan {SEARCH}"]
    assert len(PROFILES) == 9
    assert all(name in said["hardware"] for name in PROFILES)
    cells = [f"standin-{model}@{profile}" for model, profile in TABLE_3]
    assert len(cells) == 12
    assert all(cell in said[f"plan {SWEEP} --on k8s"] for cell in cells)
    jobs = list(yaml.safe_load_all(said[f"k8s render {SWEEP}"]))
    assert len([job for job in jobs if job["kind"] == "RayJob"]) == 5 + 14, "models, cells"
    assert "figures, ours and the paper's Table 4" in said[f"compare {RESULTS} paper"]
    assert said[f"report {RESULTS}"].strip() == f"{RESULTS}/report.html"
    [answers] = (out for words, out in said.items() if words.startswith("ask "))
    assert answers.count("> Patient Information:") == 2

    report = (tmp_path / RESULTS / "report.html").read_text(encoding="utf-8")
    assert "<h3>The matrix</h3>" in report
    figures = 0
    for line in table():
        for heading in re.findall(r'"([^"]+)"', line.place):
            assert f">{heading}</h2>" in report, line.subject
        for figure in re.findall(r"`(figures/[^`]+)`", line.place):
            assert (tmp_path / RESULTS / figure).is_file(), line.subject
            figures += 1
    assert figures == 2


def _run(runner: Runner, folder: Path, words: list[str]) -> str:
    done = subprocess.run(
        runner.command(*words),
        cwd=folder,
        env=runner.environment,
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, (words, done.stderr)
    return done.stdout
