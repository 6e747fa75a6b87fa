import re
from pathlib import Path

import pytest

import medsweep
from medsweep.digits import p_relation, percent, probability


@pytest.mark.parametrize(
    ("shown", "text"),
    [
        (percent(0.95), "95 %"),
        (percent(0.0217, 1), "2.2 %"),
        (percent(1.2), "120 %"),
        (percent(-0.0001), "0 %"),
        (percent(0.5, 1, signed=True), "+50.0 %"),
        (percent(-0.125, 1, signed=True), "-12.5 %"),
        (probability(0.00449), "0.0045"),
        (probability(1.0), "1.0"),
        (probability(0.0001), "0.00010"),
        (probability(0.0000999), "< 0.0001"),
        (probability(1.6e-30), "< 0.0001"),
        (probability(0.0), "< 0.0001"),
        (p_relation(0.00449), "p = 0.0045"),
        (p_relation(0.0001), "p = 0.00010"),
        (p_relation(1.6e-30), "p < 0.0001"),
    ],
)
def test_percentages_and_p_values(shown: str, text: str) -> None:
    assert shown == text


_FORMATS = re.compile(
    r"\{[^{}]*:[+]?(\.\d)?%\}"  # a percentage
    r"|\{\w*\.?(p|p_value|p_adjusted):\.\dg\}|\bp = \{"  # a p-value
)


def test_no_other_module_formats_percentages_or_p_values() -> None:
    root = Path(medsweep.__file__).parent
    found = [
        f"{path.relative_to(root)}: {line.strip()}"
        for path in sorted(root.rglob("*.py"))
        for line in path.read_text(encoding="utf-8").splitlines()
        if _FORMATS.search(line)
    ]
    assert found == []
