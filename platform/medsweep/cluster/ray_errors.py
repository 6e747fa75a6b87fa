"""The line that matters in an error that Ray wraps."""

from __future__ import annotations

LONGEST = 400


def root_cause(text: str) -> str:
    """Return the last line that names an error, without Ray's layers of traceback around it.

    Args:
        text: an error message or a traceback.
    """
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    causes = [line for line in lines if "Error" in line or "died" in line or "Fault" in line]
    return (causes or lines or ["no message"])[-1][:LONGEST]
