"""How sure a served model was of the answers that it gave, asked for after the timed load."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from math import isfinite, nan

from medsweep.errors import EnvironmentFault, InputError
from medsweep.loadgen.server import answer_logprobs
from medsweep.metrics.request_record import RequestRecord
from medsweep.models.templates import TEMPLATES
from medsweep.sweep.context import MeasurementContext
from medsweep.sweep.deployed import DeployedCell

_AT_ONCE = 4
ASKED = "log-probabilities of the timed answers, computed after the load"
NOT_ASKED = "not asked for: quality.confidence is false"
NOT_GIVEN = "the engine gives no log-probabilities of a text"
NO_TEMPLATE = "an external server's prompt template is not known"


def mean_logprobs(
    context: MeasurementContext,
    deployed: DeployedCell,
    model: str,
    records: Iterable[RequestRecord],
) -> tuple[dict[int, float], str]:
    """Return the mean log-probability of each answer's tokens by its index, and how it is known.

    The server computes them in one forward pass over prompt and answer, when no load runs. An
    answer that was scored before is known.

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
    if deployed.template is None:
        return {}, NO_TEMPLATE
    template, known = TEMPLATES[deployed.template], deployed.logprobs
    answers = {
        record.index: (model, record.question_id, record.text)
        for record in records
        if record.phase == "measure" and record.status == "ok" and record.text
    }
    new = [each for each in dict.fromkeys(answers.values()) if each not in known]

    def score(answer: tuple[str, str, str]) -> float | None:
        _, question_id, text = answer
        prompt = template.render(context.messages(question_id))
        values = answer_logprobs(
            deployed.base_url, model, prompt, text, timeout_s=context.spec.load.timeout_s
        )
        mean = sum(values) / len(values) if values else nan
        return mean if isfinite(mean) else None

    try:
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            known |= dict(zip(new, pool.map(score, new), strict=True))
    except InputError:
        # The server's message may quote the prompt.
        return {}, NOT_GIVEN
    except EnvironmentFault as fault:
        return {}, str(fault)
    means = {index: known[answer] for index, answer in answers.items()}
    return {index: mean for index, mean in means.items() if mean is not None}, ASKED
