"""The gateway: as a process, as a service, and what it says to its clients."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import signal
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import pytest

from portico.gateway import control
from portico.gateway.metrics import open_log
from portico.services.gateway_state import gateway_lock, write_state
from tests.free_port import free_port
from tests.gateway.fronts import CHAT, MESSAGES, configure, gateway
from tests.gateway.providers import WHOLE, answered, provider
from tests.minimax_session import sealed_store
from tests.remedies.scenario import command_of, scenario
from tests.services import fake_systemd

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from tests.gateway.fronts import Gateway
    from tests.remedies.scenario import Desk


# --- its process -------------------------------------------------------------------------------------------------------------------


@contextmanager
def background(desk: Desk, *words: str) -> Iterator[int]:
    """A gateway in the background, by its process id; whatever gateway is there afterwards is ended."""
    try:
        desk.ok("gateway", "start", *words)
        state = control.running(desk.commands.paths)
        assert state is not None
        yield state.pid
    finally:
        with patch("portico.gateway.control.TERM_S", 0.3):
            desk.commands.run("gateway", "stop")


@contextmanager
def impatient() -> Iterator[None]:
    """A gateway that does not answer is not waited for as long as it would be."""
    with patch("portico.services.gateway_state._PROBE_S", 0.3), patch("portico.gateway.control.TERM_S", 0.3):
        yield


@scenario("to look at it: {prog} gateway status; to start another in its place: {prog} gateway restart")
def a_gateway_runs_already(desk):
    with background(desk) as pid:
        error = desk.refused("gateway", "run")
        assert str(pid) in desk.follow(error["hint"])
        desk.ok(*command_of(error["hint"].partition(";")[2]))
        assert control.running(desk.commands.paths).pid != pid


@scenario("It runs {}, but {} is installed. To use that version: {prog} gateway restart")
def a_gateway_of_another_version(desk):
    paths = desk.commands.paths
    with background(desk):
        for version, runs in (("0.0.1", "It runs Portico 0.0.1,"), (None, "It runs an earlier version,")):
            write_state(paths, replace(control.running(paths), version=version))
            desk.follow(desk.shown(runs, "gateway", "status"))
            assert "is installed" not in desk.ok("gateway", "status")


@scenario("To restart it: {prog} gateway restart")
def a_plugin_is_switched_while_a_gateway_runs(desk):
    with background(desk) as pid:
        desk.ok("plugins", "disable", "minimax-portal-auth")
        desk.follow(desk.shown("To restart it", "plugins", "enable", "minimax-portal-auth"))
        assert control.running(desk.commands.paths).pid != pid


@scenario("{prog} gateway restart", "look at {}, end {} yourself, and run the command again")
def a_gateway_that_does_not_answer(desk):
    if sys.platform != "linux":
        pytest.skip("the signal that makes it hang, and the id of a lock's holder")
    with impatient(), background(desk) as pid:
        os.kill(pid, signal.SIGSTOP)
        desk.follow(desk.found("gateway-unresponsive")["hint"])
        second = control.running(desk.commands.paths).pid
        os.kill(second, signal.SIGSTOP)
        with patch("portico.gateway.control.has_open", lambda _pid, _path: None):  # as where the system shows no open files
            error = desk.refused("gateway", "stop")
        log, process = re.fullmatch(
            r"look at (.*), end process (\d+) yourself, and run the command again", error["hint"]
        ).groups()
        assert Path(log).is_file()
        os.kill(int(process), signal.SIGKILL)
        os.waitpid(int(process), 0)
        assert "No gateway is running" in desk.ok("gateway", "stop")


@scenario("look at {}, end {} yourself, and run the command again")
def a_lock_that_does_not_say_who_holds_it(desk):
    lock = gateway_lock(desk.commands.paths)
    assert lock.try_acquire()
    lock.path.write_text("", encoding="utf-8")
    error = desk.refused("gateway", "stop")
    assert "end that process yourself" in error["hint"]
    lock.release()
    desk.ok("gateway", "stop")


@scenario("see {}, or run it in the foreground: {prog} gateway run")
def a_gateway_that_does_not_come_up(desk):
    with patch("portico.gateway.control.READY_S", 0.0):
        error = desk.refused("gateway", "start")
    assert Path(error["hint"].removeprefix("see ").partition(", or")[0]).is_file()
    env = desk.commands.run_portico.environment(desk.commands.env)
    words = [sys.executable, "-m", "portico", *command_of(error["hint"])]
    with subprocess.Popen(words, env=env, stderr=subprocess.PIPE, text=True) as foreground:
        assert any("The gateway is running" in line for line in foreground.stderr)
        desk.ok("gateway", "stop")


# --- under a service manager -------------------------------------------------------------------------------------------------------


@contextmanager
def systemd(desk: Desk) -> Iterator[Path]:
    """Commands find a service manager; its folder. The service is gone afterwards, and the gateway with it."""
    if sys.platform != "linux":
        pytest.skip("systemd")
    home = desk.commands.paths.config.parent / "home"
    desk.commands.env |= fake_systemd.install(home / "systemd", home)
    desk.ok("config", "set", "gateway.port", str(free_port()))
    try:
        yield home / "systemd"
    finally:
        desk.commands.run("gateway", "uninstall")
        desk.commands.run("gateway", "stop")


@scenario("put it into a file that only you can read, set {} to that file, and run the command again", "{prog} gateway install")
def a_service_for_which_the_passphrase_is_in_no_file(desk):
    with systemd(desk) as folder:
        desk.ok("config", "set", "auth.store", "file")
        error = desk.refused("gateway", "install", env=sealed_store())
        variable = error["hint"].split("set ")[1].split()[0]
        secret = folder / "passphrase"
        secret.write_text("open sesame\n", encoding="utf-8")
        secret.chmod(0o600)
        env = {variable: str(secret)}
        unit = Path(re.search(r"(/\S+\.service)", desk.ok("gateway", "install", env=env))[1])
        right = unit.read_text(encoding="utf-8")
        unit.write_text(right.replace("RestartSec=5", "RestartSec=4"), encoding="utf-8")
        desk.follow(desk.found("service-outdated", env=env)["hint"], env=env)
        assert unit.read_text(encoding="utf-8") == right


@scenario("see {prog} gateway logs")
def a_service_that_does_not_come_up(desk):
    with systemd(desk) as folder:
        program = folder / "bin" / "systemctl"
        right = program.read_text(encoding="utf-8")
        program.write_text("#!/bin/sh\n", encoding="utf-8")  # it says that it has started the service, which ends at once
        journal = f"portico-gateway{'-' + desk.commands.paths.state_id if desk.commands.paths.state_id else ''}.service.journal"
        (folder / journal).write_text("it cannot be started\n", encoding="utf-8")
        with patch("portico.gateway.control.READY_S", 0.1):
            error = desk.refused("gateway", "install")
        assert "it cannot be started" in desk.follow(error["hint"])
        program.write_text(right, encoding="utf-8")
        desk.ok("gateway", "start")


# --- its clients -------------------------------------------------------------------------------------------------------------------


def asked(desk: Desk, client: Callable[[Gateway], Awaitable[Any]]) -> Any:
    """What `client` gives, at a gateway with the config as it is."""

    async def run() -> Any:
        async with gateway(desk.commands.paths) as here:
            return await client(here)

    return asyncio.run(run())


async def refused(desk: Desk, here: Gateway, *request: Any) -> str:
    """The message of the error that the gateway answers; it counts as printed."""
    status, told, _ = await here.json(*request)
    assert status >= 400
    message = str(told["error"]["message"])
    desk.printed.append(message)
    return message


@scenario("send fewer of them, or send a long list as one string")
def a_body_of_too_many_values(desk):
    async def client(here: Gateway, acme: Any) -> None:
        with patch("portico.gateway.request_body.MOST_PARTS", 50_000):
            await refused(desk, here, CHAT, {"messages": [], "metadata": ["0"] * 60_000})
            for fewer in (["0"] * 20_000, ",".join(["0"] * 60_000)):
                status, told, _ = await here.json(CHAT, {"messages": [], "metadata": fewer})
                assert (status, told) == (200, WHOLE)

    before_acme(desk, client)


def before_acme(desk: Desk, client: Callable[[Gateway, Any], Awaitable[None]], **blocks: Any) -> None:
    """Let `client` talk to a gateway before a provider called `acme`, which answers everything, and other providers."""

    async def run() -> None:
        async with provider(answered(WHOLE)) as acme:
            configure(desk.commands.paths, {"acme": acme.base, **blocks})
            async with gateway(desk.commands.paths) as here:
                await client(here, acme)

    asyncio.run(run())


@scenario("These are: {}.", "No model here is served over {}.")
def a_model_that_is_not_served_over_the_clients_protocol(desk):
    async def none(here: Gateway, acme: Any) -> None:
        message = await refused(desk, here, MESSAGES, {"model": "acme/model", "messages": []})
        assert "it is served over openai-completions" in message
        assert (await here.json(CHAT, {"model": "acme/model", "messages": []}))[0] == 200

    async def another(here: Gateway, acme: Any) -> None:
        message = await refused(desk, here, MESSAGES, {"model": "acme/model", "messages": []})
        named = re.search(r"These are: (\S+)\.", message)[1]
        assert (await here.json(MESSAGES, {"model": named, "messages": []}))[0] == 200
        assert acme.requests[-1].path == "/other/v1/messages"

    before_acme(desk, none)

    async def run() -> None:
        async with provider(answered(WHOLE)) as acme:
            claude = {"baseUrl": acme.base.removesuffix("/v1") + "/other", "api": "anthropic-messages"}
            configure(desk.commands.paths, {"acme": acme.base, "claude": claude})
            async with gateway(desk.commands.paths) as here:
                await another(here, acme)

    asyncio.run(run())


@scenario("Please report it, with what {prog} gateway logs shows.")
def a_bug_of_the_gateway(desk):
    os.close(open_log(desk.commands.paths.gateway_log))
    log = logging.FileHandler(desk.commands.paths.gateway_log)

    async def client(here: Gateway, acme: Any) -> None:
        logging.getLogger("portico.gateway").addHandler(log)
        with patch("portico.gateway.forward.attempt", side_effect=RuntimeError("sk-not-a-secret")):
            await refused(desk, here)
        assert (await here.json())[0] == 200

    try:
        before_acme(desk, client)
    finally:
        logging.getLogger("portico.gateway").removeHandler(log)
        log.close()
    shown = desk.follow(desk.printed[-1])
    assert ("acme/model: could not send the request: RuntimeError" in shown, "sk-not-a-secret" in shown) == (True, False)


@scenario("Check the connection: {prog} doctor")
def providers_that_could_not_be_reached_a_moment_ago(desk):
    async def client(here: Gateway) -> None:
        for _ in range(3):
            await refused(desk, here)

    away = {name: f"http://127.0.0.1:{free_port()}/v1" for name in ("acme", "backup")}
    configure(desk.commands.paths, away, fallbacks=["backup/model"])
    asked(desk, client)
    desk.found("network")

    async def works(here: Gateway, _acme: Any) -> None:
        assert (await here.json())[0] == 200

    before_acme(desk, works)
