"""What the author of a dialect reads a reply with: the rules of `portico.oauth.token_response`, as methods over one reply."""

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
    """One reply of an authorization server, read by the rules that hold for every server.

    Raises:
        OAuthError: `reply-unreadable`, transient, by whatever reads a field: the body is not one JSON object.
    """

    def __init__(self, reply: HttpReply) -> None:
        self.reply = reply

    @cached_property
    def fields(self) -> Mapping[str, JsonValue]:
        """The body as a JSON object, in which no sentence or URL repeats a secret of the request or of the reply."""
        return token_response.read_json_object(self.reply)

    @property
    def where(self) -> str:
        """The URL of the request without its query, for an error's `where`."""
        return without_query(self.reply.url)

    @property
    def holds_tokens(self) -> bool:
        """Whether it brings an access token with a status of success: it counts then, whatever stands beside it."""
        return token_response.holds_tokens(self.reply, self.fields)

    @property
    def retry_after(self) -> float | None:
        """Seconds of the `Retry-After` header, in either of its forms; None if there is none."""
        return token_errors.retry_after(self.reply)

    def token(self, name: str) -> Secret | None:
        """The token in field `name`; None if the field is absent, null or empty.

        Raises:
            OAuthError: `reply-invalid`: something else than a token stands there.
        """
        try:
            return token_response.read_token(self.fields, name)
        except ValueError as error:
            raise self.invalid(str(error)) from None

    def token_set(self, *, expiry_field: str = "expires_in", unit: Unit = "s", type_required: bool = True) -> TokenSet:
        """The token set of a successful token reply (RFC 6749 section 5.1).

        Args:
            expiry_field: the field that tells when the access token ends.
            unit: `s`: seconds from now. `ms`: milliseconds since the epoch. `auto`: by size, below 1e9 seconds from now, below
                1e12 seconds since the epoch, above it milliseconds. A moment is measured by the reply's `Date`.
            type_required: whether a missing `token_type` is noted in `TokenSet.unread`.

        Raises:
            OAuthError: `reply-invalid`: it holds no token. `reply-unreadable`, transient: it is somebody else's answer.
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
        """When a device code ends, wall ms; 900 seconds from now if the field is unusable. `unit` as for `token_set`."""
        clock = None if unit == "s" else token_response.server_clock(self.reply)
        return read_code_expiry(self.fields.get(name), self.reply.sent_at_ms, unit, server_now_ms=clock)

    def interval(
        self, *, default_s: float = DEFAULT_INTERVAL_S, per_second: float = 1.0, least_s: float = MIN_INTERVAL_S
    ) -> float:
        """Seconds between polls, from `least_s` to 60, by the field `interval`, of whose units `per_second` make a second."""
        return read_interval(self.fields.get("interval"), default_s=default_s, per_second=per_second, least_s=least_s)

    def error(self, fields: Mapping[str, JsonValue] | None = None) -> PorticoError:
        """The error that the reply stands for: `Denied`, `TimedOut` or `OAuthError`, by the words of RFC 6749 and RFC 8628.

        `fields` take the place of the reply's own if the server words its errors in another way.
        """
        return token_errors.oauth_error(self.reply, self.fields if fields is None else fields)

    def may_pass(self, *, named: bool) -> bool:
        """Whether a failure with this HTTP status may pass by itself, so that stored tokens stay as they are.

        `named`: the reply names what is wrong with the grant or the client.
        """
        return token_errors.may_pass(self.reply.status, named=named)

    def invalid(self, why: str) -> OAuthError:
        """The error for a reply that does not hold what it must. `why` names fields, never their values."""
        return token_errors.invalid(self.reply, why)
