"""Run the GPU check: `python -m gpu [--out FOLDER] [STAGE ...]`; all stages without an argument."""

import argparse
import importlib
import sys
import time
import traceback
from pathlib import Path

from gpu.report import Report
from gpu.stages import STAGES, parts_of
from gpu.supervise import run_parts


def run_here(parts: list[str], report: Report) -> None:
    """Run parts in this process until one raises an error, which becomes a row.

    An error may leave the GPU in a state in which everything else fails, so that the next part gets
    a process of its own.
    """
    for part in parts:
        module, _, function = part.partition(":")
        report.row(f"{part} began")
        started = time.monotonic()
        try:
            getattr(importlib.import_module(f"gpu.{module}"), function)(report)
        except Exception as error:  # noqa: BLE001 the others may still run
            report.crashed(part, error, trace=traceback.format_exc()[-1500:])
            failed = True
        else:
            failed = False
        report.row(f"{part} ended", seconds=round(time.monotonic() - started, 1))
        if failed:
            return


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
    parser.add_argument(
        "--patience",
        type=float,
        default=1.0,
        metavar="FACTOR",
        help="multiplies the time limits of the parts, which are those of an H100; default: 1",
    )
    parser.add_argument("--here", action="store_true", help="in this process, without time limits")
    options = parser.parse_args()
    try:
        parts = parts_of(tuple(options.stages or STAGES))
    except KeyError as error:
        parser.error(f"no stage {error.args[0]}; there are {', '.join(STAGES)}")
    options.out.mkdir(parents=True, exist_ok=True)
    report = Report(options.out / "check.jsonl")
    if options.here:
        run_here([part for part, _ in parts], report)
        return 0
    command = [sys.executable, "-m", "gpu", "--here", "--out", str(options.out)]
    run_parts([(part, limit * options.patience) for part, limit in parts], command, report)
    print(f"{len(report.failed)} rows say that something is wrong; all are in {report.path}")
    return 1 if report.failed else 0


if __name__ == "__main__":
    sys.exit(main())
