"""Telemetry of the machine of a served cell during a load."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self

from medsweep.errors import StageError
from medsweep.serving.ray.remote_engine import ask_engine
from medsweep.telemetry.recording import Recording

_TIMEOUT_S = 10.0


class NodeTelemetry:
    """A context manager that samples the engine's machine from entry to exit.

    Args:
        name: name of the application.

    Attributes:
        recording: the samples, after the exit; None if there are none.
        lasted: whether the same process answered on entry and on exit.

    Raises:
        StageError: on entry, the engine does not answer.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self.recording: Recording | None = None
        self.lasted = False

    def __enter__(self) -> Self:
        self._first = self._call("start_sampling")
        if self._first is None:
            # A load would only wait for each of its requests to time out.
            raise StageError("the engine died before the load: it does not answer")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is None:  # else whatever happened is what matters, and the replica may be gone
            last, self.recording = self._call("stop_sampling") or (None, None)
            self.lasted = last is not None and last == self._first

    def _call(self, method: str) -> Any:
        return ask_engine(self._name, method, _TIMEOUT_S)
