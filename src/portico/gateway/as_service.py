"""Portico's processes as services of the operating system: the same installation, from any folder, and no secret in a file."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from portico.errors import StoreError
from portico.gateway.child import same_installation
from portico.gateway.service import uses_sealed_file
from portico.oauth import proxy
from portico.services.manager import manager_here
from portico.services.service import Service, Verb
from portico.store.passphrase import FILE_ENV

if TYPE_CHECKING:
    from portico.installation import Installation
    from portico.services.service import Manager

# Ways to the network that a service manager does not know.
_PASSED_ON: Final = (*proxy.VARIABLES, "NO_PROXY", "no_proxy", "SSL_CERT_FILE", "SSL_CERT_DIR")


def a_service(here: Installation, name: str, description: str, *, verb: Verb, words: tuple[str, ...], log: Path) -> Service:
    """The service that runs `words` as a command of this installation, as far as its files are concerned."""
    full_name = f"portico-{name}{f'-{here.paths.state_id}' if here.paths.state_id else ''}"
    # -P: a module in the folder of the moment must not be taken for one of ours.
    command = (sys.executable, "-P", "-m", "portico", *words)
    return Service(full_name, description, verb, command, {}, log, secrets=here.paths.state / f"{name}-proxy.env")


def in_this_environment(service: Service, here: Installation) -> Service:
    """The service with what makes its process this installation, with this way to the network.

    A proxy with a password goes into a file of its own, which only the user can read; the service's file names that one.

    Raises:
        StoreError: the sealed file store is in use and its passphrase is in no file.
    """
    environment = same_installation(here.paths, here.env)
    passed_on = {name: value for name in _PASSED_ON if (value := here.env.get(name))}
    secret = {name: value for name, value in passed_on.items() if name in proxy.VARIABLES and proxy.may_hold_password(value)}
    environment |= {name: value for name, value in passed_on.items() if name not in secret}
    given = here.env.get(proxy.FILE_ENV)
    if secret:
        environment[proxy.FILE_ENV] = str(service.secrets)
    elif given:
        environment[proxy.FILE_ENV] = str(Path(given).expanduser().absolute())
    if uses_sealed_file(here.paths):
        if not here.env.get(FILE_ENV):
            raise StoreError(
                "passphrase-needed",
                "the sealed file store needs its passphrase whenever a token is refreshed, and a unit file is no place for it",
                hint=f"put it into a file that only you can read, set {FILE_ENV} to that file, and run the command again",
            )
        environment[FILE_ENV] = str(Path(here.env[FILE_ENV]).expanduser().absolute())
    return replace(service, environment=environment, secret_environment=secret)


def gateway_service(here: Installation) -> Service:
    """The gateway by its names alone."""
    verb, words = Verb("gateway install", "gateway uninstall"), ("gateway", "run")
    description = "Portico: models for the tools of this machine"
    return a_service(here, "gateway", description, verb=verb, words=words, log=here.paths.gateway_log)


def usable_manager(here: Installation) -> tuple[Manager | None, str]:
    """The service manager of this system, or None and why there is none that could be used."""
    manager = manager_here(here.env)
    why = manager.why_not() if manager is not None else "Portico knows no service manager of this system"
    return (manager, "") if why is None else (None, why)


def after_install(manager: Manager, service: Service) -> str:
    """What to know of a service that has just been installed."""
    secret = (
        f"Its proxy, which has a password, is in {service.secrets}, which only you can read.\n"
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
