"""Check and apply the user's portals: `plugins.entries["minimax-portal-auth"].config.portals.<global|cn>`.

All problems are collected with their paths, so that one run of a command shows them all.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, get_args

from minimax_portal_auth.portals import PORTALS, Flow, Portal, for_client, origin
from portico.plugin_api import ConfigError, Redirect, is_loopback, why_not_a_safe_url

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from portico.plugin_api import JsonValue

CONFIG_PATH: Final = "plugins.entries.minimax-portal-auth.config"

_URLS: Final = {
    "issuer": "issuer",
    "authorizationEndpoint": "authorization_endpoint",
    "deviceAuthorizationEndpoint": "device_authorization_endpoint",
    "tokenEndpoint": "token_endpoint",
    "revocationEndpoint": "revocation_endpoint",
}
_TEXTS: Final = {"scope": "scope", "audience": "audience", "dialect": "dialect"}
_KEYS: Final = (*_URLS, "clientId", *_TEXTS, "apiBase", "redirect", "flow")
_MAX_PORT: Final = 65535


class SettingsInvalid(ConfigError):
    """The plugin's config has invalid values."""

    id = "config-invalid"


@dataclass(slots=True)
class _ConfigReader:
    """Reads one object's fields and collects all problems."""

    path: str
    source: Mapping[str, JsonValue]
    problems: list[str]

    def known(self, keys: Iterable[str]) -> None:
        for key in self.source:
            if key not in keys:
                from difflib import get_close_matches

                near = get_close_matches(key, list(keys), n=1)
                suggestion = f" (did you mean `{near[0]}`?)" if near else ""
                self.problems.append(f"{self.path}.{key}: unknown key{suggestion}")

    def wrong(self, key: str, expected: str) -> None:
        self.problems.append(f"{self.path}.{key}: expected {expected}")

    def text(self, key: str) -> str | None:
        value = self.source.get(key)
        if value is None and key not in self.source:
            return None
        if not isinstance(value, str) or not value.strip() or not value.isprintable():
            self.wrong(key, "a text that is not empty")
            return None
        return value

    def url(self, key: str) -> str | None:
        value = self.text(key)
        if value is None:
            return None
        why = why_not_a_safe_url(value) or ("it has a query" if "?" in value else None)
        if why is not None:
            self.wrong(key, f"an https URL (or http on a loopback address); {why}")
            return None
        return value

    def group(self, key: str) -> _ConfigReader:
        value = self.source.get(key, {})
        if not isinstance(value, dict):
            self.wrong(key, "an object")
            value = {}
        return _ConfigReader(f"{self.path}.{key}", value, self.problems)


def configured_portals(config: Mapping[str, JsonValue]) -> Mapping[str, Portal]:
    """Return the portals with the plugin's config applied.

    Raises:
        ConfigError: `config-invalid`, with the path of each invalid key.
    """
    problems: list[str] = []
    reader = _ConfigReader(CONFIG_PATH, config, problems)
    reader.known(("portals",))
    overrides = reader.group("portals")
    overrides.known(PORTALS)
    portals = {region: _configured(portal, overrides.group(region)) for region, portal in PORTALS.items()}
    if problems:
        raise SettingsInvalid("The config of minimax-portal-auth is invalid: " + "; ".join(problems))
    return portals


def _configured(portal: Portal, reader: _ConfigReader) -> Portal:
    if not reader.source:
        return portal
    reader.known(_KEYS)
    client_id = reader.text("clientId")
    portal = for_client(portal, client_id) if client_id else portal
    changes: dict[str, Any] = {name: value for key, name in _TEXTS.items() if (value := reader.text(key)) is not None}
    changes |= {name: value for key, name in _URLS.items() if (value := reader.url(key)) is not None}
    if "issuer" in changes:
        portal = _with_issuer(portal, changes["issuer"])
    redirect, has_redirect = _redirect(reader)
    if has_redirect:
        changes["redirect"] = redirect
    portal = replace(portal, server=replace(portal.server, **changes))
    if portal.server.redirect and "issuer" not in reader.source and not portal.server.authorization_endpoint:
        reader.wrong("redirect", "an `authorizationEndpoint` too, or only the `issuer`, so that discovery finds the endpoint")
    return _with_api_base(portal, reader)


def _with_issuer(portal: Portal, issuer: str) -> Portal:
    """Return `portal` with another issuer. The old issuer's endpoints are removed; discovery finds the new endpoints."""
    server = replace(
        portal.server,
        issuer=issuer,
        token_endpoint="",
        authorization_endpoint=None,
        device_authorization_endpoint=None,
        revocation_endpoint=None,
        relocated={},
    )
    return replace(portal, server=server)


def _with_api_base(portal: Portal, reader: _ConfigReader) -> Portal:
    flow = reader.text("flow")
    if flow is not None and flow not in get_args(Flow):
        reader.wrong("flow", "one of " + ", ".join(get_args(Flow)))
        flow = None
    api_base = (reader.url("apiBase") or "").rstrip("/")
    if api_base:
        portal = replace(portal, api_base=api_base, origins=frozenset({origin(api_base)}))
    return replace(portal, flow=flow) if flow else portal  # type: ignore[arg-type]  # checked against Flow's values above


def _redirect(reader: _ConfigReader) -> tuple[Redirect | None, bool]:
    if "redirect" not in reader.source:
        return None, False
    value = reader.source["redirect"]
    if isinstance(value, bool):
        return (Redirect() if value else None), True
    if not isinstance(value, dict):
        reader.wrong("redirect", "true, false or an object of host, port and path")
        return None, False
    return _redirect_parts(reader.group("redirect")), True


def _redirect_parts(reader: _ConfigReader) -> Redirect:
    reader.known(("host", "port", "path"))
    host = reader.text("host") or Redirect().host
    if not is_loopback(host):
        reader.wrong("host", "a loopback address, such as 127.0.0.1")
    port = reader.source.get("port", 0)
    if isinstance(port, bool) or not isinstance(port, int) or not 0 <= port <= _MAX_PORT:
        reader.wrong("port", f"a port from 0 to {_MAX_PORT}")
        port = 0
    path = reader.text("path") or Redirect().path
    if not path.startswith("/") or set(path) & set("?# "):
        reader.wrong("path", "a path that begins with `/`, without a query")
    return Redirect(host=host, port=port, path=path)
