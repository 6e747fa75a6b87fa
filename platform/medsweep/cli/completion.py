"""`medsweep completion`: complete verbs and options in a shell."""

from __future__ import annotations

import argparse

from medsweep.errors import EXIT_DONE


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("shell", choices=["bash", "zsh", "tcsh"])
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print the script, made from the options of every verb."""
    import shtab

    from medsweep.cli import VERBS, parser_for

    print(shtab.complete(parser_for(*VERBS), shell=options.shell))
    return EXIT_DONE
