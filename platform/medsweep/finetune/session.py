"""Run a fine-tune on one worker: load, train with evaluations and checkpoints, save."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict
from typing import Any

from medsweep.finetune.base import load_base, memory_here, precision_here
from medsweep.finetune.batch_order import PASS_TOKENS, Layout, plan_epoch
from medsweep.finetune.checkpoint import Checkpoint, CheckpointFolder
from medsweep.finetune.data import tokenise
from medsweep.finetune.ddp import Ddp
from medsweep.finetune.epochs import epoch_row
from medsweep.finetune.evaluate import LOSS_TOKENS, answer_loss, answer_questions, grade
from medsweep.finetune.job import FineTuneJob
from medsweep.finetune.loop import EpochStats, Loop, Position
from medsweep.finetune.lora import add_lora
from medsweep.finetune.memory import Settings, advice, choose, naming_out_of_memory
from medsweep.finetune.recipe import StrategyName
from medsweep.finetune.save import save_adapter
from medsweep.finetune.schedule import Schedule, on_plateau
from medsweep.finetune.strategy import Strategy, trained
from medsweep.finetune.team import Team
from medsweep.finetune.varlen import check_packing
from medsweep.finetune.zero import Zero
from medsweep.hardware.observe import observe_host
from medsweep.models.loading import answer_cut, load_tokenizer
from medsweep.models.precision import TrainingPrecision
from medsweep.models.templates import TEMPLATES
from medsweep.models.weights import fetch_weights

log = logging.getLogger(__name__)

MACHINE = ("cpu_model", "cpus", "gpus", "compute_capability", "driver", "cuda")
"""What `provenance.json` tells of the machine: nothing by which it could be found."""


def finetune(
    job: FineTuneJob,
    on_epoch: Callable[[Mapping[str, Any]], None],
    on_step: Callable[[Mapping[str, Any]], None] = lambda row: None,
) -> None:
    """Fine-tune, asking the held-out questions before the first epoch and after each.

    It needs no Ray. Where torch.distributed knows of other workers, each of them calls it and they
    share the work. Where a checkpoint of the job exists, training continues from it.

    Args:
        job: the fine-tune.
        on_epoch: called on every worker with each row of `training.parquet`; the base model's is
            epoch 0. An exception that it raises stops the run.
        on_step: called on the leading worker after each step with `step` and `steps`, and of this
            epoch so far `loss` (nats per answer token) and `tokens_per_s`.

    Raises:
        StageError: no module matches a LoRA target, there is no room for an answer or no memory, a
            loss is not finite, or the checkpoints belong to another job.
        InputError: a fresh run was requested, and an earlier one exists.
    """
    job.require_fresh()
    session = Session(job)
    with session.naming_out_of_memory():
        session.load()
        session.train(on_epoch, on_step)
        session.save()


def make_strategy(
    name: StrategyName, model: Any, team: Team, precision: TrainingPrecision
) -> Strategy:
    """Return the strategy of that name; a single worker has nothing to shard and uses DDP.

    Args:
        name: `ddp`, `zero2` (shards gradients and optimizer state) or `zero3` (the weights too).
        model: the PEFT model.
        team: the workers.
        precision: dtypes of the computation.
    """
    if name == "ddp" or team.size == 1:
        return Ddp(model, team, precision)
    return Zero(model, team, precision, stage=int(name[-1]))


class Session:
    """A fine-tune on one worker.

    Args:
        job: the fine-tune.

    Raises:
        StageError: the data leaves nothing to train on, the hardware does not support the
            recipe, or the checkpoints belong to another job.
    """

    def __init__(self, job: FineTuneJob) -> None:
        spec = job.weights.spec
        self.job, self.team = job, Team.current()
        self.base = fetch_weights(job.weights)
        self.tokenizer = load_tokenizer(self.base)
        self.tokenizer.pad_token = self.tokenizer.pad_token or self.tokenizer.eos_token
        self.template = TEMPLATES[spec.template]
        self.tokens = tokenise(job.split, self.template, self.tokenizer, job.width)
        self.precision = precision_here(spec, self.team.device, job.recipe)
        self.memory_bytes = memory_here(self.team)
        settings = Settings(spec, job.recipe, self.precision.compute, self.team.size)
        self.settings = choose(settings, self.memory_bytes)
        self.recipe = self.settings.recipe
        self.layout = Layout(
            self.recipe.batch_size,
            self.settings.rows,
            job.width,
            self.recipe.packing,
            self.settings.tokens,
            PASS_TOKENS[self.team.device_type],
        )
        self.rows: list[Mapping[str, Any]] = []
        self.resumed: list[str] = []
        self.doing = "loading the weights"

    def naming_out_of_memory(self) -> AbstractContextManager[None]:
        """Report where memory ran out, and what would fit."""
        return naming_out_of_memory(
            lambda: self.doing, lambda: advice(self.settings, self.memory_bytes)
        )

    def load(self) -> None:
        """Load the base model, add the adapter, and restore the newest checkpoint."""
        import torch

        job, recipe, team = self.job, self.recipe, self.team
        checkpoint = self._checkpoint()
        torch.manual_seed(job.seed)
        base = load_base(
            self.base,
            self.precision,
            quantization=recipe.quantization,
            team=team,
            sharded=recipe.strategy == "zero3",
            gradient_checkpointing=bool(recipe.gradient_checkpointing),
        )
        if recipe.packing == "packed" and recipe.strategy != "zero3":
            check_packing(base, team.device)
        self.model = add_lora(
            base,
            rank=recipe.rank,
            alpha=recipe.alpha,
            dropout=recipe.dropout,
            targets=recipe.modules(job.weights.spec),
        )
        if checkpoint:
            with torch.no_grad():
                for name, parameter in trained(self.model).items():
                    parameter.copy_(checkpoint.tensors[f"weight.{name}"])
        self.strategy = make_strategy(recipe.strategy, self.model, team, self.precision)
        if checkpoint:
            self.rows = list(checkpoint.rows)
            self.strategy.restore(checkpoint.tensors)
        steps = recipe.epochs * self.layout.steps(len(self.tokens.train))
        self.loop = Loop(
            self.strategy,
            Schedule(recipe.learning_rate, steps, recipe.schedule, recipe.warmup_share),
            team,
            seed=job.seed,
            pad_id=self.tokenizer.pad_token_id,
            width=job.width if recipe.packing == "padded" else None,
            position=checkpoint.position if checkpoint else Position(),
        )

    def train(
        self,
        on_epoch: Callable[[Mapping[str, Any]], None],
        on_step: Callable[[Mapping[str, Any]], None],
    ) -> None:
        """Train to the last epoch or to a plateau, evaluating before the first and after each."""
        recipe = self.recipe

        def after_step(last: bool) -> None:
            if self.team.leads:
                on_step(self._progress())
            self._after_step(last)

        if not self.rows:
            self.model.eval()
            on_epoch(self._evaluate(EpochStats(epoch=0, loss=None, steps=0, tokens=0, seconds=0.0)))
        for epoch in range(len(self.rows), recipe.epochs + 1):
            self.doing = f"in epoch {epoch} (rows of up to {self.job.width} tokens)"
            on_epoch(self._evaluate(self.loop.epoch(epoch, self._steps(epoch), after_step)))
            losses = [row["eval_loss"] for row in self.rows]
            if on_plateau(losses, recipe.patience, recipe.min_delta):
                break

    def save(self) -> None:
        """Write the adapter's folder and remove the checkpoints."""
        with self.strategy.gathered_weights():
            if self.team.leads:
                self._save()
        self.team.wait()
        if self.job.checkpoints and self.team.leads:
            self._checkpoints(self.job.checkpoints).remove()

    def _steps(self, epoch: int) -> list[Any]:
        return plan_epoch(
            self.tokens.train,
            self.layout,
            seed=self.job.seed * 1000 + epoch,
            worker=self.team.rank,
            workers=self.team.size,
        )

    def _evaluate(self, stats: EpochStats) -> Mapping[str, Any]:
        """Add a row: the epoch's statistics, its loss and quality on the evaluation side."""
        quality = self._quality() if self.job.asks else {}
        examples, pad_id = self.tokens.evaluation, self.tokenizer.pad_token_id
        loss = answer_loss(
            self.model, examples, pad_id, min(self.settings.tokens, LOSS_TOKENS), self.team
        )
        self.rows.append(epoch_row(stats, loss, quality))
        return self.rows[-1]

    def _quality(self) -> dict[str, float | None]:
        """Ask the held-out questions, and grade the answers."""
        pairs = self.job.split.evaluation
        stop_ids = self.tokenizer.convert_tokens_to_ids(list(self.job.weights.spec.stop_tokens))
        answers = answer_questions(
            self.model,
            self.tokenizer,
            self.template,
            [pair.question for pair in pairs],
            stop_ids=stop_ids,
            max_tokens=self.job.max_tokens,
            tokens=self.settings.tokens,
            team=self.team,
        )
        cut = answer_cut(self.base, self.job.max_tokens)
        return grade(pairs, answers, self.job.seed, cut)

    def _checkpoints(self, folder: Any) -> CheckpointFolder:
        return CheckpointFolder(folder, self.job.identity)

    def _checkpoint(self) -> Checkpoint | None:
        """Return the checkpoint to resume from."""
        if self.job.checkpoints is None:
            return None
        self.team.wait()  # until no worker is writing any more
        checkpoint, messages = self._checkpoints(self.job.checkpoints).read()
        if checkpoint:
            messages.append(f"resumed at step {checkpoint.position.step}")
        for line in messages if self.team.leads else ():
            log.warning("fine-tune of %s: %s", self.job.weights.spec.name, line)
        self.resumed = messages
        return checkpoint

    def _progress(self) -> dict[str, float | None]:
        """Return where the run is, for `on_step`."""
        position = self.loop.position
        return {
            "step": position.step,
            "steps": self.loop.schedule.steps,
            "loss": position.nats / position.answer_tokens,
            "tokens_per_s": position.tokens / position.seconds if position.seconds else None,
        }

    def _after_step(self, last: bool) -> None:
        """Write a checkpoint if one is due: all workers gather the state, the first writes it."""
        folder, position = self.job.checkpoints, self.loop.position
        if folder is None or not (last or position.step % self.recipe.checkpoint_steps == 0):
            return
        state = self.strategy.state()
        if self.team.leads:
            self._checkpoints(folder).write(Checkpoint(position, tuple(self.rows), state))
        self.team.wait()

    def _save(self) -> None:
        job, spec = self.job, self.job.weights.spec
        hardware = asdict(observe_host())
        save_adapter(
            job.folder,
            self.model,
            card={
                "model": spec.name,
                "base": str(self.base),
                "template": spec.template,
                "stop_tokens": spec.stop_tokens,
            },
            epochs=self.rows,
            provenance={
                **job.provenance,
                "model": asdict(spec),
                "revision": job.weights.revision,
                "dataset_sha256": job.split.sha256,
                "dataset": job.split.summary,
                "dataset_sources": job.split.sources,
                "train_pairs": len(job.split.train),
                "evaluation_pairs": len(job.split.evaluation),
                "max_seq_length_used": job.width,
                "truncated_pairs": sum(example.cut for example in self.tokens.train),
                "pairs_without_room": self.tokens.without_room,
                "micro_batch_tokens_used": self.settings.tokens,
                "gradient_checkpointing_used": self.recipe.gradient_checkpointing,
                "workers": self.team.size,
                "machine": {name: hardware[name] for name in MACHINE},
                "precision": asdict(self.precision),
                "attention_used": self.model.config._attn_implementation,
                "resumed": self.resumed,
                "recipe": job.parameters,
            },
        )
