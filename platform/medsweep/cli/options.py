"""What several verbs share: their arguments, and how they print."""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medsweep.cli.text_table import layout, width
from medsweep.errors import EnvironmentFault, InputError
from medsweep.reporter import Reporter, harmless

if TYPE_CHECKING:
    from medsweep.models.spec import ModelSpec
    from medsweep.sweep.spec import SweepSpec
    from medsweep.table import NamedTable


RESULTS = Path("results")
"""Where results go by default."""


def shipped(part: str) -> Path:
    """Return a folder of files that come with the package: `sweeps`, `chart`, `k8s` or `docs`.

    Raises:
        EnvironmentFault: this installation is without them, as in a container image.
    """
    folder = Path(__file__).parents[1] / "shipped-files" / part
    if not folder.is_dir():
        raise EnvironmentFault(
            f"{folder}: this installation has no such files; install MedSweep from its wheel"
        )
    return folder


def sweeps() -> dict[str, Path]:
    """Return the sweep files that come with the package, by name."""
    paths = shipped("sweeps").glob("*.yaml")
    return {path.stem: path for path in sorted(paths, key=lambda path: path.stem)}


def add_sweep(parser: argparse.ArgumentParser) -> None:
    """Add the sweep file and its overrides."""
    parser.add_argument("sweep", type=Path, metavar="SWEEP", help="the sweep's YAML file")
    add_overrides(parser)


def add_overrides(parser: argparse.ArgumentParser) -> None:
    """Add `--set`."""
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        dest="overrides",
        help="override a field, such as dataset.path=my.csv; may be repeated",
    )


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add `--json`."""
    parser.add_argument(
        "--json",
        action="store_true",
        help="print one JSON document on standard output, and nothing else there",
    )


def add_api_key(parser: argparse.ArgumentParser, prefix: str = "") -> None:
    """Add the variable that holds the API key of a server.

    Args:
        parser: of the verb.
        prefix: of the flag, such as `judge-`.
    """
    parser.add_argument(
        f"--{prefix}api-key-env", metavar="VAR", help="environment variable that holds the API key"
    )


def add_out(parser: argparse.ArgumentParser) -> None:
    """Add the parent of the sweep's folder."""
    parser.add_argument(
        "--out", type=_folder, default=RESULTS, metavar="DIR", help="default: results"
    )


def load_sweep(
    options: argparse.Namespace, *, environment: Mapping[str, str] | None = None
) -> SweepSpec:
    """Return the sweep that the arguments name; raise ConfigError with all its faults.

    Args:
        options: the arguments.
        environment: variables that must hold the keys that the sweep names; None does not check.
    """
    from medsweep.config import load_config
    from medsweep.sweep.spec import SweepSpec

    if not options.sweep.exists() and options.sweep.stem in (ready := sweeps()):
        raise InputError(
            f"{options.sweep}: no such file; `medsweep init --template {options.sweep.stem} "
            f"{options.sweep.name}` writes it. Templates: {', '.join(ready)}"
        )
    return load_config(SweepSpec, options.sweep, options.overrides, environment=environment)


def add_models(parser: argparse.ArgumentParser) -> None:
    """Add the sweep whose own models can be served."""
    parser.add_argument(
        "--sweep",
        type=Path,
        metavar="FILE",
        help="sweep file whose own_models can be served, beside the catalogue's models",
    )


def load_models(options: argparse.Namespace) -> NamedTable[ModelSpec]:
    """Return the models of the catalogue, and those that the sweep of `--sweep` defines."""
    from medsweep.config import load_config
    from medsweep.models.catalog import MODELS
    from medsweep.sweep.spec import SweepSpec

    return load_config(SweepSpec, options.sweep).catalog.models if options.sweep else MODELS


def show(
    rows: Sequence[Mapping[str, Any]], *, as_json: bool, headings: Mapping[str, str] | None = None
) -> None:
    """Print rows as JSON, or as a table.

    Args:
        rows: what to print; all have the same keys.
        as_json: print JSON.
        headings: column by heading, for the table; None shows every key.
    """
    if as_json:
        print(json.dumps([dict(row) for row in rows], indent=2))
        return
    columns = headings or {key: key for key in (rows[0] if rows else {})}
    table = [list(columns.values())]
    table += [
        ["-" if row[key] is None else harmless(str(row[key])) for key in columns] for row in rows
    ]
    print("\n".join(layout(table, width())))


def _folder(text: str) -> Path:
    """Return a folder of this machine, for argparse."""
    if "://" in text:
        raise argparse.ArgumentTypeError(
            f"{text} is an object store, and this verb writes to a folder; "
            "`medsweep run --out` takes both"
        )
    return Path(text)


def seconds(text: str) -> float:
    """Return a time such as `0.5s`, `500ms` or `0.5` in seconds, for argparse."""
    number, factor = text, 1.0
    for unit, its_factor in (("ms", 1e-3), ("s", 1.0)):
        if text.endswith(unit):
            number, factor = text.removesuffix(unit), its_factor
            break
    return positive(number, f"{text!r} is not a time above 0 such as 0.5s or 500ms") * factor


def positive(text: str, complaint: str | None = None) -> float:
    """Return a number above 0, for argparse.

    Args:
        text: the number.
        complaint: what to say of anything else.
    """
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(complaint or f"{text!r} is not a number above 0")
    return value


def seed(text: str) -> int:
    """Return a seed that every library takes, for argparse."""
    value = int(text) if text.isascii() and text.isdigit() and len(text) <= 10 else -1
    if not 0 <= value < 2**32:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 to {2**32 - 1}")
    return value


def fraction(text: str) -> float:
    """Return a number from 0 to 1, for argparse."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 1")
    return value


def with_interval(figures: Mapping[str, Any], name: str) -> str | None:
    """Return a figure with its interval as text; None if it is not known."""
    value = figures.get(name)
    if value is None:
        return None
    from medsweep.metrics.statistics import Interval
    from medsweep.report.numbers import share, share_spread

    rated = Interval(value, figures["low"], figures["high"])
    return f"{share(rated)} [{share_spread(rated)}]" if rated.low is not None else share(rated)


class Progress:
    """How many of many steps are done, and about how long the rest takes.

    On a terminal it is a line that is redrawn; otherwise a line every 30 s.

    Args:
        total: number of steps.
        what: they are, in the plural.
    """

    def __init__(self, total: int, what: str) -> None:
        self._reporter = Reporter()
        self._total, self._what, self._done = total, what, 0
        self._began_s = self._shown_s = time.monotonic()

    def step(self) -> None:
        """Count one more step."""
        from medsweep.sweep.progress import duration, place

        self._done += 1
        now_s = time.monotonic()
        elapsed_s = now_s - self._began_s
        left = f"about {duration(elapsed_s / self._done * (self._total - self._done))}"
        text = f"{place(self._done, self._total, elapsed_s, left)} {self._what}"
        if self._reporter.is_terminal:
            self._reporter.status([text])
        elif now_s - self._shown_s >= self._reporter.every_s:
            self._shown_s = now_s
            self._reporter.line(text)

    def clear(self) -> None:
        """Remove the line from the terminal."""
        self._reporter.clear()
