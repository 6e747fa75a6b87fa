"""Tables of what did not run and of how the rest was measured, as the page shows them."""

from __future__ import annotations

from collections.abc import Sequence

from medsweep.report.numbers import seconds
from medsweep.report.tables import Failure, Method
from medsweep.report.view import Cell, View, count, headings, prose, text, texts


def failures_view(table: Sequence[Failure]) -> View:
    """Return what failed or was refused."""
    return View(
        "Cells and load points without a result",
        headings("Model", "Profile", "Status", "Load point", "Reason", "Failed requests"),
        tuple(
            (
                text(row.model),
                text(row.profile),
                Cell(row.status, kind=f"state {row.status}"),
                text(row.load_point, "the whole cell"),
                prose(row.reason or "not recorded"),
                texts(
                    (f"{kind}: {number}" for kind, number in sorted(row.failed_by_kind.items())),
                    "none was sent, or none failed by itself",
                ),
            )
            for row in table
        ),
        labels=2,
    )


def cpus_view(table: Method) -> View:
    """Return what each profile asked for and what it was given."""
    return View(
        "Asked against given",
        headings(
            "Profile",
            "Basis",
            "CPUs asked",
            "CPUs given",
            "Threads",
            "Accelerator asked",
            "Device given",
            "dtype asked",
            "dtype given",
        ),
        tuple(
            (
                text(row.profile),
                texts(row.basis, "nothing ran"),
                count(row.cpus_asked),
                texts(row.cpus_given),
                texts(row.threads),
                text(row.accelerator_asked, "none"),
                texts(row.device_given),
                texts(row.dtype_asked),
                texts(row.dtype_given),
            )
            for row in table.cpus
        ),
    )


def hosts_view(table: Method) -> View:
    """Return the machines that measured."""
    return View(
        "Machines that measured",
        headings("Machine", "Processor", "Device", "Governor", "GPU driver", "Throttled", "Rows"),
        tuple(
            (
                text(host.name),
                text(host.cpu_model),
                text(host.device),
                text(host.governor, "not exposed by the machine"),
                text(host.driver, "no GPU driver"),
                count(host.throttled_periods),
                count(host.rows),
            )
            for host in table.hosts
        ),
    )


def facts(table: Method) -> list[tuple[str, Cell]]:
    """Return how it was measured, as pairs of name and value."""
    bias = table.client_ttft_bias_s
    return [
        ("Measured (UTC)", text(_span(table.first_measured_at, table.last_measured_at))),
        ("Repeats of a load point", count(table.repeats)),
        ("Engine", texts(table.engines)),
        ("Quantization of the base weights", texts(table.quantizations)),
        ("Longest answer (tokens)", texts(table.max_tokens)),
        ("Dataset, SHA-256", texts(table.dataset_sha256)),
        (
            "Client's bias of TTFT, from calibration",
            text(None if bias is None else _seconds(bias), "the client was not calibrated"),
        ),
        ("Versions", texts(f"{name} {version}" for name, version in table.versions.items())),
        ("Commit of MedSweep", texts(table.git_commits, "not run from a checkout")),
        ("Container image", texts(table.image_digests, "not run from an image")),
        ("Why not observed", texts(table.basis_reasons, "everything was observed")),
    ]


def _seconds(ends: tuple[float, float]) -> str:
    return seconds(ends[0]) if ends[0] == ends[1] else f"{seconds(ends[0])} to {seconds(ends[1])}"


def _span(first: str | None, last: str | None) -> str | None:
    return first if first == last else f"{first} to {last}"
