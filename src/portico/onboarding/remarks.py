"""What a person should know of a grant, besides that it was given."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from portico.store.records import OAuthProfile
from portico.util.text import plain_text

if TYPE_CHECKING:
    from portico.interfaces.authorization import OAuthServer, TokenGrant
    from portico.store.records import Profile

_NOT_TO_REFRESH: Final = "The provider gave no refresh token: you have to sign in again when the access token ends."


def remarks(server: OAuthServer, grant: TokenGrant, replaced: Profile | None) -> tuple[str, ...]:
    """No refresh token, more than was asked for (RFC 6749 section 3.3), or another account than the one that is replaced."""
    said = []
    if grant.refresh is None:
        said.append(f"{_NOT_TO_REFRESH} {_how_to_get_one(server)}".rstrip())
    more = set((grant.scope or "").split()) - set(server.scope.split())
    if more and server.scope:
        said.append(plain_text(f"The provider granted more than was asked for: {' '.join(sorted(more))}") or "")
    before = replaced.subject if isinstance(replaced, OAuthProfile) else None
    if replaced is not None and before is not None and grant.subject not in {None, before}:
        said.append(f"This is another account than {replaced.id} was signed in to before.")
    return tuple(said)


def _how_to_get_one(server: OAuthServer) -> str:
    """What to change so that an OpenID provider gives a refresh token (OpenID Connect Core section 11)."""
    scope = server.scope.split()
    return "Add `offline_access` to the scope to get one." if "openid" in scope and "offline_access" not in scope else ""
