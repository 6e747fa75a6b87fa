"""Bare commands, mistakes, and what they are answered with."""

from __future__ import annotations

import pytest

from medsweep.cli import VERBS, main


def ended(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[object, str, str]:
    with pytest.raises(SystemExit) as left:
        main(words)
    out, err = capsys.readouterr()
    return left.value.code, out, err


def test_without_arguments_there_is_help(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = ended(capsys)
    assert code == 0
    assert all(verb in out for verb in VERBS)
    assert err == ""
    for verb, inner in (("k8s", "submit"), ("engines", "install"), ("adapters", "merge")):
        code, out, err = ended(capsys, verb)
        assert code == 2
        assert out.startswith(f"usage: medsweep {verb} ")
        assert inner in out


@pytest.mark.parametrize(
    ("words", "usage", "told"),
    [
        (("benhc", "x"), "usage: medsweep [-h]", "unknown verb 'benhc' (did you mean 'bench'?)"),
        (("k8s", "statsu", "x"), "usage: medsweep k8s ", "(did you mean 'status'?)"),
        (
            ("bench", "http://x/v1", "--concurency", "4"),
            "usage: medsweep bench ",
            "unknown option --concurency (did you mean '--concurrency'?)",
        ),
        (
            ("recommend", "x", "--max-p95-tftt", "1s"),
            "usage: medsweep recommend ",
            "unknown option --max-p95-tftt (did you mean '--max-p95-ttft'?)",
        ),
        (("calibrate", "--rate", "1"), "usage: medsweep calibrate ", "unknown option --rate\n"),
        (
            ("review", "nonsense"),
            "usage: medsweep review ",
            "unknown action 'nonsense'; known: export, import\n",
        ),
        (("models", "extra"), "usage: medsweep models ", "unexpected argument 'extra'\n"),
        (
            ("serve", "gpt9"),
            "usage: medsweep serve ",
            "unexpected argument 'gpt9'; a model is given as --base 'gpt9'\n",
        ),
        (
            ("run", "x.yaml", "--on", "k9s"),
            "usage: medsweep run ",
            "unknown value 'k9s' (did you mean 'k8s'?); known: here, k8s",
        ),
    ],
)
def test_a_mistake_shows_the_verb_s_usage_and_what_is_nearest(
    capsys: pytest.CaptureFixture[str], words: tuple[str, ...], usage: str, told: str
) -> None:
    code, out, err = ended(capsys, *words)
    assert (code, out) == (2, "")
    assert err.startswith(usage)
    assert told in err
    assert f"see: {usage.removeprefix('usage: ').split(' [')[0].strip()} --help\n" in err


def test_abbreviated_options_and_values_after_a_double_dash_stay(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["models", "--js"]) == 0
    assert capsys.readouterr().out.startswith("[")
    assert main(["docs", "--", "--no-such-page"]) == 2
    assert "unknown page" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("page", "told"),
    [
        ("foo", "unknown page 'foo'; known: adapters, "),
        ("foo.md", "unknown page 'foo'; known: adapters, "),
        ("benhc.md", "unknown page 'benhc' (did you mean 'bench'?); known: "),
    ],
)
def test_the_ending_of_a_page_is_no_likeness(
    capsys: pytest.CaptureFixture[str], page: str, told: str
) -> None:
    assert main(["docs", page]) == 2
    assert told in capsys.readouterr().err
