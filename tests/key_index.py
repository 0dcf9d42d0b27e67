"""The index of the gateway keys, as a test looks at it or writes into it."""

from __future__ import annotations

from portico.gateway.keys import KeyPaths
from portico.store.profiles import ProfileIndex


def key_index(paths) -> ProfileIndex:
    return ProfileIndex(KeyPaths.of(paths))
