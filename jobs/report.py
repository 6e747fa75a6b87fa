"""Gather the cells of a sweep into its files: benchmark.parquet, metrics.prom and the report."""

import argparse
import os
import sys
from pathlib import Path

import yaml

from medsweep.errors import InputError, MedSweepError
from medsweep.monitoring.prometheus import textfile
from medsweep.report.page import write_report
from medsweep.results.cells import CellFolder
from medsweep.results.schema import BENCHMARK
from medsweep.results.store import read_rows, write_rows, write_text
from medsweep.sweep.spec import SweepSpec


def main() -> None:
    """Write what the cells that have a result come to; the sweep is in MEDSWEEP_SWEEP."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    spec = SweepSpec.model_validate_json(os.environ["MEDSWEEP_SWEEP"])
    folder = parser.parse_args().out.resolve() / spec.name
    records = [CellFolder(path).record() for path in sorted((folder / "cells").glob("*"))]
    rows = [row for record in records if record for row in record["rows"]]
    if not rows:
        raise InputError(f"{folder}: no cell has a result yet")
    write_text(folder / "sweep.yaml", yaml.safe_dump(spec.model_dump(mode="json")))
    write_rows(folder / "benchmark.parquet", BENCHMARK, rows)
    write_text(folder / "metrics.prom", textfile(read_rows(folder / "benchmark.parquet")))
    write_report(folder)


if __name__ == "__main__":
    try:
        main()
    except MedSweepError as error:
        sys.exit(f"medsweep: {error}")
