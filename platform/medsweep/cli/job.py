"""How the entrypoints of `jobs/` end."""

from __future__ import annotations

import sys
from collections.abc import Callable

from medsweep.errors import Interrupted, MedSweepError


def run_job(job: Callable[[], int]) -> int:
    """Run a job and return the exit code of its process, which is that of the command line.

    What nobody expected keeps its traceback: a pod's log is all that is left of it.

    Args:
        job: returns its exit code.
    """
    error: MedSweepError
    try:
        return job()
    except KeyboardInterrupt:
        error = Interrupted("interrupted: what was done is kept; submit the sweep again to resume")
    except MedSweepError as raised:
        error = raised
    print(f"medsweep: {error}", file=sys.stderr, flush=True)
    return error.exit_code
