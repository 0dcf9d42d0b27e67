"""The model that a tool is to name."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from portico.cli.runtime import Runtime


def tool_model(rt: Runtime, name: str | None) -> str:
    """The reference that `name` stands for, or the default model's; something has to answer for it.

    Raises:
        SignInNeeded, UsageError, ConfigError: as `portico.models.loader.ModelLoader.resolve`.
    """
    loader = rt.models()
    loader.resolve(name)
    return str(loader.reference(name))
