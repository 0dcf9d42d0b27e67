"""OpenClaw: the SQLite databases in its state folder, and the older `auth-profiles.json`.

According to docs/concepts/oauth.md and to what the program prints, openclaw 2026.9.6 keeps the profiles for all agents in
`state/openclaw.sqlite`, and an
agent's own profiles in `agents/<id>/agent/openclaw-agent.sqlite`. openclaw 2026.2 wrote `auth-profiles.json`, which 2026.9.6 no
longer reads. All these have the same JSON. A profile does not contain its region. The region comes from the profile's name or
the provider's `baseUrl` in `openclaw.json`.
"""

from __future__ import annotations

import json
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from portico.auth.importers.found import (
    CellTable,
    FoundCredential,
    Importer,
    read_expiry,
    read_object,
    read_text,
    read_tokens,
    setting_path,
)
from portico.config.document import Document
from portico.errors import ConfigError
from portico.util.files import read_file

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_CLIENT: Final = "78257093-7e40-4613-99e0-527b14b39113"
_PROVIDER: Final = "minimax-portal"
# The names include the alias for the CN region (`providerAuthAliases` of openclaw 2026.9.6, extensions/minimax).
_PROVIDERS: Final = frozenset({_PROVIDER, "minimax-portal-cn", "minimax", "minimax-cn"})
_REGION_NAMES: Final[Mapping[str, str]] = MappingProxyType(
    {"minimax:global": "global", "minimax:cn": "cn", f"{_PROVIDER}:global": "global", f"{_PROVIDER}:cn": "cn"}
)
_MAX_CONFIG_BYTES: Final = 4 << 20
_FILE: Final = "auth-profiles.json"
_AGENT_DATABASE: Final = "openclaw-agent.sqlite"
_TABLES: Final = (
    CellTable("auth_profile_store", "store_key", "store_json", "updated_at"),
    CellTable("config_machine_state", "state_key", "value_json", "updated_at_ms", ("authProfiles.store",)),
    # The table in the shared database before schema 13.
    CellTable("auth_profile_stores", "store_key", "store_json", "updated_at"),
)
# OpenClaw's copy of another tool's tokens. No public source names the client that they belong to.
_COPIED_PROFILE: Final = f"{_PROVIDER}:minimax-cli"


def _default_paths(env: Mapping[str, str], home: Path) -> tuple[Path, ...]:
    state = setting_path(env.get("OPENCLAW_STATE_DIR")) or (setting_path(env.get("OPENCLAW_HOME")) or home) / ".openclaw"
    main_agent = setting_path(env.get("OPENCLAW_AGENT_DIR")) or state / "agents" / "main" / "agent"
    folders = [main_agent, *_configured_agent_folders(state), *sorted(state.glob("agents/*/agent"))]
    folders = list(dict.fromkeys(folders))
    databases = (_shared_database(state), *(folder / _AGENT_DATABASE for folder in folders))
    return (*databases, *(folder / _FILE for folder in folders))


def _configured_agent_folders(state: Path) -> list[Path]:
    """Return the agents' folders that `openclaw.json` configures, or [] if it cannot be read."""
    path = state / "openclaw.json"
    try:
        data = read_file(path, _MAX_CONFIG_BYTES)
        agents = read_object(Document.parse(data.decode(), name="openclaw.json").value(), "agents")
    except (OSError, ValueError, RecursionError, ConfigError):
        return []
    listed, entries = agents.get("list"), agents.get("entries")
    agent_entries = [*(listed if isinstance(listed, list) else ()), *(entries.values() if isinstance(entries, dict) else ())]
    agent_folders = [setting_path(read_text(agent, "agentDir")) for agent in agent_entries if isinstance(agent, dict)]
    return [folder for folder in agent_folders if folder is not None]


def _shared_database(state: Path) -> Path:
    return state / "state" / "openclaw.sqlite"


def _databases(path: Path) -> tuple[Path, ...]:
    """Return the paths of the databases that replace the file at `path` in newer versions of OpenClaw. The databases may not
    exist.
    """
    folder = path.absolute().parent
    states = folder.parents[2:3] if folder.name == "agent" else ()
    return (folder / _AGENT_DATABASE, *(_shared_database(state) for state in states))


def _state_folder(database: Path) -> Path | None:
    """Return the state folder of a database; None for a copy in another place."""
    folder = database.absolute().parent
    if folder.name == "state":
        return folder.parent
    return next(iter(folder.parents[2:3]), None) if folder.name == "agent" else None


def _related_files(path: Path) -> tuple[Path, ...]:
    folder, state = path.absolute().parent, _state_folder(path)
    return (*([state / "openclaw.json"] if state is not None else ()), folder / "openclaw.json")


def _refresh_lock(database: Path, name: str) -> Path | None:
    """Return the lock that OpenClaw takes before it refreshes the profile `name`. The lock is the same for all databases."""
    state = _state_folder(database)
    folder = state / "locks" / "oauth-refresh" if state is not None else None
    if folder is None or not folder.is_dir():
        return None
    key = json.dumps([_PROVIDER, name], ensure_ascii=False, separators=(",", ":"))
    return folder / f"lock-{_digest(key)}.lock"


def _digest(text: str) -> str:
    """Return a lock's name: two 64-bit FNV hashes (openclaw 2026.9.6, agents/auth-profiles/path-resolve)."""
    left, right, prime, mask = 14_695_981_039_346_656_037, 11_160_318_154_034_397_263, 1_099_511_628_211, 2**64 - 1
    for byte in text.encode():
        left = (left ^ byte) * prime & mask
        right = (right ^ (byte + 11_400_714_819_323_198_485)) * prime & mask
    return f"{left:016x}{right:016x}"


def _read(document: Document, related: Document | None) -> tuple[FoundCredential, ...]:
    profiles = read_object(document.value(), "profiles")
    api_url = _configured_base_url(related) if related is not None else None
    credentials = []
    for name, profile in profiles.items():
        if not isinstance(profile, dict) or profile.get("provider") not in _PROVIDERS or profile.get("type") != "oauth":
            continue
        if name == _COPIED_PROFILE:
            continue
        access, refresh = read_tokens(profile, "access", "refresh")
        region = _REGION_NAMES.get(name) or ("cn" if str(profile["provider"]).endswith("-cn") else None)
        # The config has one URL for all profiles, from the last sign-in. So if a profile's name has a region, the URL is
        # ignored.
        url = api_url if region is None else None
        expires_at = read_expiry(profile, "expires")
        credentials.append(FoundCredential(("profiles", name), _CLIENT, access, refresh, expires_at, region=region, api_url=url))
    return tuple(credentials)


def _configured_base_url(config: Document) -> str | None:
    path = ("models", "providers", _PROVIDER)
    provider = config.get(path) if config.has(path) else None
    return read_text(provider, "baseUrl") if isinstance(provider, dict) else None


OPENCLAW: Final = Importer(
    name="openclaw",
    label="OpenClaw",
    expected=f"`profiles` with an entry of type oauth for provider {_PROVIDER}: access, refresh, expires",
    default_paths=_default_paths,
    read=_read,
    related_files=_related_files,
    lock="folder",
    tables=_TABLES,
    repair_command="openclaw doctor --fix",
    databases=_databases,
    entry_lock=_refresh_lock,
)
