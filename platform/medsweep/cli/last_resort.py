"""What to do when nothing else is left: unusual streams, a machine's faults, and our own."""

from __future__ import annotations

import errno
import os
import platform
import sys
import tempfile
import traceback
from contextlib import suppress
from pathlib import Path

from medsweep.errors import EnvironmentFault, InternalError, MedSweepError
from medsweep.version import __version__

# Faults of the machine, which no program can prevent.
_MACHINE = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EROFS,
    errno.EACCES,
    errno.EPERM,
    errno.EIO,
    errno.EMFILE,
    errno.ENFILE,
    errno.ENOMEM,
    errno.ENODEV,
    errno.ESTALE,
    errno.ENAMETOOLONG,
}


def prepare_streams() -> None:
    """Make standard output and error take every text, also where they are closed or ASCII."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed by the caller: `>&-`
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def silence_output() -> None:
    """Drop what standard output and error cannot take, which Python would try again at its exit."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            with suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def as_reported(error: Exception, verb: str | None) -> MedSweepError:
    """Return what to tell of an exception that nothing expected.

    Args:
        error: what was raised.
        verb: the verb that ran; its other arguments may hold data and are not written.
    """
    if isinstance(error, MemoryError):
        return EnvironmentFault("not enough memory")
    if isinstance(error, OSError) and error.errno in _MACHINE:
        where = error.filename if isinstance(error.filename, str) else "output"
        return EnvironmentFault(f"{where}: {error.strerror}")
    last = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{Path(last.filename).name}, line {last.lineno}"
    return InternalError(
        f"an unexpected {type(error).__name__} in {place}; this is a fault of MedSweep and not of "
        f"yours. {_write_trace(error, verb)}"
    )


def _write_trace(error: Exception, verb: str | None) -> str:
    lines = [
        f"medsweep {__version__}, verb {verb}",
        f"Python {platform.python_version()} on {platform.platform()}",
        "",
        *traceback.format_exception(error),
    ]
    try:
        number, path = tempfile.mkstemp(prefix="medsweep-trace-", suffix=".txt")
        with open(number, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write("\n".join(lines))
    except OSError as full:
        return f"Its trace could not be written ({full.strerror}): {error!r:.300}"
    return f"Its trace is in {path}: check it for private data, then send it to the maintainers."
