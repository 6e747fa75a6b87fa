"""What works without the extra `run`: no torch, no Ray, and what the wheel brings along."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest
from packaging.requirements import Requirement

from medsweep import errors
from medsweep.cli import main
from medsweep.errors import MissingPackage, packages_named, require
from medsweep.loadgen.mock.server import running_mock
from medsweep.loadgen.mock.timing import MockTiming
from medsweep.results.store import read_rows

ROOT = Path(__file__).parents[3]
SWEEPS = ROOT / "jobs" / "sweeps"

# Every package that only an extra brings is made impossible to import.
WITHOUT_EXTRAS = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {names}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Absent())
import importlib.util
there = importlib.util.find_spec
def find_spec(name, package=None):
    return None if name.partition(".")[0] in {names} else there(name, package)
importlib.util.find_spec = find_spec
from medsweep.cli import main
sys.exit(main())
"""


def light(*words: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a verb where only the packages of `pip install medsweep` can be imported."""
    code = WITHOUT_EXTRAS.format(names=set(errors._INSTALLED_BY))
    command = [sys.executable, "-c", code, *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.slow
async def test_what_reads_and_loads_works_without_torch_and_ray(tmp_path: Path) -> None:
    answers = tmp_path / "answers.jsonl"
    answers.write_text('{"prediction": "a fever and a cough", "reference": "fever and cough"}\n')
    results = tmp_path / "bench"
    async with running_mock(MockTiming(ttft_s=0.01, gap_s=0.001, tokens=4)) as server:
        url, load = server.base_url, ("--concurrency", "2", "--requests", "8")
        words = ("bench", url, "--model", "m", *load, "--out", results, "--json", "-")
        done = await asyncio.to_thread(light, *words)
        assert done.returncode == 0, done.stderr
    for words in (
        ("score", answers),
        ("report", results),
        ("recommend", results, "--max-mean-ttft", "1s"),
        ("compare", results, results),
        ("plan", SWEEPS / "matrix.yaml"),
        ("validate", SWEEPS / "paper.yaml"),
        ("k8s", "render", SWEEPS / "matrix.yaml"),
        ("hardware",),
        ("models",),
        ("datasets", "embedded"),
        ("engines", "list"),
        ("docs", "bench.md"),
        ("init", tmp_path / "new.yaml"),
        ("completion", "bash"),
    ):
        done = light(*words)
        assert done.returncode == 0, (words, done.stderr)
        assert done.stdout, words
    assert (results / "report.html").is_file()
    assert list((results / "figures").iterdir())


@pytest.mark.slow
async def test_a_sweep_of_servers_alone_runs_without_torch_and_ray(tmp_path: Path) -> None:
    sweep, folder = tmp_path / "sweep.yaml", tmp_path / "results" / "ward"
    async with running_mock(MockTiming(ttft_s=0.01, gap_s=0.001, tokens=4)) as server:
        cell = {"engine": "external", "name": "ward", "url": server.base_url, "model": "m"}
        load = {"points": [{"concurrency": 2, "requests": 8}], "repeats": 2, "max_tokens": 8}
        spec = {"name": "ward", "cells": [cell], "load": load}
        sweep.write_text(json.dumps(spec))
        words = ("run", sweep, "--out", folder.parent)
        done = await asyncio.to_thread(light, *words)
        assert done.returncode == 0, done.stderr
        # Several load generators are actors of Ray.
        sweep.write_text(json.dumps({**spec, "load": {**load, "shards": 2}}))
        lacking = await asyncio.to_thread(light, *words)
    assert lacking.returncode == 4
    assert "needs the package ray" in lacking.stderr
    rows = read_rows(folder / "benchmark.parquet")
    assert [(row["status"], row["ok"], row["output_tokens_mean"]) for row in rows] == [
        ("ok", 8, 4),
        ("ok", 8, 4),
    ]
    assert (folder / "report.html").is_file()


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        ("demo",),
        ("run", SWEEPS / "matrix.yaml"),
        ("finetune", SWEEPS / "matrix.yaml"),
        ("finetune", SWEEPS / "matrix.yaml", "--no-ray"),
        ("search", SWEEPS / "small-search.yaml"),
        ("aa", SWEEPS / "matrix.yaml"),
    ],
)
def test_a_verb_that_lacks_a_package_says_what_to_install(
    words: tuple[str | Path, ...], tmp_path: Path
) -> None:
    done = light(*words, "--out", tmp_path)
    assert done.returncode == 4
    assert done.stderr.startswith("medsweep: this needs the package ")
    assert "which is not installed: pip install 'medsweep[run]'\n" in done.stderr
    assert done.stdout == ""
    assert list(tmp_path.iterdir()) == [], "nothing is begun"


def test_an_import_that_fails_inside_names_what_to_install() -> None:
    with pytest.raises(MissingPackage, match=r"package kubernetes.*'medsweep\[k8s\]'"):
        raise MissingPackage("kubernetes")
    with pytest.raises(ModuleNotFoundError, match="no_such_module"), packages_named():
        import no_such_module  # noqa: F401
    require("numpy")


def test_an_absent_package_within_a_verb_is_not_a_fault_of_ours(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from medsweep.cli import models

    def lacking(options: object) -> int:
        raise ModuleNotFoundError("No module named 'peft.tuners'", name="peft.tuners")

    monkeypatch.setattr(models, "run", lacking)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert main(["models"]) == 4
    assert "pip install 'medsweep[run]'" in capsys.readouterr().err


def test_every_package_of_an_extra_is_in_the_table() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    base = {Requirement(text).name for text in project["dependencies"]}
    assert not base & {"torch", "ray", "transformers", "peft", "pandas", "kubernetes"}
    optional = project["optional-dependencies"]
    run = {Requirement(text).name for text in optional["run"]} - {"medsweep"}
    assert run <= set(errors._INSTALLED_BY)
    for package, given in errors._INSTALLED_BY.items():
        extra = given.strip("'").removeprefix("medsweep[").removesuffix("]")
        assert extra == package or extra in optional, package


@pytest.mark.slow
def test_the_wheel_brings_sweeps_chart_manifests_and_docs(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    clean = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for folder in ("platform", "jobs", "helm", "k8s", "docs"):
        shutil.copytree(ROOT / folder, tree / folder, symlinks=True, ignore=clean)
    for file in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / file, tree)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps"]
    command += ["--no-build-isolation", "--wheel-dir", str(tmp_path), str(tree)]
    built = subprocess.run(command, check=True, timeout=280, capture_output=True, text=True)
    # Setuptools takes a folder whose name could be imported for a package that was forgotten.
    assert "would be ignored" not in built.stderr + built.stdout
    [wheel] = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        shown = archive.read("medsweep/shipped-files/sweeps/paper.yaml")
    assert shown == (SWEEPS / "paper.yaml").read_bytes()
    for source, inside, pattern in (
        ("jobs/sweeps", "sweeps", "*"),
        ("helm/medsweep", "chart", "**/*"),
        ("k8s/base", "k8s/base", "**/*"),
        ("k8s/overlays", "k8s/overlays", "**/*"),
        ("k8s/samples", "k8s/samples", "**/*"),
        ("docs", "docs", "**/*.md"),
    ):
        files = [path for path in (ROOT / source).glob(pattern) if path.is_file()]
        assert len(files) > 4, source
        ours = {path.relative_to(ROOT / source).as_posix() for path in files}
        absent = {each for each in ours if f"medsweep/shipped-files/{inside}/{each}" not in names}
        assert absent == set(), source
    assert not [name for name in names if "/shipped-files/" in name and name.endswith(".py")]
    # Everything else in the package's folder is in the wheel: code, and what the code reads.
    ours = {
        path.relative_to(tree / "platform").as_posix()
        for path in (tree / "platform" / "medsweep").rglob("*")
        if path.is_file()
    }
    data = {name for name in ours if not name.endswith(".py")}
    assert {"medsweep/review/rubric.yaml", "medsweep/datasets/safety/prompts.jsonl"} < data
    inside = {name for name in names if "/shipped-files/" not in name and ".dist-info/" not in name}
    assert inside == {name for name in ours if "/shipped-files/" not in name}


def test_ready_sweeps_pages_and_folders_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "mine.yaml"
    assert main(["init", "--template", "gpu-vm", str(path)]) == 0
    assert path.read_bytes() == (SWEEPS / "gpu-vm.yaml").read_bytes()
    assert main(["init", "--template", "papr", str(tmp_path / "other.yaml")]) == 2
    assert "(did you mean 'paper'?)" in capsys.readouterr().err
    assert main(["validate", str(tmp_path / "demo.yaml")]) == 2
    assert "`medsweep init --template demo demo.yaml` writes it" in capsys.readouterr().err
    for verb, file in (("chart", "Chart.yaml"), ("manifests", "base/kustomization.yaml")):
        assert main(["k8s", verb]) == 0
        assert (Path(capsys.readouterr().out.strip()) / file).is_file()


def test_docs_print_a_page_or_a_section(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["docs"]) == 0
    listed = capsys.readouterr().out
    assert "reference/exit-codes.md       Exit codes\n" in listed
    assert main(["docs", "reference/exit-codes.md#4"]) == 0
    section = capsys.readouterr().out
    assert section.startswith("## 4\n")
    assert "EnvironmentFault" in section
    assert "## 5" not in section
    assert main(["docs", "quickstart#instalation"]) == 2
    assert "did you mean 'installation'" in capsys.readouterr().err
    assert main(["docs", "bensh"]) == 2
    assert "did you mean 'bench'?" in capsys.readouterr().err


def test_the_demo_ends_with_what_it_found(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from medsweep.results.schema import BENCHMARK, RESPONSES
    from medsweep.results.store import write_rows
    from medsweep.sweep import resolve, run
    from medsweep.sweep.collect import RunSummary

    def measure(resolved: SimpleNamespace, out: Path, **_: object) -> RunSummary:
        folder = out / resolved.spec.name
        known = {"cell": "m@host", "key": "k", "model": "m", "profile": "host", "status": "ok"}
        row = dict.fromkeys(column.name for column in BENCHMARK)
        row |= known | {"basis": "observed", "load_point": "c1", "repeat": 1}
        variants = {"base": 0.2, "adapter": 0.3}
        write_rows(
            folder / "benchmark.parquet", BENCHMARK, [row | {"variant": v} for v in variants]
        )
        empty = dict.fromkeys(column.name for column in RESPONSES)
        answers = [
            empty
            | {"variant": variant, "load_point": "c1", "repeat": 1, "question_id": f"q{place}"}
            | {"index": place, "token_f1": score + place / 100}
            for variant, score in variants.items()
            for place in range(20)
        ]
        write_rows(folder / "cells" / "k" / "responses.parquet", RESPONSES, answers)
        (folder / "report.html").touch()
        return RunSummary(folder, 1, {"ok": 1}, {})

    monkeypatch.setattr(resolve, "resolve", lambda spec: SimpleNamespace(spec=spec))
    monkeypatch.setattr(run, "run_sweep", measure)
    assert main(["demo", "--out", str(tmp_path)]) == 0
    *_, found, last = capsys.readouterr().out.splitlines()
    assert found == (
        "found: m (observed): token F1 is higher after fine-tuning: from 0.295 to 0.395, +0.100 "
        "[0.075 to 0.100] over 20 questions."
    )
    assert last.startswith(f"read first: {tmp_path / 'demo' / 'report.html'} (the real model")


def test_demo_goes_on_with_stand_ins(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from medsweep.sweep import resolve, run
    from medsweep.sweep.collect import RunSummary

    ran, clusters = [], set()

    def no_weights(resolved: SimpleNamespace, out: Path, *, cluster: object) -> RunSummary:
        ran.append(resolved.spec.name)
        clusters.add(id(cluster))
        if ran[-1] == "demo":
            raise errors.EnvironmentFault("the hub was not reached")
        return RunSummary(out, 12, {"ok": 12}, {})

    monkeypatch.setattr(resolve, "resolve", lambda spec: SimpleNamespace(spec=spec))
    monkeypatch.setattr(run, "run_sweep", no_weights)
    assert main(["demo", "--out", str(tmp_path)]) == 0
    assert ran == ["demo", "matrix"]
    assert len(clusters) == 1
    told = capsys.readouterr().err
    assert "the real model was not measured: the hub was not reached" in told
    assert told.index("1 of 2: SmolLM2-135M") < told.index("2 of 2: a smoke test")
    assert main(["demo", "--out", str(tmp_path), "--require-real"]) == 4
    assert ran == ["demo", "matrix", "demo"]
