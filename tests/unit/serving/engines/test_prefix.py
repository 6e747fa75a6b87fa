from typing import Any

import pytest

torch = pytest.importorskip("torch")

from asking import TUNED, Asker, text  # noqa: E402
from medsweep.finetune.adapter import Adapter  # noqa: E402
from medsweep.models.catalog import MODELS  # noqa: E402
from medsweep.serving.engines.continuous import ContinuousEngine  # noqa: E402
from medsweep.serving.engines.prefix import LONGEST, MOST, SharedPrefixes  # noqa: E402
from medsweep.serving.protocol import EngineSettings  # noqa: E402

BASE = "standin-llama-3-8b"
SHARED = list(range(10, 20))


def layers(ids: list[int]) -> list[tuple[Any, Any]]:
    keys = torch.tensor(ids, dtype=torch.float32)[None, :, None]
    return [(keys, keys + 100)]


def learned(*prompts: tuple[str | None, list[int]]) -> SharedPrefixes:
    prefixes = SharedPrefixes()
    for adapter, ids in prompts:
        prefixes.learn(adapter, ids, layers(ids))
    return prefixes


def test_the_beginning_that_two_prompts_share_is_kept() -> None:
    prefixes = learned(("a", [*SHARED, 1, 2]), ("a", [*SHARED, 3]))
    [prefix], shared = prefixes.common([("a", [*SHARED, 7, 8])])
    assert list(prefix.ids) == SHARED
    assert shared == len(SHARED)
    [(keys, values)] = prefix.layers
    assert keys[0, :, 0].tolist() == SHARED
    assert values[0, :, 0].tolist() == [100 + each for each in SHARED]


@pytest.mark.parametrize(
    ("prompts", "shared"),
    [
        ([("a", SHARED)], 9),  # one token is left to be read
        ([("a", SHARED[:9])], 8),
        ([("a", SHARED[:8])], 0),  # too little
        ([("a", [*SHARED[:8], 1, 2])], 8),
        ([("a", [9, *SHARED])], 0),
        ([(None, [*SHARED, 1])], 0),  # the base has other keys and values
        ([("a", [*SHARED, 1]), ("b", [*SHARED, 1])], 0),
        ([("a", [*SHARED, 1]), ("a", [*SHARED[:8], 2])], 8),
    ],
)
def test_as_much_is_used_as_all_prompts_begin_with(
    prompts: list[tuple[str | None, list[int]]], shared: int
) -> None:
    prefixes = learned(("a", [*SHARED, 1]), ("a", [*SHARED, 2]))
    found, count = prefixes.common(prompts)
    assert count == shared
    assert len(found) == (len(prompts) if shared else 0)
    prefixes.drop("a")
    assert prefixes.common(prompts) == ([], 0)


def test_little_is_kept() -> None:
    assert learned(("a", [1, 2, 3]), ("a", [1, 2, 4])).common([("a", [1, 2, 5])]) == ([], 0)
    long = list(range(2 * LONGEST))
    assert learned(("a", long), ("a", long)).common([("a", long)])[1] == LONGEST
    names = [str(number) for number in range(MOST + 1)]
    prefixes = learned(*((name, [*SHARED, end]) for name in names for end in (1, 2)))
    assert prefixes.common([(names[0], [*SHARED, 3])]) == ([], 0)
    assert prefixes.common([(names[1], [*SHARED, 3])])[1] == len(SHARED)


@pytest.mark.slow
async def test_answers_are_the_same_and_the_shared_tokens_are_not_read(
    tuned: Adapter, questions: list[str], expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = ContinuousEngine(
        EngineSettings(
            "continuous",
            MODELS[BASE],
            "float32",
            cpus=1,
            adapters={TUNED: tuned},
            prefix_caching=True,
        )
    )
    model, read = engine._model, []
    logits = model.logits

    def noted(names: Any, **inputs: Any) -> Any:
        read.append(inputs["input_ids"].shape)
        return logits(names, **inputs)

    monkeypatch.setattr(model, "logits", noted)
    asker = Asker(engine, questions)
    answers = [await asker.text(asker.request(number)) for number in range(3)]
    together = await asker.together([asker.request(number) for number in range(6)])
    engine.close()
    assert [answer.strip() for answer in answers] == expected[:3]
    assert [text(answer).strip() for answer in together] == expected
    (_, first), (_, second), (_, third), (rows, _) = read
    assert rows == 6
    assert third < min(first, second)
