"""Read and clean question-answer pairs, and count what happens to every row."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from medsweep.datasets.formats import (
    FAULTS,
    MAIN_FIELDS,
    Format,
    RawPair,
    fitting,
    only_format,
    read_pair,
)
from medsweep.datasets.read import open_source
from medsweep.datasets.rules import Draft, Rule, fold, rules
from medsweep.datasets.spec import DatasetSpec, MixSpec, Pair
from medsweep.errors import DatasetError, did_you_mean

_FOCUSES = ("focus", "question_focus")
"""Columns that name what a question is about, in MedQuAD's two forms."""

_SOURCES = ("source", "document_source")
"""Columns that name the publisher of a row, in MedQuAD's two forms."""

_UNUSABLE = ("unreadable", "empty", *FAULTS)


@dataclass
class Loaded:
    """The usable pairs of one source, and what happened to the other rows.

    Attributes:
        source: where the pairs come from.
        revision: commit on the hub; None for other sources.
        pairs: in the order of the source.
        rows: number of rows in the source.
        dropped: number of rows dropped, by rule.
        mended: number of rows kept but changed, by rule.
        examples: place of the first row that each rule dropped ("line 17").
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
        """Return one line: how many pairs there are, and what was dropped, with the first place."""
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
        """Return the entry of the provenance; it has a local file's name without its folders."""
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


def embedded_answers() -> list[str]:
    """Return the answers of the embedded corpus, which are synthetic and public."""
    return [pair.answer for one in load_sources(DatasetSpec()) for pair in one.pairs]


def load_sources(spec: DatasetSpec) -> list[Loaded]:
    """Read and clean the pairs of each source of a dataset.

    Args:
        spec: which sources, and the rules.

    Returns:
        The usable pairs of each source, and counts of the other rows. A pair that is in two sources
        is taken from the first one.

    Raises:
        DatasetError: a source is missing or unreadable, has no such column, leaves no pair, or more
            than `max_unusable_fraction` of its rows are unreadable or empty.
    """
    # One set of rules for all sources, because `duplicate` remembers earlier pairs.
    active = rules(list(spec.rules), spec.max_answer_words)
    loaded = []
    for index, source in enumerate(spec.sources):
        field_name = "dataset" if spec.mix is None else f"dataset.mix[{index}]"
        try:
            loaded.append(
                _load(
                    source,
                    active,
                    spec.max_unusable_fraction,
                    field_name,
                    spec.split_by,
                    spec.breakdown,
                )
            )
        except DatasetError as error:
            if spec.mix is None:
                raise
            # Readers do not know which source of a mixture they read, and --set reaches none.
            text = str(error).replace("--set dataset.path=FILE", f"`path: FILE` in {field_name}")
            raise DatasetError(text.replace("dataset.path", f"{field_name}.path")) from None
    return loaded


def _load(
    source: MixSpec,
    active: Sequence[Rule],
    limit: float,
    field_name: str,
    split_by: str | None,
    breakdown: Sequence[str],
) -> Loaded:
    opened = open_source(source)
    loaded = Loaded(source, opened.revision)
    columns: dict[str, None] = {}
    question, answer, _ = source.column_names
    format_ = source.fixed_format
    for where, row in opened.rows:
        loaded.rows += 1
        if not isinstance(row, dict):
            loaded.drop("unreadable", where)
            continue
        columns |= dict.fromkeys(map(str, row))
        if format_ is None and (fits := fitting(row, question, answer)):
            format_ = only_format(fits, source.where, field_name)
        raw = read_pair(row, format_ or "columns", question, answer)
        pair = _pair(row, raw, where, active, loaded)
        if pair is not None:
            group = row.get(split_by) if split_by is not None else None
            labels = _labels(row, pair.question_type, breakdown)
            loaded.pairs.append(
                replace(
                    pair,
                    group=None if group is None else str(group),
                    focus=_first(row, _FOCUSES),
                    labels=labels,
                )
            )
    named = [("split_by", split_by)] if split_by is not None else []
    for setting, name in [*named, *(("breakdown", name) for name in breakdown)]:
        if columns and name not in columns:
            raise DatasetError(
                f"{source.where}: no row has a column {name!r}{did_you_mean(name, columns)}; "
                f"the columns are {', '.join(columns)}; set dataset.{setting}"
            )
    for kind, column in _needed(format_ or "columns", question, answer):
        # A column that no row has is a wrong name; where only some rows lack it, they are at fault.
        if columns and column not in columns:
            nearest = did_you_mean(str(column), columns)
            raise DatasetError(
                f"{source.where}: no row has a column {column!r}{nearest}; "
                f"the columns are {', '.join(columns)}; set {field_name}.{kind}"
            )
    unusable = sum(loaded.dropped[reason] for reason in _UNUSABLE)
    if loaded.rows and unusable / loaded.rows > limit:
        raise DatasetError(
            f"{source.where}: {unusable} of {loaded.rows} rows are unreadable or empty, more than "
            f"dataset.max_unusable_fraction = {limit}: {loaded.summary()}"
        )
    if not loaded.pairs:
        raise DatasetError(f"{source.where}: no usable pair: {loaded.summary()}")
    return loaded


def _first(row: dict[str, Any], names: Sequence[str]) -> str | None:
    return next((str(row[name]) for name in names if row.get(name)), None)


def _labels(
    row: dict[str, Any], question_type: str | None, breakdown: Sequence[str]
) -> tuple[tuple[str, str], ...]:
    """Return what a question is grouped by: its type, its source and the named columns."""
    labels = {"question_type": question_type}
    labels |= {"source": _first(row, _SOURCES), **{name: row.get(name) for name in breakdown}}
    return tuple((name, str(value)) for name, value in labels.items() if value not in (None, ""))


def _needed(format_: Format, question: str, answer: str) -> list[tuple[str, str]]:
    """Return the columns that some row must have, each after the field that names it."""
    if format_ == "columns":
        return [("columns.question", question), ("columns.answer", answer)]
    return [("format", MAIN_FIELDS[format_])]


def _pair(
    row: dict[str, Any], raw: RawPair, where: str, active: Sequence[Rule], loaded: Loaded
) -> Pair | None:
    """Return the cleaned pair of a row, or None after counting why there is none."""
    if fault := raw.fault:
        loaded.drop(fault, where)
        return None
    draft = Draft(fold(raw.question), fold(raw.answer))
    mended = ["first-turn"] if raw.turns > 1 else []
    for rule in active:
        cleaned = rule.apply(draft)
        if cleaned is None:
            # Answers that the publisher withdrew are no fault of the row.
            withheld = rule.name == "empty" and draft.question and loaded.source.entry.withholds
            loaded.drop("withheld" if withheld else rule.name, where)
            return None
        if cleaned != draft:
            mended.append(rule.name)
        draft = cleaned
    loaded.mended.update(mended)
    digest = hashlib.sha256(f"{draft.question}\0{draft.answer}".encode()).hexdigest()[:16]
    question_type = loaded.source.column_names[2]
    kind = row.get(question_type) if question_type else None
    return Pair(digest, draft.question, draft.answer, str(kind) if kind else None)
