"""What users' own tools read, pinned: result columns, the report's CSV tables, manifests.

`make goldens` writes `tests/golden/` anew; a test compares. A difference that is meant is committed
with a line in CHANGELOG.md.
"""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from medsweep.cli import main as medsweep
from medsweep.results.schema import (
    BENCHMARK,
    QUALITIES,
    REQUESTS,
    RESPONSES,
    Column,
    arrow_schema,
)
from medsweep.results.store import write_json, write_rows
from medsweep.version import __version__

Row = dict[str, Any]

GOLDEN = Path(__file__).parent / "golden"
TABLES = {"benchmark": BENCHMARK, "requests": REQUESTS, "responses": RESPONSES}
STAGES = ("finetune", "benchmark", "serve")
SWEEP = """\
name: golden
seed: 7
dataset: {name: embedded}
cells: [llama-3-8b@1xa100-2cpu, distilgpt2@1xv100-1cpu]
finetune: {quantization: nf4}
serve: {quantization: nf4}
load:
  points: [{concurrency: 1, requests: 64}, {concurrency: 8, requests: 256}]
  repeats: 3
  max_tokens: 128
"""


def make_goldens() -> dict[str, str]:
    """Return the content of every golden file, by its path below `tests/golden`."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        found = {f"columns/{name}.txt": columns(table) for name, table in TABLES.items()}
        found |= {f"tables/{path.name}": path.read_text("utf-8") for path in report_tables(folder)}
        found |= {f"manifests/{stage}.yaml": manifests(folder, stage) for stage in STAGES}
    return found


def columns(table: tuple[Column, ...]) -> str:
    """Return the name and Arrow type of every column, one a line."""
    return "".join(f"{field.name}: {field.type}\n" for field in arrow_schema(table))


def manifests(folder: Path, stage: str) -> str:
    """Return what `medsweep k8s render` prints for a fixed sweep."""
    sweep = folder / "sweep.yaml"
    sweep.write_text(SWEEP, encoding="utf-8")
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        assert medsweep(["k8s", "render", str(sweep), "--stage", stage]) == 0
    return out.getvalue().replace(__version__, "VERSION")


def report_tables(folder: Path) -> list[Path]:
    """Return the CSV tables that `medsweep report` writes for a fixed result folder."""
    results = make_results(folder / "results")
    with contextlib.redirect_stdout(io.StringIO()):
        assert medsweep(["report", str(results)]) == 0
    return sorted((results / "tables").glob("*.csv"))


def make_results(folder: Path) -> Path:
    """Write a result folder in which no table of the report is empty."""
    rows = list(make_rows())
    write_rows(folder / "benchmark.parquet", BENCHMARK, rows)
    keys = {row["key"]: row["model"] for row in rows if row["status"] == "ok"}
    for key, model in keys.items():
        path = folder / "cells" / key / "responses.parquet"
        write_rows(path, RESPONSES, make_answers(model))
    for model, basis in (("llama-3-8b", "observed"), ("standin-gemma-1.1-7b", "emulated")):
        adapter = folder / "adapters" / f"{model}-0123456789abcdef"
        write_json(adapter / "provenance.json", {"profile": "2xa100-4cpu", "basis": basis})
        write_json(adapter / "adapter.json", {"model": model, "sha256": f"sha-{model}"})
        pq.write_table(pa.Table.from_pylist(list(make_epochs())), adapter / "training.parquet")
    return folder


def make_row(model: str, profile: str, **values: Any) -> Row:
    """Return a row of `benchmark.parquet` with what every row has."""
    stands_in_for = model.removeprefix("standin-")
    return {
        "sweep": "golden",
        "cell": f"{model}@{profile}",
        "key": f"key-{model}-{profile}",
        "model": model,
        "stands_in_for": None if stands_in_for == model else stands_in_for,
        "profile": profile,
        "dataset_sha256": "d" * 64,
        "cpus": 2,
        "gpus": 1,
        "accelerator": "A100",
        "engine": "continuous",
        "dtype": "bfloat16",
        "quantization": "nf4",
        "max_tokens": 128,
        "versions": '{"medsweep": "0.1", "torch": "2.13"}',
        "git_commit": "abc123",
        **values,
    }


def measured(
    model: str, profile: str, load: int | float, repeat: int, e2e_s: float, **values: Any
) -> Row:
    """Return a measured row: a closed loop for a whole number, else arrivals per second."""
    closed = isinstance(load, int)
    rate = load / e2e_s if closed else load
    row: Row = {
        "status": "ok",
        "basis": "observed",
        "variant": "adapter",
        "adapter_sha256": f"sha-{model}",
        "load_point": f"c{load}" if closed else f"r{load:g}-poisson",
        "concurrency": load if closed else None,
        "rate_rps": None if closed else load,
        "repeat": repeat,
        "dtype_given": "bfloat16",
        "cpus_given": 2,
        "threads": 2,
        "hostname": "node-1",
        "cpu_model": "A processor",
        "cpu_throttled_periods": repeat,
        "governor": "performance",
        "device": "NVIDIA A100",
        "driver": "570.1",
        "measured_at": f"2026-01-02T03:04:{repeat:02}Z",
        "sent": 64,
        "ok": 64,
        "failed": 0,
        "failed_by_kind": {},
        "ttft_mean_s": e2e_s / 10,
        "ttft_mean_low_s": e2e_s / 12,
        "ttft_mean_high_s": e2e_s / 8,
        "ttft_p50_s": e2e_s / 11,
        "ttft_p90_s": e2e_s / 7,
        "tpot_mean_s": e2e_s / 100,
        "e2e_mean_s": e2e_s,
        "e2e_mean_low_s": 0.9 * e2e_s,
        "e2e_mean_high_s": 1.2 * e2e_s,
        "e2e_p50_s": e2e_s,
        "e2e_p90_s": 1.3 * e2e_s,
        "requests_per_s": rate,
        "output_tokens_per_s": 20 * rate,
        "questions": 8,
        "corpus_bleu": 0.12,
        "truncated_share": 0.25,
        "long_references_share": 0.75,
        "client_ttft_bias_s": 0.0004,
        "client_limited": False,
        "overhead_ttft_s": 0.003,
        "overhead_tpot_s": 0.0002,
        "bound": "gpu memory bandwidth" if repeat < 3 else "queue",
        "bound_evidence": f"memory busy 0.9{repeat}",
        "predicted_tpot_s": e2e_s / 180,
        "predicted_bound": "bandwidth",
        "usd_per_hour": 3.67,
        "price_source": "a list",
        "price_date": "2026-01-01",
        "usd_per_answer": 0.001 * e2e_s,
        "usd_per_1000_answers": e2e_s,
        "energy_j_per_1000_answers": 40_000 * e2e_s,
    }
    for place, name in enumerate(QUALITIES):
        mean = 0.1 + 0.05 * place
        row |= {name: mean, f"{name}_low": mean - 0.02, f"{name}_high": mean + 0.02}
        row[f"{name}_max"] = mean + 0.3
        row |= {f"{name}_ceiling": mean + 0.4, f"{name}_floor": mean - 0.05, f"{name}_empty": 0.0}
    return make_row(model, profile, **row | values)


def make_rows() -> Iterator[Row]:
    """Return observed, emulated, predicted, failed and refused rows, of base and adapter."""
    llama, gemma, distil = "llama-3-8b", "standin-gemma-1.1-7b", "distilgpt2"
    unpriced = dict.fromkeys(("usd_per_answer", "usd_per_1000_answers"))
    unsensed = unpriced | dict.fromkeys(
        ("bound", "bound_evidence", "predicted_tpot_s", "predicted_bound")
    )
    emulated = {
        **unsensed,
        "basis": "emulated",
        "basis_reason": "no RTX 8000 in this machine",
        "accelerator": "RTX 8000",
        "hostname": "laptop",
        "device": "A processor",
        "driver": None,
        "governor": None,
        "dtype_given": "float32",
    }
    base = {"variant": "base", "adapter_sha256": None, "token_f1": 0.25}
    for repeat in (1, 2, 3):
        yield measured(llama, "1xa100-2cpu", 1, repeat, 4.0 + repeat / 10)
        yield measured(llama, "1xa100-2cpu", 8, repeat, 6.0 + repeat / 10, questions=24)
        yield measured(llama, "1xa100-2cpu", 2.5, repeat, 5.0, client_limited=repeat == 2)
        yield measured(llama, "1xa100-2cpu", 1, repeat, 3.9, **base)
        yield measured(distil, "1xv100-1cpu", 1, repeat, 0.5, failed=repeat, token_f1=0.2)
        yield measured(gemma, "2xrtx8000-4cpu", 1, repeat, 0.2, **emulated)
    yield measured(gemma, "2xrtx8000-4cpu", 1, 1, 0.2, **emulated | base)
    yield measured(gemma, "1xrtx8000-1cpu", 1, 1, 0.3, **emulated, ttft_p90_s=None)
    ungraded = {f"{name}{end}": None for name in QUALITIES for end in ("", "_low", "_high", "_max")}
    yield measured(
        llama,
        "2xa100-4cpu",
        1,
        1,
        2.0,
        **unsensed | ungraded,
        basis="predicted",
        basis_reason="computed from datasheets",
        hostname=None,
        questions=None,
        corpus_bleu=None,
        e2e_mean_low_s=None,
        e2e_mean_high_s=None,
    )
    yield make_row(llama, "1xv100-1cpu", status="refused", reason="16.1 GB do not fit in 16 GiB")
    yield make_row(
        distil,
        "2xv100-4cpu",
        status="failed",
        reason="too many timeouts",
        load_point="c8",
        failed_by_kind={"timeout": 3, "http": 1},
    )
    yield make_row(distil, "2xa100-4cpu", status="failed", reason="=the engine\ndid not start")


def make_answers(model: str) -> Iterator[Row]:
    """Return graded answers to eight questions, of the adapter and of the base model."""
    better = {"llama-3-8b": 0.3, "standin-gemma-1.1-7b": 0.0, "distilgpt2": -0.1}[model]
    for variant, gain in (("adapter", better), ("base", 0.0)):
        for place in range(8):
            score = 0.2 + 0.04 * place + gain + (0.01 * (place % 3) if gain else 0.0)
            yield {
                "load_point": "c1",
                "repeat": 1,
                "variant": variant,
                "index": place,
                "question_id": f"q{place}",
                **dict.fromkeys(QUALITIES, score),
                "exact_match": float(score > 0.6),
                "bleu": 0.1,
            }


def make_epochs() -> Iterator[Row]:
    """Return the training record of two epochs, the base model first."""
    for epoch in range(3):
        row: Row = {
            "epoch": epoch,
            "loss": 3.0 - epoch / 2 if epoch else None,
            "eval_loss": 3.5 - epoch / 2,
            "seconds": 12.5 * epoch,
            "tokens": 4000 * epoch,
            "corpus_bleu": 0.01 + epoch / 50,
            "corpus_bleu_low": None,
            "corpus_bleu_high": None,
        }
        for name in QUALITIES:
            mean = 0.1 + epoch / 20
            row |= {name: mean, f"{name}_low": mean - 0.03, f"{name}_high": mean + 0.03}
        yield row


def write() -> None:
    """Write `tests/golden/` anew."""
    found = make_goldens()
    for path in GOLDEN.rglob("*.*"):
        if path.relative_to(GOLDEN).as_posix() not in found:
            path.unlink()
    for name, text in found.items():
        (GOLDEN / name).parent.mkdir(parents=True, exist_ok=True)
        (GOLDEN / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write()
