"""The report of a million requests: seconds, memory and size, with nothing to compare with."""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from medsweep.results.schema import BENCHMARK, QUALITIES, RESPONSES, arrow_schema
from medsweep.results.store import write_rows

CELLS, QUESTIONS, REPEATS = 45, 100, 222


def make_results(folder: Path) -> int:
    """Write 45 cells of 22,200 answers each; return the number of answers."""
    draw = np.random.default_rng(1)
    rows = []
    for number in range(CELLS):
        key, count = f"key{number}", QUESTIONS * REPEATS
        columns = {
            "load_point": ["c8"] * count,
            "repeat": np.repeat(np.arange(1, REPEATS + 1), QUESTIONS),
            "variant": np.where(np.arange(count) % 2, "adapter", "base"),
            "index": np.arange(count),
            "question_id": [f"q{place % QUESTIONS}" for place in range(count)],
            "question": ["What are the symptoms?"] * count,
            "reference": ["Fever and a cough. " * 20] * count,
            "answer": ["Fever, as a rule. " * 20] * count,
            **{name: draw.random(count) for name in QUALITIES},
        }
        path = folder / "cells" / key / "responses.parquet"
        path.parent.mkdir(parents=True)
        schema = arrow_schema(RESPONSES)
        pq.write_table(
            pa.table({name: columns.get(name, [None] * count) for name in schema.names}, schema),
            path,
        )
        rows += [
            {
                "sweep": "large",
                "key": key,
                "cell": f"m{number % 5}@p{number // 5}",
                "model": f"m{number % 5}",
                "profile": f"p{number // 5}",
                "variant": "adapter",
                "basis": "emulated",
                "status": "ok",
                "load_point": "c8",
                "concurrency": 8,
                "repeat": repeat,
                "e2e_mean_s": 1.0 + draw.random(),
                "token_f1": 0.3,
                "requests_per_s": 5.0,
            }
            for repeat in range(1, 4)
        ]
    write_rows(folder / "benchmark.parquet", BENCHMARK, rows)
    return CELLS * QUESTIONS * REPEATS


@pytest.mark.timeout(600)
def test_report_of_a_million_requests(tmp_path: Path) -> None:
    answers = make_results(tmp_path)
    started = time.perf_counter()
    subprocess.run([sys.executable, "-m", "medsweep", "report", str(tmp_path)], check=True)
    took = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    size = (tmp_path / "report.html").stat().st_size / 1e6
    print(f"\nreport of {answers:,} answers: {took:.1f} s, {peak:.2f} GiB, page {size:.2f} MB")
