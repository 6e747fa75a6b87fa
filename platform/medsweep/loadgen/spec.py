"""What to send: a load point, the prompts, and the job that joins them to a server."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from medsweep.errors import InputError, UnknownName

Arrivals = Literal["constant", "poisson", "gamma", "burst"]
BURST_REQUESTS = 10


@dataclass(frozen=True)
class LoadPoint:
    """How hard to push: a closed loop by `concurrency`, an open loop by `rate`, or a replay.

    Attributes:
        concurrency: requests kept in flight (closed loop).
        rate: requests per second, sent whether or not the earlier ones have ended (open loop).
        arrivals: how an open loop spaces its requests: evenly, as a Poisson process, with
            gamma-distributed gaps, or in bursts of requests that are due together.
        requests: how many requests are measured; not used where there is a duration.
        warmup: how many are sent before those; None for one full wave.
        duration_s: requests sent, or due, within so many seconds are measured.
        shape: of gamma arrivals the shape of the gaps, 1 being Poisson and less being more
            uneven (None: 0.5); of bursts how many requests come together (None: 10).
        due_s: moments at which requests are due, ascending, in seconds from the first (replay).

    Raises:
        InputError: not exactly one of `concurrency`, `rate` and `due_s`, or a number out of range.
    """

    concurrency: int | None = None
    rate: float | None = None
    arrivals: Arrivals = "constant"
    requests: int = 64
    warmup: int | None = None
    duration_s: float | None = None
    shape: float | None = None
    due_s: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        shapes = (self.concurrency, self.rate, self.due_s)
        if sum(shape is not None for shape in shapes) != 1:
            raise InputError("a load point takes exactly one of concurrency, rate and due times")
        if self.concurrency is not None and self.concurrency < 1:
            raise InputError(f"concurrency must be at least 1, not {self.concurrency}")
        if self.rate is not None and not (0 < self.rate < math.inf):
            raise InputError(f"rate must be above 0 requests per second, not {self.rate}")
        if self.arrivals not in get_args(Arrivals):
            raise UnknownName("spacing of arrivals", self.arrivals, get_args(Arrivals))
        if self.shape is not None and not (0 < self.shape < math.inf):
            raise InputError(f"the shape of {self.arrivals} arrivals must be above 0")
        if self.requests < 1:
            raise InputError(f"requests must be at least 1, not {self.requests}")
        if self.warmup is not None and self.warmup < 0:
            raise InputError(f"warmup must not be negative, but is {self.warmup}")
        if self.duration_s is not None and not (0 < self.duration_s < math.inf):
            raise InputError(f"duration must be above 0 seconds, not {self.duration_s}")
        if self.due_s is not None and len(self.due_s) <= self.warmup_requests:
            raise InputError(f"{len(self.due_s)} due times leave nothing to measure after warm-up")

    @property
    def name(self) -> str:
        """Short name for tables and files, such as `c4` or `r2.5-poisson`."""
        if self.concurrency is not None:
            return f"c{self.concurrency}"
        if self.due_s is not None:
            return "replay"
        return f"r{self.rate:g}-{self.arrivals}"

    @property
    def together(self) -> int:
        """How many requests of an open loop are due at one moment."""
        return max(1, round(self.shape or BURST_REQUESTS)) if self.arrivals == "burst" else 1

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
    """

    question_id: str
    text: str


@dataclass(frozen=True)
class Limit:
    """What one request may take.

    Attributes:
        latency: `ttft` or `e2e`.
        limit_s: the longest that is allowed, in seconds.
    """

    latency: Literal["ttft", "e2e"]
    limit_s: float


@dataclass(frozen=True)
class LoadJob:
    """Everything the load generator needs for one load point; survives a trip through JSON.

    Attributes:
        base_url: root of the server's OpenAI API with its version, `http://127.0.0.1:8000/v1`.
        model: name the server knows the model by.
        prompts: what is sent, over and over in shuffled order.
        point: how hard to push.
        seed: of the arrival times and of the order of the prompts.
        max_tokens: longest answer, in tokens.
        temperature: of sampling; 0 is greedy.
        endpoint: which of the two API routes is used.
        timeout_s: longest time for one request, connecting included, in seconds.
        api_key_env: environment variable that holds the API key; None sends none.
        max_error_rate: share of failed requests above which the load is given up.
        headers: further headers of every request, names and values.
        keep_text: whether the records carry the answers.
        shard: which part of the load this is, from 0.
        shards: into how many parts the load is split. Requests are dealt out among them in turn,
            and each goes on until it is told that the others have measured theirs too.
        start_s: moment at which the load begins, in seconds on the clock; None begins at once.
        limits: watched while the load runs, so that a hopeless one can be ended early.

    Raises:
        InputError: no prompts, a base URL that is not HTTP, or a number out of range.
    """

    base_url: str
    model: str
    prompts: tuple[Prompt, ...]
    point: LoadPoint
    seed: int
    max_tokens: int
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
    limits: tuple[Limit, ...] = ()

    def __post_init__(self) -> None:
        if not self.prompts:
            raise InputError("a load job needs at least one prompt")
        if not self.base_url.startswith(("http://", "https://")):
            raise InputError(f"base URL must begin with http:// or https://, not {self.base_url!r}")
        if not self.base_url.isascii() or not self.base_url.isprintable() or " " in self.base_url:
            raise InputError(f"base URL must be ASCII without spaces, not {self.base_url!r}")
        if self.endpoint not in ("chat", "completions"):
            raise InputError(f"endpoint must be chat or completions, not {self.endpoint!r}")
        if self.max_tokens < 1 or self.timeout_s <= 0:
            raise InputError("max_tokens must be at least 1 and timeout_s above 0")
        if any("\n" in text or "\r" in text for header in self.headers for text in header):
            raise InputError("a header must be one line")
        if not all(text.isascii() for header in self.headers for text in header):
            raise InputError("a header must be ASCII")

    @property
    def url(self) -> str:
        """Full address that requests are posted to."""
        route = "chat/completions" if self.endpoint == "chat" else "completions"
        return f"{self.base_url.rstrip('/')}/{route}"

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> LoadJob:
        """Return the job that `to_json` wrote."""
        point = dict(values["point"])
        if point["due_s"] is not None:
            point["due_s"] = tuple(point["due_s"])
        return cls(
            **{
                **values,
                "prompts": tuple(Prompt(**prompt) for prompt in values["prompts"]),
                "point": LoadPoint(**point),
                "headers": tuple((name, value) for name, value in values["headers"]),
                "limits": tuple(Limit(**limit) for limit in values["limits"]),
            }
        )
