"""What to send: a load point, the prompts, and the job that joins them to a server."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, ClassVar, Literal

from medsweep.errors import InputError, UnknownName
from medsweep.loadgen.address import basic_credentials, check_url, route_url
from medsweep.loadgen.objective import Objective

ARRIVALS = ("constant", "poisson", "gamma", "burst")
DEFAULT_SHAPES = {"gamma": 0.5, "burst": 10}


def load_in_words(name: str) -> str:
    """Return what a load point does, for people: `8 clients`, `2.5 requests/s (Poisson)`.

    Args:
        name: of the load point; one of another form is returned unchanged.
    """
    if closed := re.fullmatch(r"c(\d+)", name):
        return f"{closed[1]} client{'s' * (closed[1] != '1')}"
    if open_loop := re.fullmatch(r"r([\d.]+)(?:-([a-z]+)([\d.]*))?", name):
        rate, arrivals, shape = open_loop.groups()
        spacing = {
            "poisson": " (Poisson)",
            "gamma": f" (gamma, shape {shape})",
            "burst": f" (bursts of {shape})",
        }.get(arrivals, "")
        return f"{rate} request{'s' * (rate != '1')}/s{spacing}"
    return name


@dataclass(frozen=True)
class LoadPoint:
    """One load: a closed loop by `concurrency`, an open loop by `rate`, or a replay by `due_s`.

    Attributes:
        concurrency: requests in flight, for a closed loop.
        rate: requests per second, for an open loop; sent whether or not earlier ones have ended.
        arrivals: how an open loop spaces its requests: evenly, as a Poisson process, with
            gamma-distributed gaps, or in bursts of requests that are due together.
        shape: for gamma arrivals, the shape of the gaps (1 is Poisson, less is more uneven; null
            takes 0.5); for bursts, the number of requests that come together (null takes 10).
        due_s: for a replay, when each request is due: ascending seconds from the first.
        requests: measured requests per repeat; not used with `duration_s` or `due_s`.
        duration_s: measure the requests that are sent, or due, within this many seconds.
        warmup: requests before the measured ones; null takes one full wave of a closed loop, one
            second of an open loop and none of a replay.

    Raises:
        ValueError: not exactly one of `concurrency`, `rate` and `due_s`, or a value out of range.
    """

    # How pydantic validates it in a sweep file. It is no pydantic class itself, since importing
    # pydantic would double the time that the load generator's process takes to start.
    __pydantic_config__: ClassVar[dict[str, Any]] = {
        "extra": "forbid",
        "strict": True,
        "allow_inf_nan": False,
    }

    concurrency: int | None = None
    rate: float | None = None
    arrivals: Literal["constant", "poisson", "gamma", "burst"] = "constant"
    shape: float | None = None
    due_s: Sequence[float] | None = None
    requests: int = 64
    duration_s: float | None = None
    warmup: int | None = None

    def __post_init__(self) -> None:
        if self.due_s is not None:
            object.__setattr__(self, "due_s", tuple(self.due_s))  # hashable; YAML has lists
        if fault := self._fault():
            raise ValueError(fault)

    def _fault(self) -> str | None:
        if sum(load is not None for load in (self.concurrency, self.rate, self.due_s)) != 1:
            return (
                "give exactly one of `concurrency` (closed loop), `rate` (open loop) and `due_s` "
                "(replay)"
            )
        for name, least in (("concurrency", 1), ("requests", 1), ("warmup", 0)):
            value = getattr(self, name)
            if value is not None and value < least:
                return f"`{name}` must be at least {least}, not {value}"
        for name in ("rate", "shape", "duration_s"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                return f"`{name}` must be above 0, not {value:g}"
        if self.arrivals not in ARRIVALS:
            return str(UnknownName("spacing of arrivals", self.arrivals, ARRIVALS))
        if self.shape is not None and self.arrivals not in DEFAULT_SHAPES:
            return f"`shape` is of gamma and burst arrivals, not of {self.arrivals} ones"
        if self.due_s is None:
            return None
        if not all(0 <= one <= next_ < math.inf for one, next_ in pairwise(self.due_s)):
            return "`due_s` must be ascending seconds from the first"
        if len(self.due_s) <= self.warmup_requests:
            return (
                f"`due_s` has {len(self.due_s)} times, which leaves nothing to measure after a "
                f"warmup of {self.warmup_requests}"
            )
        return None

    @classmethod
    def from_options(cls, **fields: Any) -> LoadPoint:
        """Return the load point of what a user gave outside of a sweep file.

        Raises:
            InputError: it is none.
        """
        try:
            return cls(**fields)
        except ValueError as error:
            raise InputError(f"the load: {error}") from None

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        # A mapping is taken for a load point; the types of its values are strict.
        schema = handler(source)
        inner = schema.get("schema", schema) if schema["type"] == "definitions" else schema
        inner["strict"] = False
        return schema

    @property
    def name(self) -> str:
        """Short name that tells shapes apart: `c4`, `r2.5-poisson`, `r8-burst40`.

        A replay is named by a hash of its times.
        """
        if self.concurrency is not None:
            return f"c{self.concurrency}"
        if self.due_s is not None:
            return f"replay-{hashlib.sha256(repr(self.due_s).encode()).hexdigest()[:8]}"
        shape = "" if self.arrival_shape is None else f"{self.arrival_shape:g}"
        return f"r{self.rate:g}-{self.arrivals}{shape}"

    @property
    def words(self) -> str:
        """What it does, for people."""
        return load_in_words(self.name)

    @property
    def arrival_shape(self) -> float | None:
        """The shape of gamma or burst arrivals, given or by default; None of others."""
        if self.rate is None or self.arrivals not in DEFAULT_SHAPES:
            return None
        return self.shape or DEFAULT_SHAPES[self.arrivals]

    @property
    def together(self) -> int:
        """How many requests of an open loop are due at one moment."""
        return max(1, round(self.arrival_shape or 1)) if self.arrivals == "burst" else 1

    @property
    def mean_rate(self) -> float | None:
        """Requests per second of an open loop or a replay; None in a closed loop."""
        if self.due_s is None:
            return self.rate
        return len(self.due_s) / max(self.due_s[-1] - self.due_s[0], 1.0)

    @property
    def warmup_requests(self) -> int:
        """Requests before the measured ones; by default the first full wave, or one second.

        A replay has none by default, since it would lose its beginning.
        """
        if self.warmup is not None:
            return self.warmup
        return self.concurrency or math.ceil(self.rate or 0)

    @property
    def measured_requests(self) -> int | None:
        """How many requests are measured; None where the duration decides."""
        if self.duration_s is not None:
            return None
        if self.due_s is not None:
            return len(self.due_s) - self.warmup_requests
        return self.requests


@dataclass(frozen=True)
class Prompt:
    """One question, ready to send.

    Attributes:
        question_id: the question it was made from.
        text: the user's message, or for the completions endpoint the whole prompt.
        max_tokens: longest answer to it, in tokens; None takes the job's.
    """

    question_id: str
    text: str
    max_tokens: int | None = None


HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


def header_fault(name: str, value: str) -> str | None:
    """Return why HTTP cannot carry a header, or None if it can. The value may be a secret."""
    if {"\n", "\r"} & {*name, *value}:
        return "a header must be one line"
    if not (name + value).isascii():
        return "a header must be ASCII"
    if not HEADER_NAME.fullmatch(name) or not value.isprintable():
        return f"a header's name or value has a character that none has: {name!a}"
    return None


@dataclass(frozen=True)
class LoadJob:
    """Everything the load generator needs for one load point; survives a trip through JSON.

    Attributes:
        base_url: root of the server's OpenAI API with its version, `http://127.0.0.1:8000/v1`. A
            query stays behind the route; `user:password@` is sent as Basic authentication.
        model: name the server knows the model by.
        prompts: what is sent, over and over in shuffled order.
        point: how hard to push.
        seed: of the arrival times and of the order of the prompts.
        max_tokens: longest answer, in tokens.
        instruction: system message before each question of a chat; None sends none.
        temperature: of sampling; 0 is greedy.
        endpoint: which of the two API routes is used.
        timeout_s: longest time for one request, connecting included, in seconds.
        api_key_env: environment variable that holds the API key; None sends none.
        max_error_rate: share of failed requests above which the load is given up.
        headers: further headers of every request, names and values.
        keep_text: whether the records carry the answers.
        shard: which part of the load this is, from 0.
        shards: into how many parts the load is split. Requests are dealt out among them in turn,
            and each continues until it is told that the others have measured theirs too.
        start_s: moment at which the load begins, in seconds on the driver's clock; None begins at
            once.
        clock_ahead_s: how far the clock of the machine that sends is ahead of the driver's, in
            seconds. All records are on the driver's clock.
        objectives: watched while the load runs, so that a hopeless one can be ended early.
        ignore_eos: ask the server to go on to the longest answer, as vLLM and SGLang can.

    Raises:
        InputError: no prompts, a base URL that is not HTTP, or a number out of range.
    """

    base_url: str
    model: str
    prompts: tuple[Prompt, ...]
    point: LoadPoint
    seed: int
    max_tokens: int
    instruction: str | None = None
    temperature: float = 0.0
    endpoint: Literal["chat", "completions"] = "chat"
    timeout_s: float = 60.0
    api_key_env: str | None = None
    max_error_rate: float = 0.5
    headers: tuple[tuple[str, str], ...] = ()
    keep_text: bool = True
    shard: int = 0
    shards: int = 1
    start_s: float | None = None
    clock_ahead_s: float = 0.0
    objectives: tuple[Objective, ...] = ()
    ignore_eos: bool = False

    def __post_init__(self) -> None:
        if not self.prompts:
            raise InputError("a load job needs at least one prompt")
        if self.seed < 0:
            raise InputError(f"the seed must be at least 0, not {self.seed}")
        if not self.model.strip():
            raise InputError("the model's name is empty")
        check_url(self.base_url)
        if self.endpoint not in ("chat", "completions"):
            raise InputError(f"endpoint must be chat or completions, not {self.endpoint!r}")
        if self.max_tokens < 1 or not 0 < self.timeout_s < math.inf:
            raise InputError(
                "max_tokens must be at least 1 and timeout_s a number of seconds above 0, "
                f"not {self.max_tokens} and {self.timeout_s}"
            )
        if basic_credentials(self.base_url) and self.api_key_env is not None:
            raise InputError("give a user in the URL or an API key, not both")
        for name, value in self.headers:
            if fault := header_fault(name, value):
                raise InputError(fault)

    @property
    def url(self) -> str:
        """Full address that requests are posted to."""
        route = "chat/completions" if self.endpoint == "chat" else "completions"
        return route_url(self.base_url, route)

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> LoadJob:
        """Return the job that `to_json` wrote."""
        return cls(
            **{
                **values,
                "prompts": tuple(Prompt(**prompt) for prompt in values["prompts"]),
                "point": LoadPoint(**values["point"]),
                "headers": tuple((name, value) for name, value in values["headers"]),
                "objectives": tuple(Objective(**each) for each in values["objectives"]),
            }
        )
