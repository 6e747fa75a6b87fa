"""Which engine `auto` takes: every row of the table on hardware where it is the fastest."""

from __future__ import annotations

import pkgutil
from pathlib import Path

import pytest

from medsweep.hardware.catalog import PROFILES
from medsweep.hardware.profile import HardwareProfile
from medsweep.models.catalog import MODELS
from medsweep.serving.engines import ENGINES
from medsweep.serving.engines.choice import RANKING, WAYS, choose
from medsweep.serving.engines.compatibility import no_log_probabilities
from medsweep.serving.engines.engine_thread import ThreadedEngine

CLINIC = HardwareProfile("clinic", 2, 0, None, 16 * 2**30)
A100, V100 = PROFILES["1xa100-1cpu"], PROFILES["1xv100-1cpu"]


def everything(engine: str, profile: HardwareProfile) -> str | None:
    del engine, profile
    return None


def without(*absent: str) -> object:
    return lambda engine, profile: f"no {engine} here" if engine in absent else None


@pytest.mark.parametrize(
    ("profile", "model", "quantization", "chosen"),
    [
        (A100, "llama-3-8b", "none", ("vllm", "live")),
        (A100, "distilgpt2", "none", ("vllm", "merged")),  # vLLM has no LoRA for GPT-2
        (V100, "distilgpt2", "none", ("continuous", "live")),  # too old for vLLM
        (A100, "llama-3-8b", "nf4", ("continuous", "live")),
        (CLINIC, "smollm2-135m", "int8", ("openvino", "live")),
        (CLINIC, "distilgpt2", "int8", ("continuous", "live")),
        (CLINIC, "smollm2-135m", "none", ("vllm", "merged")),
        (CLINIC, "standin-llama-3-8b", "none", ("continuous", "merged")),  # heads of 16 values
    ],
)
def test_auto_takes_the_fastest_that_can_serve(
    profile: HardwareProfile, model: str, quantization: str, chosen: tuple[str, str]
) -> None:
    how = {"quantization": quantization, "missing": everything}
    choice = choose("auto", "auto", profile, MODELS[model], **how)  # type: ignore[arg-type]
    assert (choice.engine, choice.adapters, choice.refused) == (*chosen, None)
    assert choice.engine_reason.startswith("auto: the first on a ")


def test_the_reason_says_what_was_passed_over_and_why() -> None:
    choice = choose("auto", "live", V100, MODELS["distilgpt2"], missing=everything)
    assert choice.engine == "continuous"
    assert "passed over: engine vllm needs compute capability 7.5" in choice.engine_reason
    assert choice.adapters_reason == "the user names it"
    absent = choose("auto", "live", A100, MODELS["llama-3-8b"], missing=without("vllm"))  # type: ignore[arg-type]
    assert absent.engine == "continuous"
    assert "passed over: no vllm here" in absent.engine_reason


def test_on_a_processor_vllm_comes_first_but_for_live_adapters() -> None:
    model = MODELS["smollm2-135m"]
    # Several adapters on one base are live, where vLLM is the slowest.
    live = choose("auto", "live", CLINIC, model, missing=everything)
    assert (live.engine, live.adapters) == ("continuous", "live")
    assert choose("auto", "none", CLINIC, model, missing=everything).engine == "vllm"
    absent = choose("auto", "auto", CLINIC, model, missing=without("vllm"))  # type: ignore[arg-type]
    assert (absent.engine, absent.adapters) == ("continuous", "merged")
    assert "passed over" in absent.engine_reason
    assert "no vllm here" in absent.engine_reason


def test_what_the_user_names_is_taken_or_refused() -> None:
    named = choose("vllm", "live", A100, MODELS["distilgpt2"], missing=everything)
    assert (named.engine, named.engine_reason) == ("vllm", "the user names it")
    assert named.refused is not None
    assert "has no LoRA for distilgpt2" in named.refused
    assert choose("vllm", "merged", A100, MODELS["distilgpt2"], missing=everything).refused is None
    way = choose("vllm", "auto", A100, MODELS["distilgpt2"], missing=everything)
    assert way.adapters == "merged"
    assert "passed over: engine vllm has no LoRA" in way.adapters_reason
    # The slowest is never chosen for anybody, but it can be named.
    slow = choose("generate", "auto", A100, MODELS["llama-3-8b"], missing=everything)
    assert (slow.engine, slow.adapters, slow.refused) == ("generate", "live", None)


@pytest.mark.parametrize(
    ("profile", "model", "way", "quantization", "chosen"),
    [
        (A100, "llama-3-8b", "live", "none", ("continuous", "live")),
        (A100, "llama-3-8b", "auto", "none", ("vllm", "merged")),
        (A100, "llama-3-8b", "none", "none", ("vllm", "none")),
        (CLINIC, "smollm2-135m", "auto", "none", ("vllm", "merged")),
        (CLINIC, "smollm2-135m", "live", "int8", ("continuous", "live")),
        # Nothing else has 4 bits on a CPU.
        (CLINIC, "smollm2-135m", "live", "int4", ("openvino", "live")),
    ],
)
def test_auto_takes_what_gives_log_probabilities_where_they_are_needed(
    profile: HardwareProfile, model: str, way: str, quantization: str, chosen: tuple[str, str]
) -> None:
    how = {"quantization": quantization, "log_probabilities": True, "missing": everything}
    choice = choose("auto", way, profile, MODELS[model], **how)  # type: ignore[arg-type]
    assert (choice.engine, choice.adapters, choice.refused) == (*chosen, None)


def test_the_reason_says_that_an_engine_gives_no_log_probabilities() -> None:
    how = {"log_probabilities": True, "missing": everything}
    choice = choose("auto", "live", A100, MODELS["llama-3-8b"], **how)  # type: ignore[arg-type]
    none = "engine vllm gives no log-probabilities beside live adapters"
    assert choice.engine_reason.endswith(f"; passed over: {none}")
    # What the user names is served, without them; the way is chosen where it is free.
    named = choose("vllm", "live", A100, MODELS["llama-3-8b"], **how)  # type: ignore[arg-type]
    assert (named.engine, named.adapters, named.refused) == ("vllm", "live", None)
    way = choose("vllm", "auto", A100, MODELS["llama-3-8b"], **how)  # type: ignore[arg-type]
    assert way.adapters == "merged"
    assert way.adapters_reason.endswith(f"; passed over: {none}")
    absent = choose("auto", "live", A100, MODELS["distilgpt2"], **how)  # type: ignore[arg-type]
    assert "has no LoRA for distilgpt2" in absent.engine_reason


def test_the_reason_says_that_nothing_gives_log_probabilities() -> None:
    first = "auto: the first on a CPU in the table of docs/engines.md"
    none = "nothing allowed that can serve the model gives log-probabilities"
    how = {"log_probabilities": True, "missing": without("continuous")}
    model = MODELS["smollm2-135m"]
    four = choose("auto", "live", CLINIC, model, quantization="int4", **how)  # type: ignore[arg-type]
    assert (four.engine, four.engine_reason) == ("openvino", f"{first}; {none}")
    # What ranks above the choice is named, and nothing below it.
    last = choose("auto", "live", CLINIC, model, **how)  # type: ignore[arg-type]
    assert (last.engine, last.engine_reason) == (
        "vllm",
        f"{first}; {none}; passed over: engine openvino has quantization int8 or int4, not none; "
        "no continuous here",
    )
    top = choose("auto", "live", A100, MODELS["llama-3-8b"], **how)  # type: ignore[arg-type]
    assert top.engine == "vllm"
    assert top.engine_reason.endswith(none)


def test_a_plugin_is_not_said_to_give_no_log_probabilities() -> None:
    how = {"log_probabilities": True, "missing": everything}
    choice = choose("a-plugin", "auto", A100, MODELS["llama-3-8b"], **how)  # type: ignore[arg-type]
    assert (choice.engine, choice.adapters, choice.refused) == ("a-plugin", "live", None)
    assert "log-probabilities" not in choice.adapters_reason


def test_the_engines_that_give_log_probabilities_are_those_of_the_table() -> None:
    scoring = {
        name
        for name, entry in ENGINES.items()
        if getattr(pkgutil.resolve_name(entry), "scores_tokens", ThreadedEngine.scores_tokens)
        is not ThreadedEngine.scores_tokens
    }
    assert scoring == {name for name in ENGINES if no_log_probabilities(name, "none") is None}


def test_a_merged_adapter_is_refused_on_a_quantized_base() -> None:
    model, how = MODELS["llama-3-8b"], {"quantization": "nf4", "missing": everything}
    refused = choose("continuous", "merged", A100, model, **how).refused  # type: ignore[arg-type]
    assert refused is not None
    assert "would round the sum of base and adapter" in refused
    assert choose("auto", "auto", A100, model, **how).adapters == "live"  # type: ignore[arg-type]


def test_a_base_without_an_adapter() -> None:
    assert choose("auto", "none", A100, MODELS["distilgpt2"], missing=everything).engine == "vllm"
    assert choose("auto", "none", V100, MODELS["distilgpt2"], missing=everything).engine == (
        "continuous"
    )


def test_where_nothing_can_serve_continuous_says_why() -> None:
    choice = choose(
        "auto", "live", CLINIC, MODELS["distilgpt2"], quantization="int4", missing=everything
    )
    assert choice.refused == "engine continuous has quantization none or int8 or nf4, not int4"


def test_the_page_has_the_table() -> None:
    page = (Path(__file__).parents[4] / "docs" / "engines.md").read_text()
    for device in ("GPU", "CPU"):
        written = [
            ", ".join(f"`{engine}` {way}".removesuffix(" none") for engine, way in RANKING[key])
            for key in ((device, True), (device, False))
        ]
        assert f"| {device} | {written[0]} | {written[1]} |" in page


def test_the_table_names_engines_and_ways_that_exist() -> None:
    assert len(RANKING) == 4
    for (device, adapter), ranked in RANKING.items():
        assert device in ("GPU", "CPU")
        assert len(set(ranked)) == len(ranked) >= 2
        for engine, way in ranked:
            assert engine in ENGINES
            assert way in (WAYS if adapter else ("none",))
