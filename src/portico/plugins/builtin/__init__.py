"""The providers that come with Portico; they register through the same hooks as anybody's."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from portico.plugins.builtin.minimax import PLANS
from portico.plugins.builtin.minimax import PROVIDER as MINIMAX
from portico.plugins.builtin.vendors import ANTHROPIC, LMSTUDIO, OPENAI
from portico.plugins.spec import hookimpl

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from portico.interfaces.plan_reader import PlanReader
    from portico.interfaces.provider_spec import ProviderSpec


@dataclass(frozen=True, eq=False)
class BuiltIn:
    """The plugin that brings one provider."""

    spec: ProviderSpec

    @hookimpl
    def portico_providers(self) -> Iterable[ProviderSpec]:
        return (self.spec,)


@dataclass(frozen=True, eq=False)
class BuiltInWithPlans(BuiltIn):
    """The plugin that brings one provider and reads its plans."""

    plans: PlanReader

    @hookimpl
    def portico_plan_readers(self) -> Iterable[PlanReader]:
        return (self.plans,)


BUILT_IN: Final[Mapping[str, BuiltIn]] = {
    each.spec.id: each for each in (BuiltInWithPlans(MINIMAX, PLANS), BuiltIn(ANTHROPIC), BuiltIn(OPENAI), BuiltIn(LMSTUDIO))
}


def built_in(id: str) -> ProviderSpec:
    """A provider that comes with Portico, so that a plugin which signs in to its accounts can build on what is known of it.

    Raises:
        ValueError: none of this id comes with Portico.
    """
    if id not in BUILT_IN:
        raise ValueError(f"no provider {id} comes with Portico: {', '.join(BUILT_IN)}")
    return BUILT_IN[id].spec


def built_in_plans(id: str, *, provider: str, env_keys: tuple[str, ...] = ()) -> PlanReader:
    """The plan reader of a provider that comes with Portico, for the accounts of `provider` at the same service.

    `env_keys` are the variables that may hold a credential of `provider`'s own.

    Raises:
        ValueError: no provider of this id comes with Portico and has plans.
    """
    if id != MINIMAX.id:
        raise ValueError(f"no provider {id} with plans comes with Portico")
    return replace(PLANS, provider=provider, env_keys=env_keys)
