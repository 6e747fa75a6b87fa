"""`medsweep datasets`: list the datasets, or read, clean, show and export one."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medsweep.cli.options import add_json, add_overrides, load_sweep, show
from medsweep.datasets.catalog import DATASETS
from medsweep.digits import percent
from medsweep.errors import EXIT_DONE
from medsweep.reporter import harmless

if TYPE_CHECKING:
    from medsweep.datasets.spec import Pair

HEADINGS = {
    "name": "dataset",
    "public": "public",
    "licence": "licence",
    "hub_id": "hub",
    "what": "what",
}
TEMPLATE = "alpaca"
SHOWN_LEAKS = 10


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument(
        "dataset",
        nargs="?",
        metavar="NAME|SWEEP",
        help="a dataset's name, or a sweep's YAML file, whose dataset is sampled and split",
    )
    parser.add_argument("--path", help="file to read instead of the hub, or the file of `local`")
    parser.add_argument(
        "--format",
        choices=["columns", "messages", "sharegpt", "alpaca"],
        help="of the file of `local`; default: the one that fits its rows",
    )
    add_overrides(parser)
    parser.add_argument(
        "--show",
        type=int,
        default=0,
        metavar="N",
        help="show the first N rows as the model sees them",
    )
    parser.add_argument(
        "--export",
        type=Path,
        metavar="FILE",
        help="write all rows to a .parquet or .jsonl(.gz) file",
    )
    parser.add_argument(
        "--template",
        default=TEMPLATE,
        help=f"prompt template of the column `prompt`; default: {TEMPLATE}",
    )
    add_json(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print the catalogue, or the counts and rows of one dataset."""
    if options.dataset is None:
        show(
            [asdict(entry) for entry in DATASETS.values()], as_json=options.json, headings=HEADINGS
        )
        return EXIT_DONE
    if options.dataset.endswith((".yaml", ".yml")):
        counts, sides = _of_sweep(options)
    else:
        counts, sides = _of_name(options)
    rows = _rows(sides, options.template) if options.show or options.export else []
    if options.export:
        from medsweep.datasets.export import write_prompt_rows

        write_prompt_rows(rows, options.export)
    if options.json:
        print(json.dumps({**counts, "rows": rows[: options.show]}, indent=2))
        return EXIT_DONE
    for source in counts["sources"]:
        _print_source(source)
    if "train" in counts:
        print(
            f"{counts['train']} for training, {counts['evaluation']} for evaluation; "
            f"hash {counts['sha256'][:16]}"
        )
        _print_leaks(counts["leaks"], counts["evaluation"])
    for row in rows[: options.show]:
        lines = "\n".join(f"{name}: {text}" for name, text in row.items())
        print("\n" + harmless(lines, keep="\n\t"))
    if options.export:
        print(f"{len(rows)} rows in {options.export}")
    return EXIT_DONE


def _print_leaks(found: list[dict[str, Any]], asked: int) -> None:
    """Print how many evaluation answers leaked, and the first of them by id."""
    same = sum(leak["same_question"] for leak in found)
    print(
        f"{len(found)} of {asked} evaluation answers leaked: over half of their 8-grams are in one "
        f"training answer, or the question is a training question ({same}); dataset.leaks=exclude "
        "removes the training pairs"
    )
    for leak in found[:SHOWN_LEAKS]:
        question = ", same question" if leak["same_question"] else ""
        print(f"  {leak['question_id']} in {leak['learnt_id']}: {percent(leak['share'])}{question}")
    if len(found) > SHOWN_LEAKS:
        print(f"  and {len(found) - SHOWN_LEAKS} more; --json lists all")


def _of_name(options: argparse.Namespace) -> tuple[dict[str, Any], dict[str, list[Pair]]]:
    from medsweep.config import Closed, make_config
    from medsweep.datasets.load import load_sources
    from medsweep.datasets.spec import DatasetSpec

    class Alone(Closed):
        """A dataset without its sweep, so that `--set` names fields as in a sweep."""

        dataset: DatasetSpec

    fields = {"name": options.dataset, "path": options.path, "format": options.format}
    given = {name: value for name, value in fields.items() if value}
    spec = make_config(Alone, {"dataset": given}, options.overrides, "datasets").dataset
    loaded = load_sources(spec)
    pairs = [pair for one in loaded for pair in one.pairs]
    return {"sources": [one.record() for one in loaded]}, {"all": pairs}


def _of_sweep(options: argparse.Namespace) -> tuple[dict[str, Any], dict[str, list[Pair]]]:
    from medsweep.datasets.split import load_split

    options.sweep = Path(options.dataset)
    for name in ("path", "format"):
        if value := getattr(options, name):
            options.overrides.append(f"dataset.{name}={value}")
    spec = load_sweep(options)
    split = load_split(spec.dataset, spec.seed)
    counts = {
        "sources": [dict(source) for source in split.sources],
        "train": len(split.train),
        "evaluation": len(split.evaluation),
        "sha256": split.sha256,
        "leaks": [asdict(leak) for leak in split.leaks],
    }
    return counts, {"train": list(split.train), "evaluation": list(split.evaluation)}


def _rows(sides: dict[str, list[Pair]], template: str) -> list[dict[str, str]]:
    from medsweep.datasets.export import prompt_rows
    from medsweep.models.templates import TEMPLATES

    return [
        {**row, "side": side}
        for side, pairs in sides.items()
        for row in prompt_rows(pairs, TEMPLATES[template])
    ]


def _print_source(source: dict[str, Any]) -> None:
    revision = f"@{source['revision']}" if source["revision"] else ""
    print(
        f"{source['name']}: {source['pairs']} pairs of {source['rows']} rows"
        f" of {source['from']}{revision}"
    )
    for kind in ("dropped", "mended"):
        for rule, count in source[kind].items():
            print(f"  {kind} {count} by {rule}")
