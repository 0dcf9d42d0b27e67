"""The index entry that a sign-in begins as, wherever its tokens came from."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from portico.interfaces.auth_method import AuthMethod
    from portico.interfaces.authorization import OAuthServer, TokenGrant
    from portico.onboarding.workbench import Workbench
    from portico.store.records import OAuthProfile


def new_profile(
    bench: Workbench,
    method: AuthMethod,
    server: OAuthServer,
    grant: TokenGrant,
    *,
    id: str,
    region: str,
    api_base: str,
    make_default: bool | None,
    takes_over: bool,
    default_model: str | None = None,
) -> OAuthProfile:
    """The profile `id` of `grant`, not stored yet; the commit fills in where its tokens lie.

    `make_default` None: it sets the default model only where there is none. `default_model` is the one, where it is not the
    method's own. `takes_over`: it becomes the provider's account in use.
    """
    from portico.auth.freshness import moment
    from portico.store.records import OAuthProfile

    return OAuthProfile(
        id=id,
        provider=method.provider,
        plugin=bench.plugins.plugin_for_choice(method.choice) or "",
        region=region,
        issuer=server.issuer,
        client_id=server.client_id,
        dialect=server.dialect,
        api_base=api_base,
        token_endpoint=server.token_endpoint,
        revocation_endpoint=server.revocation_endpoint,
        scope=grant.scope or server.scope,
        subject=grant.subject,
        audience=server.audience,
        relocated=tuple(server.relocated.items()),
        expires_at=grant.expires_at,
        refresh_expires_at=grant.refresh_expires_at,
        created_at=bench.clock.wall_ms(),
        has_refresh=grant.refresh is not None,
        unread=grant.unread,
        got=moment(bench.clock),
        config_pending=True,
        default_pending=bench.config.config.agents.primary is None if make_default is None else make_default,
        default_model=default_model,
        use_pending=takes_over,
    )
