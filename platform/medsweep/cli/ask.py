"""`medsweep ask`: ask an adapter or a base model on this machine, or a server elsewhere."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from medsweep.cli.asking import add_answerer, answerer
from medsweep.errors import EXIT_DONE, InputError, cause_of
from medsweep.reporter import harmless

NEXT_LINE = "\n"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument(
        "question",
        metavar="QUESTION",
        nargs="?",
        help="a model writes the answer; it is not medical advice",
    )
    parser.add_argument(
        "--file",
        type=Path,
        metavar="FILE",
        help="ask each prompt of a text file (separated by lines of ---), and show it above its "
        "answer",
    )
    add_answerer(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Stream the answer, decoded greedily, to standard output."""
    questions = _questions(options)
    with answerer(options) as model:
        for question in questions:
            _show_question(options, question)
            model.ask(question, _print_part)
            print()
    return EXIT_DONE


def _print_part(part: str) -> None:
    print(harmless(part, keep="\n\t"), end="", flush=True)


def _show_question(options: argparse.Namespace, question: str) -> None:
    if options.file is not None:
        print(f"> {question.replace(NEXT_LINE, NEXT_LINE + '> ')}\n")


def _questions(options: argparse.Namespace) -> list[str]:
    if (options.question is None) == (options.file is None):
        raise InputError("give either QUESTION or --file FILE")
    if options.file is None:
        return [options.question]
    try:
        text = options.file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{options.file}: cannot be read: {cause_of(error)}") from None
    questions = [part.strip() for part in re.split(r"^---\s*$", text, flags=re.MULTILINE)]
    questions = [harmless(question, keep="\n\t") for question in questions if question]
    if not questions:
        raise InputError(f"{options.file}: no prompt in it")
    return questions
