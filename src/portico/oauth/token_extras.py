"""What some token replies tell beyond RFC 6749: when the refresh token ends, and whose account it is.

None of it is needed, so a field that cannot be read says nothing; it never spoils the tokens beside it.
"""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from portico.interfaces.basics import JsonValue

# Keycloak's name for it, and that of GitHub and Microsoft Entra; both are seconds from now.
_REFRESH_LIFETIMES: Final = ("refresh_expires_in", "refresh_token_expires_in")
_LONGEST_S: Final = 10 * 365 * 86_400
_LONGEST_SUBJECT: Final = 255
_PARTS_OF_A_JWT: Final = 3
_LONGEST_JWT: Final = 64 * 1024


def refresh_token_end(fields: Mapping[str, JsonValue], now_ms: int) -> int | None:
    """When the refresh token ends (wall ms); None where the reply does not tell, or says 0, as Keycloak does for "never"."""
    for name in _REFRESH_LIFETIMES:
        value = fields.get(name)
        if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value <= _LONGEST_S:
            return now_ms + int(value * 1000)
    return None


def subject_of(fields: Mapping[str, JsonValue]) -> str | None:
    """The account's `sub` from the reply's ID token; None where there is none.

    The signature is not checked: the token came from the token endpoint itself, over TLS (OpenID Connect Core section 3.1.3.7,
    item 6), and only tells one account of one issuer from another.
    """
    parts = parts_of_jwt(str(fields.get("id_token")))
    subject = parts[1].get("sub") if parts is not None else None
    if not isinstance(subject, str) or not 0 < len(subject) <= _LONGEST_SUBJECT or not subject.isprintable():
        return None
    return subject


def parts_of_jwt(token: str) -> tuple[dict[str, JsonValue], dict[str, JsonValue]] | None:
    """Header and claims of a signed JSON Web Token (RFC 7519); None where it is none. The signature is not looked at."""
    parts = token.split(".")
    if len(parts) != _PARTS_OF_A_JWT or len(token) > _LONGEST_JWT:
        return None
    try:
        header, claims = (json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))) for part in parts[:2])
    except (ValueError, RecursionError):
        return None
    return (header, claims) if isinstance(header, dict) and isinstance(claims, dict) else None
