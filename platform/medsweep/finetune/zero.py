"""DeepSpeed's ZeRO over the workers of a run (Rajbhandari et al., 2020)."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from medsweep.errors import EnvironmentFault
from medsweep.finetune.loss import answer_nats
from medsweep.finetune.strategy import MAX_GRADIENT_NORM, MOMENTS, adamw, trained
from medsweep.finetune.team import Team
from medsweep.models.precision import TrainingPrecision

if TYPE_CHECKING:
    import torch

BUCKET_ELEMENTS = 2**24
"""Gradients that workers exchange at once, and size of the buffer that they are collected in.

DeepSpeed's default of 5e8 takes 1 to 2 GB: more than sharding 40 million trained weights saves.
"""

LIVE_ELEMENTS = 2**29
"""Weights that ZeRO-3 keeps gathered: those it fetches ahead, and those that are soon used again.

In 16 bits 1 GiB; DeepSpeed's default of 1e9 takes 2 GB. Where activations are recomputed, the first
matrix of a block is used again after twice the weights of the others: with LoRA 5.3e8 in Gemma's
blocks, the largest of the catalogue, so that none is fetched a second time.
"""


def import_deepspeed(team: Team) -> Any:
    """Import DeepSpeed and set it up for the team's device.

    Raises:
        EnvironmentFault: it is not installed.
    """
    if team.device == "cpu":
        os.environ["DS_ACCELERATOR"] = "cpu"
    try:
        import deepspeed
    except ImportError:
        raise EnvironmentFault(
            "finetune.strategy: zero2 and zero3 need `pip install medsweep[deepspeed]`"
        ) from None
    if team.device == "cpu":
        # DeepSpeed would compile its own collectives for CPUs on first use; gloo is at hand.
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    deepspeed.init_distributed(dist_backend=None, verbose=False)
    return deepspeed


def shard_while_loading(team: Team, precision: TrainingPrecision) -> Any:
    """Make `from_pretrained` load only each worker's shard of the weights, for ZeRO-3.

    transformers does so for as long as the result is referenced, so the process cannot use another
    strategy afterwards.

    Returns:
        An object to keep while the model is loaded and used.
    """
    import_deepspeed(team)
    from transformers.integrations import HfDeepSpeedConfig

    return HfDeepSpeedConfig(_config(3, precision))


class Zero:
    """Gradients and optimizer state, and in stage 3 the weights, are sharded over the workers.

    Args:
        model: the PEFT model.
        team: the workers.
        precision: dtypes of the computation. DeepSpeed trains 16-bit copies of the float32
            adapters, which its optimizer keeps.
        stage: 2 or 3.
    """

    def __init__(self, model: Any, team: Team, precision: TrainingPrecision, *, stage: int) -> None:
        self._deepspeed = import_deepspeed(team)
        self.model = model
        self._device = team.device
        self._named = trained(model)
        self._engine, *_ = self._deepspeed.initialize(
            model=model, optimizer=adamw(model, fused=False), config=_config(stage, precision)
        )

    def learn(
        self, batch: Mapping[str, torch.Tensor], weight: float, *, last: bool
    ) -> torch.Tensor:
        """Add a micro-batch's gradients."""
        self._engine.set_gradient_accumulation_boundary(last)
        nats = answer_nats(self._engine, batch)
        self._engine.backward(nats * weight)
        return nats.detach()

    def update(self, rate: float) -> float | None:
        """Make one optimizer step."""
        for group in self._engine.optimizer.param_groups:
            group["lr"] = rate
        self._engine.step()
        if getattr(self._engine.optimizer, "overflow", False):
            return None
        norm: float | None = self._engine.get_global_grad_norm()
        return None if norm is None else float(norm)

    def state(self) -> dict[str, torch.Tensor]:
        """Return the state to resume from, gathered from all workers."""
        import torch
        from deepspeed.utils import safe_get_full_fp32_param, safe_get_full_optimizer_state

        tensors = {}
        for name, parameter in self._named.items():
            tensors[f"weight.{name}"] = safe_get_full_fp32_param(parameter)
            for moment in MOMENTS:
                tensors[f"{moment}.{name}"] = safe_get_full_optimizer_state(parameter, moment)
        [updates, *_] = [state["step"] for state in self._states()]
        scale = torch.tensor(float(self._engine.optimizer.loss_scaler.cur_scale))
        return {**tensors, "updates": updates, "scale": scale, "growth": torch.tensor(0)}

    def restore(self, state: Mapping[str, torch.Tensor]) -> None:
        """Restore what `state` returned; each worker takes its shard."""
        from deepspeed.utils import safe_set_full_fp32_param, safe_set_full_optimizer_state

        self._make_states()
        for name, parameter in self._named.items():
            # A model that computes in 16 bits has rounded weights.
            safe_set_full_fp32_param(parameter, state[f"weight.{name}"].to(self._device))
            for moment in MOMENTS:
                value = state[f"{moment}.{name}"].to(self._device)
                safe_set_full_optimizer_state(parameter, value, moment)
        for own in self._states():
            own["step"].fill_(float(state["updates"]))
        self._engine.optimizer.loss_scaler.cur_scale = float(state["scale"])

    @contextlib.contextmanager
    def gathered_weights(self) -> Iterator[None]:
        """Gather the shards of stage 3 inside the context."""
        with self._deepspeed.zero.GatheredParameters(list(self._named.values())):
            yield

    def _states(self) -> list[dict[str, Any]]:
        return [state for state in self._engine.optimizer.optimizer.state.values() if state]

    def _make_states(self) -> None:
        """Make one step with zero gradients at rate 0: DeepSpeed creates its states in a step."""
        import torch

        ids = torch.zeros((1, 2), dtype=torch.long, device=self._device)
        empty = {"input_ids": ids, "labels": torch.full_like(ids, -100)}
        self.learn(empty, 0.0, last=True)
        self.update(0.0)


def _config(stage: int, precision: TrainingPrecision) -> dict[str, Any]:
    """Return DeepSpeed's configuration; the training loop handles steps and batches itself."""
    return {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        "gradient_clipping": MAX_GRADIENT_NORM,
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        "bf16": {"enabled": precision.compute == "bfloat16"},
        "fp16": {"enabled": precision.compute == "float16"},
        "zero_optimization": {
            "stage": stage,
            "overlap_comm": False,
            "reduce_bucket_size": BUCKET_ELEMENTS,
            "allgather_bucket_size": BUCKET_ELEMENTS,
            "stage3_max_live_parameters": LIVE_ELEMENTS,
            "stage3_max_reuse_distance": LIVE_ELEMENTS,
        },
    }
