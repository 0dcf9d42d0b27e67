"""Sign-ins that were stored and then killed before their config was written: the next run writes it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from portico.interfaces.auth_method import AuthMethod
    from portico.onboarding.workbench import Workbench
    from portico.store.records import Profile


def finish_pending(bench: Workbench) -> tuple[str, ...]:
    """Write the config for each of them, where their plugin is still there; the ids of those that were pending.

    Raises:
        ConfigError, LockBusy, StoreError: the config or the index cannot be changed.
    """
    pending = [profile for profile in bench.token_store.profiles() if profile.config_pending]
    for profile in pending:
        from portico.onboarding.config_patch import write_config

        method = _method_of(bench, profile)
        if method is not None:
            write_config(bench, profile, method)
    return tuple(profile.id for profile in pending)


def _method_of(bench: Workbench, profile: Profile) -> AuthMethod | None:
    methods = (method for method in bench.plugins.auth_methods() if method.provider == profile.provider)
    return next((method for method in methods if profile.region in {region.id for region in method.regions}), None)
