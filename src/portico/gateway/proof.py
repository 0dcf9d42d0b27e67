"""How a gateway proves to programs of its own user that it is theirs.

What `/health` tells anybody, anybody can tell again once the gateway is dead and its port is free. So the asker sends a number of
its own, and believes only an answer made with the key in the gateway's private note.
"""

from __future__ import annotations

import hmac
import re
import secrets
from typing import Final

from portico.secret import Secret

_BYTES: Final = 32
# What is signed says what for, so that no other use of the key can be made to sign an answer.
_PURPOSE: Final = b"portico gateway health\0"
_CHALLENGE: Final = re.compile(r"[0-9a-f]{64}")


def new_key() -> Secret:
    """A key for one gateway process: 256 random bits."""
    return Secret(secrets.token_hex(_BYTES))


def new_challenge() -> str:
    """A number that is asked once: 256 random bits, in hexadecimal digits."""
    return secrets.token_hex(_BYTES)


def is_challenge(text: str) -> bool:
    """Whether `text` is of the form that gets an answer."""
    return _CHALLENGE.fullmatch(text) is not None


def prove(key: Secret, challenge: str) -> str:
    """The answer to `challenge` that only a holder of `key` can give: HMAC-SHA-256 (RFC 2104), in hexadecimal digits."""
    return hmac.new(key.reveal().encode(), _PURPOSE + challenge.encode(), "sha256").hexdigest()


def is_proof(key: Secret, challenge: str, proof: object) -> bool:
    """Whether `proof` answers `challenge`; compared in constant time."""
    return isinstance(proof, str) and hmac.compare_digest(prove(key, challenge).encode(), proof.encode(errors="replace"))
