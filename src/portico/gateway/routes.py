"""The gateway's paths, and the protocol that each of them speaks. Anything else is not found; none is built from a request's.

OpenAI's SDKs add `/chat/completions` to their base URL, which ends in `/v1`; Anthropic's add `/v1/messages` to theirs, which does
not (openai-python and anthropic-sdk-python: `_client.py`). A base URL of the other kind doubles the `/v1` or leaves it out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from portico.models.protocols import PROTOCOLS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from portico.interfaces.provider_spec import ApiKind

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


@dataclass(frozen=True, slots=True)
class Meant:
    """The path that a client has missed, and the base URL with which it would not. `route` is None for the list of models."""

    path: str
    route: Route | None
    advice: str


def meant_by(path: str, origin: str) -> Meant | None:
    """The path that was meant by one that is not served; None where it is near to none.

    `origin` is the gateway's own URL as the client reached it, without a path. Nothing of `path` is in what is returned.
    """
    segments = [segment for segment in path.lower().split("/") if segment]
    if segments[-2:-1] == ["models"]:
        segments = segments[:-1]  # the name of one model
    for known in _LONGEST_FIRST:
        tail = known.split("/")[2:]
        before = segments[: -len(tail)]
        if segments[-len(tail) :] == tail and all(map(_PREFIX.fullmatch, before)):
            return Meant(known, ROUTES.get(known), _advice(path, before, known, origin))
    return None


def _advice(path: str, before: list[str], known: str, origin: str) -> str:
    adds = before.count("v1") > 1 or path.startswith("//") or (known.startswith("/v1/messages") and "v1" in before)
    if adds:
        return f"Your client adds /v1 itself: set its base URL to {origin}"
    if not before:
        return f"Your client does not add /v1 itself: set its base URL to {origin}/v1"
    return f"Set the base URL of your client to {origin}/v1"


_LONGEST_FIRST: Final = tuple(sorted((*ROUTES, MODELS), key=len, reverse=True))
# What stands before the rest of a path in base URLs of other servers and in misspelt ones.
_PREFIX: Final = re.compile(r"v\d*|api|anthropic|openai")


@lru_cache(maxsize=256)
def _at_provider(route: Route, base: str) -> str:
    return PROTOCOLS[route.api].url(base) + route.suffix
