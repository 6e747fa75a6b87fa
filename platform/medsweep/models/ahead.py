"""Fetches or builds weights in a process of its own, while a Ray cluster starts.

As a program (`python -m medsweep.models.ahead`) it reads the weights' identities from its standard
input. Nothing is reported from there: the process that needs weights waits for them, and reports
why they cannot be had.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from medsweep.errors import StageError
from medsweep.models.spec import ModelSpec
from medsweep.models.weights import Weights, fetch_weights
from medsweep.processes import start_process


@contextmanager
def fetched_ahead(weights: Sequence[Weights]) -> Iterator[None]:
    """Fetch or build weights meanwhile, one after another; the rest is given up on leaving.

    Args:
        weights: which ones, the first needed first.
    """
    with tempfile.TemporaryFile("w+") as identities:
        json.dump([asdict(each) for each in weights], identities)
        identities.seek(0)
        process = None
        with contextlib.suppress(StageError):  # then they are fetched when they are needed
            process = start_process(
                "the process that fetches weights",
                [sys.executable, "-m", "medsweep.models.ahead"],
                stdin=identities,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # a group of its own, with pip
            )
    try:
        yield
    finally:
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            process.wait()


def weights_of(identity: Mapping[str, Any]) -> Weights:
    """Return weights from the fields that `dataclasses.asdict` gave, after JSON."""

    def plain(value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value

    spec = {name: plain(value) for name, value in identity["spec"].items()}
    return Weights(ModelSpec(**spec), identity["revision"], tuple(identity["texts"]))


if __name__ == "__main__":
    # An exit, unlike the signal itself, removes what is half built.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    for identity in json.load(sys.stdin):
        fetch_weights(weights_of(identity))
