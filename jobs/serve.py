"""The Ray Serve application that a RayService names: `import_path: jobs.serve:application`."""

import os
from pathlib import Path
from typing import Any

from medsweep.errors import UnknownName
from medsweep.serving.config import ServeConfig
from medsweep.serving.ray.application import build_application
from medsweep.sweep.finetune import adapter_folder
from medsweep.sweep.resolve import resolve
from medsweep.sweep.spec import SweepSpec


def application(args: dict[str, Any]) -> Any:
    """Return the application of a ServeConfig's fields, or of one cell of a sweep.

    Args:
        args: fields of ServeConfig. With `cell` (a key or name of the sweep in MEDSWEEP_SWEEP) and
            `out` (the folder of results) the cell says what is served; others are further fields.
    """
    if "cell" not in args:
        return build_application(ServeConfig.model_validate(args), None)
    spec = SweepSpec.model_validate_json(os.environ["MEDSWEEP_SWEEP"])
    resolved = resolve(spec, here=False)  # the engine's node fetches the weights
    cells = {word: cell for cell in resolved.plan.runnable for word in (cell.key, cell.name)}
    if args["cell"] not in cells:
        raise UnknownName("cell of this version's plan", args["cell"], cells)
    cell = cells[args["cell"]]
    folder = adapter_folder(Path(args["out"]) / spec.name, resolved.plan.adapters[cell.adapter])
    served = spec.serve.model_dump(exclude={"adapters"})
    served |= {"engine": cell.serving.engine, "dtype": cell.dtype}
    served |= {"base": cell.model.name, "adapters": {folder.name: folder}}
    served["merged"] = cell.serving.adapters == "merged"
    further = {name: value for name, value in args.items() if name not in ("cell", "out")}
    config = ServeConfig.model_validate(served | further)
    weights = resolved.weights[cell.model.name]
    return build_application(config, cell.profile, spec.catalog.models, weights)
