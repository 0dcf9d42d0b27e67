"""After a sign-out: the config no longer names the profile, and its API base is that of the account which is used from now on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from portico.config.load import without_profile

if TYPE_CHECKING:
    from portico.onboarding.workbench import Workbench
    from portico.store.records import Profile


def forget_profile(bench: Workbench, profile_id: str) -> None:
    """Take a profile that is gone out of the config file: its own entry, and its place in `auth.order`.

    Raises:
        ConfigError, LockBusy: the file cannot be read or changed.
    """
    if bench.config.file.edit(lambda document: without_profile(document, profile_id)):
        bench.reload_config()


def follow_remaining(bench: Workbench, gone: Profile) -> None:
    """Where the provider's `baseUrl` is still that of `gone`, make it that of the sign-in which is used from now on.

    Raises:
        ConfigError, LockBusy, StoreError: the config or the index cannot be read or changed.
    """
    profiles = bench.token_store.profiles()
    if all(profile.provider != gone.provider for profile in profiles):
        return
    from portico.models.catalog import Provider, host_of
    from portico.models.loader import ModelLoader

    config = bench.config.config
    block = config.models.providers.get(gone.provider)
    written = block.base_url if block is not None else None
    if written is None or host_of(written) != host_of(gone.api_base):
        return
    left = ModelLoader(config, (), profiles, bench.config.env).profile_for(Provider(gone.provider, (), config=block))
    if left is None or host_of(left.api_base) == host_of(written):
        return
    path = ("models", "providers", gone.provider, "baseUrl")
    bench.config.file.edit(lambda document: document.set(path, left.api_base))
    bench.reload_config()
