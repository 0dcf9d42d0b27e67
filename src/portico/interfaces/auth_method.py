"""How an auth choice signs in: its regions, its authorization server, and what it takes from a token reply."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

if TYPE_CHECKING:
    from portico.interfaces.authorization import OAuthServer, TokenSet


@dataclass(frozen=True, slots=True)
class Region:
    """One of an auth choice's portals: `id` is what `--region` takes, `profile` names the default profile."""

    id: str
    label: str
    hint: str
    profile: str


@dataclass(frozen=True, slots=True)
class AcceptedTokens:
    """What a provider's own checks made of a validated reply: the API base to use, what to tell the user."""

    api_base: str
    notes: tuple[str, ...] = ()


class AuthMethod(Protocol):
    """How one auth choice signs in, as its plugin tells it; the host runs the flow."""

    choice: str
    provider: str
    label: str
    regions: tuple[Region, ...]
    default_model: str

    def hint(self, region: str) -> str:
        """What a user should know before signing in to `region`; empty where there is nothing. Shown once, at the first step.

        `{prog}` in it stands for the program's name.
        """
        ...

    def server(self, region: str) -> OAuthServer:
        """The authorization server of `region`, with the user's overrides from the plugin's config applied.

        `issuer` alone may be known: empty endpoints are then found by discovery.
        """
        ...

    def flow(self, region: str) -> Literal["auto", "browser", "device"]:
        """The flow the user's plugin config asks for."""
        ...

    def accept(self, region: str, token_set: TokenSet) -> AcceptedTokens:
        """Hold what the reply says (its `resource_url`, say) to what this region may be.

        Raises:
            OAuthError: the reply names a place that is not this region's.
        """
        ...


@runtime_checkable
class KnowsClients(Protocol):
    """An auth method that also knows the provider's other public clients: a sign-in that another tool made can be taken over."""

    def for_client(self, client_id: str) -> AuthMethod:
        """The same choice as the client `client_id` uses it, at the provider's own portals.

        Raises:
            ConfigError: `config-invalid`.
        """
        ...
