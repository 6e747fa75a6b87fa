"""Multiple choice by log-likelihood."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from medsweep.cli import main
from medsweep.finetune.multiple_choice import Chooser
from medsweep.models.templates import conversation

QUESTIONS = [
    ("What is asthma?", ["A disease.", "A long-term disease of the airways.", "No.", "caf\u00e9s"]),
    ("Is asthma a disease?", ["yes", "no", "maybe"]),
    ("What helps?", ["Inhaled medicines and a written plan.", "Rest."]),
]


def nats(chooser: Chooser, question: str, option: str) -> float:
    """Of an option as the whole answer, from the logits of all tokens."""
    import torch

    model, tokenizer, template = chooser._model, chooser._tokenizer, chooser._template
    before, after = (
        tokenizer(text, add_special_tokens=False)["input_ids"]
        for text in (template.render(conversation(question)), template.answer(option))
    )
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([before + after])).logits[0].float()
    likely = logits.log_softmax(-1)
    return -sum(float(likely[len(before) - 1 + n, token]) for n, token in enumerate(after))


def by_hand(chooser: Chooser, question: str, options: Sequence[str]) -> int:
    costs = [nats(chooser, question, option) / len(option.encode()) for option in options]
    return costs.index(min(costs))


@pytest.mark.slow
def test_the_likeliest_option_is_chosen_and_counted(
    fine_tuned: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = fine_tuned.job.folder
    file = tmp_path / "choices.jsonl"
    costs = []
    for more in ((), ("--base",)):
        chooser = Chooser(folder, base_only=bool(more))
        costs.append(nats(chooser, *QUESTIONS[0][:1], "A disease."))
        places = [by_hand(chooser, *asked) for asked in QUESTIONS]
        # The last one's answer is said to be another than the model's.
        rights = [*places[:-1], 1 - places[-1]]
        rows = [
            {"question": question, "options": options, "answer": right}
            for (question, options), right in zip(QUESTIONS, rights, strict=True)
        ]
        file.write_text("\n".join(json.dumps(row) for row in rows))
        assert main(["score", str(file), "--adapter", str(folder), "--json", *more]) == 0
        found = json.loads(capsys.readouterr().out)["choices"]
        assert (found["answers"], found["unreadable"]) == (3, 0)
        assert found["accuracy"] == pytest.approx(2 / 3)
    assert costs[0] != pytest.approx(costs[1], rel=1e-3)  # the adapter is not the base


def test_without_a_model_such_a_line_is_a_bad_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "choices.jsonl"
    file.write_text(json.dumps({"question": "?", "options": ["x", "y"], "answer": 0}))
    assert main(["score", str(file)]) == 2
    assert "line 1 has no field `prediction`" in capsys.readouterr().err
    assert main(["score", str(file), "--base"]) == 2
    assert "give --adapter DIR" in capsys.readouterr().err
