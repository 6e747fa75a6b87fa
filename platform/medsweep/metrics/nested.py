"""Repeats within deployments, requests within repeats: how much each level varies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class VarianceComponents:
    """Standard deviations of one figure, each as a share of its mean.

    Attributes:
        deployment: between deployments of the same cell; None with fewer than two, and where each
            has a single repeat: then it cannot be told from that of repeats.
        repeat: between repeats of one deployment, without what its requests cause; None without
            two repeats of a deployment. Where each deployment has a single repeat, of both
            together.
        request: between requests of one repeat; None if it is unknown.
        deployments: how many there were.
        repeats: repeats of all deployments.
    """

    deployment: float | None
    repeat: float | None
    request: float | None
    deployments: int
    repeats: int


def variance_components(
    deployments: Sequence[Sequence[float]], request_sd: float | None = None, requests: float = 1.0
) -> VarianceComponents | None:
    """Return the components by the method of moments (Searle, Casella & McCulloch 1992).

    A component that would be below 0 is 0.

    Args:
        deployments: the repeats' means of each deployment, in any unit.
        request_sd: standard deviation between the requests of a repeat, in this unit.
        requests: requests of a repeat, which its mean is of.

    Returns:
        None if there are fewer than two repeats, or the mean is not above 0.
    """
    groups = [np.asarray(each, dtype=float) for each in deployments if len(each)]
    values = np.concatenate(groups) if groups else np.empty(0)
    if len(values) < 2 or values.mean() <= 0:
        return None
    mean = float(values.mean())
    count, total = len(groups), len(values)
    of_requests = 0.0 if request_sd is None else request_sd**2 / requests
    inner = total - count
    between = sum(len(each) * (float(each.mean()) - mean) ** 2 for each in groups)
    deployment = None
    if inner == 0:
        repeat = between / (count - 1) - of_requests
    else:
        within = sum(float(((each - each.mean()) ** 2).sum()) for each in groups) / inner
        repeat = within - of_requests
        if count > 1:
            # Repeats per deployment where they are not all the same number.
            size = (total - sum(len(each) ** 2 for each in groups) / total) / (count - 1)
            deployment = _share((between / (count - 1) - within) / size, mean)
    return VarianceComponents(
        deployment,
        _share(repeat, mean),
        None if request_sd is None else request_sd / mean,
        count,
        total,
    )


def _share(variance: float, mean: float) -> float:
    return float(np.sqrt(max(0.0, variance))) / mean
