"""The gateway, the service that keeps it running, and the packages that all of it stands on."""

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
    """A gateway that does not answer, or whose port another program has."""
    app = context.app
    condition, state = gateway_state.status(app.paths)
    yield Examined(f"{condition}, port {state.port}" if state is not None else condition)
    if condition == "unresponsive":
        why = "It neither refreshes tokens nor answers your tools."
        yield Finding(
            "gateway-unresponsive",
            "error",
            "A gateway process is there and does not answer.",
            why,
            "{prog} gateway restart",
        )
    elif state is not None and control.lacks_passphrase(app.paths, state):
        yield Finding("gateway-locked", "error", "The gateway cannot open the sealed file store.", hint="{prog} gateway restart")
    if context.config is None:
        return
    try:
        port = configured_port(app)
        if state is None or state.port != port:  # tools may have been set up for either
            bind_port(port).close()
    except PortTaken as error:
        is_hers = error.owner is not None and error.owner.is_other_user
        # A gateway that does not answer may have the port itself, and a service manager keeps it while there is none.
        if is_hers or not (condition == "unresponsive" or service_keeping_port(app, port)):
            yield of_error(error, level="error" if is_hers else "warning")
    except PorticoError as error:
        yield of_error(error, level="warning")


def service_file(context: CheckContext) -> Iterator[Outcome]:
    """A service that is installed and would run something else than what is here now."""
    app = context.app
    manager = service_manager(app.env)
    if manager is None or not manager.path(gateway_service(app)).exists():
        yield Skipped("there is no service manager here" if manager is None else "not installed")
        return
    installed = manager.environment(gateway_service(app))
    now = gateway_to_install(app, installed)
    path = manager.path(now)
    yield Examined(str(path))
    if all(_content(each) == content for each, content in manager.files(now).items()) and _has_its_secrets(now):
        return
    differs = sets_proxy(app.env) and not (_ways(installed) == _ways(now.environment) and _has_its_secrets(now))

    def renew() -> str:
        manager.install(now)
        return f"{path} is written anew, and the service restarted{', with the proxy of this shell' if differs else ''}"

    why = "It was made by another version, from another place, or for another environment."
    if differs:
        why = "The service does not go by the proxy that this shell's variables name."
    yield Finding(
        "service-outdated", "warning", f"{path} is not what would be installed now.", why, "{prog} gateway install", renew
    )


def _ways(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name in {*VARIABLES, FILE_ENV}}


def _has_its_secrets(service: Service) -> bool:
    if service.secrets is None or not service.secret_environment:
        return True
    return _content(service.secrets) == secrets_text(service)


def _content(path: Path) -> bytes | None:
    """What is in a service's file; None where it is no such file, or cannot be read."""
    try:
        return read_file(path, MAX_FILE_BYTES)
    except OSError:
        return None


def packages(_patient: CheckContext) -> Iterator[Outcome]:
    """A package older than the oldest one without a known fault: the floors in Portico's own metadata."""
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
            why = "An older one has faults that are known to matter here; the reasons stand in Portico's own tests."
            yield Finding(
                "package-old",
                "error",
                f"{requirement[1]} {present} is older than {requirement[2]}.",
                why,
                f"{this_python()} -m pip install --upgrade '{requirement[1]}>={requirement[2]}'",
            )


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(each) for each in re.findall(r"\d+", text)[:4])
