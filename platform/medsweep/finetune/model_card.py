"""The model card of an adapter: README.md in the Hugging Face hub's format."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from medsweep.finetune.epochs import EPOCH_FIGURES

USE = """\
```python
from peft import AutoPeftModelForCausalLM
from transformers import AutoTokenizer, GenerationConfig

model = AutoPeftModelForCausalLM.from_pretrained("FOLDER")
tokenizer = AutoTokenizer.from_pretrained("FOLDER")
settings = GenerationConfig.from_pretrained("FOLDER", max_new_tokens=128)
messages = [
    {"role": "system", "content": "INSTRUCTION"},
    {"role": "user", "content": "What are the symptoms of asthma?"},
]
inputs = tokenizer.apply_chat_template(
    messages, add_generation_prompt=True, return_tensors="pt", return_dict=True
)
output = model.generate(**inputs, generation_config=settings)
print(tokenizer.decode(output[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True))
```"""


def model_card(
    card: Mapping[str, Any], epochs: Sequence[Mapping[str, Any]], provenance: Mapping[str, Any]
) -> str:
    """Return the text of README.md.

    Args:
        card: model, template and stop_tokens of the adapter.
        epochs: the rows of `training.parquet`.
        provenance: the adapter's model, data, recipe and software versions.
    """
    from medsweep.models.templates import PAPER_INSTRUCTION

    model = provenance.get("model", {})
    licence = str(model.get("licence", "unknown"))
    base = model.get("hub_id") or card["model"]
    head = {"library_name": "peft", "base_model": base, "license": licence.lower()}
    front = [f"{key}: {json.dumps(value)}" for key, value in head.items()]
    stops = ", ".join(f"`{token}`" for token in card["stop_tokens"])
    parts = [
        "\n".join(["---", *front, "tags: [medical, question-answering, lora]", "---"]),
        f"# {card['model']}, fine-tuned on medical questions",
        "**Not medical advice.** This adapter was trained to measure software. Its answers can be "
        "wrong, and no clinician has checked them. Do not use it to care for patients.",
        _stand_in(model),
        f"A LoRA adapter (Hu et al., 2021) of `{base}`, revision "
        f"`{provenance.get('revision', 'unknown')}`, made with MedSweep.",
        f"## Use\n\n{USE.replace('INSTRUCTION', PAPER_INSTRUCTION)}",
        f"Prompt template: `{card['template']}`, in `chat_template.jinja`. Answers end at "
        f"{stops}, as set in `generation_config.json`.",
        f"## Data\n\n{_data(provenance)}",
        f"## Recipe\n\n{_table(provenance.get('recipe', {}))}",
        f"## Figures\n\n{_figures(epochs)}",
        f"## Licence\n\nThe base model's licence applies: {licence}. The data has its own licence.",
        f"## Provenance\n\n{_table(_hashes(provenance))}",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _stand_in(model: Mapping[str, Any]) -> str:
    if not model.get("stands_in_for"):
        return ""
    return (
        f"Its base model is a tiny stand-in with the architecture of {model['stands_in_for']}; its "
        "figures do not describe that model."
    )


def _data(provenance: Mapping[str, Any]) -> str:
    lines = [
        f"{provenance.get('train_pairs', 'unknown')} training pairs and "
        f"{provenance.get('evaluation_pairs', 'unknown')} evaluation questions; no question is on "
        f"both sides. {provenance.get('dataset', '')}."
    ]
    lines += [
        f"- {source['from']}"
        + (f" at `{source['revision']}`" if source["revision"] else "")
        + (f", licence {source['licence']}" if source["licence"] else "")
        for source in provenance.get("dataset_sources", ())
    ]
    return "\n".join(lines)


def _figures(epochs: Sequence[Mapping[str, Any]]) -> str:
    """Return the figures by epoch; epoch 0 is the base model."""
    shown = [name for name in EPOCH_FIGURES if any(row.get(name) is not None for row in epochs)]
    lines = [f"| epoch | {' | '.join(shown)} |", f"| {' | '.join(['---'] * (len(shown) + 1))} |"]
    for row in epochs:
        cells = ["" if row.get(name) is None else f"{row[name]:.4g}" for name in shown]
        lines.append(f"| {row['epoch']} | {' | '.join(cells)} |")
    return "On the held-out questions; epoch 0 is the base model.\n\n" + "\n".join(lines)


def _hashes(provenance: Mapping[str, Any]) -> dict[str, Any]:
    names = ("dataset_sha256", "recipe_sha256", "code_sha256", "git_commit", "versions")
    return {name: provenance[name] for name in names if provenance.get(name)}


def _table(values: Mapping[str, Any]) -> str:
    rows = [f"| {name} | {_plain(value)} |" for name, value in values.items()]
    return "\n".join(["| what | value |", "| --- | --- |", *rows])


def _plain(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
