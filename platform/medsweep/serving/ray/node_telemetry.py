"""What the machine of a served cell does while a load runs."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self

from medsweep.telemetry.recording import Recording

_TIMEOUT_S = 10.0


class NodeTelemetry:
    """A context manager that samples where the engine runs, from entering to leaving.

    Args:
        name: of the application.

    Attributes:
        recording: what was sampled, after leaving; None where there is nothing.
        lasted: whether the same process answered on entering and on leaving.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self.recording: Recording | None = None
        self.lasted = False

    def __enter__(self) -> Self:
        self._first = self._call("start_sampling")
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
        from ray import serve
        from ray.exceptions import RayError
        from ray.serve.exceptions import RayServeException

        try:
            handle = serve.get_app_handle(self._name)
            return getattr(handle, method).remote().result(timeout_s=_TIMEOUT_S)
        except (RayError, RayServeException, TimeoutError):
            return None
