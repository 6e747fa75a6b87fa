"""Data-parallel training: every worker holds all weights."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from medsweep.finetune.loss import answer_nats
from medsweep.finetune.strategy import MAX_GRADIENT_NORM, MOMENTS, adamw, trained
from medsweep.finetune.team import Team
from medsweep.models.precision import TrainingPrecision

if TYPE_CHECKING:
    import torch


class Ddp:
    """Every worker holds the whole model, and gradients are averaged; also for a single worker.

    Args:
        model: the PEFT model.
        team: the workers.
        precision: dtypes of the computation.
    """

    def __init__(self, model: Any, team: Team, precision: TrainingPrecision) -> None:
        import torch

        self.model = model
        self._named = trained(model)
        self._shared = team.size > 1
        self._run = model
        if self._shared:
            # All workers loaded the same weights and drew the same adapters by seed.
            self._run = torch.nn.parallel.DistributedDataParallel(model, init_sync=False)
        self._optimizer = adamw(model, fused=True)
        self._cast = autocast(team, precision)
        self._scaler = torch.amp.GradScaler(team.device_type, enabled=precision.grad_scaling)

    def learn(
        self, batch: Mapping[str, torch.Tensor], weight: float, *, last: bool
    ) -> torch.Tensor:
        """Add a micro-batch's gradients; workers exchange them only in the last one."""
        import torch

        exchange = self._run.no_sync() if self._shared and not last else contextlib.nullcontext()
        with exchange:
            with self._cast:
                nats = answer_nats(self._run, batch)
            torch.autograd.backward(self._scaler.scale(nats * weight))
        return nats.detach()

    def update(self, rate: float) -> float | None:
        """Make one optimizer step."""
        import torch

        for group in self._optimizer.param_groups:
            group["lr"] = rate
        self._scaler.unscale_(self._optimizer)
        norm = float(torch.nn.utils.clip_grad_norm_(self._named.values(), MAX_GRADIENT_NORM))
        overflowed = self._scaler.is_enabled() and self._scaler.get_scale() > 1
        if math.isfinite(norm) or overflowed:
            self._scaler.step(self._optimizer)
            self._scaler.update()
        self._optimizer.zero_grad(set_to_none=True)
        return None if overflowed and not math.isfinite(norm) else norm

    def state(self) -> dict[str, torch.Tensor]:
        """Return the state to resume from."""
        import torch

        tensors = {f"weight.{name}": one.detach() for name, one in self._named.items()}
        updates = torch.tensor(0.0)
        for name, parameter in self._named.items():
            if state := self._optimizer.state[parameter]:
                tensors |= {f"{moment}.{name}": state[moment] for moment in MOMENTS}
                updates = state["step"]
        scaler = self._scaler.state_dict()  # empty where gradients are not scaled
        scale, growth = scaler.get("scale", 1.0), scaler.get("_growth_tracker", 0)
        numbers = {"scale": torch.tensor(scale), "growth": torch.tensor(growth)}
        return {**tensors, "updates": updates, **numbers}

    def restore(self, state: Mapping[str, torch.Tensor]) -> None:
        """Restore what `state` returned."""
        if self._scaler.is_enabled():
            numbers = {"scale": float(state["scale"]), "_growth_tracker": int(state["growth"])}
            self._scaler.load_state_dict({**self._scaler.state_dict(), **numbers})
        if not float(state["updates"]):
            return
        for name, parameter in self._named.items():
            self._optimizer.state[parameter] = {
                "step": state["updates"].clone().to(parameter.device),
                **{one: state[f"{one}.{name}"].to(parameter.device) for one in MOMENTS},
            }

    @contextlib.contextmanager
    def gathered_weights(self) -> Iterator[None]:
        """Do nothing: every worker has all weights."""
        yield


def autocast(team: Team, precision: TrainingPrecision) -> torch.autocast:
    """Return the context in which the model computes."""
    import torch

    dtype = getattr(torch, precision.compute)
    return torch.autocast(team.device_type, dtype, enabled=dtype != torch.float32)
