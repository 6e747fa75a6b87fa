"""`medsweep serve`: serve a base model and its adapters on this machine."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from medsweep.cli.options import add_models, load_models
from medsweep.errors import EXIT_DONE, ConfigError, Fault, InputError, require

if TYPE_CHECKING:
    from medsweep.serving.config import ServeConfig


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    from medsweep.serving.admission import Limits
    from medsweep.serving.config import ServeConfig
    from medsweep.serving.engines import ENGINES

    usual, limits = ServeConfig(), Limits()
    parser.add_argument(
        "--adapter",
        action="append",
        default=[],
        metavar="[NAME=]DIR",
        help="an adapter's folder; requests use its NAME, by default the folder's; may be repeated",
    )
    parser.add_argument(
        "--adapter-root",
        type=Path,
        metavar="DIR",
        help="serve every adapter below this folder by its folder's name; they may be added and "
        "removed while it serves",
    )
    parser.add_argument(
        "--merge",
        action="store_true",
        dest="merged",
        help="serve the only --adapter merged into a copy of its base, as fast as the base, which "
        "is not served itself",
    )
    parser.add_argument(
        "--base", metavar="MODEL", help="base model; by default that of the first --adapter"
    )
    parser.add_argument(
        "--base-folder",
        type=Path,
        metavar="DIR",
        help="folder of the base model's weights; by default the one that --adapter names, or the "
        "catalogue's, which are fetched",
    )
    add_models(parser)
    parser.add_argument("--host", default="127.0.0.1", help="default: 127.0.0.1")
    parser.add_argument("--port", type=int, default=8000, help="default: 8000; 0 picks a free one")
    parser.add_argument(
        "--api-key-file",
        type=Path,
        metavar="FILE",
        help="holds the key that clients must send; default: the variable MEDSWEEP_API_KEY; "
        "without a key only this machine may connect",
    )
    parser.add_argument(
        "--engine",
        default=usual.engine,
        metavar="NAME",
        help=f"{', '.join(ENGINES)}, or auto: the preferred one that is installed and can serve "
        f"this; default: {usual.engine}",
    )
    parser.add_argument(
        "--dtype", default=usual.dtype, help="float32, float16, bfloat16; default: auto"
    )
    parser.add_argument(
        "--quantization",
        help="quantization of the base's weights; default: the engine's first one",
    )
    for field, value, meaning in (
        ("max_batch_size", usual.max_batch_size, "most requests per forward pass"),
        ("max_loaded", usual.max_loaded, "most adapters in memory"),
        ("max_concurrent", limits.max_concurrent, "most requests that run at a time"),
        ("max_queued", limits.max_queued, "most requests that wait; further ones get 429"),
        ("max_prompt_tokens", limits.max_prompt_tokens, "most prompt tokens"),
        ("max_output_tokens", limits.max_output_tokens, "most output tokens"),
        ("max_body_bytes", limits.max_body_bytes, "longest request body"),
    ):
        parser.add_argument(
            f"--{field.replace('_', '-')}",
            type=int,
            default=value,
            metavar="N",
            help=f"{meaning}; default: {'the context' if value is None else value}",
        )
    parser.add_argument(
        "--timeout",
        type=float,
        default=limits.timeout_s,
        metavar="SECONDS",
        dest="timeout_s",
        help=f"longest time of a request, including the wait; default: {limits.timeout_s:g}",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Serve until Ctrl-C or SIGTERM, then finish the running requests."""
    require("uvicorn", "torch")
    from medsweep.serving.http import serve_here
    from medsweep.serving.middleware import read_key, require_key

    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s: %(message)s")
    config = _config(options)
    key = read_key(options.api_key_file)
    require_key(options.host, key)

    def ready(url: str) -> None:
        print(f"serving at {url}/v1; models: {url}/v1/models", flush=True)
        print("Ctrl-C finishes the running requests and stops", flush=True)

    models = load_models(options)
    serve_here(config, host=options.host, port=options.port, key=key, ready=ready, models=models)
    print("stopped", flush=True)
    return EXIT_DONE


def _config(options: argparse.Namespace) -> ServeConfig:
    from pydantic import ValidationError

    from medsweep.serving.admission import Limits
    from medsweep.serving.config import ServeConfig
    from medsweep.serving.engines.compatibility import ENGINE_QUANTIZATIONS

    given = vars(options)
    if options.quantization is None:
        given["quantization"] = ENGINE_QUANTIZATIONS.get(options.engine, ("none",))[0]
    fields = {name: given[name] for name in ServeConfig.model_fields if name in given}
    limits = {name: given[name] for name in Limits.model_fields if name in given}
    try:
        return ServeConfig.model_validate(
            {**fields, "adapters": _adapters(options.adapter), "limits": limits}
        )
    except ValidationError as error:
        raise ConfigError(
            "medsweep serve",
            [
                Fault(
                    f"--{str(fault['loc'][-1]).removesuffix('_s').replace('_', '-')}",
                    fault["msg"].removeprefix("Value error, "),
                )
                for fault in error.errors()
            ],
            docs="serving.md#limits-and-shutdown",
        ) from None


def _adapters(given: Sequence[str]) -> dict[str, Path]:
    """Return the folders by name."""
    adapters: dict[str, Path] = {}
    for text in given:
        name, equals, folder = text.partition("=")
        path = Path(folder if equals else text)
        name = name if equals else path.resolve().name
        if name in adapters:
            raise InputError(f"--adapter {text}: the name {name!r} is used twice; write NAME=DIR")
        adapters[name] = path
    return adapters
