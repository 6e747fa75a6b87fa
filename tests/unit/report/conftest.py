"""A small result folder, as a run leaves it: two stand-ins, three profiles, one refusal."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from medsweep.report.page import write_report
from medsweep.results.schema import BENCHMARK, QUALITIES, RESPONSES
from medsweep.results.store import write_json, write_rows

Row = dict[str, Any]

LLAMA, DISTIL = "standin-llama-3-8b", "standin-distilgpt2"
ANSWER = 'Rest & water <script>alert("x")</script>'
REFUSAL = "16.1 GB do not fit in 16 GiB of one V100"
FAILURE = "the engine <did> not start"
BASE_F1, TUNED_F1 = [0.1, 0.2, 0.3, 0.4, 0.2, 0.1], [0.3, 0.2, 0.5, 0.6, 0.3, 0.2]


class Small:
    """What the small folder holds, for the tests to compare with."""

    llama, distil = LLAMA, DISTIL
    answer, refusal, failure = ANSWER, REFUSAL, FAILURE
    base_f1, tuned_f1 = BASE_F1, TUNED_F1
    llama_key = f"key-{LLAMA}-1xa100-1cpu"


@pytest.fixture
def small() -> type[Small]:
    return Small


def row(model: str, profile: str, **values: Any) -> Row:
    """Return one row of the benchmark; every other column is null."""
    real = model.removeprefix("standin-")
    known: Row = {
        "sweep": "small",
        "cell": f"{model}@{profile}",
        "key": f"key-{model}-{profile}",
        "model": model,
        "stands_in_for": real if real != model else None,
        "adapter_sha256": f"sha-{model}",
        "variant": "adapter",
        "profile": profile,
        "load_point": "c1",
        "concurrency": 1,
        "repeat": 1,
        "dataset_sha256": "d" * 64,
        "cpus": 1,
        "gpus": 1,
        "accelerator": "V100",
        "engine": "generate",
        "dtype": "float16",
        "dtype_given": "float32",
        "basis": "emulated",
        "basis_reason": "no V100 in this machine",
        "cpus_given": 1,
        "threads": 1,
        "hostname": "laptop",
        "cpu_model": "A CPU",
        "device": "A CPU",
        "versions": '{"medsweep": "0.1", "torch": "2.11"}',
        "git_commit": "abc123",
        "measured_at": "2026-01-02T03:04:05Z",
        "max_tokens": 64,
        "quantization": "none",
        "status": "ok",
        "sent": 64,
        "ok": 64,
        "failed": 0,
        "client_ttft_bias_s": 0.0004,
        "client_limited": False,
        "overhead_ttft_s": 0.003,
    }
    return known | values


def measured(model: str, profile: str, point: int, repeat: int, e2e_s: float, **more: Any) -> Row:
    """Return one measured row; times follow from the end-to-end time."""
    figures: Row = {"questions": 6, "corpus_bleu": 0.12}
    for place, name in enumerate(QUALITIES):
        mean = 0.1 + 0.05 * place
        figures |= {name: mean, f"{name}_low": mean - 0.02, f"{name}_high": mean + 0.02}
        figures[f"{name}_max"] = mean + 0.3
    return row(
        model,
        profile,
        **{
            "load_point": f"c{point}",
            "concurrency": point,
            "repeat": repeat,
            "ttft_mean_s": e2e_s / 10,
            "ttft_mean_low_s": 0.01,
            "ttft_mean_high_s": 0.09,
            "ttft_p50_s": e2e_s / 11,
            "tpot_mean_s": e2e_s / 100,
            "e2e_mean_s": e2e_s,
            "e2e_mean_low_s": 0.9 * e2e_s,
            "e2e_mean_high_s": 1.2 * e2e_s,
            "e2e_p50_s": e2e_s,
            "requests_per_s": point / e2e_s,
            "output_tokens_per_s": 20 * point / e2e_s,
            **figures,
            **more,
        },
    )


def make_rows() -> list[Row]:
    """Return rows as read_rows gives them, all columns present."""
    given = [
        measured(LLAMA, "1xa100-1cpu", 1, 1, 0.4),
        measured(LLAMA, "1xa100-1cpu", 1, 2, 0.6, failed=2),
        measured(LLAMA, "1xa100-1cpu", 4, 1, 0.8, ttft_p90_s=0.123),
        measured(LLAMA, "1xa100-1cpu", 1, 1, 0.5, variant="base", adapter_sha256=None),
        measured(DISTIL, "1xv100-1cpu", 1, 1, 0.2, token_f1=0.2),
        measured(DISTIL, "host", 1, 1, 0.1, basis="observed", basis_reason=None, token_f1=0.3),
        row(LLAMA, "1xv100-1cpu", status="refused", reason=REFUSAL, load_point=None, basis=None,
            variant=None, repeat=None, sent=None, failed=None, client_limited=None),
        row(DISTIL, "1xa100-1cpu", status="failed", reason=FAILURE, failed=3,
            failed_by_kind={"timeout": 3}),
    ]  # fmt: skip
    nothing = {column.name: None for column in BENCHMARK}
    return [nothing | each for each in given]


def answers(points: Mapping[str, list[float]], model: str) -> list[Row]:
    """Return graded answers by variant; the adapter answers each question twice."""
    found = []
    for variant, scores in points.items():
        for repeat in (1, 2) if variant == "adapter" else (1,):
            for place, score in enumerate(scores):
                found.append(
                    {
                        "load_point": "c1",
                        "repeat": repeat,
                        "variant": variant,
                        "index": place,
                        "question_id": f"q{place}",
                        "question": f"What helps against illness {place}?",
                        "reference": "Rest and water.",
                        "answer": f"{ANSWER} says {model}",
                        **dict.fromkeys(QUALITIES, 0.5),
                        # The two repeats differ, and their mean is the score.
                        "token_f1": score + (0.05 if repeat == 1 else -0.05)
                        if variant == "adapter"
                        else score,
                    }
                )
    return found


def make_responses() -> dict[str, list[Row]]:
    return {
        f"key-{LLAMA}-1xa100-1cpu": answers({"base": BASE_F1, "adapter": TUNED_F1}, LLAMA),
        f"key-{DISTIL}-host": answers({"adapter": TUNED_F1}, DISTIL),
    }


def epochs() -> list[Row]:
    found = []
    for epoch in range(3):
        figures: Row = {"corpus_bleu": 0.01 + epoch / 50, "corpus_bleu_low": None}
        for name in QUALITIES:
            mean = 0.1 + epoch / 20
            figures |= {name: mean, f"{name}_low": mean - 0.03, f"{name}_high": mean + 0.03}
        loss = None if epoch == 0 else 3.0 - epoch / 2
        found.append({"epoch": epoch, "loss": loss, "eval_loss": 3.5 - epoch / 2, **figures})
    return found


def make_folder(folder: Path) -> Path:
    """Write a result folder, with an adapter that is being made and one without its record."""
    (folder / "sweep.yaml").write_text("name: small\ndataset: {name: embedded}\n")
    write_rows(folder / "benchmark.parquet", BENCHMARK, make_rows())
    for key, found in make_responses().items():
        write_rows(folder / "cells" / key / "responses.parquet", RESPONSES, found)
    for name, where in ((LLAMA, ("1xa100-1cpu", "emulated")), (DISTIL, ("host", "observed"))):
        adapter = folder / "adapters" / f"{name}-k"
        write_json(adapter / "provenance.json", dict(zip(("profile", "basis"), where, strict=True)))
        write_json(adapter / "adapter.json", {"model": name, "sha256": f"sha-{name}"})
        pq.write_table(pa.Table.from_pylist(epochs()), adapter / "training.parquet")
    (folder / "adapters" / ".making-1").mkdir()
    write_json(folder / "adapters" / "other-k" / "adapter.json", {"model": "distilgpt2"})
    return folder


@pytest.fixture
def rows() -> list[Row]:
    return make_rows()


@pytest.fixture
def responses() -> dict[str, list[Row]]:
    return make_responses()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_folder(tmp_path)


@pytest.fixture(scope="session")
def reported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small result folder with its report, for tests that only read."""
    folder = make_folder(tmp_path_factory.mktemp("small"))
    assert write_report(folder) == folder / "report.html"
    return folder
