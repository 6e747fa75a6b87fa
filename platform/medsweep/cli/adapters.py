"""`medsweep adapters`: list, show, verify, merge and push adapters."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from medsweep.cli.options import add_json, show
from medsweep.errors import EXIT_DONE, InputError, StageError
from medsweep.reporter import harmless

HEADINGS = {
    "adapter": "adapter",
    "model": "model",
    "epochs": "epochs",
    "eval_loss": "eval loss",
    "token_f1": "token F1",
    "sha256": "sha256",
}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the actions and their arguments."""
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    listing = actions.add_parser("list", help="list the adapters below a folder")
    listing.add_argument(
        "folder", type=Path, nargs="?", default=Path("results"), help="default: results"
    )
    listing.set_defaults(run=run_list)
    showing = actions.add_parser("show", help="show an adapter's provenance and figures")
    showing.set_defaults(run=run_show)
    verifying = actions.add_parser(
        "verify", help="check an adapter's files and base model, and run both"
    )
    verifying.set_defaults(run=run_verify)
    merging = actions.add_parser("merge", help="write base and adapter as one plain model")
    merging.add_argument("--out", type=Path, required=True, metavar="DIR")
    merging.set_defaults(run=run_merge)
    pushing = actions.add_parser("push", help="copy an adapter to the hub or to any fsspec URL")
    pushing.set_defaults(run=run_push)
    for action in (showing, verifying, merging, pushing):
        action.add_argument("adapter", type=Path, metavar="ADAPTER", help="folder of the adapter")
    for action in (verifying, merging):
        action.add_argument("--base", type=Path, metavar="DIR", help="folder of the base model")
    pushing.add_argument("target", metavar="URL", help="hf://owner/name, s3://..., file://...")
    pushing.add_argument("--private", action="store_true", help="a new hub repository is private")
    for action in (listing, showing, verifying, merging, pushing):
        add_json(action)


def run_list(options: argparse.Namespace) -> int:
    """Print one line per adapter below the folder."""
    if not options.folder.is_dir():
        raise InputError(f"{options.folder}: no such folder")
    rows = [_row(path.parent) for path in sorted(options.folder.rglob("adapter.json"))]
    show(rows, as_json=options.json, headings=HEADINGS)
    return EXIT_DONE


def run_show(options: argparse.Namespace) -> int:
    """Print provenance and figures of one adapter."""
    from medsweep.finetune.adapter import read_adapter, read_provenance, read_training
    from medsweep.finetune.epochs import EPOCH_FIGURES

    adapter = read_adapter(_folder(options), links=True)
    record, epochs = read_provenance(adapter.folder), read_training(adapter.folder)
    recipe, precision = record.get("recipe"), record.get("precision")
    if options.json:
        print(json.dumps({**_row(adapter.folder), "provenance": record, "training": epochs}))
        return EXIT_DONE
    for name, value in (
        ("model", adapter.model),
        ("revision", record.get("revision")),
        ("template", adapter.template),
        ("stop tokens", ", ".join(adapter.stop_tokens)),
        ("sha256", adapter.sha256),
        ("training pairs", record.get("train_pairs")),
        ("evaluation questions", record.get("evaluation_pairs")),
        ("cleaned", record.get("dataset")),
        *(precision.items() if isinstance(precision, dict) else ()),
        *((name, record[name]) for name in sorted(record) if name.endswith("_sha256")),
        *(recipe.items() if isinstance(recipe, dict) else ()),
    ):
        print(harmless(f"{name}: {value}"))
    print()
    figures = ("epoch", "loss", *EPOCH_FIGURES)
    show([{name: _round(row.get(name)) for name in figures} for row in epochs], as_json=False)
    return EXIT_DONE


def run_verify(options: argparse.Namespace) -> int:
    """Print each check; exit 1 if one fails."""
    from medsweep.finetune.verify import verify

    checks = verify(_folder(options), options.base)
    if options.json:
        print(json.dumps([asdict(check) for check in checks], indent=2))
    else:
        for check in checks:
            print(f"{'ok    ' if check.problem is None else 'FAILED'}  {check.name}")
    problems = [check.problem for check in checks if check.problem is not None]
    if problems:
        raise StageError(problems[0])
    return EXIT_DONE


def run_merge(options: argparse.Namespace) -> int:
    """Write the merged model."""
    from medsweep.finetune.adapted import find_base, open_adapter
    from medsweep.serving.merge import merge

    adapter = open_adapter(_folder(options))
    merge(adapter, find_base(adapter, options.base), options.out)
    _print(options, {"folder": str(options.out)}, f"merged model: {options.out}")
    return EXIT_DONE


def run_push(options: argparse.Namespace) -> int:
    """Copy the adapter."""
    from medsweep.finetune.adapter import read_adapter
    from medsweep.finetune.push import push

    adapter = read_adapter(_folder(options))
    where = push(adapter, options.target, private=options.private)
    _print(options, {"pushed": where, "sha256": adapter.sha256}, f"pushed: {where}")
    return EXIT_DONE


def _folder(options: argparse.Namespace) -> Path:
    """Return the folder of the adapter that is named."""
    folder: Path = options.adapter
    if not folder.is_dir():
        raise InputError(
            f"{folder}: no such folder; `medsweep adapters list FOLDER` finds those below one"
        )
    return folder


def _row(folder: Path) -> dict[str, Any]:
    """Return one adapter's row; without figures if the adapter is incomplete."""
    from medsweep.finetune.adapter import read_adapter, read_training

    row: dict[str, Any] = {"adapter": str(folder), **dict.fromkeys(list(HEADINGS)[1:])}
    try:
        adapter = read_adapter(folder, links=True)
        last = read_training(folder)[-1]
    except StageError as error:
        return {**row, "problem": str(error)}
    return {
        **row,
        "model": adapter.model,
        "epochs": last["epoch"],
        "eval_loss": _round(last["eval_loss"]),
        "token_f1": _round(last.get("token_f1")),
        "sha256": adapter.sha256[:12],
        "problem": None,
    }


def _round(value: Any) -> Any:
    return round(value, 4) if isinstance(value, float) else value


def _print(options: argparse.Namespace, values: dict[str, Any], text: str) -> None:
    print(json.dumps(values) if options.json else text)
