from pathlib import Path

import pytest

from medsweep.errors import InputError
from medsweep.metrics.lexicon import icd10_terms, lexicon

# A row of UMLS' MRCONSO.RRF has these fields (UMLS Reference Manual, 2.1): CUI, LAT, TS, LUI, STT,
# SUI, ISPREF, AUI, SAUI, SCUI, SDUI, SAB, TTY, CODE, STR, SRL, SUPPRESS, CVF.
RRF = """\
C0015967|ENG|P|L0015967|PF|S1|Y|A1||||SRC|PT|1|Fever|0|N||
C0015967|ENG|S|L0015968|PF|S2|Y|A2||||SRC|SY|2|Pyrexia|0|N||
C0015967|GER|P|L0015969|PF|S3|Y|A3||||SRC|PT|3|Fieber|0|N||
C0000001|ENG|P|L0015970|PF|S4|Y|A4||||SRC|PT|4|Obsolete name|0|O||
"""


def test_icd_10_cm_names_diseases_and_symptoms() -> None:
    terms = list(icd10_terms())
    assert len(terms) > 25_000
    names = lexicon()
    found = names.concepts("He has type 2 diabetes mellitus, high blood pressure; no cough.")
    assert {("E11", False), ("I10", False), ("R05", True)} == found
    assert names.concepts("hypertension") == {("I10", False)}
    # What the classification calls unspecified is the category itself.
    assert names.concepts("asthma") == {("J45", False)}
    assert names.concepts("myocardial infarction") <= {("I21", False)}
    # A section's name is not that of the code before it.
    assert names.concepts("diabetes mellitus") == {("E08-E13", False)}
    assert not any("unspecified" in name.lower() or "other" in name.split() for _, name in terms)
    assert lexicon() is names


def test_focus_terms_are_added_and_known_names_stay() -> None:
    names = lexicon(focus=["Marden-Walker syndrome", "Asthma", "Zebra fever"])
    assert names.concepts("zebra fever and asthma") == {("Zebra fever", False), ("J45", False)}
    assert not lexicon().concepts("zebra")


def test_own_terms_come_from_csv_or_mrconso(tmp_path: Path) -> None:
    table, umls = tmp_path / "terms.csv", tmp_path / "MRCONSO.RRF"
    table.write_text("term,concept,note\nlow blood sugar,HYPO,x\nhypoglycemia,HYPO,\n,EMPTY,\n")
    umls.write_text(RRF)
    text = "Low blood sugar or hypoglycemia with pyrexia, Fieber and an obsolete name."
    assert lexicon(table).concepts(text) == {("HYPO", False)}
    assert len(lexicon(table)) == 2
    assert lexicon(umls).concepts(text) == {("C0015967", False)}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "word,code\nfever,1\n", "needs the columns concept and term; it has word, code"),
        ("b.csv", "concept,term\n", "no terms"),
        ("c.rrf", "C1|ENG|Fever\n", "not MRCONSO.RRF"),
        ("missing.csv", None, "cannot be read"),
    ],
)
def test_files_that_are_no_lexicon(
    tmp_path: Path, name: str, content: str | None, message: str
) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=message):
        lexicon(tmp_path / name)
