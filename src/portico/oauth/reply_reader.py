"""`ReplyReader`, for authors of dialects: the rules of `portico.oauth.token_response` as methods of one reply."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from portico.oauth import token_errors, token_response
from portico.oauth.standard import DEFAULT_INTERVAL_S, MIN_INTERVAL_S, read_code_expiry, read_interval
from portico.urls import without_query

if TYPE_CHECKING:
    from collections.abc import Mapping

    from portico.errors import OAuthError, PorticoError
    from portico.interfaces.authorization import HttpReply, TokenSet
    from portico.interfaces.basics import JsonValue
    from portico.oauth.token_response import Unit
    from portico.secret import Secret


class ReplyReader:
    """Reads one reply of an authorization server.

    Raises:
        OAuthError: `reply-unreadable`, transient, by each member that reads a field: the body is not one JSON object.
    """

    def __init__(self, reply: HttpReply) -> None:
        self.reply = reply

    @cached_property
    def fields(self) -> Mapping[str, JsonValue]:
        """The body as a JSON object. Secrets of the request and the reply are removed from its texts and URLs."""
        return token_response.read_json_object(self.reply)

    @property
    def where(self) -> str:
        """The URL of the request without its query, for an error's `where`."""
        return without_query(self.reply.url)

    @property
    def holds_tokens(self) -> bool:
        """Whether the reply has a success status and an access token; its other fields then do not matter."""
        return token_response.holds_tokens(self.reply, self.fields)

    @property
    def retry_after(self) -> float | None:
        """Seconds of the `Retry-After` header, in either of its forms; None if there is none."""
        return token_errors.retry_after(self.reply)

    def token(self, name: str) -> Secret | None:
        """The token in field `name`; None if the field is absent, null or empty.

        Raises:
            OAuthError: `reply-invalid`: the value is not a token.
        """
        try:
            return token_response.read_token(self.fields, name)
        except ValueError as error:
            raise self.invalid(str(error)) from None

    def token_set(self, *, expiry_field: str = "expires_in", unit: Unit = "s", type_required: bool = True) -> TokenSet:
        """The token set of a successful token reply (RFC 6749 section 5.1).

        Args:
            expiry_field: the field with the access token's lifetime or expiry.
            unit: `s`: seconds from now. `ms`: milliseconds since the epoch. `auto`: below 1e9 seconds from now, below 1e12
                seconds since the epoch, else milliseconds since the epoch. An expiry is compared with the reply's `Date`.
            type_required: whether a missing `token_type` is noted in `TokenSet.unread`.

        Raises:
            OAuthError: `reply-invalid`: the reply has no token. `reply-unreadable`, transient: the reply is not from an
                authorization server.
        """
        return token_response.read_token_fields(
            self.reply, self.fields, expiry_field=expiry_field, unit=unit, type_required=type_required
        )

    def grant(self, *, expiry_field: str = "expires_in", unit: Unit = "s", type_required: bool = True) -> TokenSet:
        """The name of `token_set` in 0.6."""
        import warnings

        warnings.warn("ReplyReader.grant goes with 1.0; use ReplyReader.token_set", DeprecationWarning, stacklevel=2)
        return self.token_set(expiry_field=expiry_field, unit=unit, type_required=type_required)

    def code_expiry(self, name: str = "expires_in", unit: Unit = "s") -> int:
        """The expiry of a device code (ms epoch); 900 seconds from now if the field is unusable. `unit`: as in `token_set`."""
        clock = None if unit == "s" else token_response.server_clock(self.reply)
        return read_code_expiry(self.fields.get(name), self.reply.sent_at_ms, unit, server_now_ms=clock)

    def interval(
        self, *, default_s: float = DEFAULT_INTERVAL_S, per_second: float = 1.0, least_s: float = MIN_INTERVAL_S
    ) -> float:
        """Seconds between polls, from `least_s` to 60, from the field `interval`. `per_second`: 1000 for milliseconds."""
        return read_interval(self.fields.get("interval"), default_s=default_s, per_second=per_second, least_s=least_s)

    def error(self, fields: Mapping[str, JsonValue] | None = None) -> PorticoError:
        """The reply's error: `Denied`, `TimedOut` or `OAuthError`, by the codes of RFC 6749 and RFC 8628.

        `fields` replace the reply's own fields, for a server with other error fields.
        """
        return token_errors.oauth_error(self.reply, self.fields if fields is None else fields)

    def may_pass(self, *, named: bool) -> bool:
        """Whether a failure with this HTTP status is temporary, so that stored tokens stay unchanged.

        `named`: the reply has a known error code.
        """
        return token_errors.may_pass(self.reply.status, named=named)

    def invalid(self, why: str) -> OAuthError:
        """The error for a reply with a missing or invalid field. `why` names fields, never their values."""
        return token_errors.invalid(self.reply, why)
