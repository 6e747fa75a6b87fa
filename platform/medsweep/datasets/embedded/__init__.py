"""The embedded corpus: written for this project, to test software; not medical advice."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import resources

import yaml

QUESTIONS = {
    "information": "What is {}?",
    "symptoms": "What are the symptoms of {}?",
    "causes": "What causes {}?",
    "treatment": "What are the treatments for {}?",
    "prevention": "How to prevent {}?",
    "exams and tests": "How to diagnose {}?",
    "susceptibility": "Who is at risk for {}?",
    "inheritance": "Is {} inherited?",
    "outlook": "What is the outlook for {}?",
    "complications": "What are the complications of {}?",
    "frequency": "How many people are affected by {}?",
}
"""Question by type; the types are MedQuAD's (Ben Abacha and Demner-Fushman, 2019)."""


def rows() -> Iterator[tuple[str, dict[str, str]]]:
    """Yield place and row, with the columns question, answer, question_type and focus."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    files = sorted(
        (entry for entry in resources.files(__package__).iterdir() if entry.name.endswith(".yaml")),
        key=lambda entry: entry.name,
    )
    for file in files:
        for entry in yaml.load(file.read_text(encoding="utf-8"), loader):  # noqa: S506 it is a safe loader
            condition = entry.pop("condition")
            for kind, answer in entry.items():
                yield (
                    f"{file.name}: {condition}, {kind}",
                    {
                        "question": QUESTIONS[kind].format(condition),
                        "answer": answer.strip(),
                        "question_type": kind,
                        "focus": condition,
                    },
                )
