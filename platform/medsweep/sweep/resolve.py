"""Resolve a sweep: its dataset, weights and plan, before anything is fetched or started."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from medsweep.datasets.load import embedded_answers
from medsweep.datasets.split import Split, load_split
from medsweep.hardware.observe import host_profile
from medsweep.metrics.concepts import Lexicon
from medsweep.metrics.lexicon import lexicon
from medsweep.metrics.perturb import term_of
from medsweep.metrics.quality import Grader
from medsweep.models.entailment import EntailmentModel, check_entailment
from medsweep.models.weights import Weights, identify, tokenizer_fault, unavailable_reason
from medsweep.serving.engines.compatibility import missing_here, missing_in_images
from medsweep.sweep.plan import Plan, make_plan, model_names
from medsweep.sweep.spec import SweepSpec


@dataclass(frozen=True)
class Resolved:
    """A sweep with everything that its plan depends on.

    Attributes:
        spec: the sweep.
        split: its dataset.
        weights: by model.
        plan: its cells.
    """

    spec: SweepSpec
    split: Split
    weights: Mapping[str, Weights]
    plan: Plan

    @cached_property
    def lexicon(self) -> Lexicon:
        """Terms of the concepts that answers are compared by, with what the questions are about."""
        focus = {pair.focus or term_of(pair.question) for pair in self.split.evaluation}
        return lexicon(self.spec.dataset.lexicon, focus)

    @cached_property
    def entailment(self) -> EntailmentModel | None:
        """The model that judges claims, loaded on first use; None if the sweep names none."""
        named = self.spec.quality.entailment
        if named is None:
            return None
        return EntailmentModel(named.model, batch=named.batch, device=named.device)

    @property
    def grader(self) -> Grader:
        """What the answers are graded by."""
        return Grader(self.lexicon, self.entailment)


def resolve(spec: SweepSpec, *, here: bool = True) -> Resolved:
    """Read the dataset, identify the weights and plan. Nothing is fetched or started.

    Args:
        spec: the sweep.
        here: whether it runs on this machine, which then needs a token for gated models and the
            engine's packages; else in the pods of a cluster, from their images.

    Raises:
        InputError: the dataset cannot be used.
    """
    split = load_split(spec.dataset, spec.seed)
    texts = _texts(spec, split)
    models = spec.catalog.models
    weights = {name: identify(models[name], texts) for name in model_names(spec)}
    revisions = {name: each.revision for name, each in weights.items()}
    reasons = {
        name: unavailable_reason(each) or tokenizer_fault(each)
        for name, each in weights.items()
        if here
    }
    unavailable = {name: reason for name, reason in reasons.items() if reason is not None}
    plan = make_plan(
        spec,
        split.sha256,
        revisions,
        host_profile(),
        unavailable,
        missing=missing_here if here else missing_in_images,
        graders=_graders(spec, here=here),
    )
    return Resolved(spec, split, weights, plan)


def _graders(spec: SweepSpec, *, here: bool) -> dict[str, str]:
    """Return the identity of what the sweep itself brings to grade its answers by.

    Raises:
        InputError: it cannot be used.
    """
    terms, named = spec.dataset.lexicon, spec.quality.entailment
    graders = {} if terms is None else {"lexicon": lexicon(terms).sha256}
    if named is not None:
        if here:
            check_entailment(named.model)
        # As it was given: its folder has other times in the pods of a cluster.
        graders["entailment"] = named.model
    if spec.quality.confidence:
        graders["confidence"] = "log-probabilities"
    return graders


def _texts(spec: SweepSpec, split: Split) -> list[str]:
    """Return the answers that stand-ins learn words from.

    A stand-in's tokenizer spells out the words, and travels with each adapter. So they are the
    dataset's only if its texts may be stored, and else the embedded corpus's; an answer of the
    evaluation side is never among them.
    """
    if spec.texts_kept:
        return [pair.answer for pair in split.train]
    held_out = {pair.answer for pair in split.evaluation}
    return [answer for answer in embedded_answers() if answer not in held_out]
