"""Hermes Agent: `providers.minimax-oauth` of its `auth.json`, and its pool of credentials in the same file.

NousResearch/hermes-agent: hermes_cli/auth_minimax.py; agent/credential_pool.py and hermes_cli/auth_commands.py for the pool.
Hermes refreshes `providers` alone, and each sign-in of its own goes there; what the pool has besides is a snapshot of it (source
`oauth`) or of an earlier one (`manual:minimax_oauth`), whose refresh token may be spent: presenting it would end both. So beside
a sign-in in `providers` the pool's entries are copies to be taken out, or left alone; without one they are all there is.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from portico.auth.importers.found import FoundCredential, Importer, end_of, place, section, text, tokens

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from portico.config.document import ConfigPath, Document
    from portico.interfaces.basics import JsonValue

_PROVIDER: Final = "minimax-oauth"
_POOL: Final = "credential_pool"
_SNAPSHOT: Final = "oauth"
# Its sign-in for MiniMax borrows OpenClaw's client, and the pool does not repeat that.
_CLIENT: Final = "78257093-7e40-4613-99e0-527b14b39113"


def _places(env: Mapping[str, str], home: Path) -> tuple[Path, ...]:
    return ((place(env.get("HERMES_HOME")) or home / ".hermes") / "auth.json",)


def _read(document: Document, _beside: Document | None) -> tuple[FoundCredential, ...]:
    whole = document.value()
    own = _of_provider(whole)
    if own is None:
        return tuple(_of_pool(whole))
    return (replace(own, copies=tuple(_copies(whole, own))),)


def _of_provider(whole: JsonValue) -> FoundCredential | None:
    state = section(section(whole, "providers"), _PROVIDER)
    if not state or not state.get("access_token"):
        return None  # Hermes empties a sign-in whose refresh was refused, and keeps the rest of it
    access, refresh = tokens(state, "access_token", "refresh_token")
    client_id = text(state, "client_id")
    if client_id is None:
        raise ValueError("client_id is missing")
    return FoundCredential(
        ("providers", _PROVIDER),
        client_id,
        access,
        refresh,
        end_of(state, "expires_at"),
        region=text(state, "region"),
        api_url=text(state, "resource_url") or text(state, "inference_base_url"),
        portal_url=text(state, "portal_base_url"),
    )


def _copies(whole: JsonValue, own: FoundCredential) -> Iterator[ConfigPath]:
    """The places in the pool that hold the same tokens, or are the pool's snapshot of the same sign-in."""
    pool = whole.get(_POOL) if isinstance(whole, dict) else None
    entries = pool.get(_PROVIDER) if isinstance(pool, dict) else None
    for index, entry in enumerate(entries if isinstance(entries, list) else ()):
        if not isinstance(entry, dict):
            continue
        refresh = own.refresh.reveal() if own.refresh is not None else None
        same = entry.get("access_token") == own.access.reveal() or (refresh is not None and entry.get("refresh_token") == refresh)
        if same or entry.get("source") == _SNAPSHOT:
            yield (_POOL, _PROVIDER, index)


def _of_pool(whole: JsonValue) -> Iterator[FoundCredential]:
    entries = section(whole, _POOL).get(_PROVIDER)
    if entries is not None and not isinstance(entries, list):
        raise ValueError(f"{_POOL}.{_PROVIDER} is not an array")
    for index, entry in enumerate(entries or []):
        if not isinstance(entry, dict):
            raise ValueError(f"{_POOL}.{_PROVIDER}[{index}] is not an object")  # noqa: TRY004 - one error for every unusable file
        if entry.get("auth_type") != "oauth" or not entry.get("access_token") or entry.get("last_status") == "dead":
            continue
        if entry.get("source") == _SNAPSHOT:
            continue
        access, refresh = tokens(entry, "access_token", "refresh_token")
        ends = end_of(entry, "expires_at_ms") or end_of(entry, "expires_at")
        yield FoundCredential(
            (_POOL, _PROVIDER, index),
            text(entry, "client_id") or _CLIENT,
            access,
            refresh,
            ends,
            api_url=text(entry, "base_url"),
            mark=text(entry, "id"),
        )


HERMES: Final = Importer(
    name="hermes",
    label="Hermes Agent",
    expected=f"`providers.{_PROVIDER}` with access_token, refresh_token, expires_at, client_id and region, or a pool of such",
    places=_places,
    read=_read,
    lock="flock",
)
