"""Run the GPU check: `python -m gpu [--out FOLDER] [STAGE ...]`; all stages without an argument."""

import argparse
import importlib
import sys
import time
import traceback
from pathlib import Path

from gpu.report import Report

STAGES = {
    "machine": ("machine:describe", "machine:visible", "machine:sustained"),
    "training-right": (
        "training_right:layouts",
        "training_right:dtypes",
        "training_right:resume",
        "training_right:leak",
        "training_right:overflow",
        "training_right:job",
    ),
    "two-workers": ("two_workers:ddp",),
    "serving-right": ("serving_right:parity", "serving_right:dtypes"),
    "training-fast": ("training_fast:speed", "training_fast:memory", "training_fast:evaluation"),
    "serving-fast": (
        "serving_fast:speed",
        "serving_fast:without_graphs",
        "serving_fast:generate",
    ),
    "one-core": ("serving_fast:one_core",),
    "memory": ("out_of_memory:serving",),
    "traces": ("traces:decoding", "traces:training"),
    "endpoint": ("endpoint:bench",),
}


def run_stage(name: str, report: Report) -> None:
    """Run one stage, or a part of one; whatever it raises becomes a row."""
    for place in STAGES.get(name, (name,)):
        module, _, function = place.partition(":")
        started = time.monotonic()
        try:
            getattr(importlib.import_module(f"gpu.{module}"), function)(report)
        except Exception as error:  # noqa: BLE001 the next stage may still run
            report.crashed(place, error, trace=traceback.format_exc()[-1500:])
        report.row(f"{place} ended", seconds=round(time.monotonic() - started, 1))


def main() -> int:
    """Run the stages that the command line names."""
    parser = argparse.ArgumentParser(prog="gpu-check", description=__doc__)
    parser.add_argument(
        "stages",
        nargs="*",
        metavar="STAGE",
        help=f"{', '.join(STAGES)}, or a part such as serving_fast:speed",
    )
    parser.add_argument("--out", type=Path, default=Path("results/gpu-check"), metavar="FOLDER")
    options = parser.parse_args()
    parts = {part for stage in STAGES.values() for part in stage}
    if unknown := set(options.stages) - set(STAGES) - parts:
        parser.error(f"no stage {', '.join(sorted(unknown))}; there are {', '.join(STAGES)}")
    options.out.mkdir(parents=True, exist_ok=True)
    report = Report(options.out / "check.jsonl")
    for name in options.stages or STAGES:
        run_stage(name, report)
    print(f"{len(report.failed)} rows say that something is wrong; all are in {report.path}")
    return 1 if report.failed else 0


if __name__ == "__main__":
    sys.exit(main())
