"""The checks that an authorization response passes before a byte of it is used (RFC 6749 section 4.1.2, RFC 9207).

The same checks hold for a request to the callback server and for a URL that the user pasted.
"""

from __future__ import annotations

import hmac
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl

from portico.oauth.token_errors import error_for
from portico.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from portico.contracts import OAuthServer
    from portico.errors import PorticoError

_ONCE: Final = frozenset({"code", "state", "iss", "error"})
_MAX_PARAMETERS: Final = 64
_BAD_ESCAPE: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")


class UnfitResponse(ValueError):
    """The response is not the answer to this sign-in. `reason` is one of a fixed few and holds no received text."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class ExpectedAnswer:
    """What the answer must match."""

    state: Secret
    issuer: str
    iss_required: bool

    @classmethod
    def for_server(cls, server: OAuthServer, state: Secret) -> ExpectedAnswer:
        return cls(state=state, issuer=server.issuer, iss_required=server.iss_advertised)

    def read(self, parameters: Sequence[tuple[str, str]]) -> Secret | PorticoError:
        """The code, or the error that the server reports.

        The state comes first: until it matches, nothing else in the request means anything (CVE-2026-42073).

        Raises:
            UnfitResponse: this is not the answer.
        """
        fields = _single(parameters)
        self._check_state(fields.get("state"))
        self._check_issuer(fields.get("iss"))
        code, error = fields.get("code"), fields.get("error")
        if (code is None) == (error is None):
            raise UnfitResponse("neither-code-nor-error" if code is None else "code-and-error")
        if code == "" or error == "":
            raise UnfitResponse("empty-parameter")
        if code is not None:
            return Secret(code)
        return error_for(error or "", description=fields.get("error_description"))

    def _check_state(self, state: str | None) -> None:
        if not state:
            raise UnfitResponse("state-missing")
        if not hmac.compare_digest(state.encode(), self.state.reveal().encode()):
            raise UnfitResponse("state-mismatch")

    def _check_issuer(self, issuer: str | None) -> None:
        # RFC 9207 section 2.4: simple string comparison, on error responses too.
        if issuer is None:
            if self.iss_required:
                raise UnfitResponse("iss-missing")
        elif issuer != self.issuer:
            raise UnfitResponse("iss-mismatch")


def read_parameters(encoded: str) -> list[tuple[str, str]]:
    """The parameters of a query or a form body (`application/x-www-form-urlencoded`, UTF-8).

    Raises:
        UnfitResponse: it is malformed, or has more parameters than any answer.
    """
    if not encoded.isascii() or _BAD_ESCAPE.search(encoded):
        raise UnfitResponse("malformed-parameters")
    try:
        pairs = parse_qsl(encoded, keep_blank_values=True, errors="strict", max_num_fields=_MAX_PARAMETERS)
    except ValueError:
        raise UnfitResponse("malformed-parameters") from None
    if any(_CONTROL.search(text) for pair in pairs for text in pair):
        raise UnfitResponse("malformed-parameters")
    return pairs


def read_pasted(text: str, redirect_uri: str) -> list[tuple[str, str]]:
    """The parameters of a redirect URL that the user pasted.

    Raises:
        UnfitResponse: it is not a URL at this sign-in's own redirect URI. A bare code has no state and is not taken.
    """
    place, mark, query = text.strip().partition("?")
    if place != redirect_uri or not mark:
        raise UnfitResponse("pasted-text-is-not-the-redirect-url")
    return read_parameters(query.partition("#")[0])


def _single(parameters: Iterable[tuple[str, str]]) -> dict[str, str]:
    fields: dict[str, str] = {}
    for name, value in parameters:
        if name in _ONCE and name in fields:
            raise UnfitResponse("duplicate-parameter")
        fields[name] = value
    return fields
