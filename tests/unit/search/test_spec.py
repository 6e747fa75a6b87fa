from typing import Any

import pytest
from pydantic import ValidationError

from medsweep.search.spec import SearchSpec


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"rank": []}, "at least 1"),
        ({"rank": [4, 4]}, "a value is given twice"),
        ({"rank": [0]}, "greater than or equal to 1"),
        ({"dropout": [1.0]}, "less than 1"),
        ({"max_seq_length": [8]}, "greater than or equal to 16"),
        ({"metric": "accuracy"}, "token_f1"),
    ],
)
def test_faults(settings: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        SearchSpec.model_validate(settings)
