"""Fine-tune on the Ray cluster that this job runs in; the sweep is in MEDSWEEP_SWEEP."""

import argparse
import os
import sys

from medsweep.cli.job import run_job
from medsweep.cluster.joined import JoinedCluster
from medsweep.finetune.ray_train import finetune_on
from medsweep.k8s.layout import adapter_folders, select_adapters
from medsweep.results.object_store import working_folder
from medsweep.sweep.finetune import adapter_folder, epoch_notes, finetune_job
from medsweep.sweep.progress import SweepProgress
from medsweep.sweep.resolve import resolve
from medsweep.sweep.spec import SweepSpec


def main() -> int:
    """Make the requested adapters that do not exist yet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--adapter", metavar="KEY", help="default: every adapter of the sweep")
    parser.add_argument("--out", required=True, metavar="DIR|URL")
    options = parser.parse_args()
    spec = SweepSpec.model_validate_json(os.environ["MEDSWEEP_SWEEP"])
    resolved = resolve(spec, here=False)  # that is the workers' part, who have the token
    wanted = select_adapters(resolved, options.adapter)
    with JoinedCluster(), working_folder(options.out, spec.name, adapter_folders(wanted)) as folder:
        for adapter in [each for each in wanted if not adapter_folder(folder, each).is_dir()]:
            job, storage = finetune_job(resolved, folder, adapter), folder / ".ray"
            name, notes = adapter.folder_name, epoch_notes(SweepProgress())
            finetune_on(adapter.profile, job, run_name=name, storage=storage, on_epoch=notes)
    return 0


if __name__ == "__main__":
    sys.exit(run_job(main))
