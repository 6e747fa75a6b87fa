"""How `medsweep score` prints its figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from medsweep.cli.options import show
from medsweep.digits import percent


def print_scores(scores: Mapping[str, Any]) -> None:
    """Print every figure of `medsweep score`.

    Args:
        scores: as the verb prints them with --json.
    """
    if scores["answers"]:
        _print_texts(scores)
    if (dataset := scores["dataset"]) is not None:
        print(f"{dataset['name']}: {dataset['hub_id']} at {dataset['revision']}")
    choices = scores["choices"]
    if choices["answers"]:
        accuracy = choices["reason"] or f"accuracy {_bounded(choices, 'accuracy')}"
        print(
            f"{choices['answers']} multiple-choice answers: {accuracy}, {choices['unreadable']} "
            "name no option"
        )
        _print_confidence(choices["confidence"], "accuracy", "AUROC of right and wrong")
    print(f"{len(scores['bad_lines'])} bad lines")


def _print_meter(detections: Sequence[Mapping[str, Any]]) -> None:
    """Print a row for each kind of error and a column for each figure."""
    kinds = {each["kind"]: each["tried"] for each in detections}
    rows = [
        {"seen of": kind, "tried": tried}
        | {
            each["figure"]: None if each["share"] is None else percent(each["share"])
            for each in detections
            if each["kind"] == kind
        }
        for kind, tried in kinds.items()
    ]
    show(rows, as_json=False)
    print()


def _print_texts(scores: Mapping[str, Any]) -> None:
    bounds = {bound: means for bound, means in scores["bounds"].items() if means}
    rows = [
        {"figure": name, **{key: _number(value) for key, value in figure.items()}}
        | {bound: _number(means.get(name)) for bound, means in bounds.items()}
        for name, figure in scores["figures"].items()
    ]
    rows.append(
        {"figure": "corpus_bleu", "mean": _number(scores["corpus_bleu"])}
        | dict.fromkeys(("low", "high", "max", *bounds))
    )
    show(rows, as_json=False)
    print()
    strata = [
        {
            "reference words": f"{each['words_from']}-{each['words_below'] - 1}"
            if each["words_below"]
            else f"{each['words_from']}+",
            "answers": each["answers"],
            **{name: _number(each["means"].get(name)) for name in scores["figures"]},
            "length ratio": _number(each["length_ratio"]),
        }
        for each in scores["by_reference_words"]
    ]
    show(strata, as_json=False)
    print()
    _print_breakdown(scores)
    if scores["meter"]:
        _print_meter(scores["meter"])
    if scores["answers_with_quantities"]:
        print(
            f"{scores['answers_with_quantities']} references state quantities: "
            f"{scores['quantities_agree']} agree, {scores['quantities_contradict']} contradict, "
            f"{scores['quantities_missing']} are missing, {scores['quantities_added']} are added; "
            f"{scores['statements_denied']} statements denied"
        )
    if (verified := scores["verified"]) is not None:
        print(
            f"verified answers, of those with quantities: {_number(verified['mean'])} "
            f"({_number(verified['low'])} to {_number(verified['high'])}); by {verified['by']}"
        )
    print(f"{scores['answers_with_concepts']} references have concepts of the lexicon")
    _print_claims(scores)
    _print_confidence(scores["confidence"], "token F1", "rank correlation with token F1")
    truncated = scores["truncated_answers"]
    print(
        f"{scores['answers']} answers to {scores['questions']} questions: "
        f"{scores['empty_answers']} empty, {scores['refusals']} refusals, "
        f"{'unknown how many' if truncated is None else truncated} truncated; "
        f"length ratio {_number(scores['length_ratio']) or 'unknown'}"
    )
    if scores["long_references_share"] is not None:
        print(
            f"{percent(scores['long_references_share'])} of the references are longer than allowed"
        )


def _print_confidence(found: Mapping[str, Any] | None, figure: str, ranking: str) -> None:
    """Print whether the model knows when it is right."""
    if found is None:
        return
    parts = [f"{figure} of the surest 80 % {_bounded(found['covered'])}"]
    parts += [f"area under {figure} against coverage {_bounded(found['area'])}"]
    if found["ranking"] is not None:
        parts += [f"{ranking} {_bounded(found['ranking'])}"]
    if found["ece"] is not None:
        chance = _number(found["ece_if_calibrated"])
        parts += [f"calibration error {_bounded(found['ece'])}, {chance} if it were calibrated"]
    if found["brier"] is not None:
        parts += [f"Brier score {_bounded(found['brier'])}"]
    print(f"confidence, known of {found['questions']}: {'; '.join(parts)}")


def _bounded(interval: Mapping[str, Any], name: str = "mean") -> str:
    """Return a figure with the ends of its interval, where it has one."""
    value = str(_number(interval[name]))
    if interval["low"] is None:
        return value
    return f"{value} ({_number(interval['low'])} to {_number(interval['high'])})"


def _print_claims(scores: Mapping[str, Any]) -> None:
    """Print how many sentences are left out, have no support, or are contradicted."""
    expected, stated = scores["claims_expected"], scores["claims_stated"]
    if expected is None:
        print(f"claims {scores['claims_by']} (--entailment)")
        return
    print(
        f"claims, judged by {scores['claims_by']}: {expected - scores['claims_recalled']} of "
        f"{expected} sentences of the references are omitted, "
        f"{stated - scores['claims_supported']} of {stated} sentences of the answers are "
        f"unsupported, {scores['claims_contradicted']} of both are contradicted; "
        f"{scores['claims_cut']} were too long to be read in full"
    )


def _print_breakdown(scores: Mapping[str, Any]) -> None:
    """Print a row per group with its figures, then the worst answers by line."""
    from medsweep.metrics.significance import ALPHA
    from medsweep.metrics.statistics import Interval
    from medsweep.report.numbers import share, share_spread

    rows: dict[tuple[str, str], dict[str, Any]] = {}
    # No reference of a group may have a figure that other groups have.
    figures = dict.fromkeys(each["figure"] for each in scores["breakdown"])
    for each in scores["breakdown"]:
        row = rows.setdefault(
            (each["column"], each["group"]),
            {"by": each["column"], "group": each["group"], "questions": 0, **figures},
        )
        differs = each["p_value"] is not None and each["p_value"] <= ALPHA
        mark = "" if not differs else " +" if each["mean"] > each["rest"] else " -"
        quality = Interval(each["mean"], each["low"], each["high"])
        bounds = f" [{share_spread(quality)}]" if quality.low is not None else ""
        row["questions"] = max(row["questions"], each["questions"])
        row[each["figure"]] = f"{share(quality)}{bounds}{mark}"
    if rows:
        show(list(rows.values()), as_json=False)
        print("+ and -: differs from all other questions (p <= 0.05, Holm)\n")
    if scores["worst_lines"]:
        print(f"worst answers: lines {', '.join(map(str, scores['worst_lines']))}")
    if (change := scores["since_before"]) is not None:
        print(
            f"since before: of {change['questions']} questions token F1 rose in "
            f"{change['token_f1_higher']} and fell in {change['token_f1_lower']}, "
            f"{change['contradicting']} contradict more; "
            f"worst: {', '.join(change['worst']) or 'none'}"
        )


def _number(value: float | None) -> str | None:
    return None if value is None else f"{value:.4f}"
