"""A few optimizer steps with the product's own parts, timed one by one."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch

from gpu.device import timed
from medsweep.datasets.load import load_sources
from medsweep.datasets.spec import DatasetSpec
from medsweep.finetune.base import load_base, precision_here
from medsweep.finetune.batch_order import Layout, Step, plan_epoch
from medsweep.finetune.data import Example, encode
from medsweep.finetune.loop import Loop, Position
from medsweep.finetune.lora import add_lora
from medsweep.finetune.recipe import Recipe
from medsweep.finetune.schedule import Schedule
from medsweep.finetune.session import make_strategy
from medsweep.finetune.strategy import Strategy, trained
from medsweep.finetune.team import Team
from medsweep.models.loading import load_tokenizer
from medsweep.models.precision import TrainingPrecision
from medsweep.models.spec import ModelSpec
from medsweep.models.templates import TEMPLATES


def examples(count: int, *, length: int | None = None, longest: int = 2000) -> list[Example]:
    """Return examples of random tokens; their lengths are log-normal as MedQuAD's, or all equal."""
    draw = random.Random(0)
    lengths = [
        length or min(longest, max(24, int(draw.lognormvariate(5.47, 0.8)))) for _ in range(count)
    ]
    return [
        Example(tuple(draw.randrange(5, 250) for _ in range(size)), size // 4, f"q{number}")
        for number, size in enumerate(lengths)
    ]


def pairs_as_examples(spec: ModelSpec, folder: Path, count: int, width: int) -> list[Example]:
    """Return pairs of the embedded corpus, on which a stand-in has a moderate loss."""
    tokenizer, template = load_tokenizer(folder), TEMPLATES[spec.template]
    pairs = load_sources(DatasetSpec())[0].pairs
    encoded = [encode(pair, template, tokenizer, width) for pair in pairs]
    return [example for example in encoded if example.answer_tokens][:count]


@dataclass
class Run:
    """A fine-tune that has made some steps.

    Attributes:
        model: the PEFT model.
        strategy: with the optimizer.
        loop: makes the steps.
        plan: every step of the schedule, with this worker's share of its examples.
        losses: nats per answer token, by step.
        seconds: by step.
        tokens: by step, without padding.
    """

    model: Any
    strategy: Strategy
    loop: Loop
    plan: list[Step]
    losses: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)

    @property
    def learnt(self) -> int:
        """Examples that this worker learns from."""
        passes = [micro for step in self.plan for micro in step.micro_batches if micro.learn]
        return sum(len(row) for micro in passes for row in micro.rows)

    @property
    def tokens_per_s(self) -> float:
        """Without the first step, in which kernels are loaded and chosen."""
        first = 1 if len(self.tokens) > 1 else 0
        return sum(self.tokens[first:]) / sum(self.seconds[first:])

    def step(self, step: Step) -> None:
        """Make one step."""
        before = self.loop.position.nats
        self.seconds.append(timed(partial(self.loop.step, step)))
        self.losses.append((self.loop.position.nats - before) / step.answer_tokens)
        self.tokens.append(step.tokens)


def run(
    spec: ModelSpec,
    folder: Path,
    lessons: Sequence[Example],
    recipe: Recipe,
    *,
    steps: int,
    stop_after: int | None = None,
    resume: tuple[int, Mapping[str, torch.Tensor]] | None = None,
    precision: TrainingPrecision | None = None,
) -> Run:
    """Train.

    Args:
        spec: the base model.
        folder: of its weights.
        lessons: the training side.
        recipe: with `micro_batch_size` and `gradient_checkpointing` given.
        steps: of the schedule.
        stop_after: stop after so many steps; None makes all.
        resume: number of steps done, and the strategy's state.
        precision: of the computation; None is the recipe's on this device.
    """
    team = Team.current()
    precision = precision or precision_here(spec, team.device, recipe)
    torch.manual_seed(1)
    base = load_base(
        folder,
        precision,
        quantization=recipe.quantization,
        team=team,
        sharded=False,
        gradient_checkpointing=bool(recipe.gradient_checkpointing),
    )
    model = add_lora(
        base,
        rank=recipe.rank,
        alpha=recipe.alpha,
        dropout=recipe.dropout,
        targets=recipe.modules(spec),
    )
    if not recipe.dropout:
        # GPT-2 brings dropout of its own, and the numbers drawn depend on the layout.
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
    strategy = make_strategy(recipe.strategy, model, team, precision)
    if resume:
        with torch.no_grad():
            for name, weights in trained(model).items():
                weights.copy_(resume[1][f"weight.{name}"])
        strategy.restore(resume[1])
    layout = Layout(
        recipe.batch_size,
        recipe.micro_batch_size or recipe.batch_size,
        recipe.width(spec),
        recipe.packing,
    )
    loop = Loop(
        strategy,
        Schedule(recipe.learning_rate, steps),
        team,
        seed=1,
        pad_id=0,
        width=recipe.width(spec) if recipe.packing == "padded" else None,
        position=Position(resume[0]) if resume else Position(),
    )
    plan = plan_epoch(lessons, layout, seed=3, worker=team.rank, workers=team.size)
    done = Run(model, strategy, loop, plan[:steps])
    model.train()
    for step in done.plan[loop.position.step : stop_after]:
        done.step(step)
    return done
