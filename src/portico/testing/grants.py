"""What an authorization server gives out: tokens, the codes that stand before them, and the replies that bring them.

Tokens are minted as a careful server does it: rotated at each refresh, a whole family revoked at the first reuse (RFC 9700
section 4.14.2). A refresh token that comes back after it was replaced was stolen, or its owner refreshed twice; the server cannot
tell which, and ends the family.
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

# No vowels and no look-alikes, as RFC 8628 section 6.1 advises.
_USER_CODE_LETTERS = "BCDFGHJKLMNPQRSTVWXZ"
_VERIFIER = re.compile(r"[A-Za-z0-9._~-]{43,128}")
_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}")
NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache"}


class TokenRefused(Exception):
    """The token endpoint says no: `code` and `description` as RFC 6749 section 5.2 and RFC 8628 section 3.5 name them."""

    def __init__(self, code: str, description: str = "") -> None:
        super().__init__(f"{code}: {description}" if description else code)
        self.code = code
        self.description = description


def token_hash(token: str) -> str:
    """How a record of tokens names one without holding it: SHA-256, in hex."""
    return hashlib.sha256(token.encode()).hexdigest()


@dataclass(slots=True)
class Family:
    """Every token that came from one sign-in. `generation` counts the refreshes."""

    number: int
    client_id: str
    scope: str
    generation: int = 0
    revoked: bool = False
    reused: bool = False
    context: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Issued:
    """A fresh pair. `expires_at` is wall ms, `ttl_s` the access token's lifetime in seconds."""

    access: str
    refresh: str
    expires_at: int
    ttl_s: float
    family: Family


@dataclass(slots=True)
class PresentedTokens:
    """Every refresh token that reached the server, by hash, in order of arrival; also those whose request was then dropped."""

    hashes: list[str] = field(default_factory=list)

    def note(self, token: str) -> None:
        self.hashes.append(token_hash(token))

    @property
    def total(self) -> int:
        return len(self.hashes)

    @property
    def twice(self) -> list[str]:
        """The hashes of tokens that came more than once."""
        return [hash_ for hash_, count in Counter(self.hashes).items() if count > 1]

    def times(self, token: str) -> int:
        """How often `token` came."""
        return self.hashes.count(token_hash(token))


class TokenMint:
    """Mints, rotates, checks and revokes tokens.

    Args:
        access_ttl_s: lifetime of access tokens, seconds; may be changed at any time for tokens to come.
        rotate: whether a refresh replaces the refresh token. Where it does not, nothing is reuse.
        make_access, make_refresh: the shape of a token; it must be fresh at each call.
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
        """The first pair of a new family. `context` stays with the family."""
        family = Family(len(self.families) + 1, client_id, scope, context=context)
        self.families.append(family)
        return self._issue(family, self._make_refresh())

    def rotate(self, refresh: str, client_id: str) -> Issued:
        """The pair that replaces `refresh`.

        Raises:
            TokenRefused: invalid_grant: unknown, revoked, of another client, or used before, which ends its family.
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
        """RFC 7009: a refresh token takes its whole family with it, an access token only itself; unknown ones are no error."""
        if token in self._access:
            del self._access[token]
            return
        known = self._refresh.get(token)
        family = known.family if known is not None else self._spent.get(token)
        if family is not None:
            family.revoked = True

    def family_of(self, access: str) -> Family | None:
        """The family of an access token that is good now, None for any other."""
        issued = self._access.get(access)
        if issued is None or issued.family.revoked or issued.expires_at <= self.clock.wall_ms():
            return None
        return issued.family

    def is_current(self, refresh: str) -> bool:
        """Whether `refresh` would be taken now."""
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
    """One authorization code and its parameters. `family` identifies the tokens it was exchanged for.

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
        user_code = "-".join("".join(secrets.choice(_USER_CODE_LETTERS) for _ in range(4)) for _ in range(2))
        grant = DeviceGrant(
            canary("devicecode"), user_code, client_id, scope, challenge, expires_at, self.interval_s, context=context
        )
        self.grants.append(grant)
        return grant

    def by_user_code(self, user_code: str) -> DeviceGrant | None:
        """The grant a person means; case and dashes do not matter to them."""
        normalized = _normalize_user_code(user_code)
        return next((grant for grant in self.grants if _normalize_user_code(grant.user_code) == normalized), None)

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


def _normalize_user_code(user_code: str) -> str:
    return user_code.replace("-", "").replace(" ", "").upper()


# --- replies of the token endpoint, in the words of RFC 6749 section 5 --------------------------------------------------------


def token_reply(issued: Issued, *, refresh: bool = True, id_token: str | None = None) -> web.Response:
    """A successful answer (section 5.1), with a refresh token or without one."""
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
    """An ID token of `claims`, signed with a random key: a client does not check the signature of the token endpoint's own."""
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
    """The fields of a form-encoded POST, each at most once; empty where the body is something else."""
    if request.content_type != "application/x-www-form-urlencoded":
        return {}
    form = await request.post()
    if any(len(form.getall(name)) > 1 for name in form):
        return {}
    return {name: value for name, value in form.items() if isinstance(value, str)}


def note_refresh_tokens(presented: PresentedTokens) -> Middleware:
    """A middleware that notes each refresh token sent in to be refreshed, before anything may go wrong with its request."""

    @web.middleware
    async def note(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.method == "POST":
            form = await read_form(request)
            if form.get("grant_type") == "refresh_token" and "refresh_token" in form:
                presented.note(form["refresh_token"])
        return await handler(request)

    return note


def tell_time(app: web.Application, clock: Callable[[], Clock]) -> None:
    """Let `app` answer with the `Date` of its own clock, as a server does: clients measure its moments by that."""

    @web.middleware
    async def date(request: web.Request, handler: Handler) -> web.StreamResponse:
        response = await handler(request)
        if not response.prepared:
            response.headers.setdefault("Date", formatdate(clock().wall_ms() / 1000, usegmt=True))
        return response

    app.middlewares.insert(0, date)


def issuer_of(request: web.Request) -> str:
    """The issuer that a request was addressed to: an origin, without a slash."""
    return f"{request.scheme}://{request.host}"
