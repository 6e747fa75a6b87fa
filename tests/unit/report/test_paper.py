from medsweep.hardware.catalog import PROFILES
from medsweep.models.catalog import MODELS
from medsweep.report.paper import KNOWN_INCONSISTENCIES, RESPONSE_TIME_RANGES, TABLE_3, TABLE_4


def test_table_3_has_twelve_cells_of_known_models_and_profiles() -> None:
    assert len(TABLE_3) == 12
    assert all(model in MODELS and profile in PROFILES for model, profile in TABLE_3)


def test_table_4_has_the_five_models_once() -> None:
    assert len(TABLE_4) == len({row.model for row in TABLE_4}) == 5
    assert all(row.model in MODELS for row in TABLE_4)


def test_table_4_keeps_the_paper_s_units() -> None:
    # Column sums as the paper prints them: a slip in any figure shows.
    assert round(sum(row.exact_match_percent for row in TABLE_4), 2) == 205.71
    assert round(sum(row.bleu_max for row in TABLE_4), 3) == 1.487
    assert round(sum(row.rouge_max for row in TABLE_4), 2) == 2.74
    assert round(sum(row.f1_max for row in TABLE_4), 2) == 2.55
    assert round(sum(row.response_time_s for row in TABLE_4), 2) == 147.68


def test_the_ranges_contradict_the_table_as_the_notes_say() -> None:
    assert len(RESPONSE_TIME_RANGES) == 2
    times = {row.model: row.response_time_s for row in TABLE_4}
    slowest = next(found for found in RESPONSE_TIME_RANGES if found.model == "distilgpt2")
    assert min(times, key=times.__getitem__) == "distilgpt2"
    assert times["distilgpt2"] < slowest.low_s < slowest.high_s
    assert all(found.profile is None or found.profile in PROFILES for found in RESPONSE_TIME_RANGES)


def test_the_notes_on_figures_are_those_of_the_tables() -> None:
    assert all(int(p[0]) == 2 for _, p in TABLE_3 if "-4cpu" in p)
    assert all(int(p[0]) == 1 for _, p in TABLE_3 if "-4cpu" not in p)
    assert not any(m == "distilgpt2" and "a100" in p for m, p in TABLE_3)
    assert len({m for m, _ in TABLE_3}) == 3
    above = {row.model for row in TABLE_4 if row.bleu_max > row.rouge_max}
    assert above == {"llama-3-8b", "gemma-1.1-7b", "distilgpt2"}
    mistral = next(row for row in TABLE_4 if row.model == "mistral-7b")
    assert (mistral.rouge_max, mistral.f1_max) == (1.0, 0.28)


def test_every_note_is_a_sentence_said_once() -> None:
    assert len(set(KNOWN_INCONSISTENCIES)) == len(KNOWN_INCONSISTENCIES) == 14
    assert all(note.endswith(".") and len(note) > 60 for note in KNOWN_INCONSISTENCIES)
