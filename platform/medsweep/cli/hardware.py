"""`medsweep hardware`: list the hardware profiles and this machine."""

from __future__ import annotations

import argparse

from medsweep.cli.options import add_json, show
from medsweep.errors import EXIT_DONE
from medsweep.hardware.catalog import PROFILES
from medsweep.hardware.observe import host_profile
from medsweep.hardware.profile import GIB

HEADINGS = {
    "profile": "profile",
    "cpus": "CPUs",
    "gpus": "GPUs",
    "accelerator": "accelerator",
    "gpu_memory_gib": "GPU GiB",
    "host_memory_gib": "host GiB",
    "usd_per_hour": "USD/h",
    "price_source": "price from",
}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    add_json(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print the nine profiles and `host`."""
    rows = [
        {
            "profile": profile.name,
            "cpus": profile.cpus,
            "gpus": profile.gpus,
            "accelerator": profile.accelerator.product if profile.accelerator else None,
            "gpu_memory_gib": round(profile.gpu_memory_bytes / GIB),
            "host_memory_gib": round(profile.host_memory_bytes / GIB),
            "usd_per_hour": profile.usd_per_hour,
            "price_source": f"{profile.price_source} ({profile.price_date})"
            if profile.price_source
            else None,
            "labels": profile.labels,
        }
        for profile in (*PROFILES.values(), host_profile())
    ]
    show(rows, as_json=options.json, headings=HEADINGS)
    return EXIT_DONE
