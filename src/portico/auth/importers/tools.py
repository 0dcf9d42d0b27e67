"""The tools whose accounts can be imported, in the order of the search, and the format of their tokens.

- MiniMax's own `mmx`: the key `oauth` of its `config.json` (mmx-cli 1.0.27).
- opencode: its `auth.json` (packages/opencode/src/auth), as MiniMax's plugins for opencode write it
  (anomalyco/opencode#27011 and #27460; neither is part of opencode so far).
- Hermes Agent: `providers.minimax-oauth` of its `auth.json`, and its pool of credentials in the same file
  (NousResearch/hermes-agent: hermes_cli/auth_minimax.py; agent/credential_pool.py and hermes_cli/auth_commands.py for the
  pool). Hermes refreshes only the tokens in `providers`. The pool has snapshots of these tokens (source `oauth`) or of earlier
  tokens (`manual:minimax_oauth`). A snapshot's refresh token may be spent, and sending it would end both accounts. So if
  `providers` has an account, the pool's entries are treated as its copies; otherwise they are read.
- OpenClaw: see `openclaw.py`.
"""

from __future__ import annotations

import os
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from portico.auth.importers.found import FoundCredential, Importer, read_expiry, read_object, read_text, read_tokens, setting_path
from portico.auth.importers.openclaw import OPENCLAW

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from portico.config.document import ConfigPath, Document
    from portico.interfaces.basics import JsonValue

_PROVIDER: Final = "minimax-oauth"
_POOL: Final = "credential_pool"
_SNAPSHOT: Final = "oauth"
# Hermes uses OpenClaw's client for MiniMax; the pool's entries do not name it.
_HERMES_CLIENT: Final = "78257093-7e40-4613-99e0-527b14b39113"


def _hermes_paths(env: Mapping[str, str], home: Path) -> tuple[Path, ...]:
    return ((setting_path(env.get("HERMES_HOME")) or home / ".hermes") / "auth.json",)


def _read_hermes(document: Document, _related: Document | None) -> tuple[FoundCredential, ...]:
    data = document.value()
    credential = _provider_credential(data)
    if credential is None:
        return tuple(_pool_credentials(data))
    return (replace(credential, copy_locations=tuple(_copy_locations(data, credential))),)


def _provider_credential(data: JsonValue) -> FoundCredential | None:
    state = read_object(read_object(data, "providers"), _PROVIDER)
    if not state or not state.get("access_token"):
        return None  # Hermes removes only the tokens of an account with a rejected refresh token
    access, refresh = read_tokens(state, "access_token", "refresh_token")
    client_id = read_text(state, "client_id")
    if client_id is None:
        raise ValueError("client_id is missing")
    return FoundCredential(
        ("providers", _PROVIDER),
        client_id,
        access,
        refresh,
        read_expiry(state, "expires_at"),
        region=read_text(state, "region"),
        api_url=read_text(state, "resource_url") or read_text(state, "inference_base_url"),
        portal_url=read_text(state, "portal_base_url"),
    )


def _copy_locations(data: JsonValue, credential: FoundCredential) -> Iterator[ConfigPath]:
    """Yield the positions in the pool of the same tokens, or of a snapshot of the same account."""
    pool = data.get(_POOL) if isinstance(data, dict) else None
    entries = pool.get(_PROVIDER) if isinstance(pool, dict) else None
    for index, entry in enumerate(entries if isinstance(entries, list) else ()):
        if not isinstance(entry, dict):
            continue
        refresh = credential.refresh.reveal() if credential.refresh is not None else None
        has_same_token = entry.get("access_token") == credential.access.reveal() or (
            refresh is not None and entry.get("refresh_token") == refresh
        )
        if has_same_token or entry.get("source") == _SNAPSHOT:
            yield (_POOL, _PROVIDER, index)


def _pool_credentials(data: JsonValue) -> Iterator[FoundCredential]:
    entries = read_object(data, _POOL).get(_PROVIDER)
    if entries is not None and not isinstance(entries, list):
        raise ValueError(f"{_POOL}.{_PROVIDER} is not an array")
    for index, entry in enumerate(entries or []):
        if not isinstance(entry, dict):
            raise ValueError(f"{_POOL}.{_PROVIDER}[{index}] is not an object")  # noqa: TRY004 - every fault of a file raises the same error
        if entry.get("auth_type") != "oauth" or not entry.get("access_token") or entry.get("last_status") == "dead":
            continue
        if entry.get("source") == _SNAPSHOT:
            continue
        access, refresh = read_tokens(entry, "access_token", "refresh_token")
        expires_at = read_expiry(entry, "expires_at_ms") or read_expiry(entry, "expires_at")
        yield FoundCredential(
            (_POOL, _PROVIDER, index),
            read_text(entry, "client_id") or _HERMES_CLIENT,
            access,
            refresh,
            expires_at,
            api_url=read_text(entry, "base_url"),
            entry_id=read_text(entry, "id"),
        )


HERMES: Final = Importer(
    name="hermes",
    label="Hermes Agent",
    expected=f"`providers.{_PROVIDER}` with access_token, refresh_token, expires_at, client_id and region, or a pool of such",
    default_paths=_hermes_paths,
    read=_read_hermes,
    lock="flock",
)


_MMX_CLIENT: Final = "659cf4c1-615c-45f6-a5f6-4bf15eb476e5"


def _mmx_paths(env: Mapping[str, str], home: Path) -> tuple[Path, ...]:
    return ((setting_path(env.get("MMX_CONFIG_DIR")) or home / ".mmx") / "config.json",)


def _read_mmx(document: Document, _related: Document | None) -> tuple[FoundCredential, ...]:
    fields = read_object(document.value(), "oauth")
    if not fields:
        return ()
    access, refresh = read_tokens(fields, "access_token", "refresh_token")
    credential = FoundCredential(
        ("oauth",),
        _MMX_CLIENT,
        access,
        refresh,
        read_expiry(fields, "expires_at"),
        region=read_text(fields, "region"),
        api_url=read_text(fields, "resource_url"),
    )
    return (credential,)


MMX: Final = Importer(
    name="mmx",
    label="mmx",
    expected="`oauth` with access_token, refresh_token, expires_at and region (a sign-in by API key has none)",
    default_paths=_mmx_paths,
    read=_read_mmx,
)


_OPENCODE_CLIENT: Final = "d38bdbee-2b8c-4c74-9a9c-5875fabe6317"
_REGIONS: Final[Mapping[str, str]] = MappingProxyType({"minimax-coding-plan": "global", "minimax-cn-coding-plan": "cn"})


def _opencode_paths(env: Mapping[str, str], home: Path) -> tuple[Path, ...]:
    data = setting_path(env.get("XDG_DATA_HOME")) or home / ".local" / "share"
    return (data / "opencode" / "auth.json",)


def _read_opencode(document: Document, _related: Document | None) -> tuple[FoundCredential, ...]:
    data, credentials = document.value(), []
    for provider, region in _REGIONS.items():
        entry = read_object(data, provider)
        if entry.get("type") != "oauth":
            continue
        access, refresh = read_tokens(entry, "access", "refresh")
        expires_at, api_url = read_expiry(entry, "expires"), read_text(entry, "enterpriseUrl")
        credentials.append(
            FoundCredential((provider,), _OPENCODE_CLIENT, access, refresh, expires_at, region=region, api_url=api_url)
        )
    return tuple(credentials)


OPENCODE: Final = Importer(
    name="opencode",
    label="opencode",
    expected="`minimax-coding-plan` or `minimax-cn-coding-plan` of type oauth: access, refresh, expires",
    default_paths=_opencode_paths,
    read=_read_opencode,
)


IMPORTERS: Final[tuple[Importer, ...]] = (OPENCLAW, MMX, HERMES, OPENCODE)


def minimax_code_stores(home: Path) -> tuple[Path, ...]:
    """Return MiniMax Code's token files (MiniMax-AI/minimax-code, packages/oauth-core), to warn about them.

    They are not imported: each refresh token works only once, so a refresh by another program would sign MiniMax Code out.
    """
    paths = (home / ".minimax" / "auth" / "prod" / region / "mcode-public" / "auth.json" for region in ("en", "cn"))
    return tuple(path for path in paths if os.path.isfile(path))  # noqa: PTH113 - for a folder without access, Path raises
