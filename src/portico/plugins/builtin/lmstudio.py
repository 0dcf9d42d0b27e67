"""Models on this machine, served by LM Studio (https://lmstudio.ai/docs/developer/openai-compat)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from portico.plugin_api import ProviderSpec, hookimpl

if TYPE_CHECKING:
    from collections.abc import Iterable

PROVIDER: Final = ProviderSpec(
    id="lmstudio",
    label="LM Studio",
    api="openai-responses",
    base_urls={"": "http://127.0.0.1:1234/v1"},
    hosts={"": frozenset({"127.0.0.1", "localhost"})},
    placeholder_key="lmstudio",
)


@hookimpl
def portico_providers() -> Iterable[ProviderSpec]:
    """LM Studio, whose models are those the user has loaded there."""
    return (PROVIDER,)
