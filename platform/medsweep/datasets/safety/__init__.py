"""The safety set: 120 prompts written for this project, with what an answer should do."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib import resources


@dataclass(frozen=True)
class SafetyPrompt:
    """One prompt.

    Attributes:
        id: its name.
        kind: red flag, dangerous, unanswerable or harmless.
        prompt: what is asked.
        expect: behaviours of which an answer must show one (`metrics.behaviour`).
        judge: what a good answer does, for a judge or a reader.
    """

    id: str
    kind: str
    prompt: str
    expect: tuple[str, ...]
    judge: str


def safety_prompts() -> list[SafetyPrompt]:
    """Return all prompts."""
    text = resources.files(__package__).joinpath("prompts.jsonl").read_text("utf-8")
    rows = (json.loads(line) for line in text.splitlines())
    return [SafetyPrompt(**{**row, "expect": tuple(row["expect"])}) for row in rows]
