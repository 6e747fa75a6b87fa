"""Blinded answers, and the page on which clinicians rate them."""

from __future__ import annotations

import base64
import hashlib
import json
import random
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from medsweep.errors import InputError
from medsweep.results.aggregate import distinct, group_by, ok_rows
from medsweep.results.reader import Results
from medsweep.results.store import write_json, write_text
from medsweep.review.rubric import shipped_rubric

KEY = "review-key.json"
"""In the results' folder: which system gave which answer. Raters must not have it."""


@dataclass(frozen=True)
class Sheet:
    """Answers to rate, shuffled and without their origin.

    Attributes:
        review: identity of this draw of questions.
        items: id of each, and what a judge is shown: question, reference or criterion, and answer.
        key: of each by its id: the question's id, the systems that gave it, and its digest.
    """

    review: str
    items: list[dict[str, str]]
    key: dict[str, dict[str, Any]]


def answer_digest(question: str, answer: str) -> str:
    """Return the identity of an answer to a question, without their texts."""
    return hashlib.sha256(json.dumps([question, answer]).encode()).hexdigest()


def export(folder: Path, out: Path, *, questions: int, seed: int) -> tuple[int, int]:
    """Write the page, and the key to it into the results' folder.

    Args:
        folder: of results whose texts were kept.
        out: the page.
        questions: most questions to review, drawn by seed.
        seed: of the draw and of the order of the answers.

    Returns:
        Questions and answers on the page. Equal answers to a question are on it once.

    Raises:
        InputError: there are no results, or no texts of answers.
    """
    sheet = draw(Results.open(folder), questions=questions, seed=seed)
    write_json(folder / KEY, {"review": sheet.review, "seed": seed, "answers": sheet.key})
    write_text(out, _page(sheet))
    return len({each["question_id"] for each in sheet.key.values()}), len(sheet.items)


def draw(results: Results, *, questions: int, seed: int) -> Sheet:
    """Draw questions and shuffle the answers to each.

    Args:
        results: whose texts were kept.
        questions: most questions, drawn by seed.
        seed: of the draw and of the order of the answers.

    Raises:
        InputError: there are no texts of answers.
    """
    systems = {row["key"]: f"{row['model']} on {row['profile']}" for row in ok_rows(results.rows)}
    answers = [
        {**answer, "system": f"{systems[key]}, {answer['variant']}"}
        for key, each in results.first_answers().items()
        for answer in each
        if key in systems and None not in (answer["question"], answer["answer"])
    ]
    if not answers:
        raise InputError(
            f"{results.name}: no texts of answers to rate; they are kept for public datasets, or "
            "with `keep_text: true` in the sweep"
        )
    rng = random.Random(seed)  # noqa: S311 an order, not a secret
    ids = list(distinct(answers, "question_id"))
    rng.shuffle(ids)
    by_question = group_by(answers, lambda answer: answer["question_id"])
    review = hashlib.sha256(json.dumps([ids, seed]).encode()).hexdigest()[:12]
    items: list[dict[str, str]] = []
    key: dict[str, dict[str, Any]] = {}
    for question_id in ids[:questions]:
        of_question = by_question[question_id]
        question, reference = of_question[0]["question"], of_question[0]["reference"] or ""
        texts = group_by(of_question, lambda answer: answer["answer"])
        shuffled = list(texts)
        rng.shuffle(shuffled)
        for text in shuffled:
            name = f"a{len(items) + 1}"
            items.append({"id": name, "question": question, "reference": reference, "answer": text})
            key[name] = {
                "question_id": question_id,
                "systems": sorted({each["system"] for each in texts[text]}),
                "digest": answer_digest(question, text),
            }
    return Sheet(review, items, key)


def _page(sheet: Sheet) -> str:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    script = resources.files("medsweep.review").joinpath("page.js").read_text("utf-8")
    environment = Environment(
        loader=PackageLoader("medsweep", "review"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    shown = [{name: item[name] for name in ("id", "question", "answer")} for item in sheet.items]
    axes = [
        {"name": axis.name, "title": axis.title, "options": axis.options}
        for axis in shipped_rubric().axes
    ]
    return environment.get_template("page.html.j2").render(
        script=script,
        script_sha256=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        data={"review": sheet.review, "axes": axes, "items": shown},
    )
