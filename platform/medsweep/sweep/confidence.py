"""How sure a served model was of the answers that it gave, asked for after the timed load."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from math import isfinite, nan

from medsweep.errors import EnvironmentFault, InputError
from medsweep.loadgen.server import answer_logprobs
from medsweep.metrics.request_record import RequestRecord
from medsweep.models.templates import TEMPLATES
from medsweep.serving.engines.choice import Choice
from medsweep.serving.engines.compatibility import SCORING, no_log_probabilities
from medsweep.sweep.cell import ServerCell
from medsweep.sweep.context import MeasurementContext
from medsweep.sweep.deployed import DeployedCell

_AT_ONCE = 4
ASKED = "log-probabilities of the timed answers, computed after the load"
NOT_ASKED = "not asked for: quality.confidence is false"
NOT_GIVEN = "the server gave no log-probabilities of any answer"
NO_TEMPLATE = "an external server's prompt template is not known"


def mean_logprobs(
    context: MeasurementContext,
    deployed: DeployedCell,
    model: str,
    records: Iterable[RequestRecord],
) -> tuple[dict[int, float], str]:
    """Return the mean log-probability of each answer's tokens by its index, and how it is known.

    The server computes them in one forward pass over prompt and answer, when no load runs. An
    answer that was scored before is known. One that the server refuses is left out; the others
    keep theirs.

    Args:
        context: what is measured with.
        deployed: the cell that gave the answers.
        model: the server's name of what was asked.
        records: of the requests.

    Returns:
        Nothing where the server gives no log-probabilities, with the reason.
    """
    if not context.spec.quality.confidence:
        return {}, NOT_ASKED
    if deployed.template is None or isinstance(deployed.cell, ServerCell):
        return {}, NO_TEMPLATE
    template, known = TEMPLATES[deployed.template], deployed.logprobs
    answers = {
        record.index: (model, record.question_id, record.text)
        for record in records
        if record.phase == "measure" and record.status == "ok" and record.text
    }
    new = [each for each in dict.fromkeys(answers.values()) if each not in known]

    def score(answer: tuple[str, str, str]) -> float:
        _, question_id, text = answer
        prompt = template.render(context.messages(question_id))
        try:
            values = answer_logprobs(
                deployed.base_url, model, prompt, text, timeout_s=context.spec.load.timeout_s
            )
        except InputError:
            # The server's message may quote the prompt, so it is not kept.
            return nan
        return sum(values) / len(values) if values else nan

    try:
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            scored = zip(new, pool.map(score, new), strict=True)
            known |= {answer: mean for answer, mean in scored if isfinite(mean)}
    except EnvironmentFault as fault:
        return {}, str(fault)
    means = {index: known[answer] for index, answer in answers.items() if answer in known}
    if answers and not means:
        return {}, why_none(deployed.cell.serving)
    if not (left_out := len(answers) - len(means)):
        return means, ASKED
    return means, (
        f"{ASKED}; {left_out} of {len(answers)} answers left out: the server refused them, as it "
        "does if prompt and answer, tokenized again, are longer than the context, or gave no "
        "finite value"
    )


def why_none(serving: Choice) -> str:
    """Return why a server gave no log-probabilities of any answer, and what to do about it.

    Args:
        serving: the engine, and how it serves the adapter.
    """
    lack = no_log_probabilities(serving.engine, serving.adapters)
    if lack is None:
        return NOT_GIVEN
    if no_log_probabilities(serving.engine, "merged") is None:
        return f"{lack}; set serve.adapters: merged"
    return f"{lack}; set serve.engine: {' or '.join(SCORING)}"
