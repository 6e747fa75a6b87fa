"""The results of a sweep or of `medsweep bench`, read from a folder, a file or an object store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from medsweep.errors import InputError
from medsweep.hardware.observe import HOST
from medsweep.results.aggregate import Row, distinct, group_by_columns, ok_rows
from medsweep.results.answer_groups import aggregate, with_shares
from medsweep.results.benchmark import read_benchmark
from medsweep.results.files import BENCHMARK_FILE, Find, result_files
from medsweep.results.schema import QUALITIES
from medsweep.results.store import read_json, read_rows

_IDENTITY = ("key", "model", "profile")


@dataclass(frozen=True)
class TrainingRecord:
    """How one adapter was trained.

    Attributes:
        model: name of the base model.
        folder: name of the adapter's folder.
        sha256: hash of the adapter's weights; None if its `adapter.json` does not say.
        rows: of `training.parquet`; epoch 0 is the base model.
        recipe: of its `provenance.json`; empty if it has none.
        search: the `search.json` of this model in the same sweep; empty without a search.
        profile: hardware profile that it was fine-tuned on; None if that was not recorded.
        basis: whether that hardware ran (`observed`) or other hardware in its place (`emulated`);
            None if that was not recorded.
    """

    model: str
    folder: str
    sha256: str | None
    rows: tuple[Row, ...]
    recipe: Row
    search: Row
    profile: str | None = None
    basis: str | None = None


def judges_by_name(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the summary of each judge by its name; an earlier version kept that of one alone.

    Args:
        record: of `judge.json`; empty without one.
    """
    if "judge" in record:
        return {record["judge"]["model"]: record}
    return dict(record.get("judges", {}))


class Results:
    """What was measured. Every file is read when it is first needed.

    Args:
        name: what messages call these results.
        rows: of `benchmark.parquet`.
        answers: graded answers by cell key, in place of those in files.
        find: gives the path of a file, or None if there is no such file.
    """

    def __init__(
        self,
        name: str,
        rows: Sequence[Row],
        answers: Mapping[str, Sequence[Row]] | None = None,
        *,
        find: Find = lambda _: None,
    ) -> None:
        self.name, self.rows = name, rows
        self._answers, self._find = answers, find

    @classmethod
    def open(cls, path: str | Path) -> Results:
        """Open results.

        Args:
            path: the folder of a sweep or of `medsweep bench --out`, its `benchmark.parquet`, or
                the URL of the folder in an object store.

        Raises:
            InputError: there are no results, or the file is not a `benchmark.parquet`.
            EnvironmentFault: the object store does not answer.
        """
        find = result_files(path)
        file = find(BENCHMARK_FILE)
        if file is None or not file.is_file():
            raise InputError(
                f"{path}: no {BENCHMARK_FILE} there; give the folder of a sweep, such as "
                "results/demo, after `medsweep run` or `medsweep k8s fetch`, or the folder that "
                "`medsweep bench --out` wrote"
            )
        return cls(str(path), read_benchmark(file, str(path)), find=find)

    def part(self, rows: Sequence[Row]) -> Results:
        """Return results of some rows, with their cells' files; models and profiles may be renamed.

        Args:
            rows: of `benchmark.parquet`.
        """
        keys = {row["key"] for row in rows}
        answers = self._answers
        if answers is not None:
            answers = {key: each for key, each in answers.items() if key in keys}
        return Results(self.name, rows, answers, find=self._find)

    @property
    def sweep(self) -> str:
        """Name of the sweep; the folder's where no row has one."""
        return str(next(iter(distinct(self.rows, "sweep")), Path(self.name).resolve().name))

    @cached_property
    def spec(self) -> dict[str, Any]:
        """The sweep as plain data; empty if its file is missing or unreadable."""
        import yaml

        path = self._find("sweep.yaml")
        try:
            spec = yaml.safe_load(path.read_text(encoding="utf-8")) if path else None
        except (OSError, ValueError, yaml.YAMLError):
            spec = None
        return spec if isinstance(spec, dict) else {}

    @cached_property
    def answers(self) -> Mapping[str, Sequence[Row]]:
        """Graded answers by cell key; cells without a file are left out."""
        if self._answers is not None:
            return self._answers
        return {key: read_rows(path) for key, path in self._responses.items()}

    def requests(self, columns: Sequence[str] | None = None) -> list[dict[str, Any]]:
        """Return one row per request, with the key, model and profile of its cell.

        Args:
            columns: of `requests.parquet` to read; None reads all.
        """
        bench = self._find("requests.parquet")
        files = self._cell_files("requests.parquet")
        return [
            {**dict(zip(_IDENTITY, cell, strict=True)), **row}
            for cell in group_by_columns(self.rows, *_IDENTITY)
            if (path := files.get(str(cell[0]), bench))
            for row in read_rows(path, columns)
        ]

    def responses(self) -> list[dict[str, Any]]:
        """Return one row per graded answer, with the key, model and profile of its cell."""
        return [
            {**dict(zip(_IDENTITY, cell, strict=True)), **row}
            for cell in group_by_columns(self.rows, *_IDENTITY)
            for row in self.answers.get(cell[0], ())
        ]

    def question_scores(self) -> dict[str, list[dict[str, Any]]]:
        """Return the mean scores of each question, variant and load point, by cell key.

        With them the shares of its answers that are `ANSWER_SHARES`.
        """
        keys = ["question_id", "variant", "load_point"]
        columns = [*QUALITIES, "reference_words", "finish_reason", "refusal"]
        return {
            key: aggregate(path, keys, columns, "mean", with_shares)
            for key, path in self._responses.items()
        }

    def first_answers(self) -> dict[str, list[dict[str, Any]]]:
        """Return the first answer to each question of each variant with its text, by cell key."""
        columns = ["question", "reference", "answer", "token_f1", "consistency"]
        return {
            key: aggregate(path, ["question_id", "variant"], columns, "first")
            for key, path in self._responses.items()
        }

    @cached_property
    def training(self) -> list[TrainingRecord]:
        """The training record of every finished adapter; empty for an object store."""
        folder = self._find("adapters")
        if folder is None or not folder.is_dir():
            return []
        return [
            TrainingRecord(
                str(card["model"]),
                adapter.name,
                card.get("sha256"),
                tuple(read_rows(record)),
                (provenance := read_json(adapter / "provenance.json") or {}).get("recipe", {}),
                read_json(folder.parent / "search" / str(card["model"]) / "search.json") or {},
                provenance.get("profile"),
                # Earlier versions did not record it; any hardware is that of `host`.
                provenance.get("basis", "observed" if provenance.get("profile") == HOST else None),
            )
            for adapter in sorted(folder.iterdir())
            if not adapter.name.startswith(".")
            and (card := read_json(adapter / "adapter.json"))
            and (record := adapter / "training.parquet").is_file()
        ]

    @cached_property
    def meter(self) -> list[Row]:
        """What each figure of quality sees of deliberate errors; empty without `meter.json`."""
        return list(self._record("meter.json").get("detections", []))

    @cached_property
    def labels(self) -> Mapping[str, Mapping[str, str]]:
        """What each question is grouped by, by column; empty without `labels.json`."""
        return self._record("labels.json")

    @cached_property
    def review(self) -> Mapping[str, Any]:
        """What clinicians said of the answers; empty without `review.json`."""
        return self._record("review.json")

    @cached_property
    def judges(self) -> Mapping[str, Any]:
        """What judges said of the answers, as `judge.json` has it; empty without one."""
        record = self._record("judge.json")
        return record and {**record, "judges": judges_by_name(record)}

    @cached_property
    def safety(self) -> Mapping[str, Mapping[str, Any]]:
        """What models did with the safety set, by name; empty without `safety.json`."""
        return dict(self._record("safety.json").get("models", {}))

    def by_load_point(self) -> dict[tuple[str, str, str, str], list[Row]]:
        """Return the measured rows of each model, profile, variant and load point."""
        return group_by_columns(ok_rows(self.rows), "model", "profile", "variant", "load_point")

    def graded(self) -> dict[tuple[str, str, str], list[Row]]:
        """Return the graded answers of each model, profile and variant."""
        cells = {row["key"]: (row["model"], row["profile"]) for row in self.rows}
        graded: dict[tuple[str, str, str], list[Row]] = {}
        for key, answers in self.answers.items():
            for answer in answers if key in cells else ():
                graded.setdefault((*cells[key], answer["variant"]), []).append(answer)
        return graded

    def not_measured(self) -> dict[tuple[str, str], str]:
        """Return why a model has no measurement on a profile."""
        measured = {(row["model"], row["profile"]) for row in ok_rows(self.rows)}
        return {
            cell: f"{row['status']}: {row['reason']}"
            for row in self.rows
            if (cell := (row["model"], row["profile"])) not in measured
        }

    def _record(self, name: str) -> dict[str, Any]:
        """Return what a JSON file has; empty if there is no such file."""
        path = self._find(name)
        return (read_json(path) if path is not None else None) or {}

    @cached_property
    def _responses(self) -> dict[str, Path]:
        return self._cell_files("responses.parquet")

    def _cell_files(self, name: str) -> dict[str, Path]:
        return {
            key: path
            for key in distinct(self.rows, "key")
            if Path(key).name == key and (path := self._find(f"cells/{key}/{name}"))
        }
