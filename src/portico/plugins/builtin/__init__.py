"""The providers that come with Portico. They register through the same hooks as other plugins."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from portico.interfaces.plugins import KeyChoice, ModelCost, ModelSpec, ProviderSpec
from portico.plugins.builtin.minimax import PLANS
from portico.plugins.builtin.minimax import PROVIDER as MINIMAX
from portico.plugins.spec import hookimpl

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from portico.interfaces.plugins import PlanReader


# https://docs.anthropic.com/en/api/messages
_OPUS: Final = ModelSpec(
    "claude-opus-4-6",
    "Claude Opus 4.6",
    1_000_000,
    128_000,
    ModelCost(5.0, 25.0, 0.5, 6.25),
    reasoning=True,
    input=("text", "image"),
    source="https://platform.claude.com/docs/en/models/opus-4-6/overview",
)
ANTHROPIC: Final = ProviderSpec(
    id="anthropic",
    label="Anthropic",
    api="anthropic-messages",
    base_urls={"": "https://api.anthropic.com"},
    hosts={"": frozenset({"api.anthropic.com"})},
    env_keys=("ANTHROPIC_API_KEY",),
    auth_header="x-api-key",
    paths={"anthropic-messages": ""},
    key_choices=(KeyChoice("anthropic-api", "Anthropic API key", _OPUS.id, _OPUS.name),),
    models=(_OPUS,),
)

# https://platform.openai.com/docs/api-reference/chat. Only the config lists its models.
OPENAI: Final = ProviderSpec(
    id="openai",
    label="OpenAI",
    api="openai-completions",
    base_urls={"": "https://api.openai.com/v1"},
    hosts={"": frozenset({"api.openai.com"})},
    env_keys=("OPENAI_API_KEY",),
    paths={"openai-completions": "/v1", "openai-responses": "/v1"},
    key_choices=(KeyChoice("openai-api", "OpenAI API key", "", "you choose the model"),),
)

# https://lmstudio.ai/docs/developer/openai-compat. Its models are the ones loaded in LM Studio; OpenClaw's provider page and
# wizard set up this one.
_LOCAL: Final = ModelSpec(
    "minimax-m2.1-gs32",
    "MiniMax M2.1 GS32",
    196_608,
    8192,
    ModelCost(0.0, 0.0),
    source="https://docs.openclaw.ai/providers/minimax",
)
LMSTUDIO: Final = ProviderSpec(
    id="lmstudio",
    label="LM Studio",
    api="openai-responses",
    base_urls={"": "http://127.0.0.1:1234/v1"},
    hosts={"": frozenset({"127.0.0.1", "localhost"})},
    placeholder_key="lmstudio",
    needs_credential=False,
    paths={"openai-responses": "/v1", "openai-completions": "/v1"},
    key_choices=(
        KeyChoice("lmstudio", "LM Studio (local)", _LOCAL.id, "MiniMax M2.1 on this machine", needs_key=False, spec=_LOCAL),
    ),
)


@dataclass(frozen=True, eq=False)
class BuiltIn:
    """A plugin with one provider."""

    spec: ProviderSpec

    @hookimpl
    def portico_providers(self) -> Iterable[ProviderSpec]:
        return (self.spec,)


@dataclass(frozen=True, eq=False)
class BuiltInWithPlans(BuiltIn):
    """A plugin with one provider and the reader of its plans."""

    plans: PlanReader

    @hookimpl
    def portico_plan_readers(self) -> Iterable[PlanReader]:
        return (self.plans,)


BUILT_IN: Final[Mapping[str, BuiltIn]] = {
    each.spec.id: each for each in (BuiltInWithPlans(MINIMAX, PLANS), BuiltIn(ANTHROPIC), BuiltIn(OPENAI), BuiltIn(LMSTUDIO))
}


def built_in(id: str) -> ProviderSpec:
    """Return a built-in provider, as a base for a plugin that signs in to its accounts.

    Raises:
        ValueError: there is no built-in provider with this id.
    """
    if id not in BUILT_IN:
        raise ValueError(f"there is no built-in provider {id}; the built-in providers are {', '.join(BUILT_IN)}")
    return BUILT_IN[id].spec


def built_in_plans(id: str, *, provider: str, env_keys: tuple[str, ...] = ()) -> PlanReader:
    """Return the plan reader of a built-in provider, for the accounts of `provider` at the same service.

    `env_keys` are the variables for a credential of `provider`.

    Raises:
        ValueError: there is no built-in provider with this id and plans.
    """
    if id != MINIMAX.id:
        raise ValueError(f"there is no built-in provider {id} with plans")
    return replace(PLANS, provider=provider, env_keys=env_keys)
