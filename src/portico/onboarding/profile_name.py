"""The names of sign-ins: `provider:name`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from portico.errors import UsageError
from portico.store.token_store import LONGEST_ID

if TYPE_CHECKING:
    from portico.onboarding.workbench import Workbench

_NAME: Final = re.compile(r"[A-Za-z0-9._@:+-]+")


def profile_named(bench: Workbench, asked: str, provider: str) -> str:
    """The id of the profile that `asked` names: with the provider before it, unless it has one or is an id that exists.

    Raises:
        UsageError: `bad-profile-name`: a character that is no part of names, which would have to be quoted everywhere.
    """
    exists = any(profile.id == asked for profile in bench.token_store.profiles())
    id = asked if ":" in asked or exists else f"{provider}:{asked}"
    if _NAME.fullmatch(asked) is None or len(id) > LONGEST_ID:
        why = f"a name has letters, digits and . _ @ : + - only, at most {LONGEST_ID} of them with the provider's"
        raise UsageError("bad-profile-name", "This is no name for a sign-in.", why=why, hint="Choose another: --profile NAME")
    return id
