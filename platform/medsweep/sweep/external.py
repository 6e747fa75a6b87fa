"""A server that MedSweep did not start: an entry of a sweep's `cells` with `engine: external`."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from pydantic import Field, ValidationInfo, field_validator

from medsweep.api_key import key_of_variable
from medsweep.config import Closed
from medsweep.errors import InputError
from medsweep.hardware.catalog import PROFILES
from medsweep.hardware.observe import HOST
from medsweep.loadgen.address import MASK, basic_credentials, check_url, public_url
from medsweep.loadgen.spec import HEADER_NAME, header_fault

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class ExternalSpec(Closed):
    """A server that runs already; MedSweep starts nothing for it and fine-tunes nothing.

    Attributes:
        engine: `external`.
        name: what the results call the server, in place of a hardware profile.
        url: root of its OpenAI-compatible API with its version, such as http://host:8000/v1.
        model: what the results call the model; the server's own name of it too, unless `base` or
            `adapter` gives that. The same name on several servers pairs their answers.
        base: the server's name of the base model.
        adapter: the server's name of the fine-tuned model. With both, the load is measured on
            this one and `load.compare_base` asks `base`.
        hardware: what it runs on: a built-in or own hardware profile, or `host` for this machine.
            CPUs, GPUs and price of the rows come from it; None if it is unknown.
        api_key_env: environment variable that holds the API key.
        headers: further headers of every request: for each, the environment variable that holds
            its value.
    """

    engine: Literal["external"]
    name: str = Field(pattern=r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$", max_length=30)
    url: str
    model: str = Field(pattern=r"^[!-~]+$", max_length=100)
    base: str | None = Field(default=None, pattern=r"^[!-~]+$")
    adapter: str | None = Field(default=None, pattern=r"^[!-~]+$")
    hardware: str | None = None
    api_key_env: str | None = None
    headers: dict[str, str] = Field(default={})

    @field_validator("name")
    @classmethod
    def _not_taken(cls, name: str) -> str:
        if name in (*PROFILES, HOST):
            raise ValueError(
                f"{name!r} is a hardware profile; choose another name for the server, and give the "
                "profile as `hardware`"
            )
        return name

    @field_validator("url")
    @classmethod
    def _sendable(cls, url: str) -> str:
        try:
            check_url(url)
        except InputError as error:
            raise ValueError(str(error)) from None
        if basic_credentials(url) is not None or MASK in public_url(url):
            raise ValueError(
                "holds a password or a key; name the environment variable that holds it in "
                "`api_key_env` or `headers`"
            )
        return url

    @field_validator("api_key_env")
    @classmethod
    def _known_key(cls, variable: str | None, info: ValidationInfo) -> str | None:
        if variable is not None:
            _check_variables([variable], info)
        return variable

    @field_validator("headers")
    @classmethod
    def _known_headers(cls, headers: dict[str, str], info: ValidationInfo) -> dict[str, str]:
        for name in headers:
            if not HEADER_NAME.fullmatch(name):
                raise ValueError(f"{name!r} is no name of a header")
        _check_variables(headers.values(), info)
        return headers

    @property
    def models(self) -> dict[str, str]:
        """The server's name of the model, by variant; the variant that the load asks is first."""
        named = {"adapter": self.adapter, "base": self.base}
        models = {variant: name for variant, name in named.items() if name is not None}
        return models or {"base": self.model}

    @property
    def identity(self) -> dict[str, Any]:
        """What a result depends on: all but the variables, which say who asks."""
        return self.model_dump(exclude={"api_key_env", "headers"}) | {
            "headers": sorted(self.headers)
        }

    def header_values(self) -> tuple[tuple[str, str], ...]:
        """Return the further headers with their values.

        Raises:
            InputError: a variable is not set, or HTTP cannot carry what it holds.
        """
        return tuple((name, _value(name, variable)) for name, variable in self.headers.items())

    def unset(self) -> str | None:
        """Return which variable is not set or holds no key, in a sentence; None if all do."""
        try:
            if self.api_key_env is not None:
                key_of_variable(self.api_key_env)
            self.header_values()
        except InputError as error:
            return str(error)
        return None


def _value(header: str, variable: str) -> str:
    if variable not in os.environ:
        raise InputError(f"the environment variable {variable} (header {header}) is not set")
    value = os.environ[variable].strip()
    if fault := header_fault(header, value):
        raise InputError(f"the environment variable {variable} (header {header}): {fault}")
    return value


def _check_variables(variables: Iterable[str], info: ValidationInfo) -> None:
    """Raise where something is no name of a variable, or is not set.

    Whether they are set is checked only for a run on this machine, which passes its environment as
    the context of the validation: results are read on other machines too.
    """
    environment: Mapping[str, str] | None = (info.context or {}).get("environment")
    for variable in variables:
        if not _VARIABLE.fullmatch(variable):
            # What was given may be the key itself, so it is not quoted.
            raise ValueError(
                "expected the name of an environment variable, such as HOSPITAL_KEY: the value "
                "itself does not belong in a file"
            )
        if environment is not None and variable not in environment:
            raise ValueError(f"the environment variable {variable} is not set")
