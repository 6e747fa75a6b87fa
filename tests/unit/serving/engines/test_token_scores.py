"""Log-probabilities against those of transformers and peft, computed without the engine."""

import math
from collections.abc import Iterator
from typing import Any

import pytest

from medsweep.errors import InputError
from medsweep.finetune.adapter import Adapter
from medsweep.finetune.multiple_choice import option_nats
from medsweep.models.catalog import MODELS
from medsweep.models.templates import TEMPLATES, conversation
from medsweep.serving.engines import open_engine
from medsweep.serving.protocol import Delta, EngineSettings, Generation

QUESTION = "What is asthma?"
OPTIONS = ["A disease of the airways.", "A kind of bread."]


@pytest.fixture(scope="module", params=["continuous", "generate"])
def engine(request: pytest.FixtureRequest, tuned: Adapter) -> Iterator[Any]:
    opened = open_engine(
        EngineSettings(request.param, MODELS[tuned.model], "float32", adapters={"tuned": tuned})
    )
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def truth(tuned: Adapter) -> tuple[Any, Any]:
    """The adapted model, and its tokenizer."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    base = AutoModelForCausalLM.from_pretrained(tuned.base, dtype=torch.float32)
    model = PeftModel.from_pretrained(base, tuned.folder).eval()
    return model, AutoTokenizer.from_pretrained(tuned.base)


async def ask(engine: Any, **fields: Any) -> list[Delta]:
    usual = {"model": "tuned", "messages": None, "prompt": None, "max_tokens": 1}
    return [delta async for delta in engine.stream(Generation(**{**usual, **fields}))]


async def test_log_probabilities_of_a_prompt_are_those_of_the_model(
    engine: Any, truth: tuple[Any, Any]
) -> None:
    import torch

    model, tokenizer = truth
    ids = tokenizer("Asthma is a disease", add_special_tokens=False)["input_ids"]
    with torch.no_grad():
        rows = model(torch.tensor([ids])).logits[0].double().log_softmax(-1)
    true = [float(rows[place, token]) for place, token in enumerate(ids[1:])]
    for prompt in ({"prompt_ids": tuple(ids)}, {"prompt": "Asthma is a disease"}):
        [nothing] = await ask(engine, **prompt, max_tokens=0, echo=True, logprobs=2)
        assert (nothing.text, nothing.output_tokens, nothing.finish_reason) == ("", 0, "length")
        assert nothing.prompt_text == "Asthma is a disease"
        scores = nothing.scores
        assert scores is not None
        assert scores.log_probs[0] is scores.tops[0] is None
        assert scores.log_probs[1:] == pytest.approx(true, abs=1e-4)
        assert "".join(scores.tokens) == "Asthma is a disease"
        assert [nothing.prompt_text[at:].startswith(token) for at, token in zip(
            scores.offsets, scores.tokens, strict=True
        )] == [True] * len(ids)  # fmt: skip
        for tops, own, row in zip(scores.tops[1:], scores.log_probs[1:], rows, strict=False):
            assert max(tops.values()) == pytest.approx(float(row.max()), abs=1e-4)
            assert own in tops.values()
            assert 2 <= len(tops) <= 3


async def test_an_answer_s_log_probabilities_are_those_of_its_tokens(engine: Any) -> None:
    """What lm-evaluation-harness asks: the prompt and one token more."""
    ids = tuple(range(5, 12))
    deltas = await ask(engine, prompt_ids=ids, max_tokens=3, echo=True, logprobs=1)
    answer = [token for delta in deltas for token in delta.token_ids]
    echoed = deltas[-1].scores
    assert len(echoed.tokens) == len(ids) + len(answer)
    assert deltas[0].scores is None or len(deltas) == 1
    # The same, scored as a prompt, and the answer alone.
    [scored] = await ask(engine, prompt_ids=(*ids, *answer), max_tokens=0, echo=True, logprobs=1)
    assert echoed.log_probs[1:] == pytest.approx(scored.scores.log_probs[1:], abs=1e-4)
    alone = (await ask(engine, prompt_ids=ids, max_tokens=3, logprobs=1))[-1].scores
    assert alone.log_probs == pytest.approx(echoed.log_probs[len(ids) :], abs=1e-4)
    # Greedy: each token is the likeliest.
    assert all(
        own == max(tops.values()) for own, tops in zip(alone.log_probs, alone.tops, strict=True)
    )
    assert alone.offsets[0] == 0


async def test_options_cost_what_medsweep_score_finds(
    engine: Any, truth: tuple[Any, Any], tuned: Adapter
) -> None:
    model, tokenizer = truth
    template = TEMPLATES[tuned.template]
    for option, cost in zip(
        OPTIONS, option_nats(model, tokenizer, template, QUESTION, OPTIONS), strict=True
    ):
        prompt = template.render(conversation(QUESTION))
        parts = [
            tokenizer(text, add_special_tokens=False)["input_ids"]
            for text in (prompt, template.answer(option))
        ]
        ids = tuple(token for part in parts for token in part)
        [delta] = await ask(engine, prompt_ids=ids, max_tokens=0, echo=True, logprobs=0)
        assert -math.fsum(delta.scores.log_probs[len(parts[0]) :]) == pytest.approx(cost, rel=1e-4)


async def test_other_requests_are_answered_meanwhile(engine: Any) -> None:
    import asyncio

    alone = await ask(engine, prompt_ids=(5, 6, 7), max_tokens=8)
    scored, again = await asyncio.gather(
        ask(engine, model=engine._settings.model.name, prompt_ids=(9, 8), max_tokens=0, echo=True,
            logprobs=1),
        ask(engine, prompt_ids=(5, 6, 7), max_tokens=8),
    )  # fmt: skip
    assert "".join(each.text for each in again) == "".join(each.text for each in alone)
    assert len(scored[0].scores.log_probs) == 2


async def test_a_token_that_the_vocabulary_has_not(engine: Any) -> None:
    with pytest.raises(InputError, match="vocabulary has not"):
        await ask(engine, prompt_ids=(1 << 30,), max_tokens=0, echo=True, logprobs=1)
