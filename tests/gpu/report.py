"""The check's result: one row of JSON per finding."""

import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class Report:
    """Writes rows to a file and to standard output as they come.

    Attributes:
        path: the file; rows are appended.
        failed: the rows that say that something is wrong.
    """

    path: Path
    failed: list[dict[str, Any]] = field(default_factory=list)

    def row(self, stage: str, *, ok: bool | None = None, **figures: Any) -> None:
        """Add a row.

        Args:
            stage: names what was measured.
            ok: whether it is right; None for a figure that is only recorded.
            figures: what was measured.
        """
        line = {"stage": stage, "ok": ok, "time": time.strftime("%H:%M:%S"), **figures}
        text = json.dumps(line, default=str)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(text + "\n")
        # Last: the parent process ends this one as soon as it reads the row of the last part's end.
        print(text, flush=True)
        if ok is False:
            self.failed.append(line)

    def crashed(self, stage: str, error: BaseException, **figures: Any) -> None:
        """Add a row for work that raised an error."""
        self.row(stage, ok=False, **figures, error=f"{type(error).__name__}: {str(error)[:400]}")
