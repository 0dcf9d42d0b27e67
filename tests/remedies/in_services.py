"""The gateway, with and without a service manager; the service managers themselves; the library's clients."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from portico.errors import ConfigError, UsageError
from portico.integrations.sdks import base_for
from portico.library.model import load_model
from portico.services.gateway_state import gateway_lock, running
from portico.services.managers import Launchd, Systemd
from portico.services.service import Service, ServiceCommands
from tests.free_port import free_port
from tests.remedies.in_configuring import KEY, MODEL
from tests.remedies.scenario import command_of, scenario
from tests.services import fake_systemd

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from portico.errors import PorticoError
    from tests.remedies.scenario import Desk

BY_CONFIG = {"PORTICO_GATEWAY_PORT": None}


def with_a_port(desk: Desk) -> None:
    """A free port for the gateway, and a sealed file for its keys, so that no keyring is needed."""
    desk.ok("config", "set", "gateway.port", str(free_port()))
    desk.ok("config", "set", "auth.store", '"file"')
    passphrase = desk.commands.paths.config.with_name("passphrase")
    passphrase.write_text("hunter3\n", encoding="utf-8")
    passphrase.chmod(0o600)
    desk.commands.env |= {"PORTICO_PASSPHRASE_FILE": str(passphrase)}


@contextmanager
def stopped_afterwards(desk: Desk) -> Iterator[None]:
    try:
        yield
    finally:
        desk.commands.run("gateway", "stop")


@scenario("You have no gateway key. Create one: {prog} gateway key add NAME")
def no_gateway_key(desk):
    with_a_port(desk)
    desk.follow(desk.shown("no gateway key", "gateway", "key", "list"))
    assert "NAME" in desk.ok("gateway", "key", "list")


@scenario(
    "No gateway is running. Start one: {prog} gateway start",
    "No gateway is running, so none was restarted. To start one: {prog} gateway start",
    "To print the key for your tools: {prog} gateway key show",
)
def no_gateway_is_running(desk):
    with_a_port(desk)
    env = {**KEY, **BY_CONFIG}
    words = ("env", "--model", MODEL, "--json")
    env_hint = desk.shown("Start one: ", *words, env=env)
    restart_hint = desk.shown("none was restarted", "gateway", "restart", env=env)
    assert command_of(env_hint) == command_of(restart_hint) == ["gateway", "start"]
    with stopped_afterwards(desk):
        key = desk.shown("To print the key for your tools", *command_of(env_hint), env=env)
        assert desk.follow(key, env=env).strip()
        assert desk.commands.run(*words, env=env).stderr == ""
        assert "Restarted the gateway" in desk.ok("gateway", "restart", env=env)


HOLD = """
import sys
from pathlib import Path
from portico.util.lock import FileLock
FileLock(Path(sys.argv[1])).acquire(5)
print("held", flush=True)
sys.stdin.read()
"""


@contextmanager
def a_gateway_that_hangs(desk: Desk) -> Iterator[None]:
    """A process that holds the gateway's lock and answers nothing."""
    command = [sys.executable, "-c", HOLD, str(gateway_lock(desk.commands.paths).path)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=desk.commands.run_portico.environment()) as process:
        try:
            assert process.stdout.readline() == "held\n"
            yield
        finally:
            process.kill()


@scenario(
    "The gateway does not respond. Restart it: {prog} gateway restart",
    "The gateway does not respond. Restart it: {prog} gateway restart",
)
def a_gateway_does_not_answer(desk):
    with_a_port(desk)
    env = {**KEY, **BY_CONFIG}
    desk.ok("gateway", "key", "add", "default", env=env)
    with a_gateway_that_hangs(desk), stopped_afterwards(desk):
        hint = desk.shown("Restart it", "env", "--model", MODEL, "--json", env=env)
        assert command_of(desk.shown("Restart it", "gateway", "status", env=env)) == command_of(hint)
        desk.follow(hint, env=env)
        assert running(desk.commands.paths) is not None
        assert desk.commands.run("env", "--model", MODEL, "--json", env=env).stderr == ""


@scenario("Created a key for your tools. To print it: {prog} gateway key show")
def the_first_gateway_in_the_foreground(desk):
    with_a_port(desk)
    environment = desk.commands.run_portico.environment({**desk.commands.env, **BY_CONFIG, "PORTICO_GATEWAY_PORT": "0"})
    command = [sys.executable, "-m", "portico", "gateway", "run"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as gateway:
        try:
            line = next(line for line in gateway.stderr if "Created a key for your tools" in line)
            desk.printed.append(line.strip())
            next(line for line in gateway.stderr if "Press Ctrl-C to stop it" in line)
            assert desk.follow(line).strip()
        finally:
            gateway.send_signal(signal.SIGINT)
            gateway.communicate(timeout=15)


def with_systemd(desk: Desk) -> tuple[Path, Path]:
    """From here on there is a little systemd; the folder of its programs, and that of the units."""
    if sys.platform != "linux":
        pytest.skip("systemd is Linux's")
    folder = desk.commands.paths.config.parent / "systemd"
    desk.commands.env |= fake_systemd.install(folder, folder / "home")
    return folder / "bin", folder / "home" / "config" / "systemd" / "user"


@contextmanager
def a_systemctl_that_fails(programs: Path, *verbs: str) -> Iterator[None]:
    """For these words only."""
    program = programs / "systemctl"
    before = program.read_text(encoding="utf-8")
    shebang, command = before.splitlines()
    refusal = "echo 'Failed to connect to bus: No medium found' >&2; exit 1"
    program.write_text(f'{shebang}\ncase "$2" in {"|".join(verbs)}) {refusal};; esac\n{command}\n', encoding="utf-8")
    try:
        yield
    finally:
        program.write_text(before, encoding="utf-8")


@scenario(
    "It starts again at the next login ({}). To remove the service: {prog} gateway uninstall",
    "It starts at the next login ({}). To start it now: {prog} gateway start",
    "{prog} config set gateway.port {}; or remove the service: {prog} gateway uninstall",
    "To use port {}: {prog} config set gateway.port {}, then: {prog} gateway restart",
    "set {} without them",
)
def a_gateway_that_is_a_service(desk):
    with_a_port(desk)
    with_systemd(desk)
    right = "http://me:hunter2@proxy.example:8080"
    wrong = {"HTTPS_PROXY": f"{right}\nx", "https_proxy": None, **BY_CONFIG}
    variable = desk.refused("gateway", "install", env=wrong)["hint"].split()[1]
    desk.ok("gateway", "install", env={**wrong, variable: right})
    with stopped_afterwards(desk):
        ending = desk.shown("To remove the service", "gateway", "stop", env=BY_CONFIG)
        other = str(free_port())
        error = desk.refused("gateway", "start", "--port", other, env=BY_CONFIG)
        desk.follow(error["hint"], env=BY_CONFIG)
        desk.follow(desk.shown("To start it now", "gateway", "status", env=BY_CONFIG), env=BY_CONFIG)
        assert running(desk.commands.paths).url.endswith(f":{other}")

        third = str(free_port())
        hint = desk.shown("To use port", "gateway", "start", "--port", third, env=BY_CONFIG)
        desk.follow(hint, env=BY_CONFIG)
        desk.follow(hint.partition("then: ")[2], env=BY_CONFIG)
        assert running(desk.commands.paths).url.endswith(f":{third}")

        assert command_of(ending) == command_of(error["hint"].partition("service: ")[2]) == ["gateway", "uninstall"]
        desk.follow(ending, env=BY_CONFIG)
        assert running(desk.commands.paths) is None
        assert "next login" not in desk.ok("gateway", "status", env=BY_CONFIG)


@scenario("to remove the service: {prog} {}")
def a_service_manager_that_answers_no_longer(desk):
    with_a_port(desk)
    programs, units = with_systemd(desk)
    desk.ok("gateway", "install", env=BY_CONFIG)
    (wanted := units / "default.target.wants").mkdir()
    (unit,) = units.glob("portico-gateway*.service")
    (wanted / unit.name).symlink_to(unit)  # as `systemctl enable` makes it
    desk.ok("gateway", "stop", env=BY_CONFIG)
    with stopped_afterwards(desk), a_systemctl_that_fails(programs, "*"):
        error = desk.refused("gateway", "start", env=BY_CONFIG)
        desk.follow(error["hint"], env=BY_CONFIG)
        assert [path for path in units.rglob("*") if path.suffix == ".service"] == []
        desk.ok("gateway", "start", env=BY_CONFIG)


def a_manager(desk: Desk, kind: type[Launchd | Systemd], program: str, place: int) -> tuple[Launchd | Systemd, Service, Path]:
    """A service manager whose program fails if its word at `place` is the one in a file; a service, and the file."""
    folder = desk.commands.paths.config.parent
    refused = folder / "refused"
    refused.write_text("", encoding="utf-8")
    (folder / program).write_text(f'#!/bin/sh\n[ "${place}" != "$(cat {shlex.quote(str(refused))})" ]\n', encoding="utf-8")
    (folder / program).chmod(0o755)
    commands = ServiceCommands("gateway install", "gateway uninstall")
    service = Service("portico-gateway", "Portico", commands, (sys.executable,), {}, folder / "log")
    return kind({"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}", "HOME": str(folder / "home")}), service, refused


def hint_of(desk: Desk, call: Callable[[], object], kind: type[PorticoError]) -> str:
    """The hint of the error that a call ends with, as a person sees it."""
    with pytest.raises(kind) as caught:
        call()
    desk.printed.append(caught.value.hint_for("portico") or "")
    return desk.printed[-1]


@scenario("delete it yourself: rm {}")
def a_systemd_that_does_not_let_go_of_a_service(desk):
    manager, service, refused = a_manager(desk, Systemd, "systemctl", 2)
    manager.install(service)
    refused.write_text("disable\n", encoding="utf-8")
    rm, path = shlex.split(hint_of(desk, lambda: manager.uninstall(service), ConfigError).partition(": ")[2])
    assert (rm, Path(path).read_bytes()) == ("rm", manager.files(service)[Path(path)])
    Path(path).unlink()
    assert manager.uninstall(service) is False


@scenario("install it again: {prog} {}", "to remove the service: {prog} {}")
def a_launchd_that_fails(desk):
    manager, service, refused = a_manager(desk, Launchd, "launchctl", 1)
    follow = {("gateway", "install"): manager.install, ("gateway", "uninstall"): manager.uninstall}
    for failing, call in (("kickstart", manager.start), ("bootout", manager.stop), ("bootstrap", manager.install)):
        refused.write_text("", encoding="utf-8")
        manager.install(service)
        refused.write_text(f"{failing}\n", encoding="utf-8")
        hint = hint_of(desk, partial(call, service), ConfigError)
        follow[tuple(command_of(hint))](service)
        assert manager.path(service).exists() == (failing == "kickstart")


@scenario("It is served over {}.")
def a_client_of_a_protocol_that_the_model_is_not_served_over(desk):
    entry = "{ baseUrl: 'https://a.example/v1', apiKey: 'x', api: 'openai-completions', models: [{ id: 'thing' }] }"
    desk.ok("config", "set", "models.providers.acme", entry)
    model = load_model("acme/thing", env=desk.commands.run_portico.environment())
    hint = hint_of(desk, lambda: base_for(model, "anthropic-messages"), UsageError)
    assert base_for(model, hint.removeprefix("It is served over ").rstrip(".")) == "https://a.example/v1"
