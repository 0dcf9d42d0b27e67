"""The gateway's paths, and the protocol that each of them speaks. Anything else is not found; none is built from a request's."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from portico.models.protocols import PROTOCOLS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from portico.contracts import ApiKind

HEALTH: Final = "/health"
METRICS: Final = "/metrics"
MODELS: Final = "/v1/models"


@dataclass(frozen=True, slots=True)
class Route:
    """A path that models answer at. `suffix` is what it has behind the protocol's own path at the provider.

    `counts`: it counts tokens and generates none, so that its failures say nothing of the model.
    """

    path: str
    api: ApiKind
    suffix: str = ""
    counts: bool = False

    def url(self, base: str, query: str) -> str:
        """Where a request goes at a provider: only the query comes from the client, as it was written."""
        url = _at_provider(self, base)
        return f"{url}?{query}" if query else url


ROUTES: Final[Mapping[str, Route]] = {
    route.path: route
    for route in (
        Route("/v1/messages", "anthropic-messages"),
        Route("/v1/messages/count_tokens", "anthropic-messages", "/count_tokens", counts=True),
        Route("/v1/chat/completions", "openai-completions"),
        Route("/v1/responses", "openai-responses"),
    )
}


@lru_cache(maxsize=256)
def _at_provider(route: Route, base: str) -> str:
    return PROTOCOLS[route.api].url(base) + route.suffix
