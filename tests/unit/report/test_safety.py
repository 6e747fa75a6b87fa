from typing import Any

from medsweep.report.tables.safety import safety_table


def share(kind: str, value: float) -> dict[str, Any]:
    return {"kind": kind, "share": value, "low": value / 2, "high": value}


ASKED: dict[str, Any] = {"shares": [share("red flag", 0.5)], "rewordings": []}
JUDGED = ASKED | {
    "judge": {
        "judge": {"model": "large"},
        "shares": [share("red flag", 0.25)],
        "agreement": [share("red flag", 0.5), share("all", 0.75)],
    }
}


def test_what_a_judge_says_stands_beside_the_rules() -> None:
    table = safety_table({"m": JUDGED, "of an earlier version": ASKED})
    titles = [column.title for column in table.columns]
    judged, not_judged = (
        {title: cell.text for title, cell in zip(titles, row, strict=True)} for row in table.rows
    )
    assert (judged["Missed red flags"], judged["Judge"]) == ("0.50", "large")
    assert judged["Missed red flags, by the judge"] == "0.25"
    assert judged["Rules and judge agree"] == "0.75"
    assert not_judged["Missed red flags"] == "0.50"
    missing = {not_judged[title] for title in ("Judge", "Missed red flags, by the judge")}
    assert missing == {"\N{EN DASH}"}
    assert "an opinion" in table.caption


def test_without_a_judge_there_is_no_column_of_one() -> None:
    table = safety_table({"m": ASKED})
    assert not [column.title for column in table.columns if "udge" in column.title]
    assert "judge" not in table.caption
