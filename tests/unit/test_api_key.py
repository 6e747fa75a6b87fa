import pytest

from medsweep.api_key import clean_key, key_of_variable
from medsweep.errors import InputError


@pytest.mark.parametrize("text", ["sk-abc", " sk-abc\n", "sk-abc\r\n", "\tsk-abc "])
def test_white_space_around_a_key_is_no_part_of_it(text: str) -> None:
    assert clean_key(text, "KEY") == "sk-abc"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "is empty"),
        (" \n", "is empty"),
        ("sk-a\nsk-b", "several lines"),
        ("sk-a\u2028sk-b", "several lines"),
        ("\u201csk-secret\u201d", "character that no key has"),
        ("\u2018sk-secret\u2019", "character that no key has"),
        ("sk secret", "at place 3"),
        ("sk\x00secret", "character that no key has"),
        ("sk-secret\u00e4", "character that no key has"),
        ('"sk-secret"', "quotation marks around it"),
        ("'sk-secret'", "quotation marks around it"),
        ("Bearer sk-secret", "give the key alone"),
    ],
)
def test_what_is_no_key_is_refused_with_its_source(
    text: str, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match=fault) as refused:
        clean_key(text, "the file k")
    assert "the file k: " in str(refused.value)
    assert "secret" not in str(refused.value)
    if "\0" not in text:
        monkeypatch.setenv("MEDSWEEP_TEST_KEY", text)
        with pytest.raises(InputError, match=f"MEDSWEEP_TEST_KEY: .*{fault}"):
            key_of_variable("MEDSWEEP_TEST_KEY")


def test_a_variable_that_is_not_set_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MEDSWEEP_TEST_KEY", raising=False)
    with pytest.raises(InputError, match="MEDSWEEP_TEST_KEY"):
        key_of_variable("MEDSWEEP_TEST_KEY")
