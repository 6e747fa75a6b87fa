"""Options that the cluster verbs share: settings, kubeconfig context, a sweep by name."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from medsweep.errors import InputError

if TYPE_CHECKING:
    from medsweep.k8s.client import Api
    from medsweep.k8s.settings import ClusterSettings


def add_cluster(parser: argparse._ActionsContainer, *, connects: bool = True) -> None:
    """Add the cluster's arguments.

    Args:
        parser: of the verb.
        connects: whether the verb needs the API server, and so a context.
    """
    parser.add_argument(
        "--cluster", type=Path, metavar="FILE", help="YAML file with the cluster's settings"
    )
    parser.add_argument("--namespace", metavar="NAME", help="overrides the settings' namespace")
    if connects:
        parser.add_argument(
            "--context", metavar="NAME", help="context of the kubeconfig; default: the current one"
        )


def add_named_sweep(parser: argparse.ArgumentParser) -> None:
    """Add a sweep that may be given by name."""
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
    """Return the cluster's settings; raise a ConfigError that lists all their faults."""
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
            f"--namespace {options.namespace}: expected at most 63 lower-case letters, digits and "
            "hyphens"
        ) from None


def _at_least_one(text: str) -> int:
    """Parse a positive integer, for argparse."""
    if int(text) < 1:
        raise argparse.ArgumentTypeError("expected 1 or more")
    return int(text)


def cluster_of(options: argparse.Namespace) -> Api:
    """Return the API server of the context that the arguments name."""
    from medsweep.k8s.client import connect

    return connect(options.context)


def sweep_name(options: argparse.Namespace) -> str:
    """Return the name of a sweep that is given as a file or by name."""
    path = Path(options.sweep)
    if path.suffix not in (".yaml", ".yml"):
        return str(options.sweep)
    from medsweep.config import load_config
    from medsweep.sweep.spec import SweepSpec

    return load_config(SweepSpec, path).name
