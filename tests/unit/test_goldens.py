"""What users' own tools read is as it was; `make goldens` writes `tests/golden/` anew."""

import difflib

import pytest

from goldens import GOLDEN, make_goldens


@pytest.mark.slow
def test_columns_tables_and_manifests_are_those_of_the_goldens() -> None:
    made = make_goldens()
    golden = {
        path.relative_to(GOLDEN).as_posix(): path.read_text("utf-8")
        for path in GOLDEN.rglob("*.*")
        if path.is_file()
    }
    assert len(golden) >= 20
    difference = "\n".join(
        line
        for name in sorted(made.keys() | golden.keys())
        for line in difflib.unified_diff(
            golden.get(name, "").splitlines(),
            made.get(name, "").splitlines(),
            f"golden/{name}",
            f"now/{name}",
            lineterm="",
        )
    )
    assert not difference, f"if this is meant: make goldens, CHANGELOG.md\n{difference}"
