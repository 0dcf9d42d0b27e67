"""Portico's processes as services of the operating system: the same installation, from any folder, and no secret in a file."""

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
    """An installation, as far as its folders are concerned."""

    @property
    def paths(self) -> Paths: ...


def a_service(
    app: HasPaths, name: str, description: str, *, commands: ServiceCommands, words: tuple[str, ...], log: Path
) -> Service:
    """The service that runs `words` as a command of this installation, as far as its files are concerned."""
    full_name = f"portico-{name}{f'-{app.paths.state_id}' if app.paths.state_id else ''}"
    command = tuple(portico_command(*words))
    return Service(full_name, description, commands, command, {}, log, secrets=app.paths.state / f"{name}-proxy.env")


def in_this_environment(service: Service, app: App, installed: Mapping[str, str] | None = None) -> Service:
    """The service with what makes its process this installation, with this way to the network.

    The way is the variables that count here, which a service manager does not know. A proxy with a password goes into a file of
    its own, which only the user can read; the service's file names that one. A file that the user has made is named itself, as
    long as no password has to stand beside it.

    `installed` has the variables that the service was installed with: of a kind that this environment says nothing of, they stay.

    Raises:
        NetworkError: `proxy-unusable`: the file in `PORTICO_PROXY_FILE` cannot be used.
        StoreError: the sealed file store is in use and its passphrase is in no file.
        ConfigError: `no-home`: that file's path begins with the home folder of an unknown user.
    """
    env = app.env if installed is None else _with_what_stays(app.env, installed)
    variables, secret = _way(service, app, env)
    environment = {**same_installation(app.paths, app.env), **variables}
    if proxy.names_a_way(environment) or secret:
        environment |= without_proxy(environment)
    environment |= {name: value for name in _CERTIFICATES if (value := env.get(name))}
    if uses_encrypted_file(app.paths, app.store_choice()):
        if not env.get(FILE_ENV):
            raise PassphraseNeeded(
                "the sealed file store needs its passphrase whenever a token is refreshed, and a unit file is no place for it",
                hint=f"put it into a file that only you can read, set {FILE_ENV} to that file, and run the command again",
            )
        environment[FILE_ENV] = str(expand_home(env[FILE_ENV], FILE_ENV, env).absolute())
    return replace(service, environment=environment, secret_environment=secret)


def _way(service: Service, app: App, env: Mapping[str, str]) -> tuple[dict[str, str], dict[str, Secret]]:
    """The variables of the way to the network: what the service's file may hold, and what it may not."""
    own, path = proxy.counting(env), proxy.file_in(env)
    of_file = proxy.behind(env, path) if path is not None else {}  # read in any case: a service with an unusable one is of no use
    # A file of Portico's own goes when its service goes, which may be the other one.
    is_ours = path is not None and path.resolve().parent == app.paths.state.resolve()
    if path is not None and not is_ours and not any(map(_may_hold_password, own.items())):
        return {**own, proxy.FILE_ENV: str(path)}, {}
    every = {**proxy.counting(of_file), **own}
    secret = {name: Secret(value) for name, value in every.items() if _may_hold_password((name, value))}
    plain = {name: value for name, value in every.items() if name not in secret}
    return {**plain, **({proxy.FILE_ENV: str(service.secrets)} if secret else {})}, secret


def _may_hold_password(variable: tuple[str, str]) -> bool:
    name, value = variable
    return name in proxy.VARIABLES and proxy.may_hold_password(value)


def _with_what_stays(env: Mapping[str, str], installed: Mapping[str, str]) -> dict[str, str]:
    """`env`, and from `installed` each kind of variable that `env` has none of."""
    kinds = [NO_PROXY, *((name,) for name in (*_CERTIFICATES, FILE_ENV))]
    stay = {name for kind in kinds if not any(name in env for name in kind) for name in kind}
    if not proxy.names_a_way(env):
        stay |= {*proxy.VARIABLES, proxy.FILE_ENV}
    return {**env, **{name: value for name, value in installed.items() if name in stay}}


def proxy_that_goes(service: Service, before: Mapping[str, str]) -> str | None:
    """What to say of a service that is installed again without the proxy, or the `NO_PROXY`, that it had.

    `before` has the variables of that time. An empty value is no proxy, and says that there shall be none.
    """
    now = dict(service.environment)
    if service.secret_environment:  # they stand for the file, which is not written yet
        now.pop(proxy.FILE_ENV, None)
        now |= {name: value.reveal() for name, value in service.secret_environment.items()}
    had, has = _proxies(before, service.secrets), _proxies(now, None)
    # Providers are asked by https, so one for http alone is none for them.
    for scheme, missing in (("https", "https" not in has), ("http", not has.keys() & {"https", "http"})):
        if had.get(scheme) and missing:
            again = f"To keep one, set {scheme.upper()}_PROXY and run the command again."
            return f"{service.name} goes without the proxy that it had for {scheme}: no variable of this shell names one. {again}"
    if had.get("no") and not has.get("no") and any(has.values()):
        again = "To keep it, set NO_PROXY and run the command again."
        return f"{service.name} goes without the NO_PROXY that it had: this shell has none. {again}"
    return None


def _proxies(env: Mapping[str, str], left: Path | None) -> dict[str, str]:
    """What `env` says of a proxy for `https` and `http`, and of hosts with `no` proxy, each only if it says something of it.

    `left` is a file of an earlier time, which counts if `env` names none. One that cannot be read may have a proxy for both.
    """
    try:
        path = proxy.file_in(env) or (left if left is not None and left.exists() else None)
        every = {**(proxy.behind(env, path) if path is not None else {}), **env}
    except NetworkError:
        every = {"ALL_PROXY": "unknown", **env}
    said = {name.lower().removesuffix("_proxy"): value.strip() for name, value in proxy.counting(every).items()}
    if "no" in said:  # every service has the names of this machine there
        said["no"] = ",".join(host for host in said["no"].replace(",", " ").split() if host not in LOOPBACK)
    for_all = {scheme: said["all"] for scheme in ("https", "http") if "all" in said}
    return {**for_all, **{name: value for name, value in said.items() if name != "all"}}


def take_away(service: Service, app: App) -> tuple[bool, bool]:
    """Stop and remove the service, and the file with its proxy, which may be there for a line of cron's alone.

    Returns whether there was a service, and whether there was only that file.

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
    """The gateway by its names alone."""
    commands, words = ServiceCommands("gateway install", "gateway uninstall"), ("gateway", "run")
    description = "Portico: models for the tools of this machine"
    return a_service(app, "gateway", description, commands=commands, words=words, log=app.paths.gateway_log)


def gateway_to_install(app: App, installed: Mapping[str, str] | None = None) -> Service:
    """The gateway as it would be installed now; `installed` as in `in_this_environment`.

    Raises: as `in_this_environment`.
        ConfigError: the configuration cannot be used.
    """
    return in_this_environment(with_configured_port(gateway_service(app), app), app, installed)


def with_configured_port(service: Service, app: App) -> Service:
    """The gateway's service with the port of the configuration, which alone counts for it; none where that is 0, which takes any.

    Raises:
        ConfigError: the configuration cannot be used.
    """
    return replace(service, port=app.settings.config.gateway.port or None)


def kept_service(app: App, port: int) -> tuple[Manager, Service] | None:
    """The installed gateway, if this is the port that its manager keeps open, also between two processes; with the manager."""
    manager, service = service_manager(app.env), replace(gateway_service(app), port=port)
    if port == 0 or manager is None or not (manager.path(service).exists() and manager.keeps_port(service)):
        return None
    return manager, service


def usable_manager(app: App) -> tuple[Manager | None, str]:
    """The service manager of this system, or None and why there is none that could be used."""
    manager = service_manager(app.env)
    why = manager.why_unavailable() if manager is not None else "Portico knows no service manager of this system"
    return (manager, "") if why is None else (None, why)


def after_install(manager: Manager, service: Service) -> str:
    """What to know of a service that has just been installed."""
    secret = (
        f"Its proxy, which may have a password, is in {service.secrets}, which only you can read.\n"
        if service.secret_environment
        else ""
    )
    return secret + _after_install(manager, service)


def proxy_file(service: Service) -> dict[str, str]:
    """The member of a `--json` answer that names the file with the service's proxy, if it has one."""
    return {"proxyFile": str(service.secrets)} if service.secret_environment else {}


def _after_install(manager: Manager, service: Service) -> str:
    if manager.kind.startswith("systemd"):
        return (
            f"Look at it: systemctl --user status {service.name}; its log: journalctl --user -u {service.name}\n"
            "To keep it running while you are logged out: loginctl enable-linger"
        )
    return f"Its log: {service.log}"
