"""The tokens and codes that an authorization server issues, and its token replies.

Tokens are issued as by a strict server: refresh tokens are rotated at each refresh, and the first reuse revokes the whole
family (RFC 9700 section 4.14.2). If a replaced refresh token is used again, it was stolen or its owner refreshed twice. The
server cannot distinguish these cases, so it revokes the family.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import secrets
from collections import Counter
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import TYPE_CHECKING, Literal

from aiohttp import web

from portico.testing.canary import canary
from portico.util.clock import SystemClock

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from aiohttp.typedefs import Handler, Middleware

    from portico.interfaces.basics import Clock

# No vowels and no characters that look similar, as RFC 8628 section 6.1 advises.
_USER_CODE_LETTERS = "BCDFGHJKLMNPQRSTVWXZ"
_VERIFIER = re.compile(r"[A-Za-z0-9._~-]{43,128}")
_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}")
NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache"}


class TokenRefused(Exception):
    """The token endpoint rejects a request, with a code and description (RFC 6749 section 5.2, RFC 8628 section 3.5)."""

    def __init__(self, code: str, description: str = "") -> None:
        super().__init__(f"{code}: {description}" if description else code)
        self.code = code
        self.description = description


def token_hash(token: str) -> str:
    """The SHA-256 of a token in hex, which identifies the token in a record."""
    return hashlib.sha256(token.encode()).hexdigest()


@dataclass(slots=True)
class Family:
    """All tokens that come from one sign-in. `generation` counts the refreshes."""

    number: int
    client_id: str
    scope: str
    generation: int = 0
    revoked: bool = False
    reused: bool = False
    context: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Issued:
    """A new pair of tokens. `expires_at` is in ms since the epoch; `ttl_s` is the access token's lifetime in seconds."""

    access: str
    refresh: str
    expires_at: int
    ttl_s: float
    family: Family


@dataclass(slots=True)
class PresentedTokens:
    """Every refresh token that reached the server, by hash, in order of arrival. Includes tokens of dropped requests."""

    hashes: list[str] = field(default_factory=list)

    def note(self, token: str) -> None:
        self.hashes.append(token_hash(token))

    @property
    def total(self) -> int:
        return len(self.hashes)

    @property
    def twice(self) -> list[str]:
        """The hashes of tokens that arrived more than once."""
        return [hash_ for hash_, count in Counter(self.hashes).items() if count > 1]

    def times(self, token: str) -> int:
        """How often `token` arrived."""
        return self.hashes.count(token_hash(token))


class TokenMint:
    """Issues, rotates, checks and revokes tokens.

    Args:
        access_ttl_s: lifetime of access tokens in seconds. A change applies to tokens that are issued later.
        rotate: whether a refresh replaces the refresh token. If not, no use of a token is a reuse.
        make_access, make_refresh: functions that return a new token at each call.
    """

    def __init__(
        self,
        *,
        clock: Clock | None = None,
        access_ttl_s: float = 3600.0,
        rotate: bool = True,
        make_access: Callable[[], str] = lambda: canary("at"),
        make_refresh: Callable[[], str] = lambda: canary("rt"),
    ) -> None:
        self.clock: Clock = clock or SystemClock()
        self.access_ttl_s = access_ttl_s
        self.rotate_refresh = rotate
        self.families: list[Family] = []
        self._make_access = make_access
        self._make_refresh = make_refresh
        self._access: dict[str, Issued] = {}
        self._refresh: dict[str, Issued] = {}
        self._spent: dict[str, Family] = {}

    def start(self, client_id: str, scope: str = "", **context: str) -> Issued:
        """Issue the first pair of a new family. `context` is stored with the family."""
        family = Family(len(self.families) + 1, client_id, scope, context=context)
        self.families.append(family)
        return self._issue(family, self._make_refresh())

    def rotate(self, refresh: str, client_id: str) -> Issued:
        """Issue the pair that replaces `refresh`.

        Raises:
            TokenRefused: invalid_grant: the token is unknown, revoked or of another client; or it was used before, which
                revokes its family.
        """
        spent = self._spent.get(refresh)
        if spent is not None:
            spent.revoked = spent.reused = True
            raise TokenRefused("invalid_grant", "this refresh token was used before")
        current = self._refresh.get(refresh)
        if current is None or current.family.revoked or current.family.client_id != client_id:
            raise TokenRefused("invalid_grant", "unknown or revoked refresh token")
        current.family.generation += 1
        if not self.rotate_refresh:
            return self._issue(current.family, refresh)
        self._spent[refresh] = current.family
        del self._refresh[refresh]
        return self._issue(current.family, self._make_refresh())

    def revoke(self, token: str) -> None:
        """Revoke a token (RFC 7009). A refresh token revokes its family. An unknown token is not an error."""
        if token in self._access:
            del self._access[token]
            return
        known = self._refresh.get(token)
        family = known.family if known is not None else self._spent.get(token)
        if family is not None:
            family.revoked = True

    def family_of(self, access: str) -> Family | None:
        """The family of an access token that is valid now; None for other tokens."""
        issued = self._access.get(access)
        if issued is None or issued.family.revoked or issued.expires_at <= self.clock.wall_ms():
            return None
        return issued.family

    def is_current(self, refresh: str) -> bool:
        """Whether `refresh` would be accepted now."""
        issued = self._refresh.get(refresh)
        return issued is not None and not issued.family.revoked

    @property
    def live_families(self) -> list[Family]:
        return [family for family in self.families if not family.revoked]

    def _issue(self, family: Family, refresh: str) -> Issued:
        expires_at = self.clock.wall_ms() + round(self.access_ttl_s * 1000)
        issued = Issued(self._make_access(), refresh, expires_at, self.access_ttl_s, family)
        self._access[issued.access] = issued
        self._refresh[refresh] = issued
        return issued


def s256(verifier: str) -> str:
    """The S256 challenge of `verifier` (RFC 7636 section 4.2)."""
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()


def check_challenge(challenge: str | None, method: str | None) -> str:
    """The challenge of a request, which must have one.

    Raises:
        TokenRefused: invalid_request: there is no challenge, or its method is not S256.
    """
    if not challenge or method != "S256" or not _CHALLENGE.fullmatch(challenge):
        raise TokenRefused("invalid_request", "code_challenge with code_challenge_method=S256 is required")
    return challenge


def check_verifier(verifier: str | None, challenge: str | None) -> None:
    """Check a verifier against its challenge. Without a challenge, nothing is checked.

    Raises:
        TokenRefused: invalid_grant: the verifier is missing, malformed or wrong (RFC 7636 section 4.6).
    """
    if challenge is None:
        return
    if not verifier or not _VERIFIER.fullmatch(verifier) or not hmac.compare_digest(s256(verifier), challenge):
        raise TokenRefused("invalid_grant", "code_verifier does not match the challenge")


@dataclass(slots=True)
class CodeGrant:
    """One authorization code and its parameters.

    `family` identifies the tokens for which the code was exchanged. The ID token repeats `nonce`. `consent`: the user was asked
    for consent (OpenID Connect Core section 3.1.2.1).
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
    """Authorization codes for one use each. A second use revokes the tokens of the first use (RFC 6749 section 4.1.2)."""

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
        """Return the grant of `code`. The caller sets its `family`.

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
    """One pending device sign-in. `interval_s` is in seconds; `expires_at` and `polled_at` are in ms since the epoch."""

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
    """Device codes and their user codes (RFC 8628).

    Args:
        strict_interval: whether a poll before the end of the interval gets `slow_down`, which adds 5 s to the interval.
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
        """Issue a new pair of codes. `context` is stored with the grant."""
        expires_at = self._clock.wall_ms() + round(self.ttl_s * 1000)
        user_code = "-".join("".join(secrets.choice(_USER_CODE_LETTERS) for _ in range(4)) for _ in range(2))
        grant = DeviceGrant(
            canary("devicecode"), user_code, client_id, scope, challenge, expires_at, self.interval_s, context=context
        )
        self.grants.append(grant)
        return grant

    def by_user_code(self, user_code: str) -> DeviceGrant | None:
        """The grant of a user code. Case and dashes do not matter."""
        normalized = _normalize_user_code(user_code)
        return next((grant for grant in self.grants if _normalize_user_code(grant.user_code) == normalized), None)

    def by_device_code(self, device_code: str) -> DeviceGrant | None:
        return next((grant for grant in self.grants if grant.device_code == device_code), None)

    def decide(self, user_code: str, *, approved: bool) -> bool:
        """Store the user's decision. Return False if no sign-in with this code waits for a decision."""
        grant = self.by_user_code(user_code)
        if grant is None or grant.state != "pending" or grant.expires_at <= self._clock.wall_ms():
            return False
        grant.state = "approved" if approved else "denied"
        return True

    def poll(self, grant: DeviceGrant | None, *, client_id: str, verifier: str | None = None) -> DeviceGrant:
        """Return the approved grant and mark it as used. The caller issues the tokens.

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
        # Tolerate a tenth of the interval, because a client's timer and the network are not exact.
        if self.strict_interval and previous is not None and now - previous < grant.interval_s * 900:
            grant.interval_s += 5
            raise TokenRefused("slow_down")
        if grant.state == "pending":
            raise TokenRefused("authorization_pending")
        check_verifier(verifier, grant.challenge)
        grant.state = "used"
        return grant


def _normalize_user_code(user_code: str) -> str:
    return user_code.replace("-", "").replace(" ", "").upper()


# --- replies of the token endpoint, in the words of RFC 6749 section 5 --------------------------------------------------------


def token_reply(issued: Issued, *, refresh: bool = True, id_token: str | None = None) -> web.Response:
    """A successful reply (section 5.1), with or without a refresh token."""
    lifetime = int(issued.ttl_s) if issued.ttl_s == int(issued.ttl_s) else issued.ttl_s
    fields = {
        "access_token": issued.access,
        "token_type": "Bearer",
        "expires_in": lifetime,
        "scope": issued.family.scope,
        **({"refresh_token": issued.refresh} if refresh else {}),
        **({"id_token": id_token} if id_token is not None else {}),
    }
    return web.json_response(fields, headers=NO_STORE)


def id_token(claims: Mapping[str, object]) -> str:
    """An ID token with `claims`, signed with a random key: clients do not check the signature of a token from this endpoint."""
    head, body = (_base64url(json.dumps(part).encode()) for part in ({"alg": "HS256", "typ": "JWT"}, claims))
    signature = hmac.new(secrets.token_bytes(32), f"{head}.{body}".encode(), hashlib.sha256).digest()
    return f"{head}.{body}.{_base64url(signature)}"


def _base64url(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def refusal(error: TokenRefused, *, status: int = 400) -> web.Response:
    """An error response (RFC 6749 section 5.2)."""
    description = {"error_description": error.description} if error.description else {}
    return web.json_response({"error": error.code, **description}, status=status, headers=NO_STORE)


async def read_form(request: web.Request) -> dict[str, str]:
    """The fields of a form-encoded POST, each at most once. Empty if the body is not a form."""
    if request.content_type != "application/x-www-form-urlencoded":
        return {}
    form = await request.post()
    if any(len(form.getall(name)) > 1 for name in form):
        return {}
    return {name: value for name, value in form.items() if isinstance(value, str)}


def note_refresh_tokens(presented: PresentedTokens) -> Middleware:
    """A middleware that records the refresh token of each refresh request, before any fault is applied to the request."""

    @web.middleware
    async def note(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.method == "POST":
            form = await read_form(request)
            if form.get("grant_type") == "refresh_token" and "refresh_token" in form:
                presented.note(form["refresh_token"])
        return await handler(request)

    return note


def tell_time(app: web.Application, clock: Callable[[], Clock]) -> None:
    """Make `app` send the `Date` of its own clock, because clients compare its times with this header."""

    @web.middleware
    async def date(request: web.Request, handler: Handler) -> web.StreamResponse:
        response = await handler(request)
        if not response.prepared:
            response.headers.setdefault("Date", formatdate(clock().wall_ms() / 1000, usegmt=True))
        return response

    app.middlewares.insert(0, date)


def issuer_of(request: web.Request) -> str:
    """The issuer to which a request was sent: an origin without a slash at the end."""
    return f"{request.scheme}://{request.host}"
