"""Hermes Agent: `providers.minimax-oauth` of its `auth.json` (NousResearch/hermes-agent, hermes_cli/auth_minimax.py)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from portico.auth.importers.found import FoundCredential, Importer, end_of, section, text, tokens

if TYPE_CHECKING:
    from collections.abc import Mapping

    from portico.config.document import Document

_PROVIDER: Final = "minimax-oauth"


def _places(env: Mapping[str, str], home: Path) -> tuple[Path, ...]:
    return (Path(env.get("HERMES_HOME") or home / ".hermes").expanduser() / "auth.json",)


def _read(document: Document, _beside: Document | None) -> tuple[FoundCredential, ...]:
    state = section(section(document.value(), "providers"), _PROVIDER)
    if not state or not state.get("access_token"):
        return ()  # Hermes empties a sign-in whose refresh was refused, and keeps the rest of it
    access, refresh = tokens(state, "access_token", "refresh_token")
    client_id = text(state, "client_id")
    if client_id is None:
        raise ValueError("client_id is missing")
    credential = FoundCredential(
        ("providers", _PROVIDER),
        client_id,
        access,
        refresh,
        end_of(state, "expires_at"),
        region=text(state, "region"),
        api_url=text(state, "resource_url") or text(state, "inference_base_url"),
        portal_url=text(state, "portal_base_url"),
    )
    return (credential,)


HERMES: Final = Importer(
    name="hermes",
    label="Hermes Agent",
    expected=f"`providers.{_PROVIDER}` with access_token, refresh_token, expires_at, client_id and region",
    places=_places,
    read=_read,
    lock="flock",
)
