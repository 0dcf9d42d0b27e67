"""How many connections a gateway may have at once: as many as the system gives it descriptors for."""

from __future__ import annotations

import contextlib
import sys
from typing import Final

# A connection to a client, one to a provider, and some room for both to be opened and closed at once.
_EACH: Final = 3
_OWN: Final = 64
_WANTED: Final = 8192
_ON_WINDOWS: Final = 512
_MOST: Final = 2048

if sys.platform == "win32":

    def most_connections() -> int:
        """How many clients may be connected."""
        return min(_MOST, _ON_WINDOWS)
else:
    import resource

    def most_connections() -> int:
        """How many clients may be connected; the process's limit of descriptors is raised first, as far as the system allows."""
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = _WANTED if hard == resource.RLIM_INFINITY else min(_WANTED, hard)
        if soft != resource.RLIM_INFINITY and soft < wanted:
            with contextlib.suppress(OSError, ValueError):
                resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
                soft = wanted
        given = _WANTED if soft == resource.RLIM_INFINITY else soft
        return max(1, min(_MOST, (given - _OWN) // _EACH))
