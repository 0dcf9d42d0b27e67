"""What each tool's file looks like, written by hand from its public source; the tokens are canaries of their own."""

from __future__ import annotations

import json
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
        places = {
            "openclaw": home / ".openclaw/agents/main/agent/auth-profiles.json",
            "mmx": home / ".mmx/config.json",
            "hermes": home / ".hermes/auth.json",
            "opencode": home / ".local/share/opencode/auth.json",
        }
        path = places[self.tool]
        path.parent.mkdir(parents=True, exist_ok=True)
        exempt(path).write_text(json.dumps(self.content(**changed), indent=2) + "\n", encoding="utf-8")
        path.chmod(0o600)
        if self.tool == "openclaw":
            base = {"models": {"providers": {"minimax-portal": {"baseUrl": changed.get("base", GLOBAL_API)}}}}
            (home / ".openclaw/openclaw.json").write_text(json.dumps(base), encoding="utf-8")
        return path

    def _openclaw(self, changed: dict) -> dict:
        entry = {"type": "oauth", "provider": "minimax-portal", "access": self.access, "refresh": self.refresh}
        entry |= {"expires": self.expires_ms} | changed.get("entry", {})
        other = {"type": "api_key", "provider": "anthropic", "key": "somebody-else's"}
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


def _iso(at_ms: int) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat()


TOOLS = ("openclaw", "mmx", "hermes", "opencode")
