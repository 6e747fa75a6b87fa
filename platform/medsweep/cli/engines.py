"""`medsweep engines`: the environments of engines that cannot share MedSweep's own."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from medsweep.cli.options import add_json, show
from medsweep.errors import EXIT_DONE


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the actions and their arguments."""
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    listing = actions.add_parser("list", help="list every engine and what it needs")
    listing.set_defaults(run=run_list)
    add_json(listing)
    installing = actions.add_parser(
        "install", help="install an engine in an environment of its own, every wheel by its hash"
    )
    installing.set_defaults(run=run_install)
    fetching = actions.add_parser(
        "download", help="fetch an engine's wheels into a folder, for machines without a network"
    )
    fetching.add_argument("folder", type=Path, metavar="DIR", help="where the wheels go")
    fetching.set_defaults(run=run_download)
    checking = actions.add_parser("check", help="import an engine's packages; compare versions")
    checking.set_defaults(run=run_check)
    removing = actions.add_parser("remove", help="remove an engine's environment")
    removing.set_defaults(run=run_remove)
    for action in (installing, fetching, checking, removing):
        action.add_argument("engine", metavar="ENGINE", help="name of the engine, such as vllm")
        action.add_argument(
            "--cpu", action="store_true", help="the build for machines without a GPU"
        )
    for action in (installing, fetching):
        action.add_argument("--index", metavar="URL", help="a further package index")
    installing.add_argument(
        "--wheelhouse", type=Path, metavar="DIR", help="take the wheels from `download`'s folder"
    )
    installing.add_argument(
        "--python", metavar="PATH", help="interpreter for the environment; default: this one"
    )


def run_list(options: argparse.Namespace) -> int:
    """Print one line for each engine and environment."""
    from medsweep.serving.engines import ENGINES
    from medsweep.serving.engines.compatibility import PACKAGES, installed
    from medsweep.serving.engines.environment import ENVIRONMENTS
    from medsweep.serving.engines.plugins import plugin_fault, plugins

    rows = []
    for engine in ENGINES:
        own = [each for each in ENVIRONMENTS.values() if each.engine == engine]
        for each in own:
            state = "installed" if each.installed else each.remedy
            rows.append(_row(engine, "GPU" if each.gpu else "CPU", each.requirement, state))
        if own:
            continue
        if engine in PACKAGES:
            package = PACKAGES[engine]
            state = "installed" if installed(package) else f"pip install 'medsweep[{engine}]'"
            rows.append(_row(engine, "CPU", package, state))
        else:
            rows.append(_row(engine, "CPU, GPU", None, "part of MedSweep"))
    for engine, entry in plugins().items():
        fault = f"not used: {engine} is an engine of MedSweep's" if engine in ENGINES else None
        state = fault or plugin_fault(engine) or "a plugin"
        rows.append(_row(engine, "-", entry.dist.name if entry.dist else None, state))
    show(rows, as_json=options.json)
    return EXIT_DONE


def run_install(options: argparse.Namespace) -> int:
    """Install an environment."""
    from medsweep.serving.engines.environment import environment_of, install

    environment = environment_of(options.engine, gpu=not options.cpu)
    if environment.installed:
        print(f"{environment.name}: installed already: {environment.folder}")
        return EXIT_DONE
    print(
        f"installing {environment.requirement} and {len(environment.pins) - 1} others", flush=True
    )
    began_s = time.monotonic()
    folder = install(
        environment, wheelhouse=options.wheelhouse, index=options.index, python=options.python
    )
    print(f"{environment.name}: installed in {time.monotonic() - began_s:.0f} s: {folder}")
    return EXIT_DONE


def run_download(options: argparse.Namespace) -> int:
    """Fetch the wheels of an environment."""
    from medsweep.serving.engines.environment import download, environment_of

    environment = environment_of(options.engine, gpu=not options.cpu)
    download(environment, options.folder, index=options.index)
    print(f"{environment.name}: {len(environment.pins)} wheels: {options.folder}")
    print(f"there: {environment.remedy} --wheelhouse {options.folder}")
    return EXIT_DONE


def run_check(options: argparse.Namespace) -> int:
    """Check an environment."""
    from medsweep.serving.engines.environment import check, environment_of

    environment = environment_of(options.engine, gpu=not options.cpu)
    print(f"{environment.name}: {len(check(environment))} packages as in its lock; they work")
    return EXIT_DONE


def run_remove(options: argparse.Namespace) -> int:
    """Remove an environment."""
    from medsweep.serving.engines.environment import environment_of, remove

    environment = environment_of(options.engine, gpu=not options.cpu)
    folders = remove(environment)
    for folder in folders:
        print(f"removed {folder}")
    if not folders:
        print(f"{environment.name}: not installed")
    return EXIT_DONE


def _row(engine: str, device: str, package: str | None, state: str) -> dict[str, str | None]:
    return {"engine": engine, "device": device, "package": package, "state": state}
