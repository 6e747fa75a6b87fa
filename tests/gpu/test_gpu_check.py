"""The GPU check in miniature: every stage runs on a CPU too, so that it does not rot."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from gpu.packages import PACKAGES, missing
from gpu.report import Report
from gpu.stages import STAGES, parts_of
from gpu.supervise import run_parts
from medsweep.hardware.catalog import PROFILES
from medsweep.models.catalog import MODELS

README = Path(__file__).with_name("README.md")

NOT_IN_MINIATURE = {"vllm.parity", "vllm.speed"}
"""Where vLLM is not installed."""

# Prints rows as the check's process does. A part that is called `dies` or `hangs` does so.
SCRIPT = """
import json, os, sys, time
def row(stage, **more):
    print(json.dumps({"stage": stage, **more}), flush=True)
for part in sys.argv[1:]:
    row(f"{part} began")
    if part == "dies":
        os._exit(3)
    if part == "hangs":
        time.sleep(3600)
    row(part, ok=part != "fails")
    row(f"{part} ended")
    if part == "fails":
        break
"""


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_every_stage_runs_and_finds_nothing_wrong(tmp_path: Path) -> None:
    tests = Path(__file__).parents[1]
    path = os.pathsep.join([str(tests.parent / "platform"), str(tests)])
    done = subprocess.run(
        [sys.executable, "-m", "gpu", "--out", str(tmp_path), "--patience", "20", *STAGES],
        env={**os.environ, "PYTHONPATH": path, "CUDA_VISIBLE_DEVICES": "", "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    rows = [json.loads(line) for line in (tmp_path / "check.jsonl").read_text().splitlines()]
    ended = {row["stage"].removesuffix(" ended") for row in rows if row["stage"].endswith(" ended")}
    assert ended == {part for part, _ in parts_of(tuple(STAGES))}
    assert {row["stage"] for row in rows if "not_run" in row} <= NOT_IN_MINIATURE


def test_a_part_that_ends_badly_does_not_take_the_others_with_it(tmp_path: Path) -> None:
    report = Report(tmp_path / "check.jsonl")
    names = ["first", "dies", "second", "fails", "third", "hangs", "last"]
    parts = [(name, 0.5 if name == "hangs" else 600.0) for name in names]
    command = [sys.executable, "-c", SCRIPT]
    run_parts(parts, command, report)
    assert [(row["stage"], row.get("error")) for row in report.failed] == [
        ("dies", "its process ended with exit code 3"),
        ("fails", None),
        ("hangs", "not done within 0 s"),
    ]


def test_what_each_part_of_the_process_says_is_shown(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run_parts([("one", 600.0), ("two", 600.0)], [sys.executable, "-c", SCRIPT], Report(tmp_path))
    stages = [json.loads(line)["stage"] for line in capfd.readouterr().out.splitlines()]
    assert stages == ["one began", "one", "one ended", "two began", "two", "two ended"]


def test_a_row_is_in_the_file_before_it_is_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever reads the last row ends the process that prints it."""
    report = Report(tmp_path / "check.jsonl")
    kept: list[str] = []
    monkeypatch.setattr("builtins.print", lambda *_, **__: kept.append(report.path.read_text()))
    report.row("sweep:run ended")
    assert [json.loads(text)["stage"] for text in kept] == ["sweep:run ended"]


def test_a_process_that_cannot_start_fails_every_part(tmp_path: Path) -> None:
    report = Report(tmp_path / "check.jsonl")
    run_parts(
        [("one", 600.0), ("two", 600.0)], [sys.executable, "-c", "raise SystemExit(7)"], report
    )
    assert [row["error"] for row in report.failed] == ["its process ended with exit code 7"] * 2


def test_stages_and_parts_are_chosen_by_name() -> None:
    assert parts_of(("memory", "traces:training")) == [
        ("out_of_memory:serving", 150),
        ("traces:training", 120),
    ]
    with pytest.raises(KeyError, match="nothing"):
        parts_of(("nothing",))


def test_a_step_is_predicted_for_the_engine_that_computes_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from gpu import serving_fast

    monkeypatch.setattr(serving_fast, "host_profile", lambda: PROFILES["1xa100-1cpu"])
    graphs, kernels = (
        serving_fast._predicted_ms(MODELS["llama-3-8b"], "bfloat16", "none", 1, engine)
        for engine in ("continuous", "generate")
    )
    # An A100 reads the weights in 12.1 ms. 32 x 7 matrices with 7.7 kernels each, and 23 more, take
    # 8 us each to launch, which is longer.
    assert graphs == pytest.approx(12.1, abs=0.1)
    assert kernels == pytest.approx(13.98, abs=0.01)


def test_only_a_missing_compiler_leaves_compiled_layers_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torch._inductor.exc import InductorError, InvalidCxxCompiler, TritonMissing

    from gpu import training_fast

    report = Report(tmp_path / "check.jsonl")
    errors = iter(
        [
            TritonMissing(None),
            InductorError(InvalidCxxCompiler("g++"), None),
            InductorError(RuntimeError("a kernel that does not compile"), None),
        ]
    )

    def fail(*_: object, **__: object) -> None:
        raise next(errors)

    monkeypatch.setattr(training_fast, "shaped", lambda _: (MODELS["llama-3-8b"], tmp_path))
    monkeypatch.setattr(training_fast, "examples", lambda *_, **__: [])
    monkeypatch.setattr(training_fast, "run", lambda *_, **__: None)
    monkeypatch.setattr(training_fast, "alternate", fail)
    training_fast.compiled(report)
    training_fast.compiled(report)
    with pytest.raises(InductorError, match="a kernel that does not compile"):
        training_fast.compiled(report)
    rows = [json.loads(line) for line in report.path.read_text().splitlines()]
    assert [row["not_run"].partition(":")[0] for row in rows] == [
        "TritonMissing",
        "InvalidCxxCompiler",
    ]


def test_the_packages_that_it_needs_are_written_down() -> None:
    assert missing() == {}
    text = README.read_text(encoding="utf-8")
    named = {module for modules in PACKAGES.values() for module in modules}
    assert len(named) > 25
    assert {module for module in named if f"`{module}`" not in text} == set()
    assert {stage for stage in STAGES if f"`{stage}`" not in text} == set()
