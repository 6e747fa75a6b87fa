"""The client that fetches a sweep from its claim, as a program of its own: prints how it grew.

`python fetching.py NAMESPACE SWEEP CELLS FOLDER`, with KUBECONFIG set. Prints one JSON object.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from medsweep.k8s.client import connect
from medsweep.k8s.fetch import fetch_cells
from medsweep.k8s.settings import ClusterSettings


def peak_bytes() -> int:
    """Return the most memory that this program had; `ru_maxrss` would be its parent's, if more."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def main() -> None:
    namespace, sweep, cells, folder = sys.argv[1:]
    settings, api = ClusterSettings(namespace=namespace), connect()
    keys = [f"{number:04}" for number in range(int(cells))]
    before_bytes = peak_bytes()
    fetched = fetch_cells(lambda: api, settings, sweep, keys, Path(folder))
    print(json.dumps({"fetched": fetched, "grown_bytes": peak_bytes() - before_bytes}))


if __name__ == "__main__":
    main()
