"""The operating system's services that run Portico: their command line, environment and proxy settings."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final, Protocol

from portico.errors import NetworkError
from portico.gateway.control import same_installation, uses_encrypted_file
from portico.net import proxy
from portico.paths import expand_home
from portico.secret import Secret
from portico.services.managers import service_manager
from portico.services.service import Service, ServiceCommands, remove_secrets
from portico.store.encrypted_file import FILE_ENV
from portico.store.errors import PassphraseNeeded
from portico.util.children import LOOPBACK, NO_PROXY, portico_command, without_proxy

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from portico.app import App
    from portico.paths import Paths
    from portico.services.service import Manager

_CERTIFICATES: Final = ("SSL_CERT_FILE", "SSL_CERT_DIR")


class HasPaths(Protocol):
    """An object that has the paths of an installation."""

    @property
    def paths(self) -> Paths: ...


def make_service(
    app: HasPaths, name: str, description: str, *, commands: ServiceCommands, words: tuple[str, ...], log: Path
) -> Service:
    """The service that runs `words` as a command of this installation, without its environment."""
    full_name = f"portico-{name}{f'-{app.paths.state_id}' if app.paths.state_id else ''}"
    command = tuple(portico_command(*words))
    return Service(full_name, description, commands, command, {}, log, secrets=app.paths.state / f"{name}-proxy.env")


def with_environment(service: Service, app: App, installed: Mapping[str, str] | None = None) -> Service:
    """The service with the environment that its process needs: this installation, its proxy, certificates and passphrase file.

    A service manager does not know the variables of this shell, so the unit file gets the variables that concern the network. A
    proxy with a password is written to a separate file that only the user can read, and the unit file has the path of this
    file. If `PORTICO_PROXY_FILE` already names such a file, this file is used, unless a variable of this shell has a password
    too.

    `installed` has the variables of the installed service. A variable stays if this environment has no variable of its kind.

    Raises:
        NetworkError: `proxy-unusable`: the file in `PORTICO_PROXY_FILE` cannot be used.
        StoreError: the encrypted file store is in use, and its passphrase is not in a file.
        ConfigError: `no-home`: the path of the passphrase file begins with the home folder of an unknown user.
    """
    env = app.env if installed is None else _with_installed(app.env, installed)
    variables, secret = _proxy_variables(service, app, env)
    environment = {**same_installation(app.paths, app.env), **variables}
    if proxy.sets_proxy(environment) or secret:
        environment |= without_proxy(environment)
    environment |= {name: value for name in _CERTIFICATES if (value := env.get(name))}
    if uses_encrypted_file(app.paths, app.store_choice()):
        if not env.get(FILE_ENV):
            raise PassphraseNeeded(
                "the encrypted file store needs its passphrase for each refresh, and a unit file is no place for a secret",
                hint=f"put it into a file that only you can read, set {FILE_ENV} to that file, and run the command again",
            )
        environment[FILE_ENV] = str(expand_home(env[FILE_ENV], FILE_ENV, env).absolute())
    return replace(service, environment=environment, secret_environment=secret)


def _proxy_variables(service: Service, app: App, env: Mapping[str, str]) -> tuple[dict[str, str], dict[str, Secret]]:
    """The proxy variables without a password, which the unit file may contain, and the proxy variables with a password."""
    own, path = proxy.effective_variables(env), proxy.proxy_file_path(env)
    in_file = proxy.file_variables(env, path) if path is not None else {}  # read in any case, to reject an unusable file now
    # A file that Portico made is removed with its service, which may be another one than this.
    is_ours = path is not None and path.resolve().parent == app.paths.state.resolve()
    if path is not None and not is_ours and not any(map(_may_hold_password, own.items())):
        return {**own, proxy.FILE_ENV: str(path)}, {}
    every = {**proxy.effective_variables(in_file), **own}
    secret = {name: Secret(value) for name, value in every.items() if _may_hold_password((name, value))}
    plain = {name: value for name, value in every.items() if name not in secret}
    return {**plain, **({proxy.FILE_ENV: str(service.secrets)} if secret else {})}, secret


def _may_hold_password(variable: tuple[str, str]) -> bool:
    name, value = variable
    return name in proxy.VARIABLES and proxy.may_hold_password(value)


def _with_installed(env: Mapping[str, str], installed: Mapping[str, str]) -> dict[str, str]:
    """Return `env`. If `env` has no variable of a kind, add those of `installed`."""
    kinds = [NO_PROXY, *((name,) for name in (*_CERTIFICATES, FILE_ENV))]
    stay = {name for kind in kinds if not any(name in env for name in kind) for name in kind}
    if not proxy.sets_proxy(env):
        stay |= {*proxy.VARIABLES, proxy.FILE_ENV}
    return {**env, **{name: value for name, value in installed.items() if name in stay}}


def lost_proxy_warning(service: Service, before: Mapping[str, str]) -> str | None:
    """A warning if a new installation of the service would lose its proxy or its `NO_PROXY`, else None.

    `before` has the variables of the installed service. An empty value is a choice of no proxy, so it is not a loss.
    """
    now = dict(service.environment)
    if service.secret_environment:  # the file with these variables does not exist yet
        now.pop(proxy.FILE_ENV, None)
        now |= {name: value.reveal() for name, value in service.secret_environment.items()}
    had, has = _proxies(before, service.secrets), _proxies(now, None)
    # Providers use https, so a proxy only for http does not help.
    for scheme, missing in (("https", "https" not in has), ("http", not has.keys() & {"https", "http"})):
        if had.get(scheme) and missing:
            fix = f"To keep one, set {scheme.upper()}_PROXY and run the command again."
            return f"{service.name} goes without the proxy that it had for {scheme}: no variable of this shell names one. {fix}"
    if had.get("no") and not has.get("no") and any(has.values()):
        fix = "To keep it, set NO_PROXY and run the command again."
        return f"{service.name} goes without the NO_PROXY that it had: this shell has none. {fix}"
    return None


def _proxies(env: Mapping[str, str], old_file: Path | None) -> dict[str, str]:
    """The proxies that `env` sets, by scheme (`https`, `http`), and under `no` the hosts without a proxy.

    `old_file` is used if `env` names no file. An unreadable file counts as a proxy for both schemes.
    """
    try:
        path = proxy.proxy_file_path(env) or (old_file if old_file is not None and old_file.exists() else None)
        every = {**(proxy.file_variables(env, path) if path is not None else {}), **env}
    except NetworkError:
        every = {"ALL_PROXY": "unknown", **env}
    proxies = {name.lower().removesuffix("_proxy"): value.strip() for name, value in proxy.effective_variables(every).items()}
    if "no" in proxies:  # without the names of this machine, because every service has these in NO_PROXY
        proxies["no"] = ",".join(host for host in proxies["no"].replace(",", " ").split() if host not in LOOPBACK)
    if "all" in proxies:
        for_all = proxies.pop("all")
        proxies = {"https": for_all, "http": for_all, **proxies}
    return proxies


def remove_service(service: Service, app: App) -> tuple[bool, bool]:
    """Stop and remove the service and its proxy file.

    Return whether the service existed, and whether only the proxy file existed: a cron line may use the file without a service.

    Raises:
        ConfigError, StoreError: as `Manager.uninstall`.
    """
    manager = service_manager(app.env)
    if manager is not None and manager.uninstall(service):
        return True, False
    had_file = service.secrets is not None and service.secrets.exists()
    remove_secrets(service)
    return False, had_file


def gateway_service(app: HasPaths) -> Service:
    """The gateway's service without its environment and port."""
    commands, words = ServiceCommands("gateway install", "gateway uninstall"), ("gateway", "run")
    description = "Portico: models for the tools of this machine"
    return make_service(app, "gateway", description, commands=commands, words=words, log=app.paths.gateway_log)


def gateway_to_install(app: App, installed: Mapping[str, str] | None = None) -> Service:
    """The gateway's service as `gateway install` would install it now. `installed` means the same as in `with_environment`.

    Raises: as `with_environment`.
        ConfigError: the config cannot be used.
    """
    return with_environment(with_configured_port(gateway_service(app), app), app, installed)


def with_configured_port(service: Service, app: App) -> Service:
    """The gateway's service with the port of the config; None if the port is 0, which means any free port.

    Raises:
        ConfigError: the config cannot be used.
    """
    return replace(service, port=app.settings.config.gateway.port or None)


def service_keeping_port(app: App, port: int) -> tuple[Manager, Service] | None:
    """The installed gateway's service and its manager, if the manager keeps this port open even between two processes."""
    manager, service = service_manager(app.env), replace(gateway_service(app), port=port)
    if port == 0 or manager is None or not (manager.path(service).exists() and manager.keeps_port(service)):
        return None
    return manager, service


def usable_manager(app: App) -> tuple[Manager | None, str]:
    """The service manager of this system; or None and the reason why it cannot be used."""
    manager = service_manager(app.env)
    why = manager.why_unavailable() if manager is not None else "Portico knows no service manager of this system"
    return (manager, "") if why is None else (None, why)


def after_install(manager: Manager, service: Service) -> str:
    """The text to print after a service was installed."""
    secret = (
        f"Its proxy, which may have a password, is in {service.secrets}, which only you can read.\n"
        if service.secret_environment
        else ""
    )
    return secret + _after_install(manager, service)


def proxy_file(service: Service) -> dict[str, str]:
    """The `--json` member with the path of the service's proxy file; empty if no such file exists."""
    return {"proxyFile": str(service.secrets)} if service.secret_environment else {}


def _after_install(manager: Manager, service: Service) -> str:
    if manager.kind.startswith("systemd"):
        return (
            f"Look at it: systemctl --user status {service.name}; its log: journalctl --user -u {service.name}\n"
            "To keep it running while you are logged out: loginctl enable-linger"
        )
    return f"Its log: {service.log}"
