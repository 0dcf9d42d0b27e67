"""Checks of the gateway, of the service that runs it, and of the packages that Portico needs."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from portico.doctor.finding import Examined, Finding, Skipped, of_error
from portico.errors import PorticoError
from portico.gateway import control
from portico.gateway.port import PortTaken, bind_port, configured_port
from portico.gateway.service import gateway_service, gateway_to_install, service_keeping_port
from portico.net.proxy import FILE_ENV, VARIABLES, sets_proxy
from portico.services import gateway_state
from portico.services.managers import service_manager
from portico.services.service import MAX_FILE_BYTES, secrets_text
from portico.util.children import this_python
from portico.util.files import read_file

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from portico.doctor.finding import CheckContext, Outcome
    from portico.services.service import Service

_FLOOR: Final = re.compile(r"^([A-Za-z0-9._-]+)\s*>=\s*([0-9.]+)")


def running(context: CheckContext) -> Iterator[Outcome]:
    """Find a gateway that does not answer, or a port that another program uses."""
    app = context.app
    condition, state = gateway_state.status(app.paths)
    yield Examined(f"{condition}, port {state.port}" if state is not None else condition)
    if condition == "unresponsive":
        why = "It neither refreshes tokens nor serves your tools."
        yield Finding("gateway-unresponsive", "error", "The gateway does not answer.", why, "{prog} gateway restart")
    elif state is not None and control.lacks_passphrase(app.paths, state):
        yield Finding("gateway-locked", "error", "The gateway cannot open the encrypted file.", hint="{prog} gateway restart")
    if context.config is None:
        return
    try:
        port = configured_port(app)
        if state is None or state.port != port:  # a tool may use either
            bind_port(port).close()
    except PortTaken as error:
        is_other_user = error.owner is not None and error.owner.is_other_user
        # A gateway that does not answer may have the port; a service manager has the port while no gateway runs.
        if is_other_user or not (condition == "unresponsive" or service_keeping_port(app, port)):
            yield of_error(error, level="error" if is_other_user else "warning")
    except PorticoError as error:
        yield of_error(error, level="warning")


def service_file(context: CheckContext) -> Iterator[Outcome]:
    """Find an installed service that is out of date."""
    app = context.app
    manager = service_manager(app.env)
    if manager is None or not manager.path(gateway_service(app)).exists():
        yield Skipped("no service manager" if manager is None else "not installed")
        return
    installed = manager.environment(gateway_service(app))
    now = gateway_to_install(app, installed)
    path = manager.path(now)
    yield Examined(str(path))
    if all(_content(each) == content for each, content in manager.files(now).items()) and _has_its_secrets(now):
        return
    has_other_proxy = sets_proxy(app.env) and not (_proxy(installed) == _proxy(now.environment) and _has_its_secrets(now))

    def install() -> str:
        manager.install(now)
        return f"wrote {path} again and restarted the service{', with the proxy of this shell' if has_other_proxy else ''}"

    why = "It was written by another version, from another folder, or for another environment."
    if has_other_proxy:
        why = "The service does not use the proxy that the variables of this shell name."
    yield Finding("service-outdated", "warning", f"{path} is out of date.", why, "{prog} gateway install", install)


def _proxy(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name in {*VARIABLES, FILE_ENV}}


def _has_its_secrets(service: Service) -> bool:
    if service.secrets is None or not service.secret_environment:
        return True
    return _content(service.secrets) == secrets_text(service)


def _content(path: Path) -> bytes | None:
    """Return the content of a service's file; None if it cannot be read."""
    try:
        return read_file(path, MAX_FILE_BYTES)
    except OSError:
        return None


def packages(_context: CheckContext) -> Iterator[Outcome]:
    """Find packages that are older than Portico's metadata requires."""
    from importlib.metadata import PackageNotFoundError, requires, version

    try:
        needed = requires("portico") or []
    except PackageNotFoundError:
        yield Skipped("Portico runs from a checkout")
        return
    for line in needed:
        requirement = _FLOOR.match(line)
        if requirement is None or "extra ==" in line:
            continue
        try:
            present = version(requirement[1])
        except PackageNotFoundError:
            continue
        yield Examined(f"{requirement[1]} {present}")
        if _numbers(present) < _numbers(requirement[2]):
            message = f"{requirement[1]} {present} is older than {requirement[2]}."
            why = "Older versions have faults that affect Portico."
            hint = f"{this_python()} -m pip install --upgrade '{requirement[1]}>={requirement[2]}'"
            yield Finding("package-old", "error", message, why, hint)


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(each) for each in re.findall(r"\d+", text)[:4])
