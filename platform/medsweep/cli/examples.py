"""Examples of every verb for `--help`, and the page of the documentation that explains it.

The tests parse each example with its verb's own parser, and look each page up.
"""

from __future__ import annotations

from collections.abc import Mapping

ADAPTER = "results/demo/adapters/NAME-KEY"

EXAMPLES: Mapping[str, tuple[str, ...]] = {
    "demo": ("medsweep demo", "medsweep demo --out results --require-real"),
    "init": (
        "medsweep init mine.yaml",
        "medsweep init --template own-data mine.yaml",
        "medsweep init --template paper paper.yaml",
    ),
    "validate": ("medsweep validate mine.yaml --set load.repeats=5",),
    "plan": (
        "medsweep plan mine.yaml",
        "medsweep plan mine.yaml --json",
        "medsweep plan mine.yaml --parquet predicted.parquet",
    ),
    "run": (
        "medsweep run mine.yaml",
        "medsweep run mine.yaml --out results --set load.repeats=5",
        "medsweep run mine.yaml --on k8s --cluster cluster.yaml",
    ),
    "k8s": (
        "medsweep k8s doctor",
        "medsweep k8s render mine.yaml | kubectl diff -f -",
        "medsweep k8s submit mine.yaml --cluster cluster.yaml",
        "medsweep k8s status demo",
    ),
    "engines": (
        "medsweep engines list",
        "medsweep engines install vllm --cpu",
        "medsweep engines download vllm wheels",
        "medsweep engines install vllm --wheelhouse wheels",
    ),
    "serve": (
        f"medsweep serve --adapter asthma={ADAPTER}",
        "medsweep serve --base smollm2-135m --port 8001",
    ),
    "ask": (
        f'medsweep ask --adapter {ADAPTER} "What are the symptoms of asthma?"',
        'medsweep ask --model smollm2-135m "What are the symptoms of asthma?"',
        'medsweep ask --url http://127.0.0.1:8000/v1 "What are the symptoms of asthma?"',
    ),
    "finetune": (
        "medsweep finetune mine.yaml",
        "medsweep finetune mine.yaml --model distilgpt2 --no-ray",
    ),
    "search": ("medsweep search mine.yaml", "medsweep search mine.yaml --model distilgpt2"),
    "adapters": (
        "medsweep adapters list results",
        f"medsweep adapters verify {ADAPTER}",
        f"medsweep adapters merge {ADAPTER} --out merged",
    ),
    "doctor": ("medsweep doctor", "medsweep doctor --json"),
    "bench": (
        "medsweep bench http://127.0.0.1:8000/v1 --concurrency 1,8,64",
        "medsweep bench http://127.0.0.1:8000/v1 --sweep --input-tokens 128..1024 "
        "--output-tokens 128",
        "medsweep bench http://127.0.0.1:8000/v1 --dataset embedded --concurrency 8",
        "medsweep bench http://127.0.0.1:8000/v1 --model m --rate 2,5,10 --arrivals poisson",
        "medsweep bench http://127.0.0.1:8000/v1 --model m --find-max --slo ttft_p95=0.5s",
    ),
    "calibrate": ("medsweep calibrate --concurrency 1,64,256",),
    "recommend": (
        "medsweep recommend results/demo --max-mean-ttft 500ms --min-token-f1 0.25 --rate 3",
        "medsweep recommend results/demo --max-usd-per-1k 2 --json",
    ),
    "compare": (
        "medsweep compare results/main results/branch --tolerance 0.1 --quality-gate",
        "medsweep compare results/demo",
        "medsweep compare results/matrix paper",
    ),
    "aa": ("medsweep aa mine.yaml --set cells=[distilgpt2@host]",),
    "score": ("medsweep score predictions.jsonl",),
    "review": (
        "medsweep review export results/demo --out review.html --questions 20",
        "medsweep review import results/demo ratings-ab.json ratings-cd.json",
    ),
    "judge": (
        "medsweep judge results/demo --url http://127.0.0.1:8000/v1 --compare",
        "medsweep judge results/mine --send-to http://127.0.0.1:8000/v1 --votes 3",
    ),
    "safety": (
        "medsweep safety --url http://127.0.0.1:8000/v1 --out results/demo",
        f"medsweep safety --adapter {ADAPTER} --rewordings 20",
        f"medsweep safety --adapter {ADAPTER} --judge http://127.0.0.1:8000/v1 --judge-votes 3",
    ),
    "report": ("medsweep report results/demo",),
    "export": (
        "medsweep export results/demo --mlflow mlruns",
        "medsweep export results/demo --mlflow http://127.0.0.1:5000",
        "medsweep export results/demo --wandb offline",
    ),
    "models": ("medsweep models --json",),
    "hardware": ("medsweep hardware", "medsweep hardware --own this-machine.yaml"),
    "completion": (
        "medsweep completion bash > ~/.local/share/bash-completion/completions/medsweep",
    ),
    "datasets": (
        "medsweep datasets",
        "medsweep datasets embedded --show 3 --template llama-3",
        "medsweep datasets mine.yaml --export rows.parquet",
    ),
    "docs": ("medsweep docs", "medsweep docs bench.md", "medsweep docs reference/config.md#load"),
}

GUIDES: Mapping[str, str] = {
    "demo": "quickstart.md",
    "init": "quickstart.md#your-own-sweep",
    "validate": "reference/config.md",
    "plan": "prediction.md",
    "run": "quickstart.md",
    "k8s": "k8s-client.md",
    "engines": "engines.md",
    "serve": "serving.md",
    "ask": "tutorial.md#2-real-weights-still-without-a-gpu",
    "finetune": "finetuning.md",
    "search": "search.md",
    "adapters": "adapters.md",
    "doctor": "troubleshooting.md",
    "bench": "bench.md",
    "calibrate": "bench.md#how-accurate-the-client-is",
    "recommend": "recommend.md",
    "compare": "statistics.md",
    "aa": "statistics.md#one-cell-under-two-names-medsweep-aa-sweep",
    "score": "quality.md",
    "review": "quality.md#review-by-clinicians",
    "judge": "quality.md#a-judge-with-a-rubric",
    "safety": "quality.md#the-safety-set",
    "report": "report.md",
    "export": "report.md#export-to-mlflow-or-wb",
    "models": "models.md",
    "hardware": "hardware.md",
    "completion": "quickstart.md#shell-completion",
    "datasets": "datasets.md",
    "docs": "index.md",
}


def epilog(verb: str) -> str:
    """Return the text below a verb's options, before the exit codes."""
    given = EXAMPLES[verb]
    title = "example" if len(given) == 1 else "examples"
    lines = [
        f"{title}:",
        *(f"  {each}" for each in given),
        "",
        f"more: medsweep docs {GUIDES[verb]}",
    ]
    return "\n".join(lines)
