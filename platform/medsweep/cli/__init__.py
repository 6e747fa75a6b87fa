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
from contextlib import contextmanager, suppress
from typing import Any

from medsweep.cli.examples import epilog
from medsweep.cli.last_resort import as_reported, prepare_streams, silence_output
from medsweep.cli.parser import Parser
from medsweep.errors import EXIT_CODES, EXIT_DONE, Interrupted, MedSweepError, packages_named
from medsweep.reporter import harmless
from medsweep.version import __version__

VERBS = {
    "demo": "fine-tune and measure a small real model, then the paper's matrix with stand-ins",
    "init": "write a sweep file to start from: every field with its default, or a ready sweep",
    "validate": "check a sweep file and list all its faults",
    "plan": "show what would run, what cannot run and why, and predict speed and cost",
    "run": "run a sweep on this machine, or resume it",
    "k8s": "run a sweep as RayJobs on the node pools of a Kubernetes cluster",
    "engines": "list, install, check or remove the environments of engines such as vLLM",
    "serve": "serve a base model and its adapters on this machine, with OpenAI's API",
    "ask": "ask an adapter, a base model or a server one question",
    "finetune": "run only the fine-tune stage of a sweep",
    "search": "try a grid of recipes; say which parameters matter and which recipe to use",
    "adapters": "list, show, verify, merge or push adapters",
    "doctor": "check this machine for everything that a sweep needs, and say what to do",
    "bench": "load-test any OpenAI-compatible server",
    "calibrate": "measure how far the load generator can be trusted on this machine",
    "recommend": "say which configurations meet given limits, and with what probability",
    "compare": "show what changed between two result sets beyond noise; a gate for CI",
    "aa": "measure one cell under two names, which must show no difference",
    "score": "grade predictions in a JSONL file against references",
    "review": "have clinicians rate blinded answers, and merge their ratings",
    "judge": "have a model rate blinded answers by a rubric",
    "safety": "ask a model the safety set: what it misses, and what it refuses without need",
    "report": "write the report of results again",
    "export": "copy results to MLflow, or to an offline folder of Weights & Biases",
    "models": "list the model catalogue",
    "hardware": "list the hardware profiles, and say which one this machine is",
    "completion": "print a shell completion script",
    "datasets": "list the datasets; read, count, show or export one",
    "docs": "list the pages of the documentation, or print one",
}

_NOT_RESUMED = "interrupted before its end; nothing more is written"
_RESUMED = "interrupted: what was measured is kept; run the same command to resume"
_INTERRUPTED = {
    **dict.fromkeys(("demo", "run", "finetune", "search", "aa", "judge", "safety"), _RESUMED),
    "k8s": "interrupted: submitted jobs keep running in the cluster; see `medsweep k8s status`",
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
    prepare_streams()
    try:
        with _interrupts():
            return _run(arguments)
    except KeyboardInterrupt:
        return _report(Interrupted(_INTERRUPTED.get(_verb(arguments) or "", _NOT_RESUMED)))
    except MedSweepError as error:
        return _report(error)
    except BrokenPipeError:
        # The reader (`| head`) closed the pipe.
        silence_output()
        return EXIT_DONE
    except Exception as error:  # noqa: BLE001 the last resort
        return _report(as_reported(error, _verb(arguments)))


def _run(arguments: Sequence[str]) -> int:
    try:
        parser = parser_for(*filter(None, [_verb(arguments)]))
        options = parser.parse_args(arguments)
        _quieten()
        with packages_named():
            code: int = options.run(options)
    finally:
        # A full disk shows here and not in the interpreter's own flush, which prints a traceback.
        sys.stdout.flush()
    return code


def _verb(arguments: Sequence[str]) -> str | None:
    return next((word for word in arguments if word in VERBS), None)


@contextmanager
def _interrupts() -> Iterator[None]:
    """Let SIGTERM and SIGHUP act like Ctrl-C; as PID 1 of a container, Python would ignore them.

    SIGHUP stays ignored where it is, as under `nohup`.
    """
    before: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        for name in ("SIGTERM", "SIGHUP"):
            number = getattr(signal, name, None)
            if number is None:
                continue
            if name == "SIGTERM" or signal.getsignal(number) is not signal.SIG_IGN:
                before[number] = signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _quieten() -> None:
    """Silence what libraries tell users and their own developers."""
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    if not sys.stderr.isatty():
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    # It logs to standard output, where the result goes.
    logging.getLogger("DeepSpeed").addFilter(lambda record: record.levelno >= logging.ERROR)
    # It looks for kernels of the hub, which it does not need: it computes with its own.
    logging.getLogger("bitsandbytes.backends.cpu.ops").addFilter(
        lambda record: "gemm_4bit_forward" not in str(record.msg)
    )


def _report(error: MedSweepError) -> int:
    """Print an error and the command that shows the page that explains it; return its exit code."""
    text = harmless(str(error), keep="\n")
    # Where there is nothing to print on, the exit code remains.
    with suppress(OSError, ValueError):
        print(f"medsweep: {text}\nsee: medsweep docs {error.docs}", file=sys.stderr, flush=True)
    silence_output()
    return error.exit_code


def parser_for(*configured: str) -> argparse.ArgumentParser:
    """Return the parser with all verbs.

    Args:
        configured: verbs that get their options too; their modules are loaded.
    """
    parser = Parser(
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
