"""MedSweep: fine-tune, serve and measure medical language models on every hardware profile.

The names below are the Python interface, described in docs/python.md. Each is loaded when it is
first used, so that `import medsweep` takes no time.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from medsweep.api.grading import compare, meter, score
    from medsweep.api.load_test import bench
    from medsweep.api.results import Results, open  # noqa: A004 `ms.open` opens results
    from medsweep.api.sweeps import load_sweep, plan, run
    from medsweep.errors import MedSweepError

from medsweep.version import __version__ as __version__

_MODULE_OF = {
    "MedSweepError": "medsweep.errors",
    "Results": "medsweep.api.results",
    "bench": "medsweep.api.load_test",
    "compare": "medsweep.api.grading",
    "load_sweep": "medsweep.api.sweeps",
    "meter": "medsweep.api.grading",
    "open": "medsweep.api.results",
    "plan": "medsweep.api.sweeps",
    "run": "medsweep.api.sweeps",
    "score": "medsweep.api.grading",
}

__all__ = [
    "MedSweepError",
    "Results",
    "bench",
    "compare",
    "load_sweep",
    "meter",
    "open",
    "plan",
    "run",
    "score",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'medsweep' has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULE_OF[name]), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
