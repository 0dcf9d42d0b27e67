"""What becomes of tokens that came after their sign-in had ended: whoever ended it did not know of them, so they are revoked."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from portico.errors import NotRevoked, PorticoError
from portico.oauth.dialect_calls import asked
from portico.oauth.repeated import hide_in
from portico.oauth.revocation import DEFAULT_TIMEOUT_S, read_revocation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from portico.auth.exchange import Send
    from portico.auth.held import Held
    from portico.interfaces.authorization import TokenDialect
    from portico.oauth.revocation import TokenHint
    from portico.secret import Secret
    from portico.store.profiles import Profile, ProfileIndex
    from portico.store.records import Tokens

_log = logging.getLogger(__name__)


def revoke_if_ended(late: Held, index: ProfileIndex, dialects: Callable[[str], TokenDialect], send: Send) -> None:
    """Revoke `late` unless the sign-in it came from goes on; a failure is logged."""
    current = index.get(late.profile.id)
    if current is not None and current.created_at == late.profile.created_at:
        return
    revoke_pair(late.profile, late.tokens, dialects, send)


def revoke_pair(profile: Profile, tokens: Tokens, dialects: Callable[[str], TokenDialect], send: Send) -> None:
    """Give back tokens that nobody keeps; a failure is logged."""
    known = [token for token, _ in _pair(tokens)]
    for token, hint in _pair(tokens):
        try:
            _revoke(profile, token, hint, known, dialects, send)
        except PorticoError as error:
            hide_in(error, *known)
            _log.warning("%s: a token that nobody keeps is not revoked: %s", profile.id, error)


def _revoke(
    profile: Profile,
    token: Secret,
    hint: TokenHint,
    known: list[Secret],
    dialects: Callable[[str], TokenDialect],
    send: Send,
) -> None:
    server = profile.server()
    if server.revocation_endpoint is None:
        raise NotRevoked("revocation-not-offered", "The provider has no known way of revoking tokens.")
    dialect = dialects(profile.dialect)
    request = asked(profile.dialect, lambda: dialect.revoke_request(server, token, hint))
    reply = send.post(request, relocated=dict(profile.relocated), timeout_s=DEFAULT_TIMEOUT_S)
    failure = read_revocation(reply, hint, *known)
    if failure is not None:
        raise failure


def _pair(tokens: Tokens) -> Iterator[tuple[Secret, TokenHint]]:
    if tokens.refresh is not None:
        yield tokens.refresh, "refresh_token"
    yield tokens.access, "access_token"
