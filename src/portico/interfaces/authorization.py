"""Authorization servers: requests, replies, and the dialect that builds the requests and reads the replies.

Times are milliseconds since the epoch (`..._ms`, `expires_at`) or seconds (`..._s`, `interval`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    from portico.secret import Secret


@dataclass(frozen=True, slots=True)
class Redirect:
    """The URL to which the authorization server redirects the browser (RFC 8252 section 7.3).

    `port` 0 means any free port. `path` is registered for the client: servers compare it exactly, but accept any port of a
    loopback address. Responses of several sign-ins differ in their `state` and port.
    """

    host: str = "127.0.0.1"
    port: int = 0
    path: str = "/callback"


@dataclass(frozen=True, slots=True)
class OAuthServer:
    """An authorization server and the registration of one client, from a plugin's table or config.

    `redirect` None means that no redirect URI is known for this client id, even if the server's metadata names the browser
    flow. `relocated` maps moved URLs to their new URL. If a POST is redirected by 307 or 308 to exactly this new URL, it is
    sent to the new URL; any other redirect is an error. `iss_advertised` is RFC 9207's
    `authorization_response_iss_parameter_supported`. `pushed_authorization_required` is RFC 9126's
    `require_pushed_authorization_requests`: the authorization request must be pushed first.
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
        """Whether a required endpoint is missing."""
        return not self.token_endpoint or not (self.authorization_endpoint or self.device_authorization_endpoint)


@dataclass(frozen=True, slots=True)
class FormRequest:
    """A form-encoded POST. A secret value is a `Secret` until the request body is encoded."""

    url: str
    form: Mapping[str, str | Secret]
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class HttpReply:
    """A reply: status, headers with lower-case names, and the body up to the client's size limit.

    `sent_at_ms` is the reply's arrival by the wall clock minus `took_ms`. `secrets` are the request's secrets. The reply may
    repeat them, but messages about the reply must not show them.
    """

    status: int
    headers: Mapping[str, str]
    body: Secret
    url: str
    sent_at_ms: int
    took_ms: int = 0
    secrets: tuple[Secret, ...] = ()


class FormPoster(Protocol):
    """Sends a `FormRequest` once, and follows only redirects to a `relocated` URL.

    Raises:
        NetworkError: there was no usable reply.
    """

    async def post_form(self, request: FormRequest, *, relocated: Mapping[str, str], timeout_s: float = 30.0) -> HttpReply: ...


@dataclass(frozen=True, slots=True)
class DeviceAuthorization:
    """A pending device sign-in (RFC 8628 section 3.2).

    `device_code` is None in dialects that poll by user code. `expires_at` is in ms since the epoch; `interval` is seconds.
    """

    user_code: str
    verification_uri: str
    expires_at: int
    interval: float
    verification_uri_complete: str | None = None
    device_code: Secret | None = None


@dataclass(frozen=True, slots=True)
class Pending:
    """Poll again after the interval. `slow_down` adds five seconds to all further intervals (RFC 8628 section 3.5)."""

    slow_down: bool = False


@dataclass(frozen=True, slots=True)
class TokenSet:
    """The content of a token reply.

    `expires_at` is in ms since the epoch; None without a usable lifetime.
    `refresh` None means that the reply has no refresh token. After a refresh, the old refresh token then stays valid.
    `refresh_expires_at` is the end of the refresh token (ms since the epoch).
    `subject` identifies the account at its issuer (OpenID Connect Core section 2, `sub`); None if unknown.
    `id_token` is empty if the reply's value is not text. It is validated but not stored.
    `notice` is text from the provider for the user, without control characters.
    `unread` names invalid fields, which are treated as absent. Rejecting the reply would end the sign-in, because a server that
    rotates tokens has already invalidated the old token.
    `token_type` is the server's value.
    `unfit` is why no request can carry `access` (which is empty if the reply has no access token). Such tokens are revoked.
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
    """The requests and replies of one family of servers. Pure: no I/O, no clock, no state.

    Every `read_...` raises `OAuthError` for an error reply or an incomplete reply, `Denied` if the user denied the sign-in, and
    `TimedOut` if the sign-in expired.
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
