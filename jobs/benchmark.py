"""Measure cells on the Ray cluster that this job runs in; the sweep is in MEDSWEEP_SWEEP."""

import argparse
import os
import sys
from pathlib import Path

from medsweep.cluster.kubernetes.cells import measure_cells
from medsweep.errors import MedSweepError, UnknownName
from medsweep.monitoring.prometheus import LiveMetrics
from medsweep.sweep.resolve import resolve
from medsweep.sweep.spec import SweepSpec


def main() -> int:
    """Measure each cell that is asked for and not done yet; 1 if one failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cell", metavar="KEY", help="default: every cell of the sweep")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--metrics-port", type=int, metavar="PORT", help="open to the network")
    options = parser.parse_args()
    spec = SweepSpec.model_validate_json(os.environ["MEDSWEEP_SWEEP"])
    resolved = resolve(spec, fetches=False)  # that is the worker's part, which has the token
    cells = {cell.key: cell for cell in resolved.plan.runnable}
    if options.cell not in (None, *cells):
        raise UnknownName("cell of this version's plan", options.cell, cells)
    asked = [cell for key, cell in cells.items() if options.cell in (None, key)]
    host = "127.0.0.1" if options.metrics_port is None else "0.0.0.0"  # noqa: S104
    with LiveMetrics(options.metrics_port or 0, host) as metrics:
        failures = measure_cells(resolved, asked, options.out.resolve() / spec.name, metrics)
    for name, reason in failures.items():
        print(f"medsweep: {name}: {reason}", file=sys.stderr)
    return MedSweepError.exit_code if failures else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except MedSweepError as error:
        sys.exit(f"medsweep: {error}")
