"""OpenClaw: `auth-profiles.json` of its main agent (openclaw 2026.2, docs/concepts/oauth.md and what it wrote when it was run).

The profile does not say its region; the provider's `baseUrl` in `openclaw.json` does.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from portico.auth.importers.found import FoundCredential, Importer, end_of, section, text, tokens

if TYPE_CHECKING:
    from collections.abc import Mapping

    from portico.config.document import Document

_CLIENT: Final = "78257093-7e40-4613-99e0-527b14b39113"
_PROVIDER: Final = "minimax-portal"
# A copy that OpenClaw makes of yet another tool's sign-in, which was granted to a client that no public source names.
_COPIED: Final = f"{_PROVIDER}:minimax-cli"


def _places(env: Mapping[str, str], home: Path) -> tuple[Path, ...]:
    agent = env.get("OPENCLAW_AGENT_DIR")
    state = Path(env.get("OPENCLAW_STATE_DIR") or home / ".openclaw").expanduser()
    folder = Path(agent).expanduser() if agent else state / "agents" / "main" / "agent"
    return (folder / "auth-profiles.json",)


def _beside(path: Path) -> tuple[Path, ...]:
    folder = path.absolute().parent
    return (*(parent / "openclaw.json" for parent in folder.parents[2:3]), folder / "openclaw.json")


def _read(document: Document, beside: Document | None) -> tuple[FoundCredential, ...]:
    profiles = section(document.value(), "profiles")
    api_url = _configured_url(beside) if beside is not None else None
    found = []
    for name, profile in profiles.items():
        if not isinstance(profile, dict) or profile.get("provider") != _PROVIDER or profile.get("type") != "oauth":
            continue
        if name == _COPIED:
            continue
        access, refresh = tokens(profile, "access", "refresh")
        ends = end_of(profile, "expires")
        found.append(FoundCredential(("profiles", name), _CLIENT, access, refresh, ends, api_url=api_url))
    return tuple(found)


def _configured_url(config: Document) -> str | None:
    path = ("models", "providers", _PROVIDER)
    provider = config.get(path) if config.has(path) else None
    return text(provider, "baseUrl") if isinstance(provider, dict) else None


OPENCLAW: Final = Importer(
    name="openclaw",
    label="OpenClaw",
    expected=f"`profiles` with an entry of type oauth for provider {_PROVIDER}: access, refresh, expires",
    places=_places,
    read=_read,
    beside=_beside,
    lock="folder",
)
