"""What the answers of a load test were like: their lengths, and their grades."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from medsweep.digits import percent

if TYPE_CHECKING:
    from medsweep.datasets.spec import Pair
    from medsweep.loadgen.spec import LoadJob, LoadPoint, Prompt
    from medsweep.loadgen.synthetic import LengthCheck
    from medsweep.metrics.request_record import RequestRecord

SHOWN = {"token_f1": "token F1", "rouge_l": "ROUGE-L"}


class Answers:
    """Looks at the records of each load point: the answers that were timed are those looked at.

    Args:
        job: what is sent.
        references: the reference answers by question id; None does not grade.
        lengths: checks lengths; None does not.

    Attributes:
        columns: quality columns of `benchmark.parquet` by load point and repeat.
    """

    def __init__(
        self,
        job: LoadJob,
        references: Mapping[str, Pair] | None,
        lengths: LengthCheck | None,
    ) -> None:
        self._job, self._references, self._lengths = job, references, lengths
        self._prompts: dict[str, Prompt] = {each.question_id: each for each in job.prompts}
        self.columns: dict[tuple[LoadPoint, int], dict[str, Any]] = {}

    @classmethod
    def of(cls, options: argparse.Namespace, job: LoadJob) -> Answers | None:
        """Return what the options ask for; None if they ask for neither grades nor lengths."""
        from medsweep.cli.load_options import graded, pairs
        from medsweep.loadgen.synthetic import LengthCheck

        references = None
        if graded(options):
            references = {pair.question_id: pair for pair in pairs(options)}
        sized = options.input_tokens is not None or options.output_tokens is not None
        if references is None and not sized:
            return None
        return cls(job, references, LengthCheck() if sized else None)

    def add(self, point: LoadPoint, repeat: int, records: Iterable[RequestRecord]) -> None:
        """Look at the answers of one load point; they are not kept."""
        from medsweep.metrics.tally import AnswerTally
        from medsweep.sweep.assemble import quality_columns

        tally = AnswerTally()
        for record in records:
            if record.phase != "measure" or record.status != "ok":
                continue
            if self._lengths is not None:
                prompt = self._prompts[record.question_id]
                limit = prompt.max_tokens or self._job.max_tokens
                self._lengths.add(prompt, record.prompt_tokens, limit, record.output_tokens)
            if self._references is not None:
                reference = self._references[record.question_id].answer
                tally.add(record.text, reference, record.question_id, record.finish_reason)
        if len(tally):
            self.columns[point, repeat] = quality_columns(tally, self._job.seed)

    def lines(self) -> Iterator[str]:
        """Yield what to print below the table."""
        from medsweep.report.numbers import share, share_spread
        from medsweep.report.tables.grouping import interval_over_questions

        if self._lengths is not None:
            yield from self._lengths.sentences()
        for (point, repeat), columns in self.columns.items():
            figures = [
                f"{name} {share(graded)} [{share_spread(graded)}]"
                for column, name in SHOWN.items()
                if (graded := interval_over_questions([columns], column)) and graded.low is not None
            ]
            cut = columns["truncated_share"]
            if cut is not None:
                figures.append(f"{percent(cut)} cut off at the token limit")
            told = ", ".join(figures) or "too few for figures"
            questions = columns["questions"]
            yield f"answers at {point.words}, repeat {repeat}: {questions} questions: {told}"

    def complete(self, result: dict[str, Any]) -> None:
        """Add lengths and grades to the JSON of a load test."""
        if self._lengths is not None:
            result["lengths"] = self._lengths.figures()
        if self._references is not None:
            by_name = {
                (point.name, repeat): columns for (point, repeat), columns in self.columns.items()
            }
            for entry in result["points"]:
                entry["quality"] = by_name.get((entry["load"]["name"], entry["repeat"]))
