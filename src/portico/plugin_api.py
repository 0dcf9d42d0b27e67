'''All that a plugin may import.

A plugin is a package with a manifest, `portico.plugin.json`, beside its `__init__.py`:

    {
      "id": "acme-auth", "name": "Acme", "description": "Sign in to Acme",
      "module": "acme_auth.plugin", "providers": ["acme"]
    }

a module that implements hooks of `portico.plugins.spec`:

    from portico.plugin_api import ProviderSpec, hookimpl

    @hookimpl
    def portico_providers():
        """Acme's models."""
        yield ProviderSpec(
            id="acme", label="Acme", api="openai-completions",
            base_urls={"": "https://api.acme.example/v1"}, hosts={"": frozenset({"api.acme.example"})},
            env_keys=("ACME_API_KEY",),
        )

and, to be found once it is installed, an entry point in its `pyproject.toml`:

    [project.entry-points."portico.plugins"]
    acme-auth = "acme_auth.plugin"

While writing it, name its folder in the config instead: `plugins: { load: { paths: ["~/acme-auth"] } }`. `portico plugins doctor`
says what does not fit; `PORTICO_TRACE_PLUGINS=1` shows every hook call.
'''

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

import pluggy

from portico.errors import (
    ConfigError,
    Denied,
    ExitCode,
    NetworkError,
    NotRevoked,
    NoWayToSignIn,
    OAuthError,
    PorticoError,
    SignInNeeded,
    StoreError,
    TimedOut,
    UsageError,
)
from portico.interfaces.auth_method import AcceptedGrant, AuthMethod, Region
from portico.interfaces.authorization import (
    DeviceAuthorization,
    FormPoster,
    FormRequest,
    HttpReply,
    OAuthServer,
    Pending,
    Redirect,
    TokenDialect,
    TokenGrant,
)
from portico.interfaces.basics import Choice, Clock, JsonValue, Prompter
from portico.interfaces.plan_reader import PlanReader, PlanWindow, WindowState
from portico.interfaces.plugin_parts import CliCommand, DoctorCheck, Emulator, EmulatorOptions, Finding
from portico.interfaces.provider_spec import ApiKind, KeyChoice, ModelCost, ModelSpec, PriceTier, ProviderSpec, RefusalKind
from portico.secret import Secret, redact

if TYPE_CHECKING:
    from portico.oauth.standard import StandardDialect, read_code_expiry, read_interval
    from portico.oauth.token_errors import ends_grant, error_for, may_pass, oauth_error
    from portico.oauth.token_response import (
        holds_tokens,
        invalid,
        normalise_expiry,
        plain_text,
        read_json_object,
        read_token,
        read_token_fields,
        retry_after,
        server_clock,
        unreadable,
    )
    from portico.oauth.urls import is_loopback, why_not_a_safe_url, without_query
    from portico.plugins.builtin import built_in, built_in_plans

__all__ = [
    "AcceptedGrant",
    "ApiKind",
    "AuthMethod",
    "Choice",
    "CliCommand",
    "Clock",
    "ConfigError",
    "Denied",
    "DeviceAuthorization",
    "DoctorCheck",
    "Emulator",
    "EmulatorOptions",
    "ExitCode",
    "Finding",
    "FormPoster",
    "FormRequest",
    "HttpReply",
    "JsonValue",
    "KeyChoice",
    "ModelCost",
    "ModelSpec",
    "NetworkError",
    "NoWayToSignIn",
    "NotRevoked",
    "OAuthError",
    "OAuthServer",
    "Pending",
    "PlanReader",
    "PlanWindow",
    "PorticoError",
    "PriceTier",
    "Prompter",
    "ProviderSpec",
    "Redirect",
    "RefusalKind",
    "Region",
    "Secret",
    "SignInNeeded",
    "StandardDialect",
    "StoreError",
    "TimedOut",
    "TokenDialect",
    "TokenGrant",
    "UsageError",
    "WindowState",
    "built_in",
    "built_in_plans",
    "ends_grant",
    "error_for",
    "holds_tokens",
    "hookimpl",
    "invalid",
    "is_loopback",
    "may_pass",
    "normalise_expiry",
    "oauth_error",
    "plain_text",
    "read_code_expiry",
    "read_interval",
    "read_json_object",
    "read_token",
    "read_token_fields",
    "redact",
    "retry_after",
    "server_clock",
    "unreadable",
    "why_not_a_safe_url",
    "without_query",
]

hookimpl = pluggy.HookimplMarker("portico")

# What only some plugins need is loaded when it is named, so that one can be listed without the OAuth engine.
_LAZY: Final = {
    "StandardDialect": "portico.oauth.standard",
    "read_code_expiry": "portico.oauth.standard",
    "read_interval": "portico.oauth.standard",
    "built_in": "portico.plugins.builtin",
    "built_in_plans": "portico.plugins.builtin",
    "ends_grant": "portico.oauth.token_errors",
    "error_for": "portico.oauth.token_errors",
    "may_pass": "portico.oauth.token_errors",
    "oauth_error": "portico.oauth.token_errors",
    "holds_tokens": "portico.oauth.token_response",
    "invalid": "portico.oauth.token_errors",
    "normalise_expiry": "portico.oauth.token_response",
    "plain_text": "portico.oauth.token_errors",
    "read_json_object": "portico.oauth.token_response",
    "read_token": "portico.oauth.token_response",
    "read_token_fields": "portico.oauth.token_response",
    "retry_after": "portico.oauth.token_errors",
    "server_clock": "portico.oauth.token_response",
    "unreadable": "portico.oauth.token_errors",
    "is_loopback": "portico.urls",
    "why_not_a_safe_url": "portico.urls",
    "without_query": "portico.urls",
}


def __getattr__(name: str) -> Any:
    module = _LAZY.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(module), name)
    globals()[name] = value
    return value
