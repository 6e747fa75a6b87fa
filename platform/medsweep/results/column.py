"""One column of a result file: name, type, unit and meaning."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["text", "integer", "number", "flag", "counts", "numbers", "integers"]


@dataclass(frozen=True)
class Column:
    """One column.

    Attributes:
        name: of the column; see `metric` for its name in Prometheus.
        kind: type; `counts` is a map from text to integer.
        unit: SI unit, "1" for a share or a count, "" for text.
        meaning: one sentence.
    """

    name: str
    kind: Kind
    unit: str
    meaning: str

    @property
    def metric(self) -> str:
        """Name of the Prometheus metric, with units written out."""
        if self.unit == "s":
            return f"medsweep_{self.name.removesuffix('_s')}_seconds"
        if self.unit == "1/s":
            return f"medsweep_{self.name.removesuffix('_per_s').removesuffix('_rps')}_per_second"
        return f"medsweep_{self.name}"

    @property
    def label(self) -> str:
        """Axis label: the name in words with its unit."""
        name = self.name.removesuffix("_s") if self.unit == "s" else self.name
        words = name.replace("_", " ")
        return f"{words} ({self.unit})" if self.unit not in ("", "1") else words
