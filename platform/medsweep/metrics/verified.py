"""Verified answers: the rules that an answer must pass, and what else it rests on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from medsweep.metrics.claims import NOT_JUDGED

RULES = ("quantity_agreement", "consistency", "claim_consistency")
"""The figures of an answer that these rules take, in order."""

Figures = Sequence[float | None] | NDArray[np.float64]


def passes_rules(
    quantity_agreement: Figures, consistency: Figures, claim_consistency: Figures
) -> NDArray[np.bool_]:
    """Return which answers give every quantity of their reference and contradict nothing in it.

    Args:
        quantity_agreement: of each answer; None or nan where the reference has no quantity.
        consistency: of each answer; below 1 where a statement of the reference is denied.
        claim_consistency: of each answer; None or nan where no model for entailment judged it.
    """
    given, consistent, claims = (
        np.asarray(figures, dtype=np.float64)
        for figures in (quantity_agreement, consistency, claim_consistency)
    )
    # A comparison with nan is false.
    return np.asarray(~(given < 1) & (consistent == 1) & ~(claims < 1))


def verified(
    quantity_agreement: Figures, consistency: Figures, claim_consistency: Figures
) -> NDArray[np.float64]:
    """Return 1 for each answer that is verified by rules, and 0 for the others.

    Args:
        quantity_agreement: of each answer; None or nan where the reference has no quantity.
        consistency: of each answer; below 1 where a statement of the reference is denied.
        claim_consistency: of each answer; None or nan where no model for entailment judged it.

    Returns:
        nan where the reference has no quantity: there is nothing to verify the answer by.
    """
    right = passes_rules(quantity_agreement, consistency, claim_consistency)
    return np.where(np.isnan(np.asarray(quantity_agreement, dtype=np.float64)), np.nan, right)


def verified_by(
    claims_by: str | None,
    *,
    raters: bool = False,
    judge: str | None = None,
    opinions: Sequence[str] = (),
) -> str:
    """Return what verified answers were checked by, and by what not.

    Args:
        claims_by: the model for entailment that judged their claims, or why none did.
        raters: whether clinicians passed them too.
        judge: the judge that passed them too; None for none.
        opinions: judges that were asked and do not count.
    """
    judged = claims_by not in (None, NOT_JUDGED)
    checks = {
        "entailment": f"entailment ({claims_by})" if judged else "",
        "judge": f"a judge ({judge})" if judge is not None else "",
        "raters": "raters" if raters else "",
    }
    used = [check for check in checks.values() if check]
    missing = [name for name, check in checks.items() if not check]
    text = _joined("quantities", "statements", *used, last="and")
    if missing:
        text = f"{text}; no {_joined(*missing, last='or')}"
    return f"{text}; not counted: {', '.join(opinions)}" if opinions else text


def _joined(*words: str, last: str) -> str:
    """Return words as a list in a sentence."""
    return f" {last} ".join(filter(None, (", ".join(words[:-1]), words[-1])))
