"""The spec of a sweep: models, hardware, and how they are fine-tuned, served and loaded."""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Iterable
from typing import Annotated, Any, Self

from pydantic import (
    AfterValidator,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    field_validator,
    model_validator,
)

from medsweep.config import MOST_SEED, Closed
from medsweep.datasets.spec import DatasetSpec
from medsweep.errors import InputError, UnknownName
from medsweep.finetune.recipe import Recipe
from medsweep.hardware.catalog import PROFILES
from medsweep.hardware.observe import HOST
from medsweep.hardware.own import OwnProfileSpec
from medsweep.loadgen.objective import Objective, parse_objective
from medsweep.loadgen.spec import LoadPoint
from medsweep.models.catalog import MODELS
from medsweep.models.own import OwnModelSpec
from medsweep.models.templates import PAPER_INSTRUCTION
from medsweep.search.spec import SearchSpec
from medsweep.serving.config import SweepServeSpec
from medsweep.sweep.catalog import Catalog
from medsweep.sweep.external import ExternalSpec


def _check_known(
    kind: str, name: str, shipped: Iterable[str], field: str, info: ValidationInfo
) -> None:
    """Raise where a name is neither shipped nor the sweep's own.

    Args:
        kind: what is named, in words.
        name: its name.
        shipped: names that every sweep knows.
        field: with the sweep's own entries. If these have faults, no name can be checked.
        info: of the validation.
    """
    own: list[Any] | None = info.data.get(field)
    if own is not None and name not in (known := {*shipped, *(entry.name for entry in own)}):
        unknown = UnknownName(kind, name, known)
        raise ValueError(f"{unknown}; a sweep may define its own in {field}")


def _known_model(name: str, info: ValidationInfo) -> str:
    _check_known("model", name, MODELS, "own_models", info)
    return name


def _known_profile(name: str, info: ValidationInfo) -> str:
    _check_known("hardware profile", name, [*PROFILES, HOST], "own_profiles", info)
    return name


def _known_cell(name: str, info: ValidationInfo) -> str:
    if name not in ("paper", "all"):
        model, at, profile = name.partition("@")
        if not at:
            raise ValueError(f"{name!r}: expected `paper`, `all` or `model@profile`")
        _known_model(model, info)
        _known_profile(profile, info)
    return name


def _objective(text: str) -> str:
    try:
        parse_objective(text)
    except InputError as error:
        raise ValueError(str(error)) from None
    return text


def _checked_beside(field: str, *, model: str) -> WrapValidator:
    """Return a validator that checks a hardware profile beside the fields around it.

    So a name that is not known and the faults of the other fields are listed together.

    Args:
        field: the field with the profile's name.
        model: name of the class with the field.
    """

    def check(given: Any, validate: ValidatorFunctionWrapHandler, info: ValidationInfo) -> Any:
        faults: list[Any] = []
        values = given if isinstance(given, dict) else getattr(given, "__dict__", {})
        if isinstance(profile := values.get(field), str):
            try:
                _known_profile(profile, info)
            except ValueError as error:
                ctx = {"error": error}
                faults = [{"type": "value_error", "loc": (field,), "input": given, "ctx": ctx}]
        try:
            checked = validate(given)
        except ValidationError as error:
            faults += error.errors()
        if faults:
            raise ValidationError.from_exception_data(model, faults)
        return checked

    return WrapValidator(check)


# For fields of SweepSpec below `own_models` and `own_profiles`. Checked one by one, so that each
# unknown name is a fault with a line of its own.
ModelName = Annotated[str, AfterValidator(_known_model)]
ProfileName = Annotated[str, AfterValidator(_known_profile)]
CellName = Annotated[str, AfterValidator(_known_cell)]
ServerCell = Annotated[ExternalSpec, _checked_beside("hardware", model="ExternalSpec")]
CellSpec = Annotated[
    Annotated[CellName, Tag("name of a cell")] | Annotated[ServerCell, Tag("external server")],
    Discriminator(
        lambda given: (
            "external server" if isinstance(given, dict | ExternalSpec) else "name of a cell"
        )
    ),
]
ObjectiveText = Annotated[str, AfterValidator(_objective)]


class FineTuneSpec(Recipe):
    """The LoRA recipe, and where it runs.

    Attributes:
        profile: hardware profile to fine-tune on; None takes the model's cell with most GPU memory.
        ask: ask the held-out questions before the first epoch and after each; without it only the
            loss on their answers is computed.
    """

    profile: str | None = None
    ask: bool = True

    @property
    def recipe(self) -> Recipe:
        """The recipe alone."""
        return Recipe(**self.model_dump(exclude={"profile", "ask"}))


TunedSpec = Annotated[FineTuneSpec, _checked_beside("profile", model="FineTuneSpec")]


class LoadSpec(Closed):
    """The load that every cell gets.

    Attributes:
        points: load shapes; each is measured in every repeat.
        shards: load generators that share each load: with more than one, each runs on a CPU node of
            its own.
        repeats: measurements of every load point, interleaved.
        deployments: how often each cell is deployed; repeats are spread over the deployments. With
            several, intervals and tests include the variation between deployments.
        max_tokens: longest answer, in tokens.
        instruction: system message before each question. The default is the one that adapters are
            trained with; null sends none, for servers that refuse system messages or have an
            instruction of their own.
        timeout_s: a request that takes longer is a failure.
        compare_base: also ask the base model, without the adapter, every question
            once per cell, at the last point.
        objectives: limits that an answer must meet to count as goodput, such as `ttft_p95=0.5s`;
            null leaves goodput null.
        max_error_rate: a load point with a greater share of failures fails its cell.
    """

    points: list[LoadPoint] = Field(min_length=1)
    shards: int = Field(default=1, ge=1, le=1000)
    repeats: int = Field(default=3, ge=1)
    deployments: int = Field(default=1, ge=1)
    max_tokens: int = Field(default=128, ge=1)
    instruction: str | None = Field(default=PAPER_INSTRUCTION, min_length=1)
    timeout_s: float = Field(default=120.0, gt=0)
    compare_base: bool = False
    objectives: list[ObjectiveText] | None = None
    max_error_rate: float = Field(default=0.1, ge=0, le=1)

    @property
    def parsed_objectives(self) -> list[Objective]:
        """The objectives, parsed."""
        return [parse_objective(text) for text in self.objectives or ()]

    def deployment_of(self, repeat: int) -> int:
        """Return the deployment on which a repeat runs, both counted from 1."""
        return (repeat - 1) * self.deployments // self.repeats + 1

    @model_validator(mode="after")
    def _repeats_suffice(self) -> Self:
        if self.deployments > self.repeats:
            raise ValueError(
                f"{self.deployments} deployments have only {self.repeats} repeats to run; give at "
                "least one repeat per deployment"
            )
        return self

    @field_validator("points")
    @classmethod
    def _distinct(cls, points: list[LoadPoint]) -> list[LoadPoint]:
        names = [point.name for point in points]
        if len(set(names)) != len(names):
            raise ValueError(f"two load points have the same shape: {', '.join(names)}")
        return points


class EntailmentSpec(Closed):
    """The model that judges which sentences answer and reference entail or contradict.

    Attributes:
        model: a folder, or a repository on the hub (`owner/name`, with `@revision` to pin it), of a
            sequence classifier with the labels of natural language inference, in safetensors.
        batch: pairs of texts in one forward pass.
        device: `cpu`, `cuda` or `cuda:<number>`; null takes a GPU if there is one.
    """

    model: str = Field(min_length=1)
    batch: int = Field(default=32, ge=1, le=4096)
    device: str | None = Field(default=None, pattern=r"^(cpu|cuda(:\d+)?)$")


class QualitySpec(Closed):
    """How answers are graded, beyond the figures that need no model.

    Attributes:
        entailment: the model for natural language inference; null leaves its figures null.
        confidence: ask the engine for the log-probabilities of its timed answers after each load,
            which costs one forward pass per distinct answer and no measured time.
    """

    entailment: EntailmentSpec | None = None
    confidence: bool = False


class PriceSpec(Closed):
    """What a hardware profile costs you.

    Attributes:
        usd_per_hour: price in US dollars per hour.
        source: where the price is from.
        date: the day of the price, as YYYY-MM-DD.
    """

    usd_per_hour: float = Field(gt=0)
    source: str
    date: str = Field(pattern=r"^\d{4}-\d{2}-\d{2}$")

    @field_validator("date", mode="before")
    @classmethod
    def _as_text(cls, given: object) -> object:
        """Take a day without quotes, which YAML reads as a date."""
        return given.isoformat() if isinstance(given, datetime.date) else given


class SweepSpec(Closed):
    """One sweep.

    Attributes:
        name: folder of the results below `--out`.
        seed: seed of the split, the training, the arrivals and the order of cells.
        own_models: models that are not in the catalogue; `cells` and `models` can name them.
        own_profiles: hardware profiles that are not in the catalogue; `cells` can name them.
        stand_ins: run each model's tiny stand-in instead (named `standin-...` everywhere).
        cells: `paper` (the twelve of Table 3), `all` (every model on each of the nine profiles and
            `own_profiles`), or a list that may mix these with `model@profile`; `model@host` is this
            machine, observed. A server that runs already is an entry with `engine: external`.
        models: models of `cells: all`; None takes the paper's five.
        dataset: questions and answers for training and evaluation.
        finetune: the recipe.
        search: the grid of recipes that `medsweep search` tries.
        serve: the server.
        load: the load.
        quality: how answers are graded, beyond the figures that need no model.
        prices: your own prices, by hardware profile; they replace list prices.
        cells_together: cells that are deployed together, with interleaved repeats.
        keep_text: store prompts and answers even if the dataset is not public.
    """

    name: str = Field(pattern=r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$", max_length=40)
    seed: int = Field(default=0, ge=0, le=MOST_SEED)
    own_models: list[OwnModelSpec] = Field(default=[])
    own_profiles: list[OwnProfileSpec] = Field(default=[])
    stand_ins: bool = False
    cells: list[CellSpec] = Field(min_length=1)
    models: list[ModelName] | None = None
    dataset: DatasetSpec = DatasetSpec()
    finetune: TunedSpec = FineTuneSpec()
    search: SearchSpec | None = None
    serve: SweepServeSpec = SweepServeSpec()
    load: LoadSpec
    quality: QualitySpec = QualitySpec()
    prices: dict[ProfileName, PriceSpec] = Field(default={})
    cells_together: int = Field(default=4, ge=1)
    keep_text: bool = False

    @field_validator("own_models", "own_profiles")
    @classmethod
    def _distinct(cls, own: list[Any]) -> list[Any]:
        for name, count in Counter(entry.name for entry in own).items():
            if count > 1:
                raise ValueError(f"{count} entries are called {name!r}; give each its own name")
        return own

    @field_validator("cells", mode="before")
    @classmethod
    def _one_or_many(cls, cells: object) -> object:
        return [cells] if isinstance(cells, str) else cells

    @field_validator("cells")
    @classmethod
    def _distinct_servers(
        cls, cells: list[str | ExternalSpec], info: ValidationInfo
    ) -> list[str | ExternalSpec]:
        servers = [cell for cell in cells if isinstance(cell, ExternalSpec)]
        for each, count in Counter(f"{cell.model}@{cell.name}" for cell in servers).items():
            if count > 1:
                raise ValueError(f"{count} external servers are {each!r}; give each its own name")
        profiles = {profile.name for profile in info.data.get("own_profiles") or ()}
        for cell in servers:
            if cell.name in profiles:
                raise ValueError(f"{cell.name!r} is a hardware profile and an external server")
        return cells

    @property
    def cell_names(self) -> list[str]:
        """The cells of `cells` that MedSweep deploys itself, as they were named."""
        return [cell for cell in self.cells if isinstance(cell, str)]

    @property
    def servers(self) -> list[ExternalSpec]:
        """The external servers of `cells`."""
        return [cell for cell in self.cells if isinstance(cell, ExternalSpec)]

    @property
    def catalog(self) -> Catalog:
        """The models and hardware profiles that this sweep can name, except for `host`."""
        return Catalog.of(self.own_models, self.own_profiles)

    @property
    def texts_kept(self) -> bool:
        """Whether prompts and answers may be stored."""
        return self.keep_text or self.dataset.is_public
