"""What the host knows of a plugin before, and after, it is loaded."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from portico.plugins.decision import Decision

if TYPE_CHECKING:
    from pathlib import Path

    from portico.interfaces.basics import JsonValue
    from portico.plugins.discovery import Candidate
    from portico.plugins.manifest import Manifest

Status = Literal["enabled", "loaded", "disabled", "error"]


@dataclass(frozen=True, slots=True)
class PluginRecord:
    """One plugin and what has become of it. `error` says why it failed, `decision` whether and why it is on or off."""

    candidate: Candidate
    decision: Decision
    error: str | None = None
    loaded: bool = False
    hooks: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        return self.manifest.id

    @property
    def manifest(self) -> Manifest:
        return self.candidate.manifest

    @property
    def name(self) -> str:
        return self.manifest.name

    @property
    def source(self) -> Path:
        """The manifest's file."""
        return self.manifest.path

    @property
    def version(self) -> str | None:
        """The manifest's word, else the installed distribution's."""
        return self.manifest.version or self.candidate.version

    @property
    def why(self) -> str | None:
        """Why it failed, else why it is off."""
        return self.error or self.decision.reason

    @property
    def enabled(self) -> bool:
        return self.decision.enabled

    @property
    def status(self) -> Status:
        if self.error is not None:
            return "error"
        if not self.decision.enabled:
            return "disabled"
        return "loaded" if self.loaded else "enabled"

    def overridden_by(self, first: PluginRecord) -> PluginRecord:
        """The record of a later copy of an id."""
        reason = f"overridden by {first.candidate.origin} plugin"
        return replace(self, decision=Decision(enabled=False, reason=reason, word="overridden"), error=None)

    def as_json(self) -> dict[str, JsonValue]:
        """The record as `plugins list --json` prints it."""
        manifest = self.manifest
        record: dict[str, JsonValue] = {
            "id": self.id,
            "name": self.name,
            "description": manifest.description,
            "version": self.version,
            "source": str(self.source),
            "origin": self.candidate.origin,
            "enabled": self.enabled,
            "status": self.status,
            "providerIds": list(manifest.providers),
            "authChoices": [choice.id for choice in manifest.auth_choices],
            "hookNames": list(self.hooks),
            "cliCommands": list(self.commands),
            "configSchema": bool(manifest.config_schema),
            "configJsonSchema": dict(manifest.config_schema),
        }
        return {**record, "error": self.why} if self.why is not None else record
