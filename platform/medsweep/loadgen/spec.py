"""What to send: a load point, the prompts, and the job that joins them to a server."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from medsweep.errors import InputError


@dataclass(frozen=True)
class LoadPoint:
    """How hard to push: a closed loop by `concurrency` or an open loop by `rate`, never both.

    Attributes:
        concurrency: requests kept in flight (closed loop).
        rate: requests per second, sent whether or not the earlier ones have ended (open loop).
        arrivals: how an open loop spaces its requests.
        requests: how many requests are measured.
        warmup: how many are sent before those; None for one full wave.

    Raises:
        InputError: both or neither of `concurrency` and `rate`, or a number out of range.
    """

    concurrency: int | None = None
    rate: float | None = None
    arrivals: Literal["constant", "poisson"] = "constant"
    requests: int = 64
    warmup: int | None = None

    def __post_init__(self) -> None:
        if (self.concurrency is None) == (self.rate is None):
            raise InputError("a load point takes exactly one of concurrency and rate")
        if self.concurrency is not None and self.concurrency < 1:
            raise InputError(f"concurrency must be at least 1, not {self.concurrency}")
        if self.rate is not None and not (0 < self.rate < math.inf):
            raise InputError(f"rate must be above 0 requests per second, not {self.rate}")
        if self.arrivals not in ("constant", "poisson"):
            raise InputError(f"arrivals must be constant or poisson, not {self.arrivals!r}")
        if self.requests < 1:
            raise InputError(f"requests must be at least 1, not {self.requests}")
        if self.warmup is not None and self.warmup < 0:
            raise InputError(f"warmup must not be negative, but is {self.warmup}")

    @property
    def name(self) -> str:
        """Short name for tables and files, such as `c4` or `r2.5-poisson`."""
        if self.concurrency is not None:
            return f"c{self.concurrency}"
        return f"r{self.rate:g}-{self.arrivals}"

    @property
    def warmup_requests(self) -> int:
        """Requests before the measured ones; by default the first full wave, or one second."""
        if self.warmup is not None:
            return self.warmup
        return self.concurrency or math.ceil(self.rate or 0)


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

    def __post_init__(self) -> None:
        if not self.prompts:
            raise InputError("a load job needs at least one prompt")
        if not self.base_url.startswith(("http://", "https://")):
            raise InputError(f"base URL must begin with http:// or https://, not {self.base_url!r}")
        if self.endpoint not in ("chat", "completions"):
            raise InputError(f"endpoint must be chat or completions, not {self.endpoint!r}")
        if self.max_tokens < 1 or self.timeout_s <= 0:
            raise InputError("max_tokens must be at least 1 and timeout_s above 0")

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
        prompts = tuple(Prompt(**prompt) for prompt in values["prompts"])
        return cls(**{**values, "prompts": prompts, "point": LoadPoint(**values["point"])})
