"""MiniMax's own `mmx`: the key `oauth` of its `config.json` (mmx-cli 1.0.27)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from portico.auth.importers.found import FoundCredential, Importer, end_of, place, section, text, tokens

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from portico.config.document import Document

_CLIENT: Final = "659cf4c1-615c-45f6-a5f6-4bf15eb476e5"


def _places(env: Mapping[str, str], home: Path) -> tuple[Path, ...]:
    return ((place(env.get("MMX_CONFIG_DIR")) or home / ".mmx") / "config.json",)


def _read(document: Document, _beside: Document | None) -> tuple[FoundCredential, ...]:
    oauth = section(document.value(), "oauth")
    if not oauth:
        return ()
    access, refresh = tokens(oauth, "access_token", "refresh_token")
    credential = FoundCredential(
        ("oauth",),
        _CLIENT,
        access,
        refresh,
        end_of(oauth, "expires_at"),
        region=text(oauth, "region"),
        api_url=text(oauth, "resource_url"),
    )
    return (credential,)


MMX: Final = Importer(
    name="mmx",
    label="mmx",
    expected="`oauth` with access_token, refresh_token, expires_at and region (a sign-in by API key has none)",
    places=_places,
    read=_read,
)
