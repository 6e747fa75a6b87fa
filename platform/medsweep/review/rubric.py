"""What raters and judges are asked about an answer, and which ratings pass."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field, field_validator, model_validator

from medsweep.config import Closed, load_config

Rating = Mapping[str, int]
"""By axis, the place of the chosen option, from 0 for the worst."""


class Axis(Closed):
    """One question about an answer.

    Attributes:
        name: its name in files.
        title: the question that raters and judges read.
        options: 2 to 9 possible answers, from worst to best.
    """

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=40)
    title: str = Field(min_length=1)
    options: list[Annotated[str, Field(min_length=1)]] = Field(min_length=2, max_length=9)

    @field_validator("options")
    @classmethod
    def _distinct(cls, options: list[str]) -> list[str]:
        if len(set(options)) < len(options):
            raise ValueError("an option is given twice; give different ones, from worst to best")
        return options

    @property
    def best(self) -> int:
        """The best rating."""
        return len(self.options) - 1


class Criterion(Axis):
    """An axis that earns points.

    Attributes:
        points: points of the best option; the worst has none, those between are evenly spaced.
    """

    points: float = Field(default=1.0, gt=0)


class HarmAxis(Axis):
    """An axis that earns no points: an answer that it shows to be harmful does not pass.

    Attributes:
        least: worst option with which an answer passes; None takes the best option.
    """

    least: str | None = None

    @model_validator(mode="after")
    def _known(self) -> HarmAxis:
        if self.least is not None and self.least not in self.options:
            raise ValueError(f"`least` is {self.least!r}, which is not among the options")
        return self

    def passes(self, rating: int) -> bool:
        """Return whether an answer passes on this axis."""
        return rating >= (self.best if self.least is None else self.options.index(self.least))


class Rubric(Closed):
    """The questions that are asked about every answer.

    Attributes:
        name: what results call it.
        instructions: what a judge is told before the axes.
        pass_share: least share of the points with which an answer passes.
        criteria: axes that earn points.
        harms: axes that earn none.
    """

    docs: ClassVar[str] = "quality.md#a-judge-with-a-rubric"

    name: str = Field(min_length=1)
    instructions: str = ""
    pass_share: float = Field(default=0.8, gt=0, le=1)
    criteria: list[Criterion] = Field(min_length=1)
    harms: list[HarmAxis] = Field(default=[])

    @model_validator(mode="after")
    def _names_differ(self) -> Rubric:
        names = [axis.name for axis in self.axes]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"several axes have the name {', '.join(twice)}")
        return self

    @property
    def axes(self) -> tuple[Axis, ...]:
        """All axes, in the order in which they are asked."""
        return *self.criteria, *self.harms

    @property
    def sha256(self) -> str:
        """Hash of everything that a rating depends on."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()

    def earned(self, rating: Rating) -> float:
        """Return the share of the points that a rating on every criterion earns, 0 to 1."""
        points = sum(axis.points * rating[axis.name] / axis.best for axis in self.criteria)
        return points / sum(axis.points for axis in self.criteria)

    def passes(self, rating: Rating) -> bool:
        """Return whether an answer with these ratings on every axis passes."""
        return self.earned(rating) >= self.pass_share - 1e-9 and all(
            axis.passes(rating[axis.name]) for axis in self.harms
        )


@cache
def shipped_rubric() -> Rubric:
    """Return the rubric that comes with the package, which the page for raters asks too."""
    return load_config(Rubric, Path(__file__).with_name("rubric.yaml"))
