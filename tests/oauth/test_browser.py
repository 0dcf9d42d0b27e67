"""Opening the browser: which program, how it is started, and that it never delays a sign-in."""

from __future__ import annotations

import asyncio
import os
import stat
import time
from typing import TYPE_CHECKING

import pytest

from portico.errors import ConfigError
from portico.oauth import browser
from portico.oauth.browser import BrowserOpener, Launcher, Surroundings
from portico.oauth.flow import BrowserNotOpened
from portico.testing.canary import canary
from portico.util.children import child_environment, without_proxy
from tests.oauth.helpers import LIMIT_S, pending_login

if TYPE_CHECKING:
    from pathlib import Path

URL = "https://as.test/authorize?a=1&b=2"
LAUNCHER = ("xdg-open",)


@pytest.fixture
def program(tmp_path):
    """Make an executable script and return its path."""

    def make(name: str, body: str) -> str:
        path = tmp_path / name
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return str(path)

    return make


def surroundings(tmp_path: Path, platform: str = "linux", **env: str) -> Surroundings:
    return Surroundings({"PATH": str(tmp_path), **env}, platform=platform, root=tmp_path)


async def eventually(path: Path) -> str:
    async with asyncio.timeout(LIMIT_S):
        while not path.exists() or not path.read_text():
            await asyncio.sleep(0.01)
    return path.read_text()


@pytest.mark.requirement("E21")
@pytest.mark.linux
async def test_the_url_is_one_argument_without_a_shell(program, tmp_path):
    seen = tmp_path / "seen"
    browser = program("firefox", f'printf "%s\\n" "$#" "$@" > {seen}.part; mv {seen}.part {seen}')

    assert await BrowserOpener({"BROWSER": browser, "PATH": os.environ["PATH"]}).open(URL)
    assert await eventually(seen) == f"1\n{URL}\n"


@pytest.mark.requirement("E21")
@pytest.mark.linux
@pytest.mark.parametrize("command", ["/no/such/browser", "false", "'unbalanced"])
async def test_a_missing_or_failing_launcher_is_reported_and_the_login_continues(command):
    opener = BrowserOpener({"BROWSER": command, "PATH": os.environ["PATH"]})
    async with pending_login(opener=opener) as login:
        if await asyncio.to_thread(opener.obstacle) is None:
            await login.events.first(BrowserNotOpened)

        assert (await login.finish()).status == 200


@pytest.mark.requirement("E21")
@pytest.mark.linux
async def test_the_sign_in_does_not_wait_for_a_hanging_launcher(program):
    opener = BrowserOpener({"BROWSER": program("firefox", "exec sleep 5"), "PATH": os.environ["PATH"]})
    started = time.monotonic()
    async with pending_login(opener=opener) as login:
        assert (await login.finish()).status == 200

    assert time.monotonic() - started < 2


@pytest.mark.requirement("E21")
@pytest.mark.linux
async def test_a_launcher_gets_no_terminal_and_none_of_our_streams(program, tmp_path, capfd):
    seen = tmp_path / "seen"
    browser = program(
        "firefox", f"echo noise; echo noise >&2; (tty; readlink /proc/self/fd/0 /proc/self/fd/1) > {seen}.p; mv {seen}.p {seen}"
    )

    assert await BrowserOpener({"BROWSER": browser, "PATH": os.environ["PATH"]}).open(URL)
    assert "not a tty" in await eventually(seen)
    assert "noise" not in "".join(capfd.readouterr())


@pytest.mark.linux
async def test_a_launcher_inherits_no_secret(program, tmp_path):
    seen = tmp_path / "seen"
    secret = canary("passphrase")
    browser = program(
        "firefox", f'case "$(env)" in *{secret[:14]}*) echo it is;; *) echo it is not;; esac > {seen}.p; mv {seen}.p {seen}'
    )
    env = {"BROWSER": browser, "PATH": os.environ["PATH"], "PORTICO_PASSPHRASE": secret, "ANTHROPIC_API_KEY": secret}

    assert await BrowserOpener(env).open(URL)
    assert (await eventually(seen)).strip() == "it is not"


def test_variables_that_browsers_need_stay_in_their_environment():
    env = {"DBUS_SESSION_BUS_ADDRESS": "b", "XAUTHORITY": "x", "DISPLAY": ":0", "SSL_CERT_FILE": "c", "PORTICO_STATE_DIR": "s"}
    secret = {
        "PORTICO_PASSPHRASE": "",
        "PORTICO_PASSPHRASE_FILE": "",
        "OPENAI_API_KEY": "",
        "GITHUB_TOKEN": "",
        "db_password": "",
    }

    assert child_environment({**env, **secret}) == {**env, **without_proxy({})}


@pytest.mark.requirement("E22")
@pytest.mark.parametrize(
    "url", ["--version", "file:///etc/passwd", "http://public.test/", "https://as.test/$(id)", "https://a b"]
)
async def test_the_opener_itself_refuses_an_unsafe_url(url, program):
    with pytest.raises(ConfigError):
        await BrowserOpener({"BROWSER": program("firefox", "exit 0"), "PATH": os.environ["PATH"]}).open(url)


@pytest.mark.requirement("E21")
@pytest.mark.parametrize("name", ["w3m", "lynx", "links", "elinks", "www-browser"])
def test_a_text_browser_never_takes_the_terminal(name, program, tmp_path):
    program(name, "exit 0")

    assert "text browser" in str(surroundings(tmp_path, BROWSER=name).find_launchers())


@pytest.mark.requirement("E21")
def test_a_default_launcher_that_is_a_text_browser_is_skipped(program, tmp_path):
    program("w3m", "exit 0")
    (tmp_path / "x-www-browser").symlink_to(tmp_path / "w3m")
    environment = surroundings(tmp_path, DISPLAY=":0")
    assert environment.find_launchers() == "no browser is installed"

    program("firefox", "exit 0")
    assert environment.find_launchers() == (Launcher(("firefox",)),)


@pytest.mark.requirement("E21")
def test_the_variable_browser_is_a_list_of_commands_and_never_a_script(program, tmp_path):
    program("firefox", "exit 0")
    program("sh", "exit 0")
    choose = lambda value: surroundings(tmp_path, BROWSER=value).find_launchers()  # noqa: E731

    assert choose("nowhere:firefox --new-tab %s") == (Launcher(("firefox", "--new-tab", "%s")),)
    assert Launcher(("firefox", "--url=%s")).argv(URL) == ["firefox", f"--url={URL}"]
    assert "script" in str(choose("sh -c 'firefox %s'"))
    assert "no installed program" in str(choose("nowhere"))


@pytest.mark.requirement("E21")
@pytest.mark.parametrize(
    "command",
    [
        "sh -c %s",
        "sh -c",
        "/bin/bash -lc %s",
        "env sh -c %s",
        "xterm -e %s",
        "python3.11 -Ic %s",
        "python3 -c%s",
        "node --eval=%s",
        "perl -e %s",
        "perl %s",
        "sh -c 'firefox $0' %s",
        "cmd /c start %s",
        "powershell -Command Start-Process %s",
        "pwsh -Com %s",
        "ssh desk firefox %s",
    ],
)
def test_the_variable_browser_never_runs_the_address_as_code(command, tmp_path, program):
    for name in ("sh", "env", "xterm", "python3.11", "python3", "node", "perl", "cmd", "powershell", "pwsh", "ssh"):
        program(name, "exit 0")
    words = command.replace("/bin/bash", program("bash", "exit 0"))

    assert "code" in str(surroundings(tmp_path, BROWSER=words).find_launchers())


@pytest.mark.requirement("E21")
def test_a_windows_shell_is_recognised_in_any_spelling(tmp_path, program):
    shell = program("PowerShell.EXE", "exit 0")

    assert "code" in str(surroundings(tmp_path, platform="win32", BROWSER=f"{shell} Start-Process %s").find_launchers())


@pytest.mark.parametrize(
    "command",
    ["firefox -private-window %s", "opera -newpage %s", "python3 -I approver.py %s", "python3 -c print %s", "env firefox %s"],
)
def test_the_variable_browser_may_name_any_program(command, tmp_path, program):
    for name in ("firefox", "opera", "python3", "env"):
        program(name, "exit 0")

    assert surroundings(tmp_path, BROWSER=command).find_launchers() == (Launcher(tuple(command.split())),)


@pytest.mark.requirement("E23")
@pytest.mark.parametrize(
    ("env", "why"),
    [
        ({}, "display"),
        ({"SSH_CONNECTION": "a", "DISPLAY": ":0"}, "SSH"),
        ({"SSH_TTY": "/dev/pts/0"}, "SSH"),
        ({"CODESPACES": "true"}, "container"),
        ({"container": "podman"}, "container"),
        ({"WSL_DISTRO_NAME": "Debian"}, "no browser"),
        ({"DISPLAY": ":0"}, "no browser"),
    ],
)
def test_surroundings_without_a_browser_are_named(env, why, tmp_path):
    assert why in str(surroundings(tmp_path, **env).find_launchers())


@pytest.mark.requirement("E23")
def test_a_container_is_recognised_by_its_file_or_variable(tmp_path):
    (tmp_path / ".dockerenv").touch()

    assert "container" in str(surroundings(tmp_path).find_launchers())


def test_the_variable_browser_has_priority_everywhere(program, tmp_path):
    program("code-browser", "exit 0")

    assert surroundings(tmp_path, SSH_CONNECTION="a", BROWSER="code-browser").find_launchers() == (Launcher(("code-browser",)),)


@pytest.mark.parametrize("platform", ["darwin", "win32"])
def test_other_systems_use_their_own_launcher(platform, tmp_path):
    (launcher,) = surroundings(tmp_path, platform).find_launchers()
    assert isinstance(launcher, Launcher)


@pytest.fixture
def recording(program, tmp_path):
    """Make launchers that record their name before they run; return the recorded names in order."""
    log_file = tmp_path / "noted"

    def make(name, then):
        return program(name, f"echo {name} >> {log_file}; {then}")

    make.noted = lambda: log_file.read_text().split() if log_file.exists() else []
    return make


@pytest.mark.requirement("E115")
@pytest.mark.linux
@pytest.mark.parametrize("failing", ["exit 1", "exit 4", "kill -9 $$", "exec /no/such/program"])
async def test_after_a_failing_launcher_the_next_is_tried_until_one_works(failing, recording, tmp_path):
    for name, then in {"xdg-open": failing, "gio": failing, "firefox": "exit 0", "chromium": "exit 0"}.items():
        recording(name, then)

    assert await BrowserOpener({"PATH": f"{tmp_path}:/bin", "DISPLAY": ":0"}).open(URL)
    assert recording.noted() == ["xdg-open", "gio", "firefox"]


@pytest.mark.requirement("E115")
@pytest.mark.linux
async def test_after_a_running_launcher_no_other_is_tried(recording, tmp_path, monkeypatch):
    monkeypatch.setattr(browser, "_FAILURE_TIMEOUT_S", 0.2)
    recording("xdg-open", "exec sleep 1")
    recording("firefox", "exit 0")

    assert await BrowserOpener({"PATH": f"{tmp_path}:/bin", "DISPLAY": ":0"}).open(URL)
    assert recording.noted() == ["xdg-open"]


@pytest.mark.requirement("E115")
@pytest.mark.linux
async def test_after_a_launcher_that_does_not_start_the_next_is_tried(recording, tmp_path):
    (tmp_path / "xdg-open").write_text("#!/no/such/interpreter\n")
    (tmp_path / "xdg-open").chmod(0o755)
    recording("firefox", "exit 0")

    assert await BrowserOpener({"PATH": f"{tmp_path}:/bin", "DISPLAY": ":0"}).open(URL)
    assert recording.noted() == ["firefox"]


@pytest.mark.requirement("E115")
@pytest.mark.linux
async def test_if_every_launcher_fails_it_is_reported_once_and_the_login_continues(recording, tmp_path):
    for name in ("xdg-open", "firefox"):
        recording(name, "exit 3")
    opener = BrowserOpener({"PATH": f"{tmp_path}:/bin", "DISPLAY": ":0"})

    async with pending_login(opener=opener) as login:
        await login.events.first(BrowserNotOpened)
        assert (await login.finish()).status == 200

    assert recording.noted() == ["xdg-open", "firefox"]


@pytest.mark.requirement("E115")
@pytest.mark.linux
async def test_only_the_commands_of_the_variable_browser_are_tried(recording, tmp_path):
    for name, then in {"mine": "exit 1", "yours": "exit 0", "xdg-open": "exit 0"}.items():
        recording(name, then)
    env = {"PATH": f"{tmp_path}:/bin", "DISPLAY": ":0"}

    assert await BrowserOpener({**env, "BROWSER": "nowhere:w3m:mine:yours %s"}).open(URL)
    assert recording.noted() == ["mine", "yours"]
    assert not await BrowserOpener({**env, "BROWSER": "mine"}).open(URL)
    assert recording.noted() == ["mine", "yours", "mine"]


@pytest.mark.requirement("E115")
@pytest.mark.parametrize(
    ("programs", "display", "expected"),
    [
        (["xdg-open", "firefox"], {"DISPLAY": ":0"}, ["xdg-open", "firefox"]),
        (["firefox"], {"WAYLAND_DISPLAY": "wayland-0"}, ["firefox"]),
        (["xdg-open", "firefox"], {}, None),
        (["wslview", "xdg-open"], {"DISPLAY": ":0"}, ["wslview", "xdg-open"]),
        (["rundll32.exe", "xdg-open"], {"DISPLAY": ":0"}, ["rundll32.exe", "xdg-open"]),
        (["wslview", "rundll32.exe", "firefox"], {}, ["wslview", "rundll32.exe"]),
        (["w3m"], {"DISPLAY": ":0"}, None),
    ],
)
def test_on_wsl_windows_launchers_come_first_and_linuxs_with_a_display(programs, display, expected, program, tmp_path):
    for name in programs:
        program(name, "exit 0")

    chosen = surroundings(tmp_path, WSL_DISTRO_NAME="Debian", **display).find_launchers()

    if expected is None:
        assert chosen == "no browser is installed"
    else:
        assert [launcher.command[0] for launcher in chosen] == expected


@pytest.mark.requirement("E115")
def test_a_program_with_several_names_is_tried_once(program, tmp_path):
    program("firefox", "exit 0")
    for name in ("x-www-browser", "xdg-open"):
        (tmp_path / name).symlink_to(tmp_path / "firefox")

    assert surroundings(tmp_path, DISPLAY=":0").find_launchers() == (Launcher(("xdg-open",)),)


async def test_no_browser_opens_no_browser(tmp_path):
    opener = BrowserOpener({"BROWSER": "firefox"}, enabled=False)

    assert opener.obstacle()
    assert not await opener.open(URL)
