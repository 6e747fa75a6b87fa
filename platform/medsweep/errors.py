"""Errors that a person can act on, and the exit code that each one ends the program with.

MedSweepError                 1  something that could not be done; the rest went on
├── InputError                2  the input is wrong; nothing was started
│   ├── ConfigError           2  a YAML file has faults, all of them listed
│   ├── UnknownName           2  a name that no catalogue knows
│   └── DatasetError          2  a dataset cannot be read, or too much of it is unusable
├── StageError                1  fine-tuning, serving or load failed for one cell
├── Interrupted               3  stopped by the user; the same command goes on from there
└── EnvironmentFault          4  the machine will not do it: disk full, port in use, a run at work
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

EXIT_DONE = 0

EXIT_DIFFERENT = 5
"""Nothing went wrong, and what was compared differs: a regression, or an A/A run that shows one."""

EXIT_CODES: Mapping[int, str] = {
    EXIT_DONE: "done",
    1: "some cells failed; their reasons are in the results, and the next run tries them again",
    2: "wrong input; nothing was started",
    3: "interrupted; the same command goes on from there",
    4: "the machine will not do it: disk full, port in use, another run at work",
    EXIT_DIFFERENT: "compare found a regression beyond noise, or aa a difference where there is "
    "none",
}
"""What the program ends with; these do not change."""

_EXIT_PAGE = "reference/exit-codes.md"

# What each kind of name is looked up in; the page says how to add one of one's own.
_PAGES = {
    "model": "models.md#your-own-model",
    "hardware profile": "hardware.md#your-own-profile",
    "dataset": "datasets.md#your-own-data",
    "engine": "engines.md#what-runs-where",
    "prompt template": "models.md#templates",
}


class MedSweepError(Exception):
    """The root: one sentence that says what happened, where, and what to do.

    Attributes:
        exit_code: that the program ends with.
        docs: page and heading of the documentation that tell more.
    """

    exit_code = 1
    docs = f"{_EXIT_PAGE}#1"


class InputError(MedSweepError):
    """The input is wrong; nothing was started."""

    exit_code = 2
    docs = f"{_EXIT_PAGE}#2"


class UnknownName(InputError):
    """A name that no catalogue knows.

    Args:
        kind: what was looked up, in words ("model", "hardware profile").
        name: what was given.
        known: every name that would have been right.
    """

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        self.kind, self.name, self.known = kind, name, sorted(known)
        self.docs = _PAGES.get(kind, InputError.docs)
        super().__init__(
            f"unknown {kind} {name!r}{did_you_mean(name, self.known)}; "
            f"known: {', '.join(self.known)}"
        )

    def __reduce__(self) -> tuple[type[UnknownName], tuple[str, str, list[str]]]:
        """Let Ray carry it to another process."""
        return type(self), (self.kind, self.name, self.known)


class DatasetError(InputError):
    """A dataset cannot be read, or too much of it is unusable."""

    docs = "datasets.md#your-own-data"


class StageError(MedSweepError):
    """Fine-tuning, serving or load failed for one cell; the other cells go on."""


class Interrupted(MedSweepError):
    """Stopped by the user; what was measured stays and the same command goes on from there."""

    exit_code = 3
    docs = f"{_EXIT_PAGE}#3"


class EnvironmentFault(MedSweepError):
    """The machine will not do it: no disk space, a port in use, another run at work."""

    exit_code = 4
    docs = f"{_EXIT_PAGE}#4"


@dataclass(frozen=True)
class Fault:
    """One thing wrong with a configuration file.

    Attributes:
        field: dotted path of the field, such as `load.points[0].rate`.
        problem: what is wrong, what was given and what is allowed.
        line: line in the file, counted from 1; None where it came from the command line.
    """

    field: str
    problem: str
    line: int | None = None

    def __str__(self) -> str:
        where = f"line {self.line}: " if self.line is not None else ""
        return f"{where}{self.field}: {self.problem}"


class ConfigError(InputError):
    """A YAML file has faults, all of them listed.

    Args:
        source: the file (or other place) the configuration came from.
        faults: every fault found.
        docs: page and heading that describe its fields.
    """

    def __init__(
        self, source: str, faults: Iterable[Fault], docs: str = "reference/config.md"
    ) -> None:
        self.source, self.docs = source, docs
        self.faults = sorted(faults, key=lambda fault: (fault.line or 0, fault.field))
        count = f"{len(self.faults)} fault{'s' if len(self.faults) != 1 else ''}"
        super().__init__(
            "\n".join([f"{source}: {count}", *(f"  {fault}" for fault in self.faults)])
        )

    def __reduce__(self) -> tuple[type[ConfigError], tuple[str, list[Fault], str]]:
        """Let Ray carry it to another process."""
        return type(self), (self.source, self.faults, self.docs)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ` (did you mean 'x'?)` for the known name nearest to `name`, or an empty string."""
    nearest = difflib.get_close_matches(name.lower(), list(known), n=1, cutoff=0.5)
    return f" (did you mean {nearest[0]!r}?)" if nearest else ""
