"""The argument parser of every verb: bare verbs show help, and mistakes name what is nearest."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from typing import Any, NoReturn

from medsweep.errors import InputError, did_you_mean


class Parser(argparse.ArgumentParser):
    """Reports mistakes with the usage line of the verb that they were made in."""

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Parse; an argument that no option takes is a mistake of this very verb."""
        given = list(sys.argv[1:] if args is None else args)
        if self._subparsers is not None:
            if not given:
                self.print_help()
                self.exit(InputError.exit_code if self.prog.count(" ") else 0)
        elif (wrong := self._unknown_option(given)) is not None:
            # Before argparse complains about whatever is missing because of it.
            self.error(wrong)
        options, left = super().parse_known_args(given, namespace)
        if left:
            self.error(self._unknown_option(left) or self._unexpected(left[0]))
        return options, []

    def _unexpected(self, word: str) -> str:
        text = f"unexpected argument {word!r}"
        for option in ("--base", "--model"):
            if option in self._option_string_actions and not word.startswith("-"):
                return f"{text}; a model is given as {option} {word!r}"
        return text

    def _unknown_option(self, words: Sequence[str]) -> str | None:
        for word in words:
            name = word.partition("=")[0]
            if name == "--":
                return None
            if name.startswith("--") and not any(
                known.startswith(name) for known in self._option_string_actions
            ):
                return f"unknown option {name}{did_you_mean(name, self._option_string_actions)}"
        return None

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is None or value in action.choices:
            return
        known = [str(each) for each in action.choices]
        is_verb = isinstance(action, argparse._SubParsersAction)
        kind = str(action.metavar).lower() if is_verb else "value"
        text = f"unknown {kind} {str(value)!r}{did_you_mean(str(value), known)}"
        raise argparse.ArgumentError(
            None if is_verb else action, f"{text}; known: {', '.join(known)}"
        )

    def error(self, message: str) -> NoReturn:
        """Print the usage line and the mistake; exit with 2."""
        self.print_usage(sys.stderr)
        self.exit(InputError.exit_code, f"{self.prog}: error: {message}\nsee: {self.prog} --help\n")

    def _print_message(self, message: str, file: Any = None) -> None:
        """Write help and versions; argparse's own method is silent about a full disk."""
        with suppress(OSError) if file in (None, sys.stderr) else nullcontext():
            (file or sys.stderr).write(message or "")
