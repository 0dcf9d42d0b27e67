"""Staying signed in while no command runs: the gateway's background process, offered at the end of a sign-in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from portico.errors import PorticoError

if TYPE_CHECKING:
    from portico.onboarding.workbench import Workbench


def is_wanted(bench: Workbench, asked: bool | None) -> bool:
    """Whether the sign-in that is about to be made is to be kept fresh: `asked` None asks, where somebody is there."""
    if asked is not None:
        return asked
    if bench.gateway_runs() or not bench.prompter.interactive:
        return False
    question = "Stay signed in? A background process refreshes the tokens before they end."
    return bench.prompter.confirm(question, flag="--background", default=True)


def settle(bench: Workbench, *, wanted: bool) -> str:
    """Start the background process if it is wanted, and say in words what is so.

    A process that cannot be started does not undo a sign-in.
    """
    if bench.gateway_runs():
        return _kept_by_the_one_that_runs(bench)
    if not wanted:
        return f"none; tokens are refreshed when used (to change that: {bench.program} gateway start)"
    from portico.gateway import control
    from portico.gateway.port import port_of

    try:
        port, store = port_of(bench.config.config, bench.env), bench.store_choice()
        started = control.start(bench.paths, port=port, passphrase=bench.passphrase, env=bench.env, store=store)
    except PorticoError as error:
        bench.out.warn(f"The background process did not start: {error}")
        step = error.hint_for(bench.program)
        return f"not started; {step.splitlines()[0]}" if step else "not started"
    return f"the gateway keeps it fresh (pid {started.pid}) until this machine restarts"


def _kept_by_the_one_that_runs(bench: Workbench) -> str:
    """A gateway gets the sealed file store's passphrase when it starts: one that started without it is started anew."""
    from portico.gateway import control
    from portico.gateway.state import running

    try:
        state = running(bench.paths)
        if state is not None and control.lacks_passphrase(bench.paths, state):
            _restart(bench, state.port)
            return "the gateway keeps it fresh; it was restarted, since it did not have the passphrase of the token store"
    except PorticoError as error:
        bench.out.warn(f"The gateway was not restarted with the passphrase of the token store: {error}")
        return f"the gateway cannot refresh it before it is restarted: {bench.program} gateway restart"
    return "the gateway that runs keeps it fresh"


def _restart(bench: Workbench, port: int) -> None:
    """Start the gateway anew with the passphrase, on its port.

    A service manager would neither let go of the port that it keeps, nor know the passphrase: until the next login it stops its
    service.

    Raises: as `control.restart`.
        ConfigError: `service-failed`.
    """
    from portico.gateway import control
    from portico.gateway.service import gateway_service
    from portico.services.manager import manager_here

    store, manager, service = bench.store_choice(), manager_here(bench.env), gateway_service(bench)
    if manager is None or not manager.path(service).exists():
        control.restart(bench.paths, port=port, passphrase=bench.passphrase, env=bench.env, store=store)
        return
    control.passphrase_for(bench.paths, bench.passphrase, bench.env, store)  # before anything is stopped
    manager.stop(service)
    control.stop(bench.paths)
    control.start(bench.paths, port=port, passphrase=bench.passphrase, env=bench.env, store=store)
