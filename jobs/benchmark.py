"""Measure cells on the Ray cluster that this job runs in; the sweep is in MEDSWEEP_SWEEP."""

import argparse
import os
import sys

from medsweep.cli.job import run_job
from medsweep.k8s.layout import cell_folders, select_cells
from medsweep.monitoring.prometheus import LiveMetrics
from medsweep.results.object_store import working_folder
from medsweep.sweep.resolve import resolve
from medsweep.sweep.run import run_cells
from medsweep.sweep.spec import SweepSpec


def main() -> int:
    """Measure the requested cells that are not done yet; return 1 if one failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cell", metavar="KEY", help="default: every cell of the sweep")
    parser.add_argument("--out", required=True, metavar="DIR|URL")
    parser.add_argument("--metrics-port", type=int, default=0, dest="port", metavar="OPEN_PORT")
    options = parser.parse_args()
    spec = SweepSpec.model_validate_json(os.environ["MEDSWEEP_SWEEP"])
    resolved = resolve(spec, here=False)  # that is the worker's part, which has the token
    cells = select_cells(resolved, options.cell)
    with (
        LiveMetrics(options.port, "0.0.0.0" if options.port else "127.0.0.1") as metrics,  # noqa: S104
        working_folder(options.out, spec.name, cell_folders(resolved, cells)) as folder,
    ):
        failures = run_cells(resolved, cells, folder, metrics)
    for name, reason in failures.items():
        print(f"medsweep: {name}: {reason}", file=sys.stderr)
    return int(bool(failures))


if __name__ == "__main__":
    sys.exit(run_job(main))
