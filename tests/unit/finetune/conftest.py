from typing import Any

import pytest

from medsweep.models import standin
from medsweep.models.catalog import MODELS

WORDS = [
    "Asthma is a long-term disease in which the airways are inflamed and narrow from time to time.",
    "The treatments for asthma include inhaled medicines, caf\u00e9s to avoid, and a written plan.",
]


@pytest.fixture(scope="session")
def make_tokenizer() -> Any:
    """The real, small tokenizer of a stand-in, by the name of the model that it stands in for."""

    def make(name: str) -> Any:
        return standin._tokenizer(standin.ARCHITECTURES[name], MODELS[f"standin-{name}"], WORDS)

    return make
