"""Check an authorization response before it is used (RFC 6749 section 4.1.2, RFC 9207).

The checks are the same for a request to the callback server and for a pasted URL. The state is checked first. A request without
the right state may come from anywhere, and changes nothing (CVE-2026-42073). A response with the right state comes from the
server. If such a response is unusable, the sign-in ends, because no other response will follow.

Authlib's `parse_authorization_code_response` is not used, for three reasons. It takes the last of duplicate parameters, which
RFC 6749 section 3.1 forbids. It reports an error as a missing code (section 4.1.2.1) before it checks the state. It ignores
`iss` (RFC 9207). A test checks that it reads the same code from every accepted response.
"""

from __future__ import annotations

import hmac
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final, NamedTuple
from urllib.parse import unquote_plus

from portico.errors import OAuthError
from portico.oauth.token_errors import error_for
from portico.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Sequence

    from portico.errors import PorticoError
    from portico.interfaces.authorization import OAuthServer

# The parameters that this client reads; all others are ignored (RFC 6749 section 4.1.2).
_KNOWN_PARAMETERS: Final = frozenset({"code", "state", "iss", "error"})
_MAX_PARAMETERS: Final = 64
_MAX_CODE_LENGTH: Final = 8 * 1024
_BAD_ESCAPE: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")


class UnrelatedResponse(ValueError):
    """The response does not belong to this sign-in. `reason` is one of a fixed set and contains no received text."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class CallbackRefused(OAuthError):
    """The response belongs to this sign-in but is unusable. `reason` is one of a fixed set."""

    id = "callback-invalid"
    summary: ClassVar = "The server's response to the sign-in is invalid."
    advice: ClassVar = (
        "Run the command again. If it happens again, the server does not follow the OAuth standard: try `--flow device`."
    )

    def __init__(self, reason: str, why: str, *, hint: str | None = None) -> None:
        super().__init__(self.summary, why=why, hint=hint or self.advice)
        self.reason = reason


class IssuerMismatch(CallbackRefused):
    """The response is from another server, or does not name its server (RFC 9207 section 2.4)."""

    summary = "The response to the sign-in does not come from the expected server, so it was not used."


class Parameters(NamedTuple):
    """The parameters of a response. `fault` names the malformed parameter, if there is one."""

    pairs: Sequence[tuple[str, str]]
    fault: str | None = None


@dataclass(frozen=True, slots=True)
class ExpectedResponse:
    """The values that a response must match."""

    state: Secret
    issuer: str
    iss_required: bool

    @classmethod
    def for_server(cls, server: OAuthServer, state: Secret) -> ExpectedResponse:
        return cls(state=state, issuer=server.issuer, iss_required=server.iss_advertised)

    def read(self, parameters: Parameters) -> Secret | PorticoError:
        """Return the code; or the error that ends the sign-in, from the server or for an invalid response.

        Raises:
            UnrelatedResponse: the response does not belong to this sign-in.
        """
        self.check_state(parameters)
        try:
            fields = _unique_parameters(parameters)
            self._check_issuer(fields.get("iss"))
            return self._code_or_error(fields)
        except CallbackRefused as error:
            return error

    def check_state(self, parameters: Parameters) -> None:
        """Check that each `state` of a response is equal to the sign-in's state.

        Raises:
            UnrelatedResponse: the response has no state, or a wrong state.
        """
        states = [value for name, value in parameters.pairs if name == "state"]
        if not any(states):
            raise UnrelatedResponse("state-missing")
        expected = self.state.reveal().encode()
        matches = [hmac.compare_digest(state.encode("utf-8", "surrogatepass"), expected) for state in states]
        if not all(matches):
            raise UnrelatedResponse("state-mismatch")

    def _check_issuer(self, issuer: str | None) -> None:
        # RFC 9207 section 2.4: simple string comparison, also for error responses.
        if issuer is None:
            if self.iss_required:
                raise IssuerMismatch("iss-missing", "it has no `iss`, although the server announces `iss` in its responses")
        elif issuer != self.issuer:
            hint = "Correct `issuer` in the provider's settings: `{prog} config edit`. Then run the command again."
            raise IssuerMismatch("iss-mismatch", "its `iss` is another issuer", hint=hint)

    def _code_or_error(self, fields: dict[str, str]) -> Secret | PorticoError:
        code, error = fields.get("code"), fields.get("error")
        if code is not None and error is not None:
            raise CallbackRefused("code-and-error", "it has both a code and an error")
        if error:
            return error_for(error, description=fields.get("error_description"), known=(self.state,))
        if code is None and error is None:
            raise CallbackRefused("neither-code-nor-error", "it has neither a code nor an error")
        if not code:
            raise CallbackRefused("empty-parameter", "its code or its error is empty")
        if len(code) > _MAX_CODE_LENGTH:
            raise CallbackRefused("code-too-long", f"its code has more than {_MAX_CODE_LENGTH} characters")
        return Secret(code)


def read_parameters(encoded: str) -> Parameters:
    """Parse a query or a form body (`application/x-www-form-urlencoded`, UTF-8), even if it is malformed."""
    pairs: list[tuple[str, str]] = []
    fault = None
    for part in filter(None, encoded.split("&")):
        name, _, value = part.partition("=")
        pairs.append((unquote_plus(name, errors="replace"), unquote_plus(value, errors="replace")))
        if pairs[-1][0] in _KNOWN_PARAMETERS and _is_malformed(part):
            fault = fault or f"its `{pairs[-1][0]}` is malformed"
    if len(pairs) > _MAX_PARAMETERS:
        fault = fault or f"it has {len(pairs)} parameters"
    return Parameters(pairs, fault)


def _is_malformed(part: str) -> bool:
    if not part.isascii() or _BAD_ESCAPE.search(part):
        return True
    try:
        return _CONTROL.search(unquote_plus(part, errors="strict")) is not None
    except UnicodeDecodeError:
        return True


def read_pasted(text: str, redirect_uri: str) -> Parameters:
    """Parse a redirect URL that the user pasted.

    Raises:
        UnrelatedResponse: the text is not a URL at this sign-in's redirect URI. A code alone has no state, so it is refused.
    """
    base, separator, query = text.strip().partition("?")
    if base != redirect_uri or not separator:
        raise UnrelatedResponse("pasted-text-is-not-the-redirect-url")
    return read_parameters(query.partition("#")[0])


def _unique_parameters(parameters: Parameters) -> dict[str, str]:
    if parameters.fault is not None:
        raise CallbackRefused("malformed-parameters", parameters.fault)
    fields: dict[str, str] = {}
    for name, value in parameters.pairs:
        if name in _KNOWN_PARAMETERS and name in fields:
            raise CallbackRefused("duplicate-parameter", f"it has `{name}` twice")
        fields[name] = value
    return fields
