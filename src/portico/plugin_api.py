'''The names that a plugin may import.

A plugin is a package with a manifest, `portico.plugin.json`, beside its `__init__.py`:

    {
      "api": 1, "id": "acme-auth", "name": "Acme", "description": "Sign in to Acme",
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

and, for discovery after the installation, an entry point in its `pyproject.toml`:

    [project.entry-points."portico.plugins"]
    acme-auth = "acme_auth.plugin"

During development, add its folder to the config instead: `plugins: { load: { paths: ["~/acme-auth"] } }`.
`portico plugins doctor` reports problems; `PORTICO_TRACE_PLUGINS=1` shows every hook call.

The names by topic (`docs/reference/hooks.md` documents the arguments and results of hooks):

- hooks: `hookimpl`
- providers and their models: `ProviderSpec`, `ApiKind`, `ModelSpec`, `ModelCost`, `PriceTier`, `KeyChoice`, `ProviderErrorKind`;
  `built_in` returns a built-in provider
- plan usage: `PlanReader`, `PlanWindow`, `WindowState`; `built_in_plans` returns the reader of a built-in provider
- signing in: `AuthMethod`, `Region`, `OAuthServer`, `Redirect`, `TokenSet`, `AcceptedTokens`
- a server that differs from the RFCs: `TokenDialect`, and `StandardDialect` as its base class; `FormRequest`, `HttpReply`, and
  `ReplyReader` to read a reply; `DeviceAuthorization`, `Pending`
- emulators, checks of `doctor`, commands: `Emulator`, `EmulatorOptions`, `DoctorCheck`, `Finding`, `CliCommand`
- errors: `PorticoError`, `ConfigError`, `Denied`, `NetworkError`, `OAuthError`, `TimedOut`, `UsageError`; a plugin's
  own error is a subclass with an `id`
- values: `Secret`, `JsonValue`, `Clock`, `plain_text`, `is_loopback`, `why_not_a_safe_url`

Other names of 0.5 can be imported until 1.0, with a DeprecationWarning that names their replacement.
'''

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from portico.errors import ConfigError, Denied, NetworkError, OAuthError, PorticoError, TimedOut, UsageError
from portico.interfaces.authorization import (
    DeviceAuthorization,
    FormRequest,
    HttpReply,
    OAuthServer,
    Pending,
    Redirect,
    TokenDialect,
    TokenSet,
)
from portico.interfaces.basics import Clock, JsonValue
from portico.interfaces.plugins import (
    AcceptedTokens,
    ApiKind,
    AuthMethod,
    CliCommand,
    DoctorCheck,
    Emulator,
    EmulatorOptions,
    Finding,
    KeyChoice,
    ModelCost,
    ModelSpec,
    PlanReader,
    PlanWindow,
    PriceTier,
    ProviderErrorKind,
    ProviderSpec,
    Region,
    WindowState,
)
from portico.net.reply_values import plain_text
from portico.plugins.builtin import built_in, built_in_plans
from portico.plugins.spec import hookimpl
from portico.secret import Secret
from portico.urls import is_loopback, why_not_a_safe_url

if TYPE_CHECKING:
    from portico.oauth.standard import StandardDialect
    from portico.oauth.token_response import ReplyReader

__all__ = [  # noqa: RUF022 - by topic
    # hooks
    "hookimpl",
    # providers and their models
    "ApiKind",
    "KeyChoice",
    "ModelCost",
    "ModelSpec",
    "PriceTier",
    "ProviderErrorKind",
    "ProviderSpec",
    "built_in",
    # plan usage
    "PlanReader",
    "PlanWindow",
    "WindowState",
    "built_in_plans",
    # signing in
    "AcceptedTokens",
    "AuthMethod",
    "OAuthServer",
    "Redirect",
    "Region",
    "TokenSet",
    # a server that differs from the RFCs
    "DeviceAuthorization",
    "FormRequest",
    "HttpReply",
    "Pending",
    "ReplyReader",
    "StandardDialect",
    "TokenDialect",
    # emulators, checks of `doctor`, commands
    "CliCommand",
    "DoctorCheck",
    "Emulator",
    "EmulatorOptions",
    "Finding",
    # errors
    "ConfigError",
    "Denied",
    "NetworkError",
    "OAuthError",
    "PorticoError",
    "TimedOut",
    "UsageError",
    # values
    "Clock",
    "JsonValue",
    "Secret",
    "is_loopback",
    "plain_text",
    "why_not_a_safe_url",
]

# What a dialect needs is loaded on first use, so that listing a plugin does not load the OAuth engine.
_LAZY: Final = {
    "ReplyReader": "portico.oauth.token_response",
    "StandardDialect": "portico.oauth.standard",
}
_NO_HOOK_TAKES_ONE: Final = "nothing: no hook takes one"
_RAISE_ANOTHER: Final = "PorticoError: only the host raises this error"
# Names of 0.5 that are no longer in `__all__`: their module and their replacement. 1.0 removes them.
_LEAVING: Final = {
    "Choice": ("portico.interfaces.basics", _NO_HOOK_TAKES_ONE),
    "ExitCode": ("portico.errors", "the `exit_code` of each error"),
    "FormPoster": ("portico.interfaces.authorization", _NO_HOOK_TAKES_ONE),
    "NoWayToSignIn": ("portico.errors", _RAISE_ANOTHER),
    "NotRevoked": ("portico.errors", _RAISE_ANOTHER),
    "Prompter": ("portico.interfaces.basics", _NO_HOOK_TAKES_ONE),
    "SignInNeeded": ("portico.errors", _RAISE_ANOTHER),
    "StoreError": ("portico.errors", _RAISE_ANOTHER),
    "ends_grant": ("portico.oauth.token_errors", "ReplyReader.error"),
    "error_for": ("portico.oauth.token_errors", "ReplyReader.error"),
    "holds_tokens": ("portico.oauth.token_response", "ReplyReader.holds_tokens"),
    "invalid": ("portico.oauth.token_errors", "ReplyReader.invalid"),
    "may_pass": ("portico.oauth.token_errors", "ReplyReader.may_pass"),
    "normalise_expiry": ("portico.oauth.token_response", "ReplyReader.token_set"),
    "oauth_error": ("portico.oauth.token_errors", "ReplyReader.error"),
    "read_code_expiry": ("portico.oauth.token_response", "ReplyReader.code_expiry"),
    "read_interval": ("portico.oauth.token_response", "ReplyReader.interval"),
    "read_json_object": ("portico.oauth.token_response", "ReplyReader.fields"),
    "read_token": ("portico.oauth.token_response", "ReplyReader.token"),
    "read_token_fields": ("portico.oauth.token_response", "ReplyReader.token_set"),
    "redact": ("portico.secret", "nothing: the host redacts what a plugin returns and raises"),
    "retry_after": ("portico.oauth.token_errors", "ReplyReader.retry_after"),
    "server_clock": ("portico.oauth.token_response", "ReplyReader.token_set"),
    "unreadable": ("portico.oauth.token_errors", "ReplyReader.fields"),
    "without_query": ("portico.urls", "ReplyReader.where"),
}
# Names of 0.5 and 0.6, and their new names. 1.0 removes them.
_RENAMED: Final = {"AcceptedGrant": "AcceptedTokens", "RefusalKind": "ProviderErrorKind", "TokenGrant": "TokenSet"}


def __getattr__(name: str) -> Any:
    module, replacement = _LEAVING.get(name, (__name__, _RENAMED.get(name)))
    if replacement is not None:
        import warnings

        warnings.warn(f"portico.plugin_api.{name} goes with 1.0; use {replacement}", DeprecationWarning, stacklevel=2)
        return getattr(import_module(module), _RENAMED.get(name, name))
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_LAZY[name]), name)
    globals()[name] = value
    return value
