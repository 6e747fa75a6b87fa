"""Which engine serves a model, and how its adapter is served: what the user names, or `auto`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from medsweep.hardware.profile import HardwareProfile
from medsweep.models.spec import ModelSpec
from medsweep.serving.engines.compatibility import (
    ENGINE_QUANTIZATIONS,
    missing_here,
    no_log_probabilities,
    unsupported,
)

AUTO = "auto"

WAYS = ("live", "merged")
"""How an adapter is served: beside its base, or merged into a copy of it."""

RANKING: Mapping[tuple[str, bool], tuple[tuple[str, str], ...]] = {
    ("GPU", True): (
        ("vllm", "live"),
        ("vllm", "merged"),
        ("continuous", "live"),
        ("continuous", "merged"),
    ),
    ("GPU", False): (("vllm", "none"), ("continuous", "none")),
    ("CPU", True): (
        ("openvino", "live"),
        ("vllm", "merged"),
        ("continuous", "merged"),
        ("continuous", "live"),
        ("vllm", "live"),
    ),
    ("CPU", False): (("openvino", "none"), ("vllm", "none"), ("continuous", "none")),
}
"""Engine and way, preferred first, by device and whether an adapter is served. docs/engines.md says
what was measured. `openvino` serves quantized weights alone, so it only comes first for those."""

TABLE = "docs/engines.md"
NAMED = "the user names it"
NONE_SCORES = "; nothing allowed that can serve the model gives log-probabilities"


@dataclass(frozen=True)
class Choice:
    """The engine that serves a model, and how.

    Attributes:
        engine: its name in `ENGINES`.
        engine_reason: why this engine.
        adapters: one of WAYS; `none` without an adapter.
        adapters_reason: why this way.
        refused: why it cannot serve the model here, or None.
    """

    engine: str
    engine_reason: str
    adapters: str
    adapters_reason: str
    refused: str | None


def choose(
    engine: str,
    adapters: str,
    profile: HardwareProfile,
    model: ModelSpec,
    *,
    quantization: str = "none",
    log_probabilities: bool = False,
    missing: Callable[[str, HardwareProfile], str | None] = missing_here,
) -> Choice:
    """Return the preferred way to serve a model, of those that are allowed and supported.

    Args:
        engine: the only one that is allowed, or `auto`.
        adapters: the only one of WAYS that is allowed, or `auto`; `none` without an adapter.
        profile: the hardware.
        model: the base model.
        quantization: of its weights.
        log_probabilities: whether those of the answers are needed. What gives none is then passed
            over where another engine or way can serve the model.
        missing: says what an engine lacks where it will run.
    """
    device = "GPU" if profile.gpus else "CPU"
    ranked = RANKING[device, adapters != "none"]
    if engine != AUTO and engine not in {each for each, _ in ranked}:
        ranked = tuple((engine, way) for way in (WAYS if adapters != "none" else ("none",)))
    allowed = [
        (name, way) for name, way in ranked if engine in (AUTO, name) and adapters in (AUTO, way)
    ]
    passed: dict[tuple[str, str], str] = {}
    without: list[tuple[str, str]] = []  # these could serve it, without log-probabilities
    note = ""
    for name, way in allowed:
        refused = unsupported(
            name, profile, model, quantization=quantization, adapters=way, missing=missing
        )
        lack = None
        if log_probabilities and name in ENGINE_QUANTIZATIONS:  # a plugin may give them
            lack = no_log_probabilities(name, way)
        if refused is None and lack is None:
            break
        if refused is None:
            without.append((name, way))
        passed[name, way] = refused or lack or ""
    else:
        if without:
            name, way = without[0]
            above = allowed[: allowed.index((name, way))]
            passed = {each: passed[each] for each in above}
            refused, note = None, NONE_SCORES
        else:
            # Nothing can serve it: the engine that supports most says why.
            name, way = next((each for each in allowed if each[0] == "continuous"), allowed[0])
            refused = passed[name, way]
    others = [why for (each, _), why in passed.items() if each != name]
    ways = [why for (each, _), why in passed.items() if each == name and refused is None]
    return Choice(
        engine=name,
        engine_reason=_reason(device, others, note) if engine == AUTO else NAMED,
        adapters=way,
        adapters_reason=_reason(device, ways, note) if adapters == AUTO else NAMED,
        refused=refused,
    )


def _reason(device: str, passed_over: Iterable[str], note: str) -> str:
    first = f"auto: the first on a {device} in the table of {TABLE}{note}"
    reasons = "; ".join(dict.fromkeys(passed_over))
    return f"{first}; passed over: {reasons}" if reasons else first
