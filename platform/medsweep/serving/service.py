"""Builds a server's engine from its configuration: base weights, engine, adapters."""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path

from medsweep.clock import Clock
from medsweep.cluster.cpu_pinning import usable_cpus, wait_asleep
from medsweep.datasets.load import embedded_answers
from medsweep.errors import InputError, StageError
from medsweep.finetune.adapter import Adapter, base_sha256, read_adapter, read_card
from medsweep.hardware.observe import host_profile
from medsweep.models.catalog import MODELS
from medsweep.models.precision import choose_dtype
from medsweep.models.spec import ModelSpec
from medsweep.models.weights import Weights, fetch_weights, identify
from medsweep.serving.adapter_pool import AdapterPool
from medsweep.serving.adapter_source import AdapterSource
from medsweep.serving.config import ServeConfig
from medsweep.serving.engines import open_engine
from medsweep.serving.engines.choice import choose
from medsweep.serving.engines.low_rank import read_rank
from medsweep.serving.engines.null import NULL_MODEL, NULL_SPEC
from medsweep.serving.merge import merged_settings
from medsweep.serving.protocol import EngineSettings
from medsweep.serving.server_metrics import ServerMetrics
from medsweep.table import NamedTable

LOG = logging.getLogger("medsweep.serving")


def open_service(
    config: ServeConfig,
    metrics: ServerMetrics,
    clock: Clock,
    models: NamedTable[ModelSpec] = MODELS,
) -> AdapterPool:
    """Load the base and return the engine that serves it with its adapters.

    Args:
        config: what to serve.
        metrics: counts loads and evictions of adapters.
        clock: times them.
        models: the base models that can be served; a sweep's catalogue has its own ones, too.

    Raises:
        InputError: there is nothing to serve, or an adapter does not fit the base.
        EnvironmentFault: the weights are not available.
    """
    wait_asleep()
    return open_pool(resolve_settings(config, models), config, metrics, clock)


def resolve_settings(
    config: ServeConfig,
    models: NamedTable[ModelSpec] = MODELS,
    weights: Weights | None = None,
) -> EngineSettings:
    """Return the settings of a server's engine on this machine; missing weights are fetched.

    Args:
        config: what to serve.
        models: the base models that can be served, as in `open_service`.
        weights: those that a sweep's adapters were made on, for a machine that has not fetched or
            built them; None takes the catalogue's.

    Raises:
        InputError: there is nothing to serve, or an adapter does not fit the base.
        EnvironmentFault: the weights are not available.
    """
    if config.engine == NULL_MODEL:
        return config.settings(NULL_MODEL, NULL_SPEC, dtype="float32", cpus=None)
    spec, base = _base(config, models, weights)
    host = host_profile()
    if config.merged and (len(config.adapters) != 1 or config.adapter_root):
        raise InputError("merged (--merge): give exactly one adapter, and no adapter root")
    way = "live" if config.adapters or config.adapter_root else "none"
    way = "merged" if config.merged else way
    choice = choose(config.engine, way, host, spec, quantization=config.quantization)
    if choice.refused is not None:
        raise InputError(choice.refused)
    LOG.info("engine %s: %s", choice.engine, choice.engine_reason)
    dtype = choose_dtype(spec, host.accelerator) if config.dtype == "auto" else config.dtype
    settings = partial(
        config.settings,
        choice.engine,
        spec,
        dtype=dtype,
        cpus=usable_cpus(),
        profile=host,
        base=base,
    )
    if config.merged:
        [(name, folder)] = config.adapters.items()
        return merged_settings(settings(adapters={name: read_adapter(folder, links=True)}))
    # Adapters that come later below the root have a rank that nobody knows yet.
    ranks = [read_rank(folder) for folder in config.adapters.values()]
    slots = config.max_loaded if config.adapter_root else min(config.max_loaded, len(ranks))
    max_rank = None if config.adapter_root else max(ranks, default=None)
    return settings(max_adapters=slots, max_rank=max_rank)


def open_pool(
    settings: EngineSettings, config: ServeConfig, metrics: ServerMetrics, clock: Clock
) -> AdapterPool:
    """Load an engine and return it with a server's adapters.

    Args:
        settings: settings of the engine.
        config: the adapters, and how many of them may be in memory.
        metrics: counts loads and evictions of adapters.
        clock: times them.

    Raises:
        InputError: a named folder holds no adapter, or the root is not a folder.
    """
    named = {} if config.merged else config.adapters
    # First: a folder that cannot be served is known at once, and a model loads for minutes.
    source = AdapterSource(settings.model.name, named, config.adapter_root, clock)
    return AdapterPool(
        open_engine(settings),
        source,
        settings.base,
        max_loaded=config.max_loaded,
        metrics=metrics,
        clock=clock,
    )


def _base(
    config: ServeConfig, models: NamedTable[ModelSpec], weights: Weights | None
) -> tuple[ModelSpec, Path]:
    """Return the base model and the folder of its weights.

    The operator decides both, by `base` and `base_folder` or by the named adapters. Otherwise
    anyone who may write below the adapter root could replace the base model for all users.
    """
    named = [_card(folder) for folder in config.adapters.values()]
    if config.base is None and not named:
        raise InputError(
            "nothing to serve: give --adapter or --base; adapters below --adapter-root do not "
            "decide which base is served"
        )
    name = config.base or named[0].model
    for card in named:
        if card.model != name:
            raise InputError(
                f"{card.folder}: an adapter of {card.model!r}, but the base model is {name!r}"
            )
    spec = models[name]
    if config.base_folder is not None:
        if base_sha256(config.base_folder) is None:
            raise InputError(f"--base-folder {config.base_folder}: it holds no *.safetensors")
        return spec, config.base_folder
    for card in named:
        if card.base.is_dir():
            return spec, card.base
    if weights is not None:
        return spec, fetch_weights(weights)
    if spec.source == "standin" and named:
        raise InputError(f"{named[0].base}: the adapters' base model is no longer there")
    texts = embedded_answers() if spec.source == "standin" else []
    return spec, fetch_weights(identify(spec, texts))


def _card(folder: Path) -> Adapter:
    try:
        return read_card(folder, links=True)
    except StageError as error:
        raise InputError(str(error)) from None
