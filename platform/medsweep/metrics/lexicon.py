"""Terms of a medical lexicon and their concepts: ICD-10-CM's, a CSV file's, or UMLS' MRCONSO.RRF.

ICD-10-CM is in the public domain (National Center for Health Statistics); its table of names comes
with the package simple-icd-10-cm (MIT).
"""

from __future__ import annotations

import csv
import html
import re
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from medsweep.errors import InputError, cause_of
from medsweep.metrics.concepts import Lexicon

_ENTRY = re.compile(
    r"<(?:section id=\"([^\"]+)\"|(name|desc|note|/?inclusionTerm|/?includes)>([^<]*))"
)
_LEFT_OUT = "UVWXYZ"
"""Chapters on causes of accidents and on contacts with health services; their names are everyday
words."""

_ASIDE = re.compile(r"\s*[(\[][^)\]]*[)\]]")
_UNSPECIFIED = re.compile(
    r"^unspecified |,? (?:unspecified|NOS|NEC|not elsewhere classified)$", re.IGNORECASE
)
_CATCH_ALL = re.compile(
    r"\b(?:other|unspecified|elsewhere|classified|specified|due to|with|without|in diseases)\b"
)

# Columns of MRCONSO.RRF: concept, language, name, and whether it is suppressed.
_CUI, _LANGUAGE, _NAME, _SUPPRESSED = 0, 1, 14, 16


def lexicon(path: str | Path | None = None, focus: Iterable[str] = ()) -> Lexicon:
    """Return a lexicon; the same arguments give the same object.

    Args:
        path: a CSV file with the columns `concept` and `term`, or UMLS' MRCONSO.RRF; None takes
            the names of ICD-10-CM.
        focus: diseases and drugs that a dataset's questions are about, which the lexicon may lack.

    Raises:
        InputError: the file cannot be read, or has no terms.
    """
    return _lexicon(None if path is None else Path(path), tuple(sorted(set(focus))))


@cache
def _lexicon(path: Path | None, focus: tuple[str, ...]) -> Lexicon:
    terms = list(icd10_terms() if path is None else file_terms(path))
    if not terms:
        raise InputError(f"{path}: no terms; give a CSV file with the columns concept and term")
    # The first concept of a term counts, so that a known name stays what it is.
    return Lexicon([*terms, *((term, term) for term in focus)])


def icd10_terms() -> Iterator[tuple[str, str]]:
    """Yield the concept and the name of diseases and symptoms of ICD-10-CM.

    A name that stands for the rest of a category ("other", "with", "due to") is left out; one for
    an unspecified case is its category's.
    """
    spec = find_spec("simple_icd_10_cm")
    if spec is None or not spec.submodule_search_locations:
        raise InputError("ICD-10-CM's names are missing: pip install simple-icd-10-cm")
    # The package itself takes two seconds to import.
    [file] = Path(spec.submodule_search_locations[0], "data").glob("icd10c-tabular-*.xml")
    code, inside = "", False
    for entry in _ENTRY.finditer(file.read_text("utf-8")):
        section, kind, text = entry.groups()
        if section or kind == "name":
            code = section or text
        elif kind not in ("desc", "note"):
            inside = not kind.startswith("/")
        elif (kind == "desc" or inside) and code[1:2].isdigit() and code[0] not in _LEFT_OUT:
            full = _ASIDE.sub("", html.unescape(text))
            name = _UNSPECIFIED.sub("", full).strip()
            if kind == "desc" and name != full and not section:
                code = code.partition(".")[0]
            if name and not _CATCH_ALL.search(name.lower()):
                yield code, name


def file_terms(path: Path) -> Iterator[tuple[str, str]]:
    """Yield the concept and the name of each row of a CSV file or of MRCONSO.RRF (English)."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            if path.suffix.lower() == ".rrf":
                for line in lines:
                    fields = line.split("|")
                    if len(fields) <= _SUPPRESSED:
                        raise InputError(f"{path}: not MRCONSO.RRF: a row has too few fields")
                    if fields[_LANGUAGE] == "ENG" and fields[_SUPPRESSED] in ("N", ""):
                        yield fields[_CUI], fields[_NAME]
                return
            rows = csv.DictReader(lines)
            if not {"concept", "term"} <= set(rows.fieldnames or ()):
                raise InputError(
                    f"{path}: needs the columns concept and term; it has "
                    f"{', '.join(rows.fieldnames or ()) or 'none'}"
                )
            for row in rows:
                if row["concept"] and row["term"]:
                    yield row["concept"], row["term"]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read as a lexicon: {cause_of(error)}") from None
