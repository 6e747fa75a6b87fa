"""A local model for natural language inference: what a text entails and what it contradicts."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from medsweep.errors import InputError
from medsweep.metrics.claims import Relation, Verdict
from medsweep.metrics.lexicon import lexicon as read_lexicon
from medsweep.metrics.quality import Grader
from medsweep.models.hub import fetch_snapshot
from medsweep.models.loading import (
    LOCAL,
    DeviceModel,
    check_model_folder,
    load_tokenizer,
    longest_input,
)
from medsweep.models.weights import folder_revision

BATCH = 32
"""Pairs of texts that are judged in one forward pass."""

_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+(@[\w./-]+)?")
_MOST_KNOWN = 200_000


def check_entailment(model: str) -> None:
    """Refuse what cannot be a model for entailment, without fetching anything.

    Args:
        model: a folder, or a repository on the hub with or without `@revision`.

    Raises:
        InputError: it is neither, or the folder's model has no labels of entailment.
    """
    folder = Path(model).expanduser()
    if folder.is_dir():
        folder_revision(folder)
        relations(folder)
    elif not _REPOSITORY.fullmatch(model):
        raise InputError(
            f"{model}: no such folder, and no repository on the hub, which is owner/name"
        )


def relations(folder: Path) -> dict[int, Relation]:
    """Return which output of a classifier stands for which relation, by its configuration.

    MultiNLI's labels (Williams et al. 2018) are entailment, neutral and contradiction; models have
    them in any order.

    Args:
        folder: of the model.

    Raises:
        InputError: it is no model, or has no label for entailment or for contradiction.
    """
    check_model_folder(folder)
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        labels = {int(place): str(label) for place, label in (config.get("id2label") or {}).items()}
    except (OSError, ValueError, AttributeError):
        raise InputError(f"{folder}: no model there: config.json cannot be read") from None
    named: dict[int, Relation] = {}
    for place, label in labels.items():
        if label.lower().startswith("entail"):
            named[place] = "entailed"
        elif label.lower().startswith("contradict"):
            named[place] = "contradicted"
    if sorted(named.values()) != ["contradicted", "entailed"]:
        raise InputError(
            f"{folder}: no model for entailment: its labels (id2label in config.json) are "
            f"{', '.join(labels.values()) or 'none'}; give one with the labels entailment, "
            "neutral and contradiction, such as MultiNLI's"
        )
    return named


def load_grader(lexicon: str | Path | None = None, entailment: str | Path | None = None) -> Grader:
    """Return what answers are graded by, beside their references.

    Args:
        lexicon: file of the concepts; None for the names of ICD-10-CM.
        entailment: model that judges the claims, as `EntailmentModel` takes it; None for none.

    Raises:
        InputError: the file or the model cannot be used.
        EnvironmentFault: the model cannot be fetched from the hub.
    """
    terms = read_lexicon(lexicon)
    return Grader(terms, None if entailment is None else EntailmentModel(str(entailment)))


class EntailmentModel:
    """Judges statements by a sequence classifier, in batches, on a GPU if there is one.

    A text that is longer than the model reads is judged in parts of full sentences: it entails what
    one part entails, and contradicts what one part contradicts and none entails.

    Attributes:
        name: the model and its revision, for the results.
        limit: most tokens that it reads at a time.

    Args:
        model: a folder, or a repository on the hub with or without `@revision`.
        batch: pairs of texts in one forward pass.
        device: `cpu`, `cuda` or `cuda:<number>`; None takes a GPU if there is one.

    Raises:
        InputError: it cannot be loaded, or not onto its device, is no model for entailment, or has
            no safetensors.
        EnvironmentFault: it cannot be fetched from the hub.
    """

    def __init__(self, model: str, *, batch: int = BATCH, device: str | None = None) -> None:
        check_entailment(model)
        folder = Path(model).expanduser()
        if folder.is_dir():
            self.name = f"{folder.absolute().name}@{folder_revision(folder)}"
        else:
            repository, _, revision = model.partition("@")
            folder = fetch_snapshot(repository, revision or "main", "or give a folder")
            self.name = f"{repository}@{folder.name}"
        self._relations = relations(folder)
        self._batch = batch
        self._known: dict[bytes, Relation] = {}
        self._load(folder, device)

    def _load(self, folder: Path, device: str | None) -> None:
        import torch
        from transformers import AutoModelForSequenceClassification

        options = {"use_safetensors": True, "dtype": torch.float32, **LOCAL}
        try:
            loaded, report = AutoModelForSequenceClassification.from_pretrained(
                folder, output_loading_info=True, **options
            )
            self._tokenizer = load_tokenizer(folder)
        except (OSError, ValueError, ImportError) as error:
            raise InputError(f"{folder}: no classifier that can be loaded: {error}") from None
        if report["missing_keys"]:
            raise InputError(
                f"{folder}: no weights for {', '.join(sorted(report['missing_keys'])[:3])}: it is "
                "not a trained classifier"
            )
        if self._tokenizer.pad_token is None:
            raise InputError(
                f"{folder}: its tokenizer has no padding token, so no batch can be made"
            )
        self._model = DeviceModel(loaded, folder, device)
        self.limit = longest_input(loaded, self._tokenizer)

    def judge(self, pairs: Sequence[tuple[Sequence[str], str]]) -> list[Verdict]:
        """Return how each text stands to its statement; a text without sentences to neither."""
        lengths = self._lengths({each for text, stated in pairs for each in (*text, stated)})
        parts = [list(self._parts(text, stated, lengths)) for text, stated in pairs]
        flat = [(part, pair[1]) for pair, own in zip(pairs, parts, strict=True) for part in own]
        classified = iter(self._classified(flat))
        room = self.limit - self._tokenizer.num_special_tokens_to_add(pair=True)
        verdicts = []
        for (text, stated), own in zip(pairs, parts, strict=True):
            relations = {next(classified) for _ in own}
            relation: Relation = "neither"
            if "entailed" in relations:
                relation = "entailed"
            elif "contradicted" in relations:
                relation = "contradicted"
            longest = max((lengths[each] for each in text), default=0)
            verdicts.append(Verdict(relation, bool(own) and lengths[stated] + longest > room))
        return verdicts

    def _lengths(self, sentences: set[str]) -> dict[str, int]:
        if not sentences:
            return {}
        ordered = sorted(sentences)
        ids = self._tokenizer(ordered, add_special_tokens=False)["input_ids"]
        return {each: len(own) for each, own in zip(ordered, ids, strict=True)}

    def _parts(self, text: Sequence[str], stated: str, lengths: dict[str, int]) -> Iterator[str]:
        """Yield the text in parts that fit beside the statement; one sentence may not fit."""
        room = self.limit - self._tokenizer.num_special_tokens_to_add(pair=True) - lengths[stated]
        part: list[str] = []
        used = 0
        for sentence in text:
            if part and used + lengths[sentence] > room:
                yield " ".join(part)
                part, used = [], 0
            part.append(sentence)
            used += lengths[sentence]
        if part:
            yield " ".join(part)

    def _classified(self, pairs: Sequence[tuple[str, str]]) -> list[Relation]:
        """Return the likeliest relation of each pair; pairs that were judged before are known."""
        keys = [
            hashlib.blake2b("\0".join(pair).encode("utf-8", "replace"), digest_size=16).digest()
            for pair in pairs
        ]
        if len(self._known) > _MOST_KNOWN:
            self._known.clear()
        new = {key: pair for key, pair in zip(keys, pairs, strict=True) if key not in self._known}
        # Texts of one length beside each other need little padding.
        order = sorted(new, key=lambda key: sum(map(len, new[key])), reverse=True)
        for start in range(0, len(order), self._batch):
            batch = order[start : start + self._batch]
            for key, place in zip(batch, self._places([new[key] for key in batch]), strict=True):
                self._known[key] = self._relations.get(place, "neither")
        return [self._known[key] for key in keys]

    def _places(self, batch: Sequence[tuple[str, str]]) -> list[int]:
        """Return the place of the greatest output for each pair."""
        inputs: Any = self._tokenizer(
            [text for text, _ in batch],
            [stated for _, stated in batch],
            padding=True,
            truncation="longest_first",
            max_length=self.limit,
            return_tensors="pt",
        )
        logits = self._model(**inputs).logits
        if not logits.isfinite().all():
            raise InputError(
                f"{self.name}: its outputs are not numbers, so it judges nothing; its weights are "
                "damaged"
            )
        places: list[int] = logits.argmax(-1).tolist()
        return places
