"""Whether an answer is the same alone and together with others, in every engine and dtype."""

from gpu.device import GPU
from gpu.models import small
from gpu.report import Report
from gpu.serving import Answered, ask, opened

ARCHITECTURES = (
    ("llama-3-8b", "gemma-1.1-7b", "distilgpt2", "mistral-7b", "llama-2-7b")
    if GPU
    else ("llama-3-8b",)
)
TOKENS = 24 if GPU else 6


def parity(report: Report) -> None:
    """Compare greedy answers in float32: alone and together, and of both engines."""
    for name in ARCHITECTURES:
        spec, folder = small(name)
        models = [spec.name, "a0", "a1", spec.name, "a0"]
        texts = {}
        for kind in ("generate", "continuous"):
            with opened(kind, spec, folder, dtype="float32", adapters=2) as engine:
                alone = [
                    ask(engine, [model], TOKENS, words=24, first=number)[0][0].text
                    for number, model in enumerate(models)
                ]
                together = [answer.text for answer in ask(engine, models, TOKENS, words=24)[0]]
            texts[kind] = together
            same = sum(one == other for one, other in zip(alone, together, strict=True))
            report.row(
                "serving.parity",
                ok=same == len(models),
                model=name,
                engine=kind,
                same=same,
                of=len(models),
                distinct=len(set(together)),
            )
        same = sum(
            one == other for one, other in zip(texts["generate"], texts["continuous"], strict=True)
        )
        report.row("serving.engines", ok=same == len(models), model=name, same=same, of=len(models))


def dtypes(report: Report) -> None:
    """Serve with every dtype and quantization, and compare the answers with float32's."""
    pairs = (("bfloat16", "none"), ("float16", "none")) if GPU else (("bfloat16", "none"),)
    if GPU:
        pairs += (("float16", "nf4"), ("bfloat16", "nf4"), ("float32", "nf4"), ("bfloat16", "int8"))
    for name in ARCHITECTURES[:3]:
        exact: list[str] = []
        for dtype, quantization in (("float32", "none"), *pairs):
            what = {"model": name, "dtype": dtype, "quantization": quantization}
            try:
                answers = _served(name, dtype, quantization)
            except Exception as error:  # noqa: BLE001 one dtype must not end the stage
                report.crashed("serving.dtype", error, **what)
                continue
            texts = [answer.text for answer in answers]
            exact = exact or texts
            same = sum(one == other for one, other in zip(texts, exact, strict=True))
            ok = all(answer.tokens for answer in answers)
            report.row("serving.dtype", ok=ok, **what, same=same, of=len(texts))


def _served(name: str, dtype: str, quantization: str) -> list[Answered]:
    spec, folder = small(name)
    with opened(
        "continuous", spec, folder, dtype=dtype, quantization=quantization, adapters=2
    ) as engine:
        models = ["a0", "a1", spec.name] * 3
        return ask(engine, models, TOKENS, words=24)[0]
