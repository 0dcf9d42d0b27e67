"""The three dialects of MiniMax's account service, one per kind of client.

`minimax-user-code` polls by user code with MiniMax's own grant type (OpenClaw's client). `minimax-user-code-8628` polls by user
code with RFC 8628's grant type (MiniMax's CLI, the opencode plugin). `minimax-device-code` is close to RFC 8628 (MiniMax Code).

A reply reports progress or failure in one of three forms: an OAuth `error` (RFC 6749), a `status` word with HTTP 200, or
MiniMax's API envelope `base_resp`. An `error` has priority over a `status`, as in MiniMax's own client.

Sources: OpenClaw's `extensions/minimax/oauth.ts` (client, fields, state echo), MiniMax's `mmx-cli` 1.0.27 (units, grant type) and
`minimax-code`, packages/oauth-core (MiniMax Code).
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, ClassVar, Final, Self

from minimax_portal_auth.portals import DEVICE_CODE, REQUIRED_SCOPE, USER_CODE, USER_CODE_8628
from portico.plugin_api import (
    DeviceAuthorization,
    FormRequest,
    OAuthError,
    Pending,
    ReplyReader,
    StandardDialect,
    plain_text,
    why_not_a_safe_url,
)

if TYPE_CHECKING:
    from portico.plugin_api import HttpReply, JsonValue, OAuthServer, PorticoError, Secret, TokenSet

ACCEPT: Final = {"Accept": "application/json"}

_OK: Final = 200
_MULTIPLE_CHOICES: Final = 300
_PENDING: Final = frozenset({"pending", "authorization_pending"})
_SLOW_DOWN: Final = frozenset({"slow_down"})
_DENIED: Final = frozenset({"denied", "access_denied", "rejected"})
_EXPIRED: Final = frozenset({"expired", "expired_token"})
_SUCCESS: Final = "success"
_FAILED: Final = frozenset({"error", "failed"})
_WORD_LIMIT: Final = 60

# `base_resp.status_code` values that MiniMax documents as temporary: unknown, timeout, rate, internal, system.
_TRANSIENT_CODES: Final = frozenset({1000, 1001, 1002, 1024, 1033, 1039, 1041, 2045})
# Values about the credential: not authorized, invalid key.
_CREDENTIAL_CODES: Final = frozenset({1004, 2049})
_MAX_DIGITS: Final = 9
_MS: Final = 1000.0
_INTERVAL_S: Final = 2.0  # the default and the minimum of OpenClaw's client


class ReplyIncomplete(OAuthError):
    """MiniMax's reply has a missing or invalid field."""

    id = "reply-invalid"


class MinimaxRefused(OAuthError):
    """MiniMax answered with its own error code."""

    id = "minimax-refused"


class SignInFailed(MinimaxRefused):
    """MiniMax could not complete the sign-in."""

    summary: ClassVar = "MiniMax could not complete the sign-in."


class UnknownStatus(OAuthError):
    """MiniMax answered with an unknown status."""

    id = "reply-invalid"
    summary: ClassVar = "MiniMax answered with an unknown status."


class StateMismatch(OAuthError):
    """The reply does not have the request's `state`."""

    id = "callback-invalid"


class MinimaxReply(ReplyReader):
    """One reply of MiniMax's account service."""

    def pending(self) -> Pending | None:
        """Whether to poll again; None for a reply with tokens or a success status.

        Raises:
            Denied: the user refused.
            TimedOut: the code expired.
            OAuthError: any other failure, also an unknown `status`.
        """
        if self.holds_tokens:
            return None
        status_word = self._status_word()
        if status_word in _PENDING:
            return Pending()
        if status_word in _SLOW_DOWN:
            return Pending(slow_down=True)
        failure = self._read_failure(status_word)
        if failure is not None:
            raise failure
        return None

    def succeeded(self) -> Self:
        """The reply itself, if it has tokens or a success status.

        Raises:
            PorticoError: as in `pending`, and for a pending reply.
        """
        if self.pending() is not None:
            raise self.error({"error": "authorization_pending"})
        return self

    def token_set_in_any_unit(self) -> TokenSet:
        """The token set. Its expiry is `expired_in` in any of the three units; without this field, `expires_in` in seconds."""
        if self.fields.get("expired_in") is None:
            return self.token_set(type_required=False)
        return self.token_set(expiry_field="expired_in", unit="auto", type_required=False)

    def code_expires_at(self) -> int:
        """The code's expiry (ms epoch): `expired_in` in any of the three units; without this field, `expires_in` in seconds."""
        return self.code_expiry() if self.fields.get("expired_in") is None else self.code_expiry("expired_in", "auto")

    def user_code(self) -> DeviceAuthorization:
        """Read a device reply without a device code; its `interval` is in milliseconds.

        Raises:
            OAuthError: `reply-invalid`.
        """
        return DeviceAuthorization(
            user_code=self.text("user_code", limit=64),
            verification_uri=self.page("verification_uri"),
            expires_at=self.code_expires_at(),
            interval=self.interval(default_s=_INTERVAL_S, per_second=_MS, least_s=_INTERVAL_S),
        )

    def text(self, name: str, limit: int = 2048) -> str:
        """The text in field `name`.

        Raises:
            OAuthError: `reply-invalid`: the field is missing, or not printable text.
        """
        value = self.fields.get(name)
        if not isinstance(value, str) or not value.strip() or len(value) > limit or not value.isprintable():
            raise self.invalid(f"{name} is missing or unusable")
        return value

    def page(self, name: str) -> str:
        """The address of a page in field `name`.

        Raises:
            OAuthError: `reply-invalid`: the field is missing, or not safe to open.
        """
        url = self.text(name, limit=8192)
        why = why_not_a_safe_url(url)
        if why is not None:
            raise self.invalid(f"{name} is not safe to open: {why}")
        return url

    def invalid(self, why: str) -> OAuthError:
        """The error for a reply with a missing or invalid field. `why` names fields, never their values."""
        return ReplyIncomplete(
            "MiniMax's reply has a missing or invalid field.",
            why=why,
            where=self.where,
            hint="Run the command again. If it happens again, MiniMax has changed its service: upgrade Portico.",
        )

    def _status_word(self) -> str | None:
        error, status = self.fields.get("error"), self.fields.get("status")
        if isinstance(error, str) and error:
            return error
        return status if isinstance(status, str) and status else None

    def _read_failure(self, status_word: str | None) -> PorticoError | None:
        oauth_code = "access_denied" if status_word in _DENIED else "expired_token" if status_word in _EXPIRED else None
        if oauth_code is not None:
            return self.error({**self.fields, "error": oauth_code})
        if self.fields.get("error"):
            return self.error()
        envelope = self._envelope_failure()
        if envelope is not None:
            return envelope
        if status_word is not None and status_word != _SUCCESS:
            return self._bad_status(status_word)
        return None if _OK <= self.reply.status < _MULTIPLE_CHOICES else self.error()

    def _envelope_failure(self) -> PorticoError | None:
        envelope = self.fields.get("base_resp")
        if not isinstance(envelope, dict):
            return None
        code, message = _number(envelope.get("status_code")), plain_text(envelope.get("status_msg"), 200)
        if (code == 0 or envelope.get("status_code") is None) and self.reply.status < _MULTIPLE_CHOICES:
            return None
        if message in {"invalid_grant", "access_denied", "expired_token", "invalid_client"}:
            return self.error({"error": message})
        shown_code = str(code) if code is not None else None
        return MinimaxRefused(
            "MiniMax refused the request.",
            code=shown_code,
            transient=self.may_pass(named=code in _CREDENTIAL_CODES) or code in _TRANSIENT_CODES,
            retry_after=self.retry_after,
            why=": ".join(part for part in (shown_code, message) if part) or f"HTTP {self.reply.status}",
            where=self.where,
            hint="Check that the account has an M Plan (earlier: Coding Plan), and that --region is the account's region.",
        )

    def _bad_status(self, status_word: str) -> OAuthError:
        kind = SignInFailed if status_word in _FAILED else UnknownStatus
        message = plain_text(self.fields.get("error_description") or self.fields.get("message"), 200)
        return kind(
            kind.summary,
            code=plain_text(status_word, _WORD_LIMIT),
            transient=self.may_pass(named=False),
            retry_after=self.retry_after,
            why=message or f"status: {plain_text(status_word, _WORD_LIMIT)}",
            where=self.where,
            hint="Run the command again. If it happens again, check on MiniMax's website that the account may use the portal.",
        )


class MinimaxDialect(StandardDialect):
    """The common part of the dialects: token replies."""

    def read_poll_reply(self, reply: HttpReply) -> Pending | TokenSet:
        response = MinimaxReply(reply)
        return response.pending() or response.token_set_in_any_unit()

    def read_token_reply(self, reply: HttpReply) -> TokenSet:
        return MinimaxReply(reply).succeeded().token_set_in_any_unit()


def with_audience(form: dict[str, str | Secret], server: OAuthServer) -> dict[str, str | Secret]:
    """Add the server's audience, if it has one."""
    return {**form, "audience": server.audience} if server.audience else form


def _number(value: JsonValue) -> int | None:
    """A status code as a number or a text of digits; None for anything else."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= _MAX_DIGITS:
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


USER_CODE_GRANT: Final = "urn:ietf:params:oauth:grant-type:user_code"
DEVICE_CODE_GRANT: Final = "urn:ietf:params:oauth:grant-type:device_code"


class UserCodeDialect(MinimaxDialect):
    """OpenClaw's client: `response_type=code` in the device request, MiniMax's own grant type in the poll."""

    name = USER_CODE
    poll_grant = USER_CODE_GRANT
    sends_response_type = True

    def device_request(self, server: OAuthServer, *, challenge: str, state: str) -> FormRequest:
        form: dict[str, str | Secret] = {"response_type": "code"} if self.sends_response_type else {}
        form |= {
            "client_id": server.client_id,
            "scope": server.scope,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
            "state": state,
        }
        return FormRequest(server.device_authorization_endpoint or "", with_audience(form, server), ACCEPT)

    def read_device_reply(self, reply: HttpReply, *, state: str) -> DeviceAuthorization:
        response = MinimaxReply(reply).succeeded()
        _check_echo(response, state)
        return response.user_code()

    def poll_request(self, server: OAuthServer, device: DeviceAuthorization, *, verifier: Secret) -> FormRequest:
        form: dict[str, str | Secret] = {
            "grant_type": self.poll_grant,
            "client_id": server.client_id,
            "user_code": device.user_code,
            "code_verifier": verifier,
        }
        return FormRequest(server.token_endpoint, form, ACCEPT)


class UserCodeRfc8628Dialect(UserCodeDialect):
    """MiniMax's CLI: no `response_type`, and RFC 8628's grant type with the user code."""

    name = USER_CODE_8628
    poll_grant = DEVICE_CODE_GRANT
    sends_response_type = False


def _check_echo(response: MinimaxReply, state: str) -> None:
    echoed = response.fields.get("state")
    # JSON can contain a lone surrogate, which UTF-8 cannot encode.
    if not isinstance(echoed, str) or not hmac.compare_digest(echoed.encode("utf-8", "surrogatepass"), state.encode()):
        raise StateMismatch(
            "MiniMax's reply does not belong to this sign-in.",
            why="its state is not the request's state",
            where=response.where,
            hint="Run the command again. If it happens again, a proxy changes MiniMax's replies: use another network.",
        )


class DeviceCodeDialect(MinimaxDialect):
    """MiniMax Code's client: no `state` and no `redirect_uri`."""

    name = DEVICE_CODE

    def device_request(self, server: OAuthServer, *, challenge: str, state: str) -> FormRequest:
        del state
        form: dict[str, str | Secret] = {
            "client_id": server.client_id,
            "scope": server.scope,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        return FormRequest(server.device_authorization_endpoint or "", with_audience(form, server), ACCEPT)

    def read_device_reply(self, reply: HttpReply, *, state: str) -> DeviceAuthorization:
        del state
        response = MinimaxReply(reply).succeeded()
        device_code = response.token("device_code")
        if device_code is None:
            return response.user_code()
        page = "verification_uri" if response.fields.get("verification_uri") else "verification_url"
        complete = response.fields.get("verification_uri_complete")
        return DeviceAuthorization(
            user_code=response.text("user_code", limit=64),
            verification_uri=response.page(page),
            verification_uri_complete=response.page("verification_uri_complete") if complete else None,
            expires_at=response.code_expires_at(),
            interval=response.interval(),
            device_code=device_code,
        )

    def poll_request(self, server: OAuthServer, device: DeviceAuthorization, *, verifier: Secret) -> FormRequest:
        code: dict[str, str | Secret] = (
            {"device_code": device.device_code} if device.device_code else {"user_code": device.user_code}
        )
        form = {"grant_type": DEVICE_CODE_GRANT, "client_id": server.client_id, **code, "code_verifier": verifier}
        return FormRequest(server.token_endpoint, form, ACCEPT)

    def refresh_request(self, server: OAuthServer, refresh: Secret) -> FormRequest:
        form: dict[str, str | Secret] = {
            "grant_type": "refresh_token",
            "refresh_token": refresh,
            "client_id": server.client_id,
        }
        if REQUIRED_SCOPE in server.scope.split():  # a refresh must not request other scopes (RFC 6749 section 6)
            form["scope"] = server.scope
        return FormRequest(server.token_endpoint, with_audience(form, server), ACCEPT)


DIALECTS: Final = (UserCodeDialect(), UserCodeRfc8628Dialect(), DeviceCodeDialect())
