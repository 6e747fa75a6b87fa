"""Gather the cells of a sweep into its files: benchmark.parquet, metrics.prom and the report."""

import argparse
import os
import sys
from pathlib import Path

from medsweep.errors import MedSweepError
from medsweep.sweep.gather import gather
from medsweep.sweep.resolve import resolve
from medsweep.sweep.spec import SweepSpec


def main() -> None:
    """Write what the cells come to; the sweep is in MEDSWEEP_SWEEP."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    options = parser.parse_args()
    spec = SweepSpec.model_validate_json(os.environ["MEDSWEEP_SWEEP"])
    summary = gather(resolve(spec, fetches=False), options.out, {})
    for name, reason in summary.failures.items():
        print(f"medsweep: {name}: {reason}", file=sys.stderr)


if __name__ == "__main__":
    try:
        main()
    except MedSweepError as error:
        sys.exit(f"medsweep: {error}")
