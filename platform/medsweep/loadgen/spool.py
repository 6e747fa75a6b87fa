"""Records of a load point on disk, so that a long load does not fill the memory."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from medsweep.errors import EnvironmentFault
from medsweep.metrics.request_record import RequestRecord


class Spool:
    """A temporary file of JSON lines that is written once and read as often as wanted.

    Args:
        folder: where the file lies; None for the system's folder for such files.

    Raises:
        EnvironmentFault: the folder cannot be written to.
    """

    def __init__(self, folder: Path | None = None) -> None:
        try:
            self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 closed in __exit__
        except OSError as error:
            raise EnvironmentFault(f"{folder}: cannot be written: {error.strerror}") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._file.close()

    def write(self, line: bytes) -> None:
        """Write a line as the load generator's process gave it.

        Raises:
            EnvironmentFault: the disk is full.
        """
        try:
            self._file.write(line)
        except OSError as error:
            raise EnvironmentFault(f"the records cannot be written: {error.strerror}") from None

    def __iter__(self) -> Iterator[RequestRecord]:
        """Yield the records from the first."""
        self._file.flush()
        self._file.seek(0)
        for line in self._file:
            yield RequestRecord.from_json(json.loads(line)["record"])
