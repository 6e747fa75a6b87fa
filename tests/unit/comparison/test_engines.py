from medsweep.comparison.engines import engine_difference


def test_one_engine_is_no_difference() -> None:
    assert engine_difference({}) is None
    assert engine_difference({"a@x": "vllm", "a@y": "vllm"}) is None


def test_a_sentence_names_each_engine_with_its_cells() -> None:
    engines = {f"m@p{number}": "vllm" for number in range(5)} | {"m@host": "continuous"}
    assert engine_difference(engines) == (
        "The cells have different engines (continuous: m@host; vllm: m@p0, m@p1, m@p2 and 2 "
        "more), so a difference between two of them can come from the engine; name one with "
        "serve.engine to compare hardware or models alone."
    )
