"""The providers that come with Portico; they register through the same hooks as anybody's."""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from portico.interfaces.plan_reader import PlanReader
    from portico.interfaces.provider_spec import ProviderSpec

IDS: Final = ("minimax", "anthropic", "openai", "lmstudio")


def built_in(id: str) -> ProviderSpec:
    """A provider that comes with Portico, so that a plugin which signs in to its accounts can build on what is known of it.

    Raises:
        ValueError: none of this id comes with Portico.
    """
    if id not in IDS:
        raise ValueError(f"no provider {id} comes with Portico: {', '.join(IDS)}")
    provider: ProviderSpec = import_module(f"{__name__}.{id}").PROVIDER
    return provider


def built_in_plans(id: str, *, provider: str, env_keys: tuple[str, ...] = ()) -> PlanReader:
    """The plan reader of a provider that comes with Portico, for the accounts of `provider` at the same service.

    `env_keys` are the variables that may hold a credential of `provider`'s own.

    Raises:
        ValueError: no provider of this id comes with Portico and has plans.
    """
    module = import_module(f"{__name__}.{id}") if id in IDS else None
    if module is None or not hasattr(module, "PLANS"):
        raise ValueError(f"no provider {id} with plans comes with Portico")
    reader: PlanReader = replace(module.PLANS, provider=provider, env_keys=env_keys)
    return reader
