"""The hooks of plugins.

A plugin implements a hook as a function with the hook's name, marked with `portico.plugin_api.hookimpl`. The host reads each
result once in a run. An exception is reported as the failure of its plugin and does not affect other plugins.
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
    """Return the plugin's providers of models.

    .. versionadded:: 0.1
    """


@hookspec
def portico_plan_readers() -> Iterable[PlanReader]:  # type: ignore[empty-body]  # see above
    """Return a reader of plan usage for each provider with plans.

    .. versionadded:: 0.1
    """


@hookspec
def portico_auth_methods(config: Mapping[str, JsonValue]) -> Iterable[AuthMethod]:  # type: ignore[empty-body]  # see above
    """Return the auth methods of the plugin, one for each auth choice of its manifest.

    Args:
        config: the user's `plugins.entries.<id>.config`, already checked against the manifest's `configSchema`.

    .. versionadded:: 0.1
    """


@hookspec
def portico_token_dialects() -> Iterable[TokenDialect]:  # type: ignore[empty-body]  # see above
    """Return the token dialects of the plugin's authorization servers.

    .. versionadded:: 0.1
    """


@hookspec
def portico_emulators() -> Iterable[Emulator]:  # type: ignore[empty-body]  # see above
    """Return emulators of the plugin's servers, for `portico emulator` and for tests.

    .. versionadded:: 0.1
    """


@hookspec
def portico_doctor_checks() -> Iterable[DoctorCheck]:  # type: ignore[empty-body]  # see above
    """Return the plugin's checks for `portico doctor`.

    .. versionadded:: 0.1
    """


@hookspec
def portico_cli_commands() -> Iterable[CliCommand]:  # type: ignore[empty-body]  # see above
    """Return the plugin's top-level commands. They cannot replace a command of the host.

    .. versionadded:: 0.1
    """
