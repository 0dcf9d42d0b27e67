"""A value that must not be shown, and the redaction of text that may hold one.

A token, a code, a verifier, a passphrase or a key is a `Secret` from the moment it enters the program; `reveal()` is the only way
out of it, so that a review of every exposure is a search for one word.
"""

from __future__ import annotations

import hmac
from typing import Final, NoReturn, SupportsIndex

REDACTED: Final = "[redacted]"

# Over-redaction can be undone by the reader; a leaked secret cannot. Field names first, then shapes that are tokens on sight.
_FIELD = (
    r"(?i)(\b(?:access|refresh|id|bearer|api|device|user|client)?[_-]?"
    r"(?:token|secret|password|passphrase|code_verifier|device_code|api[_-]?key|authorization|code|state|verifier|key)"
    r"[\"']?\s*[=:]\s*[\"']?(?:bearer\s+|basic\s+)?)([^\s\"'&,;}]{4,})"
)
_SHAPE = r"\b(?:mmo?[a-z]{0,2}t_|sk-|ory_|gh[opsu]_|eyJ)[A-Za-z0-9._~+/=-]{8,}"
_BEARER = r"(?i)(\bbearer\s+)[A-Za-z0-9._~+/=-]{4,}"


class Secret:
    """Text whose `str`, `repr`, `format` and pickling never show it.

    Equality is constant-time in the content. A `Secret` is unhashable, so it cannot become a dictionary key that a dump
    would print.
    """

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The text itself: for the wire, the vault and the one command made to print it."""
        return self._value

    def __repr__(self) -> str:
        return f"Secret({REDACTED})"

    def __str__(self) -> str:
        return REDACTED

    def __format__(self, spec: str) -> str:
        return format(REDACTED, spec)

    def __bool__(self) -> bool:
        return bool(self._value)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._value.encode(), other._value.encode())

    __hash__ = None  # type: ignore[assignment]  # a Secret as a key would show up in every dump of the mapping

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        raise TypeError("a Secret cannot be pickled or copied")


def redact(text: str, *known: Secret) -> str:
    """`text` without the `known` secrets and without anything that looks like a credential."""
    import re

    for secret in known:
        if secret:
            text = text.replace(secret.reveal(), REDACTED)
    text = re.sub(_FIELD, rf"\1{REDACTED}", text)
    text = re.sub(_BEARER, rf"\1{REDACTED}", text)
    return re.sub(_SHAPE, REDACTED, text)
