"""What the verbs that talk to a cluster share: its settings, its address, a sweep by name."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from medsweep.errors import InputError

if TYPE_CHECKING:
    from medsweep.k8s.client import Api
    from medsweep.k8s.settings import ClusterSettings


def add_cluster(parser: argparse._ActionsContainer, *, talks: bool = True) -> None:
    """Add the cluster's arguments.

    Args:
        parser: of the verb.
        talks: also those that find the API server.
    """
    parser.add_argument(
        "--cluster", type=Path, metavar="FILE", help="YAML file with the cluster's settings"
    )
    parser.add_argument("--namespace", metavar="NAME", help="in place of the settings' namespace")
    if talks:
        parser.add_argument(
            "--context", metavar="NAME", help="context of the kubeconfig; default: the current one"
        )


def add_named_sweep(parser: argparse.ArgumentParser) -> None:
    """Add a sweep that may be given by its name alone."""
    parser.add_argument("sweep", metavar="SWEEP", help="the sweep's YAML file, or its name")


def add_max_at_once(parser: argparse._ActionsContainer) -> None:
    """Add `--max-at-once`."""
    parser.add_argument(
        "--max-at-once",
        type=_at_least_one,
        metavar="JOBS",
        help="jobs in the cluster at once; default: what Kueue or the pools' GPUs admit",
    )


def load_settings(options: argparse.Namespace) -> ClusterSettings:
    """Return the cluster's settings; raise ConfigError with all their faults."""
    from medsweep.config import load_config
    from medsweep.k8s.settings import ClusterSettings

    if options.cluster is not None:
        overrides = [f"namespace={options.namespace}"] if options.namespace else []
        return load_config(ClusterSettings, options.cluster, overrides)
    if options.namespace is None:
        return ClusterSettings()
    try:
        return ClusterSettings(namespace=options.namespace)
    except ValueError:
        raise InputError(
            f"--namespace {options.namespace}: expected lower-case letters, digits and hyphens, "
            "63 at most"
        ) from None


def _at_least_one(text: str) -> int:
    """Return a whole number from 1 on, for argparse."""
    if int(text) < 1:
        raise argparse.ArgumentTypeError("expected 1 or more")
    return int(text)


def cluster_of(options: argparse.Namespace) -> Api:
    """Return the API server that the arguments name."""
    from medsweep.k8s.client import connect

    return connect(options.context)


def sweep_name(options: argparse.Namespace) -> str:
    """Return the name of the sweep that is given by file or by name."""
    path = Path(options.sweep)
    if path.suffix not in (".yaml", ".yml"):
        return str(options.sweep)
    from medsweep.config import load_config
    from medsweep.sweep.spec import SweepSpec

    return load_config(SweepSpec, path).name
