"""Serving: a served model as its clients see it."""

from __future__ import annotations

from typing import Any

from medsweep.monitoring.dashboards.panels import dashboard, heat, lines, number

VARIABLES = {"model": "label_values(medsweep_server_requests_total, model)"}
FILTER = 'model=~"$model"'


def build() -> Any:
    """Return the dashboard."""
    requests = f"medsweep_server_requests_total{{{FILTER}}}"

    def quantile(name: str) -> dict[str, str]:
        buckets = f"medsweep_server_{name}_seconds_bucket{{{FILTER}}}"
        return {
            f"{{{{model}}}} p{int(value * 100)}": (
                f"histogram_quantile({value}, "
                f"sum by (model, le) (rate({buckets}[$__rate_interval])))"
            )
            for value in (0.5, 0.95)
        }

    return dashboard(
        "serving",
        "serving",
        [
            lines(
                "Requests",
                {
                    "{{model}} {{outcome}}": "sum by (model, outcome) "
                    f"(rate({requests}[$__rate_interval]))"
                },
                unit="requests/s",
                about="By outcome; queue_full and timeout mean too little capacity.",
            ),
            number("Running", "sum(medsweep_server_running)", about="Requests in the engine now."),
            number("Queued", "sum(medsweep_server_queued)", about="Requests that wait for a slot."),
            number("Adapters", "sum(medsweep_server_adapters_loaded)", about="Loaded in memory."),
            lines(
                "Time to first token",
                quantile("ttft"),
                unit="s",
                about="From arrival to the first token.",
            ),
            lines(
                "Time in the queue", quantile("queue"), unit="s", about="From arrival to prefill."
            ),
            lines(
                "Time per token", quantile("inter_token"), unit="s", about="After the first token."
            ),
            heat(
                "End-to-end time",
                f"medsweep_server_e2e_seconds{{{FILTER}}}",
                about="Answers by bucket of the histogram.",
            ),
            lines(
                "Tokens",
                {
                    "{{model}} out": "sum by (model) "
                    f"(rate(medsweep_server_output_tokens_total{{{FILTER}}}[$__rate_interval]))",
                    "{{model}} in": "sum by (model) "
                    f"(rate(medsweep_server_prompt_tokens_total{{{FILTER}}}[$__rate_interval]))",
                },
                unit="tokens/s",
                about="Tokens per second, prompts and answers.",
            ),
            lines(
                "Batch size",
                {
                    "{{model}}": "sum by (model) "
                    f"(rate(medsweep_server_batch_size_sum{{{FILTER}}}[$__rate_interval])) "
                    "/ sum by (model) "
                    f"(rate(medsweep_server_batch_size_count{{{FILTER}}}[$__rate_interval]))"
                },
                about="Mean number of requests in a batch when an answer starts.",
            ),
        ],
        VARIABLES,
    )
