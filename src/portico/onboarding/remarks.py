"""What a person should know of a grant, besides that it was given."""

from __future__ import annotations

from typing import TYPE_CHECKING

from portico.oauth.token_response import plain_text

if TYPE_CHECKING:
    from portico.contracts import OAuthServer, TokenGrant
    from portico.store.profiles import Profile


def remarks(server: OAuthServer, grant: TokenGrant, replaced: Profile | None) -> tuple[str, ...]:
    """More than was asked for (RFC 6749 section 3.3), or another account than the one that is replaced."""
    said = []
    more = set((grant.scope or "").split()) - set(server.scope.split())
    if more and server.scope:
        said.append(plain_text(f"The provider granted more than was asked for: {' '.join(sorted(more))}") or "")
    if replaced is not None and replaced.subject is not None and grant.subject not in {None, replaced.subject}:
        said.append(f"This is another account than {replaced.id} was signed in to before.")
    return tuple(said)
