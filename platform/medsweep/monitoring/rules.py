"""Prometheus' rules: recorded series for slow panels, and alerts."""

from __future__ import annotations

from typing import Any

from medsweep.monitoring.prometheus import LABELS

Rule = dict[str, Any]

CONFIGURATION = ", ".join(LABELS)
"""The labels that distinguish latencies."""

QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
LATENCIES = ("ttft", "inter_token", "e2e")

FAILED_SHARE = 0.1
THROTTLED_SHARE = 0.05
"""A GPU counts as throttled if its clocks were held back for more than this share of a window."""

BAD_OUTCOMES = "failed|timeout|queue_full"
"""Outcomes of a request that show a fault of the server, or too little capacity."""


def recorded(latency: str, quantile: str) -> str:
    """Return the name of a recorded quantile of a latency.

    Args:
        latency: one of LATENCIES.
        quantile: one of QUANTILES.
    """
    return f"medsweep:{latency}_seconds:{quantile}"


ERROR_RATIO = "medsweep:requests:error_ratio5m"


def recording_rules() -> list[Rule]:
    """Return the rules whose results are shown in panels.

    A quantile covers all answers of a configuration in its run, as in the report. Computed for each
    view of a whole sweep, it would need thousands of bucket series every time.
    """
    quantiles = [
        {
            "record": recorded(latency, name),
            "expr": (
                f"histogram_quantile({value}, "
                f"sum by ({CONFIGURATION}, le) (medsweep_{latency}_seconds_bucket))"
            ),
        }
        for latency in LATENCIES
        for name, value in QUANTILES.items()
    ]
    failed = f'sum by ({CONFIGURATION}) (rate(medsweep_requests_total{{status!="ok"}}[5m]))'
    sent = f"sum by ({CONFIGURATION}) (rate(medsweep_requests_total[5m]))"
    # Without failures there is no series of failures; the ratio must then be 0, not absent.
    ratio = {"record": ERROR_RATIO, "expr": f"({failed} or {sent} * 0) / ({sent} > 0)"}
    return [*quantiles, ratio]


def alerts() -> list[Rule]:
    """Return the alerts; each says what happened and what to do about it."""
    cell = "{{ $labels.model }} on {{ $labels.profile }} at {{ $labels.load_point }}"
    return [
        _alert(
            "MedSweepCellFailed",
            'sum by (sweep) (medsweep_cells{state="failed"}) > 0',
            "0m",
            "warning",
            "{{ $value }} cells of {{ $labels.sweep }} failed",
            "`medsweep k8s status` (or the last lines of the run) gives the reasons; the next "
            "submit or run tries them again.",
        ),
        _alert(
            "MedSweepErrorRate",
            f"{ERROR_RATIO} > {FAILED_SHARE}",
            "2m",
            "critical",
            f"{{{{ $value | humanizePercentage }}}} of requests fail: {cell}",
            "The cell fails above the sweep's max_error_rate. `medsweep_requests_total` by status "
            "shows the kind of failure.",
        ),
        _alert(
            "MedSweepClientLimited",
            f"max by ({CONFIGURATION}) (medsweep_client_limited) == 1",
            "0m",
            "warning",
            f"The client could not keep up: {cell}",
            "The latencies of this load point include the client's own delays. Give the head more "
            "CPUs (head_cpus), or use a lower rate.",
        ),
        _alert(
            "MedSweepGpuThrottled",
            f"max by ({CONFIGURATION}) (medsweep_gpu_throttled_share) > {THROTTLED_SHARE}",
            "0m",
            "warning",
            "Heat or power held the GPU back for {{ $value | humanizePercentage }} of a window: "
            + cell,
            "The measurement does not show the GPU's full speed: cool it, or repeat the cell on "
            "another node.",
        ),
        _alert(
            "MedSweepNoProgress",
            "time() - max by (sweep) (medsweep_last_progress_timestamp_seconds) > 1800 "
            'and on (sweep) sum by (sweep) (medsweep_cells{state="pending"}) > 0',
            "0m",
            "critical",
            "{{ $labels.sweep }} has not finished a request for {{ $value | humanizeDuration }}",
            "A long fine-tune may be the reason; otherwise check the logs of head and worker "
            "(`medsweep k8s logs`).",
        ),
        _alert(
            "MedSweepServerFailing",
            "sum by (model) "
            f'(rate(medsweep_server_requests_total{{outcome=~"{BAD_OUTCOMES}"}}[5m])) '
            "/ sum by (model) (rate(medsweep_server_requests_total[5m])) > 0.05",
            "5m",
            "critical",
            "{{ $value | humanizePercentage }} of requests to {{ $labels.model }} fail",
            "Check `outcome`: for queue_full and timeout add replicas or reduce the load; "
            "for failed check the engine's log.",
        ),
    ]


def rule_file() -> dict[str, Any]:
    """Return the rules as Prometheus and the Prometheus operator read them."""
    return {
        "groups": [
            {"name": "medsweep-recording", "interval": "30s", "rules": recording_rules()},
            {"name": "medsweep-alerts", "rules": alerts()},
        ]
    }


def _alert(name: str, expr: str, wait: str, severity: str, summary: str, description: str) -> Rule:
    return {
        "alert": name,
        "expr": expr,
        "for": wait,
        "labels": {"severity": severity},
        "annotations": {"summary": summary, "description": description},
    }
