"""Read question-answer pairs and clean them, counting what became of every row."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from medsweep.datasets.read import open_source
from medsweep.datasets.rules import Draft, Rule, fold, rules
from medsweep.datasets.spec import DatasetSpec, MixSpec, Pair
from medsweep.errors import DatasetError, did_you_mean


@dataclass
class Loaded:
    """The pairs of one source that can be used, and what became of the other rows.

    Attributes:
        source: where they come from.
        revision: the hub's commit; None for what is not on the hub.
        pairs: in the order of the source.
        rows: rows that the source held.
        dropped: number of rows dropped, by rule.
        mended: number of rows kept but changed, by rule.
        examples: for each reason to drop, where the first such row stands ("line 17").
    """

    source: MixSpec
    revision: str | None = None
    pairs: list[Pair] = field(default_factory=list)
    rows: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    mended: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)

    def drop(self, reason: str, where: str) -> None:
        """Count one row as dropped."""
        self.dropped[reason] += 1
        self.examples.setdefault(reason, where)

    def summary(self) -> str:
        """Return one line: how many pairs, and what was dropped with the place of the first."""
        dropped = [
            f"{count} {reason} (first: {self.examples[reason]})"
            for reason, count in sorted(self.dropped.items())
        ]
        mended = [f"{count} {rule}" for rule, count in sorted(self.mended.items())]
        parts = [f"{len(self.pairs)} pairs of {self.rows} rows"]
        parts += [f"dropped {', '.join(dropped)}"] if dropped else []
        parts += [f"mended {', '.join(mended)}"] if mended else []
        return "; ".join(parts)

    def record(self) -> dict[str, Any]:
        """Return what the provenance keeps of it; of a local file, the name without its folders."""
        return {
            "name": self.source.name,
            "from": self.source.where.rpartition("/")[2] if self.source.path else self.source.where,
            "revision": self.revision,
            "licence": self.source.entry.licence,
            "weight": self.source.weight,
            "rows": self.rows,
            "pairs": len(self.pairs),
            "dropped": dict(sorted(self.dropped.items())),
            "mended": dict(sorted(self.mended.items())),
        }


def load_sources(spec: DatasetSpec) -> list[Loaded]:
    """Read and clean the pairs of each source of a dataset.

    Args:
        spec: which sources, and the rules.

    Returns:
        The usable pairs of each source and the counts of the other rows. A pair that two sources
        have is the first one's.

    Raises:
        DatasetError: a source is missing or unreadable, has no such column, leaves no pair, or more
            than `max_unusable_fraction` of its rows are unreadable or empty.
    """
    # One set of rules for all sources: `duplicate` remembers what it saw.
    active = rules(list(spec.rules), spec.max_answer_words)
    return [
        _load(
            source,
            active,
            spec.max_unusable_fraction,
            "dataset" if spec.mix is None else f"dataset.mix[{index}]",
        )
        for index, source in enumerate(spec.sources)
    ]


def _load(source: MixSpec, active: Sequence[Rule], limit: float, field_name: str) -> Loaded:
    opened = open_source(source)
    loaded = Loaded(source, opened.revision)
    columns: dict[str, None] = {}
    for where, row in opened.rows:
        loaded.rows += 1
        if not isinstance(row, dict):
            loaded.drop("unreadable", where)
            continue
        columns |= dict.fromkeys(map(str, row))
        pair = _pair(row, where, active, loaded)
        if pair is not None:
            loaded.pairs.append(pair)
    for kind, column in zip(("question", "answer"), source.column_names, strict=False):
        # A column that no row has is a wrong column name; one that some row lacks is a dirty row.
        if columns and column not in columns:
            nearest = did_you_mean(str(column), columns)
            raise DatasetError(
                f"{source.where}: no row has a column {column!r}{nearest}; "
                f"the columns are {', '.join(columns)}; set {field_name}.columns.{kind}"
            )
    unusable = loaded.dropped["unreadable"] + loaded.dropped["empty"]
    if loaded.rows and unusable / loaded.rows > limit:
        raise DatasetError(
            f"{source.where}: {unusable} of {loaded.rows} rows are unreadable or empty, more than "
            f"dataset.max_unusable_fraction = {limit}: {loaded.summary()}"
        )
    if not loaded.pairs:
        raise DatasetError(f"{source.where}: no usable pair: {loaded.summary()}")
    return loaded


def _pair(row: dict[str, Any], where: str, active: Sequence[Rule], loaded: Loaded) -> Pair | None:
    """Return one cleaned pair, or count why the row cannot be one."""
    question, answer, question_type = loaded.source.column_names
    draft = Draft(fold(row.get(question)), fold(row.get(answer)))
    mended = []
    for rule in active:
        cleaned = rule.apply(draft)
        if cleaned is None:
            # Answers that the publisher withdrew are not dirt.
            withheld = rule.name == "empty" and draft.question and loaded.source.entry.withholds
            loaded.drop("withheld" if withheld else rule.name, where)
            return None
        if cleaned != draft:
            mended.append(rule.name)
        draft = cleaned
    loaded.mended.update(mended)
    digest = hashlib.sha256(f"{draft.question}\0{draft.answer}".encode()).hexdigest()[:16]
    kind = row.get(question_type) if question_type else None
    return Pair(digest, draft.question, draft.answer, str(kind) if kind else None)
