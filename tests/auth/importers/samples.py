"""What each tool's file looks like, written by hand from its public source; the tokens are canaries of their own."""

from __future__ import annotations

import json
import sqlite3
import time
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from portico.testing.canary import canary, exempt

if TYPE_CHECKING:
    from pathlib import Path

EXPIRES_MS = 4_102_444_800_000  # 2100-01-01
GLOBAL_API = "https://api.minimax.io/anthropic"


@dataclass
class Sample:
    """A file of `tool` with one sign-in, and something of the user's beside it."""

    tool: str
    access: str = field(default_factory=lambda: canary("at"))
    refresh: str = field(default_factory=lambda: canary("rt"))
    expires_ms: int = EXPIRES_MS

    def content(self, **changed) -> dict:
        return getattr(self, f"_{self.tool}")(changed)

    def write(self, home: Path, **changed) -> Path:
        paths = {
            "openclaw": home / ".openclaw/agents/main/agent/auth-profiles.json",
            "mmx": home / ".mmx/config.json",
            "hermes": home / ".hermes/auth.json",
            "opencode": home / ".local/share/opencode/auth.json",
        }
        path = paths[self.tool]
        path.parent.mkdir(parents=True, exist_ok=True)
        exempt(path).write_text(json.dumps(self.content(**changed), indent=2) + "\n", encoding="utf-8")
        path.chmod(0o600)
        if self.tool == "openclaw":
            self.write_config(home, changed.get("base", GLOBAL_API))
        return path

    def write_config(self, home: Path, base: str = GLOBAL_API) -> None:
        """OpenClaw's own config, which names its API."""
        config = {"models": {"providers": {"minimax-portal": {"baseUrl": base}}}}
        (home / ".openclaw").mkdir(exist_ok=True)
        (home / ".openclaw/openclaw.json").write_text(json.dumps(config), encoding="utf-8")

    def profile(self, **changed) -> dict:
        """OpenClaw's entry, in its file and in its databases."""
        entry = {"type": "oauth", "provider": "minimax-portal", "access": self.access, "refresh": self.refresh}
        return entry | {"expires": self.expires_ms} | changed

    def profiles(self) -> dict:
        """OpenClaw's sign-ins, with one of another provider."""
        other = {"type": "api_key", "provider": "anthropic", "key": "somebody-else's"}
        return {"anthropic:default": other, "minimax-portal:default": self.profile()}

    def _openclaw(self, changed: dict) -> dict:
        other = {"type": "api_key", "provider": "anthropic", "key": "somebody-else's"}
        entry = self.profile(**changed.get("entry", {}))
        return {"version": 1, "profiles": {"anthropic:default": other, "minimax-portal:default": entry}}

    def _mmx(self, changed: dict) -> dict:
        entry = {"access_token": self.access, "refresh_token": self.refresh, "expires_at": _iso(self.expires_ms)}
        entry |= {"region": "global", "resource_url": "https://api.minimax.io"} | changed.get("entry", {})
        return {"region": "global", "oauth": entry, "output": "text"}

    def _hermes(self, changed: dict) -> dict:
        entry = {
            "provider": "minimax-oauth",
            "region": "global",
            "portal_base_url": "https://api.minimax.io",
            "inference_base_url": GLOBAL_API,
            "client_id": "78257093-7e40-4613-99e0-527b14b39113",
            "scope": "group_id profile model.completion",
            "token_type": "Bearer",
            "access_token": self.access,
            "refresh_token": self.refresh,
            "resource_url": None,
            "obtained_at": _iso(self.expires_ms - 172_800_000),
            "expires_at": _iso(self.expires_ms),
            "expires_in": 172_800,
        } | changed.get("entry", {})
        providers = {"nous": {"access_token": "somebody-else's"}, "minimax-oauth": entry}
        # The pool's own copy of the same sign-in, which its list of credentials is made from.
        copy = self.pooled("oauth", entry["access_token"], entry["refresh_token"])
        pool = {"anthropic": [{"access_token": "somebody-else's"}], "minimax-oauth": [copy, *changed.get("pool", [])]}
        return {"version": 1, "providers": providers, "credential_pool": pool, "active_provider": "minimax-oauth"}

    def pooled(self, source: str, access: str, refresh: str, **changed) -> dict:
        entry = {"id": "a1b2c3", "label": source, "auth_type": "oauth", "priority": 0, "source": source, "last_status": None}
        entry |= {"access_token": access, "refresh_token": refresh, "base_url": GLOBAL_API, "expires_at_ms": self.expires_ms}
        return entry | changed

    def _opencode(self, changed: dict) -> dict:
        entry = {"type": "oauth", "access": self.access, "refresh": self.refresh, "expires": self.expires_ms}
        entry |= {"enterpriseUrl": f"{GLOBAL_API}/v1"} | changed.get("entry", {})
        return {"anthropic": {"type": "api", "key": "somebody-else's"}, "minimax-coding-plan": entry}


# What openclaw 2026.9.6 made when it was run, of these tables; `other` stands for all that is in there besides.
_OPENCLAW_TABLES = """
CREATE TABLE IF NOT EXISTS auth_profile_store (
  store_key TEXT NOT NULL PRIMARY KEY, store_json TEXT NOT NULL, updated_at INTEGER NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS auth_profile_state (
  state_key TEXT NOT NULL PRIMARY KEY, state_json TEXT NOT NULL, updated_at INTEGER NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS other (id INTEGER PRIMARY KEY, words TEXT NOT NULL) STRICT;
INSERT INTO other (words) VALUES ('of another kind');
"""
_OPENCLAW_SHARED_TABLES = """
CREATE TABLE IF NOT EXISTS config_machine_state (
  state_key TEXT NOT NULL PRIMARY KEY, value_json TEXT NOT NULL, updated_at_ms INTEGER NOT NULL) STRICT;
INSERT INTO config_machine_state VALUES ('auth.sharedStore', '{"location":"state-db"}', 1795895294615);
"""
SHARED = ".openclaw/state/openclaw.sqlite"


def agents_database(agent: str) -> str:
    """Where openclaw 2026.9.6 keeps an agent's own sign-ins, below the home folder."""
    return f".openclaw/agents/{agent}/agent/openclaw-agent.sqlite"


def openclaw_database(path: Path, profiles: dict | None, *, mode: int = 0o600, wal: bool = True) -> Path:
    """A database as openclaw 2026.9.6 leaves it when it ends; `profiles` None: without a row for its sign-ins."""
    path.parent.mkdir(parents=True, exist_ok=True)
    for suffix in ("", "-wal", "-shm"):
        exempt(path.with_name(path.name + suffix))
    shared = path.name == "openclaw.sqlite"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        path.chmod(mode)
        if wal:
            connection.execute("PRAGMA journal_mode=WAL")
        connection.executescript(_OPENCLAW_SHARED_TABLES if shared else _OPENCLAW_TABLES)
        if profiles is not None:
            row = ("authProfiles.store" if shared else "primary", stored(profiles), 1795895294615)
            table = "config_machine_state" if shared else "auth_profile_store"
            connection.execute(f"INSERT OR REPLACE INTO {table} VALUES (?, ?, ?)", row)
    return path


def stored(profiles: dict) -> str:
    """The text in the cell."""
    return json.dumps({"version": 1, "profiles": profiles}, separators=(",", ":"))


def profiles_in(path: Path) -> dict:
    """What the cell holds by now, its sign-ins by name."""
    query = "SELECT store_json FROM auth_profile_store WHERE store_key = 'primary'"
    if path.name == "openclaw.sqlite":
        query = "SELECT value_json FROM config_machine_state WHERE state_key = 'authProfiles.store'"
    with closing(sqlite3.connect(path)) as connection:
        return json.loads(connection.execute(query).fetchone()[0])["profiles"]


def retire(path: Path, *, days: int = 90) -> Path:
    """Give a file the age of one that its tool has not written to for so many days."""
    import os

    at = time.time() - days * 86_400
    os.utime(path, (at, at))
    return path


def _iso(at_ms: int) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat()


TOOLS = ("openclaw", "mmx", "hermes", "opencode")
