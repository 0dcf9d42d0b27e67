"""One-time values of a sign-in: the PKCE verifier with its challenge (RFC 7636) and the state (RFC 6749 section 10.12).

All of them come from the operating system's randomness; the `random` module's seed has no say.
"""

from __future__ import annotations

import secrets
from typing import Final

from authlib.oauth2.rfc7636 import create_s256_code_challenge

from portico.secret import Secret

METHOD: Final = "S256"
_ENTROPY_BYTES: Final = 32


def new_verifier() -> Secret:
    """A fresh code verifier: 43 characters, 256 bits (RFC 7636 section 4.1)."""
    return Secret(secrets.token_urlsafe(_ENTROPY_BYTES))


def new_state() -> Secret:
    """A fresh state: 256 bits that bind the answer to this request."""
    return Secret(secrets.token_urlsafe(_ENTROPY_BYTES))


def new_nonce() -> Secret:
    """A fresh nonce: 256 bits that bind an ID token to this request (OpenID Connect Core section 15.5.2)."""
    return Secret(secrets.token_urlsafe(_ENTROPY_BYTES))


def challenge_of(verifier: Secret) -> str:
    """The S256 code challenge of `verifier` (RFC 7636 section 4.2)."""
    return str(create_s256_code_challenge(verifier.reveal()))  # type: ignore[no-untyped-call]  # its stubs name no types
