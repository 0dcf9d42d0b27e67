"""What a refresh's grant means for its profile: whose it is, for what, and until when."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from portico.store.profiles import Renewal

if TYPE_CHECKING:
    from portico.interfaces.authorization import TokenGrant
    from portico.store.profile_record import Moment
    from portico.store.profiles import OAuthProfile

_log: Final = logging.getLogger(__name__)


def is_another_account(profile: OAuthProfile, grant: TokenGrant) -> bool:
    """Whether the tokens are for somebody else (OpenID Connect Core section 12.2); False where the server does not tell."""
    return profile.subject is not None and grant.subject not in {None, profile.subject}


def renewal_of(profile: OAuthProfile, grant: TokenGrant, asked_at: int, got: Moment | None) -> Renewal:
    """What `grant`, asked for at `asked_at` (wall ms) and here since `got`, brings to `profile` besides tokens."""
    kept = profile.refresh_expires_at if grant.refresh is None else None
    return Renewal(
        replaces=profile.generation,
        refreshed_at=asked_at,
        refresh_expires_at=grant.refresh_expires_at or kept,
        scope=grant.scope or profile.scope,
        subject=grant.subject or profile.subject,
        unread=grant.unread,
        got=got,
    )


def tell_if_scope_grew(before: OAuthProfile, after: OAuthProfile) -> None:
    """Log it, once the tokens are stored: refusing them would have ended the sign-in, since those before them are spent.

    RFC 6749 section 3.3 lets a server grant another scope than was asked for, if it says so.
    """
    more = set(after.scope.split()) - set(before.scope.split())
    if more and before.scope:
        _log.warning("%s: the scope has grown by %s", after.id, " ".join(sorted(more)))
