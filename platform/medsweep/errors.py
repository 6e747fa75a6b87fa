"""Errors that a user can act on, and the exit code of each.

MedSweepError                 1  a part could not be done; the rest was
├── InputError                2  the input is wrong; nothing was started
│   ├── ConfigError           2  a YAML file has faults; all are listed
│   ├── UnknownName           2  a name that no catalogue knows
│   └── DatasetError          2  a dataset cannot be read, or too much of it is unusable
├── StageError                1  fine-tuning, serving or load failed for one cell
├── Interrupted               3  stopped by the user; run the same command to continue
├── EnvironmentFault          4  the machine prevents it: disk full, port in use, another run
│   └── MissingPackage        4  a package that the command needs is not installed
└── InternalError            70  a fault of MedSweep itself; its trace is in a file
"""

from __future__ import annotations

import difflib
import importlib.util
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

EXIT_DONE = 0

EXIT_DIFFERENT = 5
"""The command worked and found a difference: a regression, or one within an A/A run."""

EXIT_CODES: Mapping[int, str] = {
    EXIT_DONE: "done",
    1: "some cells failed; the results give the reasons, and the next run tries them again",
    2: "wrong input; nothing was started",
    3: "interrupted; run the same command to continue",
    4: "the machine prevents it: disk full, port in use, another run active",
    EXIT_DIFFERENT: "compare found a regression beyond noise; aa found a difference between equal "
    "halves, or could not have seen one",
    70: "a fault of MedSweep itself; the message names the file that holds its trace",
}
"""The program's exit codes; they are stable."""

_EXIT_PAGE = "reference/exit-codes.md"

# The page that describes each kind of name, and how to add one.
_PAGES = {
    "model": "models.md#your-own-model",
    "hardware profile": "hardware.md#your-own-profile",
    "dataset": "datasets.md#your-own-data",
    "engine": "engines.md#what-runs-where",
    "prompt template": "models.md#templates",
}


# What to give to `pip install` for a package that a command lacks.
_INSTALLED_BY = {
    **dict.fromkeys(
        (
            "accelerate",
            "fastapi",
            "peft",
            "ray",
            "safetensors",
            "starlette",
            "tokenizers",
            "torch",
            "transformers",
            "uvicorn",
        ),
        "'medsweep[run]'",
    ),
    "bitsandbytes": "'medsweep[quant]'",
    "datasets": "'medsweep[hub]'",
    "deepspeed": "'medsweep[deepspeed]'",
    "gguf": "'medsweep[gguf]'",
    "huggingface_hub": "'medsweep[hub]'",
    "kubernetes": "'medsweep[k8s]'",
    "mlflow": "'medsweep[mlflow]'",
    "openvino_genai": "'medsweep[openvino]'",
    "pandas": "pandas",
    "wandb": "'medsweep[wandb]'",
}


class MedSweepError(Exception):
    """The base class; the message states what happened, where, and what to do.

    Attributes:
        exit_code: exit code of the program.
        docs: page and heading of the documentation about it.
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
        kind: kind of the name, in words ("model", "hardware profile").
        name: the given name.
        known: all valid names.
    """

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        self.kind, self.name, self.known = kind, name, sorted(known)
        self.docs = _PAGES.get(kind, InputError.docs)
        super().__init__(
            f"unknown {kind} {name!r}{did_you_mean(name, self.known)}; "
            f"known: {', '.join(self.known)}"
        )

    def __reduce__(self) -> tuple[type[UnknownName], tuple[str, str, list[str]]]:
        """Make the error picklable, so that Ray can pass it to another process."""
        return type(self), (self.kind, self.name, self.known)


class DatasetError(InputError):
    """A dataset cannot be read, or too much of it is unusable."""

    docs = "datasets.md#your-own-data"


class StageError(MedSweepError):
    """Fine-tuning, serving or load failed for one cell; the other cells continue."""


class Interrupted(MedSweepError):
    """Stopped by the user; results so far are kept, and the same command continues from there."""

    exit_code = 3
    docs = f"{_EXIT_PAGE}#3"


class EnvironmentFault(MedSweepError):
    """The machine prevents it: no disk space, a port in use, another run active."""

    exit_code = 4
    docs = f"{_EXIT_PAGE}#4"


class MissingPackage(EnvironmentFault):
    """A command needs a package that is not installed; the message says what to install.

    Args:
        package: name of the package, as it is imported.
    """

    docs = "quickstart.md#installation"

    def __init__(self, package: str) -> None:
        self.package = package
        super().__init__(
            f"this needs the package {package}, which is not installed: "
            f"pip install {_INSTALLED_BY[package]}"
        )

    def __reduce__(self) -> tuple[type[MissingPackage], tuple[str]]:
        """Make the error picklable, so that Ray can pass it to another process."""
        return type(self), (self.package,)


class InternalError(MedSweepError):
    """A fault of MedSweep itself; the message says where its trace is and how to report it."""

    exit_code = 70
    docs = f"{_EXIT_PAGE}#70"


@dataclass(frozen=True)
class Fault:
    """One fault of a configuration file.

    Attributes:
        field: dotted path of the field, such as `load.points[0].rate`.
        problem: what is wrong, what was given and what is allowed.
        line: line in the file, counted from 1; None if the value came from the command line.
    """

    field: str
    problem: str
    line: int | None = None

    def __str__(self) -> str:
        where = f"line {self.line}: " if self.line is not None else ""
        return f"{where}{self.field}: {self.problem}"


class ConfigError(InputError):
    """A YAML file has faults; all are listed.

    Args:
        source: the file, or other origin, of the configuration.
        faults: all its faults.
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
        """Make the error picklable, so that Ray can pass it to another process."""
        return type(self), (self.source, self.faults, self.docs)


def require(*packages: str) -> None:
    """Raise MissingPackage for the first of these packages that is not installed."""
    for package in packages:
        if importlib.util.find_spec(package) is None:
            raise MissingPackage(package)


@contextmanager
def packages_named() -> Iterator[None]:
    """Raise MissingPackage where an import inside fails because an optional package is absent."""
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in _INSTALLED_BY or importlib.util.find_spec(package) is not None:
            raise
        raise MissingPackage(package) from error


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ` (did you mean 'x'?)` for the known name nearest to `name`, or an empty string."""
    # Ignore the dashes: every option begins with them.
    by_word = {each.lstrip("-"): each for each in known}
    nearest = difflib.get_close_matches(name.lower().lstrip("-"), by_word, n=1, cutoff=0.5)
    return f" (did you mean {by_word[nearest[0]]!r}?)" if nearest else ""


def cause_of(error: Exception) -> str:
    """Return an error's own words, without the number and the path that the system adds to them."""
    if isinstance(error, UnicodeDecodeError):
        return "not UTF-8 text"
    return getattr(error, "strerror", None) or str(error)
