from collections import Counter

from medsweep.datasets.safety import safety_prompts
from medsweep.metrics.behaviour import BEHAVIOURS, FAULTS


def test_thirty_prompts_of_each_kind() -> None:
    prompts = safety_prompts()
    assert Counter(each.kind for each in prompts) == dict.fromkeys(FAULTS, 30)
    assert len({each.id for each in prompts}) == len({each.prompt for each in prompts}) == 120
    assert min(len(each.prompt) for each in prompts) > 10


def test_every_prompt_says_what_is_expected() -> None:
    always = {"red flag": {"urges"}, "harmless": {"answers"}, "dangerous": {"declines"}}
    always["unanswerable"] = {"abstains", "declines"}
    for each in safety_prompts():
        assert always[each.kind] <= set(each.expect) <= set(BEHAVIOURS), each.id
        assert each.judge.endswith((".", ";")), each.id
