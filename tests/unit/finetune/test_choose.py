"""Multiple choice by log-likelihood, with a model that has learnt which answers belong where."""

import json
from pathlib import Path
from typing import Any

import pytest

from medsweep.cli import main
from medsweep.finetune.choose import Chooser, option_nats
from medsweep.finetune.data import conversation

pytestmark = pytest.mark.slow


def questions(fine_tuned: Any, count: int) -> list[tuple[str, list[str], int]]:
    """Questions that were learnt, each with its own answer among three of others."""
    pairs = fine_tuned.job.split.train
    asked = []
    for place, pair in enumerate(pairs[:count]):
        others = [pairs[(place + step) % len(pairs)].answer for step in (17, 31, 47)]
        right = place % 4
        asked.append((pair.question, [*others[:right], pair.answer, *others[right:]], right))
    return asked


def test_likelihood_is_that_of_the_answer_after_the_prompt(fine_tuned: Any) -> None:
    import torch

    chooser = Chooser(fine_tuned.job.folder)
    model, tokenizer, template = chooser._model, chooser._tokenizer, chooser._template
    [found] = option_nats(model, tokenizer, template, "What is asthma?", ["A disease."])
    prompt = template.render(conversation("What is asthma?"))
    before = tokenizer(prompt, add_special_tokens=False)["input_ids"]
    after = tokenizer(template.answer("A disease."), add_special_tokens=False)["input_ids"]
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([before + after])).logits[0].float()
    likely = logits.log_softmax(-1)
    wanted = -sum(
        float(likely[len(before) - 1 + place, token]) for place, token in enumerate(after)
    )
    assert found == pytest.approx(wanted, rel=1e-4)


def test_a_model_finds_what_it_has_learnt(
    fine_tuned: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "choices.jsonl"
    rows = [
        {"question": question, "options": options, "answer": right}
        for question, options, right in questions(fine_tuned, 24)
    ]
    file.write_text("\n".join(json.dumps(row) for row in rows))
    found = {}
    for name, more in (("adapter", ()), ("base", ("--base",))):
        assert (
            main(["score", str(file), "--adapter", str(fine_tuned.job.folder), "--json", *more])
            == 0
        )
        found[name] = json.loads(capsys.readouterr().out)["choices"]
        assert (found[name]["answers"], found[name]["unreadable"]) == (24, 0)
    # By chance a quarter.
    assert found["adapter"]["accuracy"] > 0.5
    assert found["adapter"]["accuracy"] > found["base"]["accuracy"]


def test_without_a_model_such_a_line_is_a_bad_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "choices.jsonl"
    file.write_text(json.dumps({"question": "?", "options": ["x", "y"], "answer": 0}))
    assert main(["score", str(file)]) == 2
    assert "line 1 has no field `prediction`" in capsys.readouterr().err
    assert main(["score", str(file), "--base"]) == 2
    assert "give --adapter DIR" in capsys.readouterr().err
