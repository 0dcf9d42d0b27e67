"""One refresh token at its server: a fence before each send, and one more send at once where an answer was lost.

Servers that rotate refresh tokens forgive a second use for some seconds (Okta 0 to 60, Amazon Cognito 0 to 60, Auth0 as set), so
a lost answer is asked for again right away; how often a later exchange may ask once more is `fence`'s to say.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from portico.auth import fence as fences
from portico.auth.outcome import RefreshInterrupted, not_a_verdict
from portico.errors import Denied, LockBusy, NetworkError, OAuthError, PorticoError, StoreError, TimedOut
from portico.oauth.repeated import make_request, read_reply
from portico.oauth.token_errors import NoAnswer
from portico.oauth.token_response import SUCCESSFUL

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Protocol

    from portico.interfaces.authorization import FormRequest, HttpReply, TokenDialect, TokenGrant
    from portico.interfaces.basics import Clock
    from portico.secret import Secret
    from portico.store.atomic import OnStep
    from portico.store.profiles import Fence
    from portico.store.token_store import ProfileTokens, RefreshTurn

    class Send(Protocol):
        """The way from a refresh's thread to the server."""

        def claim(self) -> None:
            """From now on no caller can stop the refresh; raises `Abandoned` where nobody wants it any more."""
            ...

        def post(self, request: FormRequest, *, relocated: Mapping[str, str], timeout_s: float) -> HttpReply:
            """Send a request once."""
            ...


POST_TIMEOUT_S: Final = 30.0
RETRY_TIMEOUT_S: Final = 10.0
# The server has answered; only its answer is of no use.
_ANSWERED: Final = frozenset({"redirect-refused", "reply-too-long"})


@dataclass(slots=True)
class Exchange:
    """`fence` is what the journal is to say of the token if this fails; `lost` whether an answer to it was ever lost."""

    turn: RefreshTurn
    dialects: Callable[[str], TokenDialect]
    clock: Clock
    on_step: OnStep
    held: ProfileTokens
    refresh: Secret
    fence: Fence | None = field(init=False)
    lost: bool = field(init=False)
    _earlier: Fence | None = field(init=False)

    def __post_init__(self) -> None:
        self.fence = self._earlier = fences.pending(self.held.profile, self.refresh)
        self.lost = self.fence is not None

    @property
    def may_have_spent(self) -> bool:
        """Whether this exchange has sent the token and cannot say that the server refused it."""
        return self.fence is not None and self.fence != self._earlier

    def run(self, send: Send) -> tuple[TokenGrant, int]:
        """The grant, and when it was asked for (wall ms).

        Raises:
            PorticoError: there is none.
        """
        profile = self.held.account
        dialect = self.dialects(profile.dialect)
        request = make_request(
            profile.dialect, lambda: dialect.refresh_request(profile.server(), self.refresh), self.refresh, again=True
        )
        send.claim()
        try:
            reply = self._sent(request, send, POST_TIMEOUT_S)
        except NetworkError as error:
            if not _is_lost(error) or isinstance(error, RefreshInterrupted) or not self._may_repeat():
                raise
            reply = self._sent(request, send, RETRY_TIMEOUT_S)
        self.on_step("answered")
        before, self.fence = self.fence, self.held.profile.fence
        try:
            access = self.held.tokens.access
            grant = read_reply(profile.dialect, reply, dialect.read_token_reply, access, self.refresh)
        except PorticoError as error:
            named = isinstance(error, OAuthError) and error.code is not None
            if reply.status not in SUCCESSFUL or named or isinstance(error, NoAnswer):
                self.fence = before  # a failure by name, or a page of somebody else's, has spent nothing
            if isinstance(error, (Denied, TimedOut)):
                raise not_a_verdict(error) from None
            raise
        self.on_step("validated")
        return grant, reply.sent_at_ms

    def _sent(self, request: FormRequest, send: Send, timeout_s: float) -> HttpReply:
        self._raise_fence()
        self.on_step("fenced")
        try:
            return send.post(request, relocated=dict(self.held.account.relocated), timeout_s=timeout_s)
        except NetworkError as error:
            if _is_lost(error):
                self.lost, self.fence = True, self.held.profile.fence
            raise

    def _may_repeat(self) -> bool:
        return self.fence is None or self.fence.sends < fences.AT_ONCE

    def _raise_fence(self) -> None:
        """Note durably that the token is being sent.

        For tokens in memory only as well as can be: nobody else has them, and what keeps them there may keep the note out too.
        """
        if self.held.stored:
            self._note_sending()
            return
        with contextlib.suppress(StoreError, LockBusy):
            self._note_sending()

    def _note_sending(self) -> None:
        entry = fences.raised(self.held.profile, self.refresh, self.clock.wall_ms())
        self.held = replace(self.held, profile=self.turn.note_sending(self.held.profile, entry))


def _is_lost(error: NetworkError) -> bool:
    """Whether the server may have taken the token all the same."""
    return not error.unsent and error.id not in _ANSWERED
