"""The names that requests use: which adapter, template and stop tokens each one means."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from medsweep.errors import InputError, UnknownName
from medsweep.finetune.adapter import Adapter
from medsweep.models.spec import ModelSpec
from medsweep.models.templates import TEMPLATES, Template
from medsweep.serving.protocol import EngineSettings, Generation

TOKENISED_AT_ONCE = 8192
"""Characters of a prompt that take about a millisecond to tokenise; a thread costs more."""


@dataclass(eq=False)
class ServedModel:
    """What one name stands for.

    Attributes:
        adapter: the engine's own name of the adapter; None is the base model.
        template: writes its prompts.
        stop_ids: tokens that end its answers.
        users: answers that use it now.
    """

    adapter: str | None
    template: Template
    stop_ids: frozenset[int]
    users: int = 0
    _unused: asyncio.Event | None = None

    def release(self) -> None:
        """Note that one answer has ended."""
        self.users -= 1
        if self._unused is not None and not self.users:
            self._unused.set()

    async def wait_unused(self) -> None:
        """Wait until no answer uses it; none may begin meanwhile."""
        if self.users:
            self._unused = asyncio.Event()
            await self._unused.wait()


class ModelNames:
    """The base model's name first, then the adapters'.

    Args:
        spec: the base model's entry in the catalogue.
        tokenizer: the base model's.
        longest: most tokens of a prompt and its answer; None is the model's context.
    """

    def __init__(self, spec: ModelSpec, tokenizer: Any, longest: int | None = None) -> None:
        self._spec, self._tokenizer = spec, tokenizer
        self._longest = longest or spec.context_length
        self._backend: Any = getattr(tokenizer, "backend_tokenizer", None)
        if self._backend is not None:
            self._backend.no_truncation()
            self._backend.no_padding()
        self._numbers = count()
        self._by_name = {spec.name: self._make(None, spec.template, spec.stop_tokens)}

    def names(self) -> list[str]:
        """Return every name that requests may use."""
        return list(self._by_name)

    def __getitem__(self, name: str) -> ServedModel:
        if name not in self._by_name:
            raise UnknownName("model", name, self._by_name)
        return self._by_name[name]

    def new_inner(self) -> str:
        """Return a name of the engine's own: two adapters may be served by one name in turn."""
        return f"adapter{next(self._numbers)}"

    def put(self, name: str, inner: str, adapter: Adapter) -> ServedModel | None:
        """Let a name mean an adapter from now on; return what it meant before."""
        before = self._by_name.get(name)
        self._by_name[name] = self._make(inner, adapter.template, adapter.stop_tokens)
        return before

    def pop(self, name: str) -> ServedModel:
        """Forget an adapter's name.

        Raises:
            UnknownName: no adapter of that name is loaded.
        """
        if name == self._spec.name or name not in self._by_name:
            adapters = [known for known in self._by_name if known != self._spec.name]
            raise UnknownName("adapter", name, adapters)
        return self._by_name.pop(name)

    def refuse_if_foreign(self, name: str, adapter: Adapter) -> None:
        """Refuse an adapter of another base model, and the base's own name.

        Raises:
            InputError: it is one of these.
        """
        _refuse_if_foreign(self._spec, name, adapter)

    async def prompt_ids(self, request: Generation) -> list[int]:
        """Return the token ids of a request's prompt.

        Raises:
            InputError: it is empty, or with the answer too long for the model's context.
            UnknownName: no such model.
        """
        parts = [message["content"] for message in request.messages or ()] or [request.prompt or ""]
        if sum(map(len, parts)) <= TOKENISED_AT_ONCE:
            ids = self._tokenise(request)
        else:
            # In a thread, because other answers must not wait for it.
            ids = await asyncio.to_thread(self._tokenise, request)
        if not ids:
            raise InputError("the prompt is empty")
        longest = request.max_prompt_tokens
        if longest is not None and len(ids) > longest:
            raise InputError(f"the prompt has {len(ids)} tokens; it may have {longest}")
        if len(ids) + request.max_tokens > self._longest:
            raise InputError(
                f"the prompt has {len(ids)} tokens and max_tokens is {request.max_tokens}; "
                f"together they may be {self._longest}"
            )
        return ids

    def _tokenise(self, request: Generation) -> list[int]:
        if request.prompt_ids is not None:
            if max(request.prompt_ids) >= len(self._tokenizer):
                raise InputError("the prompt has a token that the model's vocabulary has not")
            return list(request.prompt_ids)
        if request.messages is not None:
            text = self[request.model].template.render(request.messages)
        else:
            text = request.prompt or ""
        if self._backend is None:
            ids: list[int] = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        else:
            # Calling the tokenizer takes five times as long, and stops other threads meanwhile.
            ids = self._backend.encode_batch_fast([text], add_special_tokens=False)[0].ids
        return ids

    def _make(self, inner: str | None, template: str, stop: tuple[str, ...]) -> ServedModel:
        ids = self._tokenizer.convert_tokens_to_ids(list(stop))
        return ServedModel(inner, TEMPLATES[template], frozenset(ids))


def base_folder(settings: EngineSettings) -> Path:
    """Return the folder of the base model's weights: what is given, else the adapters'.

    Raises:
        InputError: an adapter of another base model, or neither a base nor an adapter.
    """
    for name, adapter in settings.adapters.items():
        _refuse_if_foreign(settings.model, name, adapter)
    folder = settings.base or next((each.base for each in settings.adapters.values()), None)
    if folder is None:
        raise InputError(
            f"{settings.model.name}: give the folder of its weights, or an adapter of it"
        )
    return folder


def _refuse_if_foreign(spec: ModelSpec, name: str, adapter: Adapter) -> None:
    if name == spec.name:
        raise InputError(f"{name} is the base model's name; give the adapter another")
    if adapter.model != spec.name:
        raise InputError(
            f"adapter {name} ({adapter.folder}) was made on {adapter.model}, "
            f"and this engine serves {spec.name}"
        )
