"""What stands between a person's consent and the first tokens: authorization codes, their PKCE challenge, and device codes."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from portico.clock import SystemClock
from portico.testing.as_tokens import TokenRefused
from portico.testing.canary import canary

if TYPE_CHECKING:
    from portico.interfaces.basics import Clock
    from portico.testing.as_tokens import Family

# No vowels and no look-alikes, as RFC 8628 section 6.1 advises.
_LETTERS = "BCDFGHJKLMNPQRSTVWXZ"
_VERIFIER = re.compile(r"[A-Za-z0-9._~-]{43,128}")
_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}")


def s256(verifier: str) -> str:
    """The S256 challenge of `verifier` (RFC 7636 section 4.2)."""
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()


def check_challenge(challenge: str | None, method: str | None) -> str:
    """The challenge of a request that must have one.

    Raises:
        TokenRefused: invalid_request: there is none, or its method is not S256.
    """
    if not challenge or method != "S256" or not _CHALLENGE.fullmatch(challenge):
        raise TokenRefused("invalid_request", "code_challenge with code_challenge_method=S256 is required")
    return challenge


def check_verifier(verifier: str | None, challenge: str | None) -> None:
    """Hold a verifier to its challenge; no challenge, nothing to prove.

    Raises:
        TokenRefused: invalid_grant: it is missing, malformed or another's (RFC 7636 section 4.6).
    """
    if challenge is None:
        return
    if not verifier or not _VERIFIER.fullmatch(verifier) or not hmac.compare_digest(s256(verifier), challenge):
        raise TokenRefused("invalid_grant", "code_verifier does not match the challenge")


@dataclass(slots=True)
class CodeGrant:
    """One authorization code and what it was given for. `family` is what it was exchanged for.

    `nonce` is what the ID token repeats; `consent` whether the user was asked to agree (OpenID Connect Core section 3.1.2.1).
    """

    client_id: str
    redirect_uri: str
    challenge: str
    scope: str
    expires_at: int
    family: Family | None = None
    nonce: str | None = None
    consent: bool = False


class CodeTable:
    """Authorization codes: one use each. A second use revokes what the first one gave (RFC 6749 section 4.1.2)."""

    def __init__(self, *, clock: Clock | None = None, ttl_s: float = 60.0) -> None:
        self._clock: Clock = clock or SystemClock()
        self._ttl_s = ttl_s
        self._codes: dict[str, CodeGrant] = {}

    def issue(
        self, client_id: str, redirect_uri: str, challenge: str, scope: str, *, nonce: str | None = None, consent: bool = False
    ) -> str:
        code = canary("code")
        expires_at = self._clock.wall_ms() + round(self._ttl_s * 1000)
        self._codes[code] = CodeGrant(client_id, redirect_uri, challenge, scope, expires_at, nonce=nonce, consent=consent)
        return code

    def redeem(self, code: str, *, client_id: str, redirect_uri: str | None, verifier: str | None) -> CodeGrant:
        """The grant behind `code`; its caller sets `family`.

        Raises:
            TokenRefused: invalid_grant.
        """
        grant = self._codes.get(code)
        if grant is None or grant.client_id != client_id or grant.redirect_uri != redirect_uri:
            raise TokenRefused("invalid_grant", "unknown code, or not this client's or redirect URI's")
        if grant.family is not None:
            grant.family.revoked = True
            raise TokenRefused("invalid_grant", "this code was used before")
        if grant.expires_at <= self._clock.wall_ms():
            raise TokenRefused("invalid_grant", "expired code")
        check_verifier(verifier, grant.challenge)
        return grant


@dataclass(slots=True)
class DeviceGrant:
    """One pending device sign-in. `interval_s` is seconds, `expires_at` and `polled_at` wall ms."""

    device_code: str
    user_code: str
    client_id: str
    scope: str
    challenge: str | None
    expires_at: int
    interval_s: float
    state: Literal["pending", "approved", "denied", "used"] = "pending"
    polled_at: int | None = None
    polls: int = 0
    context: dict[str, str] = field(default_factory=dict)


class DeviceTable:
    """Device codes and the user codes that stand for them (RFC 8628).

    Args:
        strict_interval: whether polling sooner than the interval is answered by slow_down, which lengthens it by 5 s.
    """

    def __init__(
        self, *, clock: Clock | None = None, ttl_s: float = 300.0, interval_s: float = 5.0, strict_interval: bool = True
    ) -> None:
        self._clock: Clock = clock or SystemClock()
        self.ttl_s = ttl_s
        self.interval_s = interval_s
        self.strict_interval = strict_interval
        self.grants: list[DeviceGrant] = []

    def start(self, client_id: str, scope: str = "", challenge: str | None = None, **context: str) -> DeviceGrant:
        """A fresh pair of codes. `context` stays with the grant."""
        expires_at = self._clock.wall_ms() + round(self.ttl_s * 1000)
        user_code = "-".join("".join(secrets.choice(_LETTERS) for _ in range(4)) for _ in range(2))
        grant = DeviceGrant(
            canary("devicecode"), user_code, client_id, scope, challenge, expires_at, self.interval_s, context=context
        )
        self.grants.append(grant)
        return grant

    def by_user_code(self, user_code: str) -> DeviceGrant | None:
        """The grant a person means; case and dashes do not matter to them."""
        wanted = _plain(user_code)
        return next((grant for grant in self.grants if _plain(grant.user_code) == wanted), None)

    def by_device_code(self, device_code: str) -> DeviceGrant | None:
        return next((grant for grant in self.grants if grant.device_code == device_code), None)

    def decide(self, user_code: str, *, approved: bool) -> bool:
        """Note a person's decision; False where no sign-in waits for one under this code."""
        grant = self.by_user_code(user_code)
        if grant is None or grant.state != "pending" or grant.expires_at <= self._clock.wall_ms():
            return False
        grant.state = "approved" if approved else "denied"
        return True

    def poll(self, grant: DeviceGrant | None, *, client_id: str, verifier: str | None = None) -> DeviceGrant:
        """The grant, approved and from now on used; its caller mints the tokens.

        Raises:
            TokenRefused: authorization_pending, slow_down, access_denied, expired_token or invalid_grant.
        """
        if grant is None or grant.client_id != client_id or grant.state == "used":
            raise TokenRefused("invalid_grant", "unknown or used device code")
        now = self._clock.wall_ms()
        previous, grant.polled_at = grant.polled_at, now
        grant.polls += 1
        if grant.expires_at <= now:
            raise TokenRefused("expired_token")
        if grant.state == "denied":
            raise TokenRefused("access_denied")
        # A tenth of the interval of grace: a client's timer and the way here are not exact.
        if self.strict_interval and previous is not None and now - previous < grant.interval_s * 900:
            grant.interval_s += 5
            raise TokenRefused("slow_down")
        if grant.state == "pending":
            raise TokenRefused("authorization_pending")
        check_verifier(verifier, grant.challenge)
        grant.state = "used"
        return grant


def _plain(user_code: str) -> str:
    return user_code.replace("-", "").replace(" ", "").upper()
