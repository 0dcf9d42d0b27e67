"""opencode: its `auth.json` (packages/opencode/src/auth), as MiniMax's plugins for it write it.

Those are anomalyco/opencode#27011 and #27460; neither is part of opencode itself so far.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from portico.auth.importers.found import FoundCredential, Importer, end_of, place, section, text, tokens

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from portico.config.document import Document

_CLIENT: Final = "d38bdbee-2b8c-4c74-9a9c-5875fabe6317"
_REGIONS: Final[Mapping[str, str]] = MappingProxyType({"minimax-coding-plan": "global", "minimax-cn-coding-plan": "cn"})


def _places(env: Mapping[str, str], home: Path) -> tuple[Path, ...]:
    data = place(env.get("XDG_DATA_HOME")) or home / ".local" / "share"
    return (data / "opencode" / "auth.json",)


def _read(document: Document, _beside: Document | None) -> tuple[FoundCredential, ...]:
    whole, found = document.value(), []
    for provider, region in _REGIONS.items():
        entry = section(whole, provider)
        if entry.get("type") != "oauth":
            continue
        access, refresh = tokens(entry, "access", "refresh")
        ends, api_url = end_of(entry, "expires"), text(entry, "enterpriseUrl")
        found.append(FoundCredential((provider,), _CLIENT, access, refresh, ends, region=region, api_url=api_url))
    return tuple(found)


OPENCODE: Final = Importer(
    name="opencode",
    label="opencode",
    expected="`minimax-coding-plan` or `minimax-cn-coding-plan` of type oauth: access, refresh, expires",
    places=_places,
    read=_read,
)
