"""The command line: one module for each verb, loaded only when it is called."""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from medsweep.cli.examples import epilog
from medsweep.errors import EXIT_CODES, EXIT_DONE, Interrupted, MedSweepError
from medsweep.reporter import harmless
from medsweep.version import __version__

VERBS = {
    "init": "write a commented sweep file to start from",
    "validate": "check a sweep file and list all its faults",
    "plan": "show what would run, what cannot run and why, and predict speed and cost",
    "run": "run a sweep on this machine, or resume it",
    "k8s": "run a sweep as RayJobs on the node pools of a Kubernetes cluster",
    "engines": "list, install, check or remove the environments of engines such as vLLM",
    "serve": "serve a base model and its adapters on this machine, with OpenAI's API",
    "ask": "ask an adapter one question",
    "finetune": "run only the fine-tune stage of a sweep",
    "search": "try a grid of recipes; say which parameters matter and which recipe to use",
    "adapters": "list, show, verify, merge or push adapters",
    "bench": "load-test any OpenAI-compatible server",
    "calibrate": "measure how far the load generator can be trusted on this machine",
    "recommend": "say which configurations meet given limits, and with what probability",
    "compare": "show what changed between two result sets beyond noise; a gate for CI",
    "aa": "measure one cell under two names, which must show no difference",
    "score": "grade predictions in a JSONL file against references",
    "report": "write the report of results again",
    "models": "list the model catalogue",
    "hardware": "list the hardware profiles and this machine",
    "completion": "print a shell completion script",
    "datasets": "list the datasets; read, count, show or export one",
}

CODES = "\n".join(["exit codes:", *(f"  {code}  {told}" for code, told in EXIT_CODES.items())])


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb.

    Args:
        argv: the arguments; None takes the program's.

    Returns:
        The exit code.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    parser = parser_for(*[word for word in arguments if word in VERBS][:1])
    options = parser.parse_args(arguments)
    _quieten()
    try:
        with _sigterm_interrupts():
            code: int = options.run(options)
    except KeyboardInterrupt:
        stopped = Interrupted(
            "interrupted: what was measured is kept; run the same command to resume"
        )
        return _report(stopped)
    except MedSweepError as error:
        return _report(error)
    except BrokenPipeError:
        # The reader (`| head`) closed the pipe; another failure at exit would print a traceback.
        sys.stderr.close()
        return EXIT_DONE
    return code


@contextmanager
def _sigterm_interrupts() -> Iterator[None]:
    """Let SIGTERM act like Ctrl-C; as PID 1 of a container, Python would ignore it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _quieten() -> None:
    """Silence what libraries tell their own developers."""
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    if not sys.stderr.isatty():
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    # It logs to standard output, where the result goes.
    logging.getLogger("DeepSpeed").addFilter(lambda record: record.levelno >= logging.ERROR)


def _report(error: MedSweepError) -> int:
    """Print an error and the page that explains it; return its exit code."""
    text = harmless(str(error), keep="\n")
    print(f"medsweep: {text}\nsee docs/{error.docs}", file=sys.stderr)
    return error.exit_code


def parser_for(*configured: str) -> argparse.ArgumentParser:
    """Return the parser with all verbs.

    Args:
        configured: verbs that get their options too; their modules are loaded.
    """
    parser = argparse.ArgumentParser(
        prog="medsweep",
        description="Fine-tune medical language models, serve the adapters, and measure every "
        "model on every hardware configuration.",
        epilog=CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"medsweep {__version__}")
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)
    for name, help_ in VERBS.items():
        child = verbs.add_parser(
            name,
            help=help_,
            description=help_[0].upper() + help_[1:] + ".",
            epilog=f"{epilog(name)}\n\n{CODES}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        if name in configured:
            importlib.import_module(f"medsweep.cli.{name}").configure(child)
    return parser
