from typing import Any

from made_rows import answers, repeats, row
from medsweep.report.paired_tests import paired_tests
from medsweep.report.tables.paired import base_against_tuned
from medsweep.report.verdict import options, verdict

REAL = {"stands_in_for": None, "questions": 40, "token_f1_low": 0.2, "token_f1_high": 0.4}


def measured(model: str, f1: float, e2e: float = 1.0, **more: Any) -> list[dict[str, Any]]:
    values = {**REAL, "model": model, "key": f"{model}-{more.get('variant', 'adapter')}"}
    return [
        row(**{**values, "token_f1": f1, "e2e_mean_s": e2e, "repeat": number, **more})
        for number in (1, 2, 3)
    ]


def test_nothing_measured_or_nothing_real_decides_nothing() -> None:
    assert "nothing was measured" in verdict([], {}).title
    standing_in = measured("standin-a", 0.3, stands_in_for="a")
    assert "only stand-ins" in verdict(standing_in, {}).title
    emulated = verdict(measured("a", 0.3, basis="emulated"), {})
    assert "nothing was measured on the hardware" in emulated.title
    assert not emulated.decided
    assert emulated.next_steps
    assert options(standing_in) == options(measured("a", 0.3, basis="emulated")) == []


def test_better_answers_beyond_noise_are_taken() -> None:
    rows = [*measured("a", 0.5), *measured("a", 0.2, variant="base")]
    scores = {
        "a-adapter": answers([0.5, 0.4] * 10),
        "a-base": answers([0.2, 0.1] * 10, variant="base"),
    }
    # Both variants are in one cell.
    together = {"k": [*scores["a-adapter"], *scores["a-base"]]}
    paired = base_against_tuned([{**each, "key": "k"} for each in rows], together)
    found = verdict(rows, paired_tests(rows, paired, []))
    assert found.decided
    assert found.title == "Take a, fine-tuned, on p."
    f1 = "Token F1 0.50 [0.20 to 0.40] on 40 questions in each repeat (1 is for answers with "
    assert f1 + "exactly the words of the references)" in found.facts
    assert "On the same 20 questions the lead is +0.30: beyond chance" in found.reasons[0]


def test_a_difference_within_noise_decides_nothing() -> None:
    rows = [*measured("a", 0.31), *measured("b", 0.30)]
    found = verdict(rows, {})
    assert not found.decided
    assert found.title == "It cannot be said yet."
    assert "Runner-up: b, fine-tuned, on p" in found.reasons[0]
    assert found.next_steps == ("Ask more questions: 40 do not tell the two apart.",)


def test_the_runner_up_is_named_on_the_profile_where_it_is_fastest() -> None:
    slow = measured("b", 0.32, 2.0, profile="slow")
    rows = [*measured("a", 0.5), *slow, *measured("b", 0.3, 1.0, profile="fast")]
    [reason] = verdict(rows, {}).reasons
    assert reason.startswith("Runner-up: b, fine-tuned, on fast, with a token F1 of 0.30;")


def test_models_whose_intervals_lie_apart_are_told_apart() -> None:
    rows = [*measured("a", 0.5, token_f1_low=0.45), *measured("b", 0.3)]
    assert verdict(rows, {}).decided


def test_of_two_machines_with_the_same_answers_the_faster_is_taken() -> None:
    # A little better on the slow one, as another dtype or a tie can make it.
    rows = [*measured("a", 0.301, 2.0, profile="slow"), *measured("a", 0.3, 1.0, profile="fast")]
    found = verdict(rows, {})
    assert found.title == "Take a, fine-tuned, on fast."
    assert found.reasons[0].endswith("end-to-end time: 1.00 s, against 2.00 s on slow.")


def test_one_configuration_is_no_choice() -> None:
    found = verdict(measured("a", 0.3, variant="served"), {})
    assert not found.decided
    assert found.title == "a on p is all that was measured: there is nothing to choose between."
    assert found.facts


def test_few_repeats_are_a_doubt() -> None:
    [one, *_] = measured("a", 0.3)
    assert "Measure 3 or more repeats: 1 gives no interval" in verdict([one], {}).next_steps[0]


def test_options_carry_the_probability_of_meeting_each_limit() -> None:
    times = repeats("ttft_p95_s", [0.9, 1.0, 1.1], ok=100, stands_in_for=None, token_f1=0.3)
    [option] = options(times)
    bounds, probabilities = option["limits"]["max-p95-ttft"]
    assert probabilities[bounds.index(1.0)] == 0.5
    assert probabilities == tuple(sorted(probabilities))
    assert option["limits"]["max-usd-per-1k"] is None
    assert option["shown"]["p95 TTFT"] == "1.00 s"


def test_a_machine_that_the_client_limited_is_not_called_faster() -> None:
    slow = measured("a", 0.3, 2.0, profile="slow")
    fast = [{**row, "client_limited": True} for row in measured("a", 0.3, 1.0, profile="fast")]
    found = verdict([*slow, *fast], {})
    assert found.title == "Take a, fine-tuned, on slow."
    assert not any("fast" in reason for reason in found.reasons)
    only = verdict([{**row, "requests_per_s": 3.0} for row in fast], {})
    assert "speed at 2 clients was limited by the client, not the server" in only.facts
    assert not any("answers per second" in fact for fact in only.facts)
    [choice] = options([{**row, "requests_per_s": 3.0} for row in fast])
    assert (choice["e2e_s"], choice["requests_per_s"]) == (None, None)
    assert choice["shown"]["Requests (1/s)"] == "\N{EN DASH}"


def test_a_time_that_is_mostly_client_error_decides_no_machine() -> None:
    slow = measured("a", 0.3, 2.0, profile="slow")
    fast = measured("a", 0.3, 1.0, profile="fast")
    marked = [{**row, "client_error_figures": "ttft_mean_s, e2e_mean_s"} for row in fast]
    assert verdict([*slow, *marked], {}).title == "Take a, fine-tuned, on slow."
    assert verdict([*slow, *fast], {}).title == "Take a, fine-tuned, on fast."
