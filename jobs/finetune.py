"""Fine-tune on the Ray cluster that this job runs in; the sweep is in MEDSWEEP_SWEEP."""

import argparse
import os
import sys
from pathlib import Path

import ray

from medsweep.errors import MedSweepError
from medsweep.finetune.ray_train import finetune_on
from medsweep.sweep.finetune import adapter_folder, finetune_job
from medsweep.sweep.resolve import resolve
from medsweep.sweep.spec import SweepSpec


def main() -> None:
    """Make each adapter that is asked for and not there yet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--adapter", metavar="KEY", help="default: every adapter of the sweep")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    options = parser.parse_args()
    spec = SweepSpec.model_validate_json(os.environ["MEDSWEEP_SWEEP"])
    # The weights are fetched by the workers, which have the token.
    resolved = resolve(spec, fetches=False)
    adapters, folder = resolved.plan.adapters, options.out / spec.name
    ray.init()
    for adapter in [adapters[options.adapter]] if options.adapter else adapters.values():
        if not adapter_folder(folder, adapter).is_dir():
            job = finetune_job(resolved, folder, adapter)
            name, storage = adapter.folder_name, folder / ".ray"
            finetune_on(adapter.profile, job, run_name=name, storage=storage)


if __name__ == "__main__":
    try:
        main()
    except MedSweepError as error:
        sys.exit(f"medsweep: {error}")
