"""What a sign-in is held to: the scope that was asked for, and the API base of its region.

`resource_url` has another form for each client: OpenClaw's ends in `/anthropic`, MiniMax's own CLI gets a bare origin. A token is
worth stealing, so nothing of that field is kept but which of the portal's own origins it names.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from minimax_portal_auth.portals import origin
from portico.plugin_api import OAuthError, plain_text, why_not_a_safe_url

if TYPE_CHECKING:
    from minimax_portal_auth.portals import Portal
    from portico.plugin_api import TokenGrant


REQUIRED_SCOPE: Final = "agent.default"


def check_scope(grant: TokenGrant) -> None:
    """Refuse to sign in with tokens of MiniMax Code's client that are for something else than was asked for.

    Silence means the scope that was asked for (RFC 6749 section 5.1).

    Raises:
        OAuthError: `scope-missing`.
    """
    if grant.scope is not None and REQUIRED_SCOPE not in grant.scope.split():
        raise OAuthError(
            "scope-missing",
            "MiniMax granted less than was asked for, so the token would not work.",
            why=f"the scope does not hold {REQUIRED_SCOPE}",
            hint="Run the command again, and allow everything that the page asks for.",
        )


def api_base_for(portal: Portal, resource_url: str | None) -> str:
    """The base that inference requests go to: the portal's own, or that of another of its origins where the reply names it.

    Raises:
        OAuthError: `resource-url`: the reply names a place that is not this region's.
    """
    if not resource_url:
        return portal.api_base
    place = origin(resource_url) if why_not_a_safe_url(resource_url) is None else None
    if place not in portal.origins:
        raise OAuthError(
            "resource-url",
            f"The token reply names an API that is not the {portal.region.label} portal's: {plain_text(resource_url, 100)}",
            why=f"this token may go to {', '.join(sorted(portal.origins))} alone; nothing was stored",
            hint="Sign in with the account's own --region. For a portal of your own, set its API: "
            f"{{prog}} config set plugins.entries.minimax-portal-auth.config.portals.{portal.region.id}.apiBase URL",
        )
    return portal.api_base if place == origin(portal.api_base) else f"{place}/anthropic"
