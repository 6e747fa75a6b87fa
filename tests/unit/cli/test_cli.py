from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from medsweep import cli
from medsweep.cli import VERBS, main
from medsweep.errors import EnvironmentFault
from medsweep.serving.engines import compatibility
from medsweep.sweep import resolve

MATRIX = Path(__file__).parents[3] / "jobs" / "sweeps" / "matrix.yaml"


def test_help_names_every_verb_and_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["--help"])
    assert left.value.code == 0
    text = capsys.readouterr().out
    for word in (*VERBS, "  0  done", "  1  ", "  2  ", "  3  ", "  4  "):
        assert word in text


def test_help_loads_none_of_the_heavy_libraries() -> None:
    code = (
        "import sys\nfrom medsweep.cli import main\n"
        "try: main(['--help'])\nexcept SystemExit: pass\n"
        "heavy = {'torch', 'ray', 'transformers', 'pandas', 'matplotlib', 'numpy', 'pydantic'}\n"
        "print(heavy & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "set()"


def test_deepspeed_keeps_out_of_what_is_printed() -> None:
    # It logs to standard output as soon as peft imports it.
    code = (
        "from medsweep.cli import main\nmain(['models', '--json'])\n"
        "import logging\nlogger = logging.getLogger('DeepSpeed')\n"
        "import sys\nlogger.addHandler(logging.StreamHandler(sys.stdout))\n"
        "logger.warning('setting accelerator to CPU')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert len(json.loads(done.stdout)) == 11


def test_models_hardware_and_datasets_print_tables_and_json(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for verb, key, count in (
        ("models", "name", 11),
        ("hardware", "profile", 10),
        ("datasets", "name", 8),
    ):
        assert main([verb]) == 0
        table = capsys.readouterr().out
        assert main([verb, "--json"]) == 0
        rows = json.loads(capsys.readouterr().out)
        assert len(rows) == count
        assert all(str(row[key]) in table for row in rows)


def test_plan_shows_every_cell_without_starting_anything(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["plan", str(MATRIX), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert len(rows) == 12
    assert {row["basis"] for row in rows} == {"emulated"}
    need = rows[0]["training_memory_bytes"]
    peak = max(need["activations"] + need["logits"], need["evaluation"])
    assert need["total"] > need["weights"] + need["adapters"] + peak > 0
    assert main(["plan", str(MATRIX), "--set", "serve.dtype=bfloat16"]) == 0
    text = capsys.readouterr().out
    assert "has no native bfloat16" in text
    assert "12 cells, 8 refused" in text
    assert "may be worse" not in text
    # The matrix has three profiles with V100s, which are named once.
    assert text.count("V100: needs PyTorch's builds for CUDA 12.6") == 1
    assert "A100: needs" not in text
    assert "sequences of serve.max_batch_size" not in text
    large = ("--set", "serve.max_batch_size=100000", "--set", "load.max_tokens=400")
    assert main(["plan", str(MATRIX), *large]) == 0
    said = capsys.readouterr().out
    assert "of the 100000 sequences of serve.max_batch_size; engine generate may run out" in said
    gemma = ("--set", "cells=[gemma-1.1-7b@1xa100-1cpu]", "--set", "finetune.dtype=float16")
    note = (
        "may be worse than elsewhere: activations of standin-gemma-1.1-7b leave the range of "
        "float16; a Gemma adds them up in float32, which has not been tried with its real weights"
    )
    assert main(["plan", str(MATRIX), *gemma]) == 0
    assert f"fine-tune of standin-gemma-1.1-7b@2xa100-4cpu: {note}" in capsys.readouterr().out
    assert main(["plan", str(MATRIX), *gemma, "--json"]) == 0
    assert [row["finetune_caveat"] for row in json.loads(capsys.readouterr().out)] == [note]


def test_plan_says_that_engines_differ_and_plans_for_a_cluster_by_its_images(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compatibility, "VLLM_HEAD_DIMS", (16,))
    monkeypatch.setattr(
        resolve, "missing_here", lambda name, _: None if name == "continuous" else f"no {name} here"
    )
    cells = "cells=[llama-3-8b@1xa100-1cpu, llama-3-8b@1xv100-2cpu]"
    command = ["plan", str(MATRIX), "--set", "serve.engine=auto", "--set", cells]
    assert main([*command, "--on", "k8s"]) == 0
    out = capsys.readouterr().out
    assert "basis here" not in out, "nodes of the cluster decide it, not this machine"
    assert "engine vllm: auto: the first on a GPU in the table of docs/engines.md" in out
    assert (
        "The cells have different engines (continuous: standin-llama-3-8b@1xv100-2cpu; "
        "vllm: standin-llama-3-8b@1xa100-1cpu), so a difference between two of them can come"
    ) in out
    assert main(command) == 0
    out = capsys.readouterr().out
    assert "basis here" in out
    assert "passed over: no vllm here" in out
    assert "different engines" not in out
    assert main([*command, "--on", "k8s", "--json"]) == 0
    assert [row["basis"] for row in json.loads(capsys.readouterr().out)] == [None, None]


def test_plan_counts_the_servers_that_it_refuses(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server = "engine: external, url: 'http://h:8000/v1', model: m"
    file = tmp_path / "servers.yaml"
    file.write_text(
        "name: servers\nstand_ins: true\ncells:\n- distilgpt2@1xv100-1cpu\n"
        f"- {{{server}, name: open}}\n- {{{server}, name: ward-7, api_key_env: NO_SUCH_VARIABLE}}\n"
        "load: {points: [{concurrency: 1}]}\n"
    )
    assert main(["plan", str(file)]) == 0
    text = capsys.readouterr().out
    assert "the environment variable NO_SUCH_VARIABLE (API key) is not set" in text
    assert "3 cells (2 of them on external servers), 1 refused; 1 fine-tune " in text


def test_faults_go_to_standard_error_with_exit_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "wrong.yaml"
    file.write_text("name: a\ncels: paper\nload: {points: [{concurrency: 1}]}\n")
    for verb in ("validate", "plan", "run"):
        assert main([verb, str(file)]) == 2
        text = capsys.readouterr().err
        assert "line 2: cels: unknown field (did you mean 'cells'?)" in text
        assert "cells: is required" in text
        assert "Traceback" not in text
    assert main(["validate", str(file), "--json"]) == 2
    found = json.loads(capsys.readouterr().out)
    assert [fault["field"] for fault in found["faults"]] == ["cells", "cels"]
    assert main(["validate", str(tmp_path / "absent.yaml")]) == 2
    assert "no such file" in capsys.readouterr().err


def test_a_missing_data_file_is_said_before_anything_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--set", "dataset.name=local", "--set", "dataset.path=absent.csv"]
    assert main(["run", str(MATRIX), "--out", str(tmp_path), *options]) == 2
    assert "absent.csv: no such file" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_report_needs_results(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(tmp_path)]) == 2
    assert "no benchmark.parquet" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("raised", "code"), [(KeyboardInterrupt(), 3), (EnvironmentFault("disk full"), 4)]
)
def test_interruption_and_the_machines_faults_have_their_codes(
    raised: BaseException,
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def stop(*_: object, **__: object) -> int:
        raise raised

    monkeypatch.setattr("medsweep.cli.models.show", stop)
    assert cli.main(["models"]) == code
    assert capsys.readouterr().err.startswith("medsweep: ")
