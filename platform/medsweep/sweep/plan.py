"""Plan a sweep: from its spec to cells with content-addressed keys. Nothing is started."""

from __future__ import annotations

import hashlib
import json
import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from medsweep.hardware.observe import HOST
from medsweep.hardware.profile import HardwareProfile
from medsweep.models.catalog import PAPER_CELLS, PAPER_MODELS
from medsweep.models.precision import choose_dtype, serving_refusal
from medsweep.models.spec import ModelSpec
from medsweep.serving.engines.choice import choose
from medsweep.serving.engines.compatibility import SPLITTING, missing_here, packs_weights
from medsweep.sweep.catalog import Catalog
from medsweep.sweep.cell import AdapterPlan, AnyCell, Cell, ServerCell
from medsweep.sweep.finetunable import finetune_refusal
from medsweep.sweep.spec import SweepSpec
from medsweep.version import __version__


@dataclass(frozen=True)
class Plan:
    """The cells of a sweep, and the adapters that they need.

    Attributes:
        cells: those that MedSweep deploys, in the order of the run, shuffled by seed.
        adapters: by key; one for each model with a cell that can run.
        servers: the cells of external servers.
    """

    cells: tuple[Cell, ...]
    adapters: Mapping[str, AdapterPlan]
    servers: tuple[ServerCell, ...] = ()

    @property
    def runnable(self) -> tuple[Cell, ...]:
        """The cells of `cells` that can run."""
        return tuple(cell for cell in self.cells if cell.refused is None)

    @property
    def all_cells(self) -> tuple[AnyCell, ...]:
        """The cells that MedSweep deploys, then those of servers."""
        return (*self.cells, *self.servers)


def needs_ray(spec: SweepSpec, cells: Iterable[AnyCell]) -> bool:
    """Whether Ray deploys one of these cells, or load generators on its nodes.

    Args:
        spec: the sweep.
        cells: those to measure.
    """
    return spec.load.shards > 1 or any(isinstance(cell, Cell) for cell in cells)


def model_names(spec: SweepSpec) -> list[str]:
    """Return the models that a sweep's cells name, stand-ins where it asks for them."""
    return list(dict.fromkeys(model for model, _ in _pairs(spec, spec.catalog)))


def make_plan(
    spec: SweepSpec,
    dataset_sha256: str,
    revisions: Mapping[str, str],
    host: HardwareProfile,
    unavailable: Mapping[str, str] | None = None,
    *,
    missing: Callable[[str, HardwareProfile], str | None] = missing_here,
    graders: Mapping[str, str] | None = None,
) -> Plan:
    """Plan a sweep.

    Args:
        spec: the sweep.
        dataset_sha256: identity of the split dataset.
        revisions: identity of the weights, by model.
        host: this machine, for the profile `host`.
        unavailable: why weights cannot be fetched, by model.
        missing: says what an engine lacks where a profile's cells run.
        graders: identity of what the sweep brings to grade answers by: its own lexicon, its model
            for entailment.
    """
    catalog = spec.catalog.with_host(host)
    pairs = [
        (catalog.models[model], _priced(spec, catalog.profiles[profile]))
        for model, profile in dict.fromkeys(_pairs(spec, catalog))
    ]
    finetunes = _finetunes(spec, pairs, catalog, unavailable or {})
    # The same for every cell, of which there may be 10,000.
    common = {"dataset": dataset_sha256, "seed": spec.seed, "version": __version__}
    recipe = {"recipe": spec.finetune.recipe.model_dump(), "max_tokens": spec.load.max_tokens}
    # Cells that were measured before there were shards keep their keys.
    one_shard = {"shards"} if spec.load.shards == 1 else None
    measured = {
        **common,
        "load": spec.load.model_dump(exclude=one_shard),
        "keep_text": spec.texts_kept,
        **(graders or {}),
    }
    served = {"serve": spec.serve.model_dump(exclude={"adapters"})}
    cells: list[Cell] = []
    adapters: dict[str, AdapterPlan] = {}
    for (model, profile), way in product(pairs, spec.serve.ways):
        weights = {"model": repr(model), "revision": revisions[model.name]}
        adapter = _key({**weights, **common, **recipe})
        where, no_adapter = finetunes[model.name]
        parts = {**weights, **measured, **served, "adapter": adapter, "no_adapter": no_adapter}
        cell = _cell(spec, model, profile, way, parts, missing)
        cells.append(cell)
        if cell.refused is None and adapter not in adapters:
            adapters[adapter] = AdapterPlan(model, where, adapter)
    random.Random(spec.seed).shuffle(cells)  # noqa: S311 an order, not a secret
    return Plan(tuple(cells), adapters, _server_cells(spec, catalog, measured))


def _finetunes(
    spec: SweepSpec,
    pairs: Sequence[tuple[ModelSpec, HardwareProfile]],
    catalog: Catalog,
    unavailable: Mapping[str, str],
) -> dict[str, tuple[HardwareProfile, str | None]]:
    """Return by model where it is fine-tuned, and why it cannot be, or None."""
    own: dict[str, list[HardwareProfile]] = defaultdict(list)
    for model, profile in pairs:
        own[model.name].append(profile)
    finetunes = {}
    for model in {model.name: model for model, _ in pairs}.values():
        where = _finetune_profile(spec, own[model.name], catalog)
        refused = unavailable.get(model.name) or finetune_refusal(spec.finetune, model, where)
        finetunes[model.name] = where, refused
    return finetunes


def _cell(
    spec: SweepSpec,
    model: ModelSpec,
    profile: HardwareProfile,
    way: str,
    parts: Mapping[str, Any],
    missing: Callable[[str, HardwareProfile], str | None],
) -> Cell:
    """Return one cell.

    Args:
        spec: the sweep.
        model: what is served.
        profile: the hardware.
        way: how the adapter is served, as the sweep says.
        parts: of its key, as far as they do not depend on the profile: with the key of its adapter
            (`adapter`), and why there is none (`no_adapter`), so that a cell that is refused for
            this is another one than when there is an adapter.
        missing: as of `make_plan`.
    """
    serve = spec.serve
    dtype: str = serve.dtype
    if dtype == "auto":
        dtype = choose_dtype(model, profile.accelerator)
    choice = choose(
        serve.engine,
        way,
        profile,
        model,
        quantization=serve.quantization,
        log_probabilities=spec.quality.confidence,
        missing=missing,
    )
    # A stand-in is checked with its own sizes, because it is what runs.
    refused = (
        parts["no_adapter"]
        or choice.refused
        or serving_refusal(
            model,
            profile,
            dtype=dtype,
            quantization=serve.quantization,
            splits=choice.engine in SPLITTING,
            packed=packs_weights(
                choice.engine, profile, dtype=dtype, quantization=serve.quantization
            ),
        )
    )
    # What `auto` chose, so that a cell is the same whether it was chosen or named.
    chosen = {"engine": choice.engine}
    chosen |= {"adapters": choice.adapters} if choice.adapters == "merged" else {}
    key = _key(
        {
            **parts,
            # Another price does not repeat a measurement.
            "profile": repr(_unpriced(profile)),
            "dtype": dtype,
            "serve": parts["serve"] | chosen,
        }
    )
    suffix = f"+{way}" if len(serve.ways) > 1 else ""
    return Cell(model, profile, dtype, parts["adapter"], key, refused, choice, suffix)


def _server_cells(
    spec: SweepSpec, catalog: Catalog, common: Mapping[str, Any]
) -> tuple[ServerCell, ...]:
    """Return the cells of servers; each takes the place of a hardware profile."""
    cells = []
    for server in spec.servers:
        profile = None
        if server.hardware is not None:
            profile = _priced(spec, catalog.profiles[server.hardware])
        hardware = repr(profile and _unpriced(profile))
        key = _key({**common, "server": server.identity, "profile": hardware})
        cells.append(ServerCell(server, profile, key, server.unset()))
    return tuple(cells)


def _pairs(spec: SweepSpec, catalog: Catalog) -> Iterator[tuple[str, str]]:
    """Yield (model, profile) of each cell that the sweep names."""
    prefix = "standin-" if spec.stand_ins else ""
    for cell in spec.cell_names:
        if cell == "paper":
            pairs = list(PAPER_CELLS)
        elif cell == "all":
            models = spec.models or PAPER_MODELS
            profiles = [name for name in catalog.profiles if name != HOST]
            pairs = [(model, profile) for model in models for profile in profiles]
        else:
            model, _, profile = cell.partition("@")
            pairs = [(model, profile)]
        for model, profile in pairs:
            yield (prefix + model if prefix + model in catalog.models else model), profile


def _finetune_profile(
    spec: SweepSpec, own: Sequence[HardwareProfile], catalog: Catalog
) -> HardwareProfile:
    """Return the profile that the sweep names, or that of the model's cells with most memory."""
    if spec.finetune.profile is not None:
        return catalog.profiles[spec.finetune.profile]
    return max(own, key=lambda profile: (profile.gpu_memory_bytes, profile.cpus))


def _priced(spec: SweepSpec, profile: HardwareProfile) -> HardwareProfile:
    """Return a profile with the sweep's own price, if it gives one."""
    price = spec.prices.get(profile.name)
    if price is None:
        return profile
    return replace(
        profile,
        usd_per_hour=price.usd_per_hour,
        price_source=price.source,
        price_date=price.date,
    )


def _unpriced(profile: HardwareProfile) -> HardwareProfile:
    return replace(profile, usd_per_hour=None, price_source=None, price_date=None)


def _key(parts: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]
