"""The hooks: everything a plugin can bring to Portico.

A plugin implements any of these as a function of the same name, marked with `portico.plugin_api.hookimpl`. Results are read once
and kept for the run; an implementation that raises is reported as that plugin's failure and does not disturb the others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pluggy

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from portico.interfaces.authorization import TokenDialect
    from portico.interfaces.basics import JsonValue
    from portico.interfaces.plugins import AuthMethod, CliCommand, DoctorCheck, Emulator, PlanReader, ProviderSpec

PROJECT: Final = "portico"
PREFIX: Final = "portico_"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def portico_providers() -> Iterable[ProviderSpec]:  # type: ignore[empty-body]  # a specification has no body
    """The providers of models that this plugin knows.

    .. versionadded:: 0.1
    """


@hookspec
def portico_plan_readers() -> Iterable[PlanReader]:  # type: ignore[empty-body]  # see above
    """How the providers of this plugin tell what an account's plan has left, one reader for each provider that has plans.

    .. versionadded:: 0.1
    """


@hookspec
def portico_auth_methods(config: Mapping[str, JsonValue]) -> Iterable[AuthMethod]:  # type: ignore[empty-body]  # see above
    """The ways to sign in that this plugin offers, one for each auth choice of its manifest.

    Args:
        config: `plugins.entries.<id>.config` as the user wrote it, already held to the manifest's `configSchema`.

    .. versionadded:: 0.1
    """


@hookspec
def portico_token_dialects() -> Iterable[TokenDialect]:  # type: ignore[empty-body]  # see above
    """How this plugin's authorization servers word their requests and replies.

    .. versionadded:: 0.1
    """


@hookspec
def portico_emulators() -> Iterable[Emulator]:  # type: ignore[empty-body]  # see above
    """Stand-ins for this plugin's servers, for `portico emulator` and for tests.

    .. versionadded:: 0.1
    """


@hookspec
def portico_doctor_checks() -> Iterable[DoctorCheck]:  # type: ignore[empty-body]  # see above
    """What this plugin can find out about its own health.

    .. versionadded:: 0.1
    """


@hookspec
def portico_cli_commands() -> Iterable[CliCommand]:  # type: ignore[empty-body]  # see above
    """Top-level commands that this plugin adds; a name of the host's own stays the host's.

    .. versionadded:: 0.1
    """
