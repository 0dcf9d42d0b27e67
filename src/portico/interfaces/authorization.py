"""An authorization server as one client knows it: the requests that go to it, its replies, and the dialect that words both.

Times are wall-clock milliseconds since the epoch (`..._ms`, `expires_at`) or seconds (`..._s`, `interval`), as each docstring
says.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    from portico.secret import Secret


@dataclass(frozen=True, slots=True)
class Redirect:
    """Where the authorization server may send the browser back to (RFC 8252 section 7.3).

    `port` 0 asks for any free port. The path is the one that is registered for the client: servers compare it exactly, and let
    the port of a loopback address alone vary. Answers are told apart by their `state`, and by the port that each sign-in has.
    """

    host: str = "127.0.0.1"
    port: int = 0
    path: str = "/callback"


@dataclass(frozen=True, slots=True)
class OAuthServer:
    """One authorization server as one client is registered with it: a plain description, from a plugin's table or config.

    `redirect` None means that no redirect URI is known for this client id, whatever the server's metadata says.
    `relocated` maps URLs that the server has moved to their new place: a POST answered by 307/308 to exactly that URL is sent
    there, any other redirect is refused.
    `iss_advertised` is RFC 9207's `authorization_response_iss_parameter_supported`. `pushed_authorization_required` is RFC 9126's
    `require_pushed_authorization_requests`: the authorization request goes to its endpoint first.
    """

    issuer: str
    client_id: str
    token_endpoint: str
    scope: str = ""
    authorization_endpoint: str | None = None
    device_authorization_endpoint: str | None = None
    revocation_endpoint: str | None = None
    redirect: Redirect | None = None
    response_mode: Literal["query", "form_post"] = "query"
    dialect: str = "standard"
    audience: str | None = None
    iss_advertised: bool = False
    pushed_authorization_request_endpoint: str | None = None
    pushed_authorization_required: bool = False
    relocated: Mapping[str, str] = field(default_factory=dict)

    @property
    def needs_discovery(self) -> bool:
        """Whether an endpoint is missing that every sign-in needs."""
        return not self.token_endpoint or not (self.authorization_endpoint or self.device_authorization_endpoint)


@dataclass(frozen=True, slots=True)
class FormRequest:
    """A form-encoded POST to be sent as it is. Values that are secrets stay `Secret` until the bytes are made."""

    url: str
    form: Mapping[str, str | Secret]
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class HttpReply:
    """What came back: status, lower-case header names, and the body up to the client's cap.

    `sent_at_ms` is when the request left, by the wall clock as it was when the reply came; `took_ms` is how long that took.
    `secrets` are those of the request, which the reply may repeat and which no message made of it may show.
    """

    status: int
    headers: Mapping[str, str]
    body: Secret
    url: str
    sent_at_ms: int
    took_ms: int = 0
    secrets: tuple[Secret, ...] = ()


class FormPoster(Protocol):
    """Sends a `FormRequest` once; never follows a redirect but to `relocated`.

    Raises:
        NetworkError: nothing usable came back.
    """

    async def post_form(self, request: FormRequest, *, relocated: Mapping[str, str], timeout_s: float = 30.0) -> HttpReply: ...


@dataclass(frozen=True, slots=True)
class DeviceAuthorization:
    """A pending device sign-in (RFC 8628 section 3.2).

    `device_code` is None in dialects that poll by user code. `expires_at` is wall ms; `interval` is seconds.
    """

    user_code: str
    verification_uri: str
    expires_at: int
    interval: float
    verification_uri_complete: str | None = None
    device_code: Secret | None = None


@dataclass(frozen=True, slots=True)
class Pending:
    """Poll again after the interval; `slow_down` adds five seconds to it for good (RFC 8628 section 3.5)."""

    slow_down: bool = False


@dataclass(frozen=True, slots=True)
class TokenSet:
    """What a token reply holds. `expires_at` is wall ms, None where the server gave no lifetime that can be used.

    `refresh` None means that the reply carried none: on a refresh the old one stays. `refresh_expires_at` is its end, wall ms.
    `subject` names the account at its issuer (OpenID Connect Core section 2, `sub`), None where the server does not tell.
    `id_token` is the reply's, empty where it is no text; it is checked and not kept.
    `notice` is text from the provider for the user, already free of control characters.
    `unread` names the fields that are not what they must be: they count as absent, since a server that rotates tokens has spent
    the one before, and throwing its reply away would end the sign-in. `token_type` is as the server tells it, and `unfit` why no
    request can carry `access`, which is empty where none came: such tokens are for nobody here, and are given back.
    """

    access: Secret
    refresh: Secret | None
    expires_at: int | None
    scope: str | None = None
    resource_url: str | None = None
    notice: str | None = None
    refresh_expires_at: int | None = None
    subject: str | None = None
    unread: tuple[str, ...] = ()
    token_type: str = "Bearer"  # noqa: S105 - the name of a kind
    unfit: str | None = None
    id_token: Secret | None = None


class TokenDialect(Protocol):
    """How one family of servers words its requests and replies. Pure: no I/O, no clock, no state.

    Every `read_...` raises `OAuthError` for an error reply or one that does not hold what it must; `Denied` and `TimedOut`
    where the reply says so.
    """

    name: str

    def device_request(self, server: OAuthServer, *, challenge: str, state: str) -> FormRequest: ...

    def read_device_reply(self, reply: HttpReply, *, state: str) -> DeviceAuthorization: ...

    def poll_request(self, server: OAuthServer, device: DeviceAuthorization, *, verifier: Secret) -> FormRequest: ...

    def read_poll_reply(self, reply: HttpReply) -> Pending | TokenSet: ...

    def code_request(self, server: OAuthServer, *, code: Secret, redirect_uri: str, verifier: Secret) -> FormRequest: ...

    def refresh_request(self, server: OAuthServer, refresh: Secret) -> FormRequest: ...

    def read_token_reply(self, reply: HttpReply) -> TokenSet: ...

    def revoke_request(
        self, server: OAuthServer, token: Secret, hint: Literal["refresh_token", "access_token"]
    ) -> FormRequest: ...
