"""Findings of `doctor`."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import threading
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING
from unittest.mock import patch

from portico.app import App
from portico.doctor.examination import examine
from portico.doctor.finding import Check
from portico.store.profiles import ProfileIndex
from portico.store.records import SIGN_OUT_UNFINISHED, Failure
from portico.util.clock import SystemClock
from portico.util.lock import FileLock, file_lock
from tests.minimax_session import GLOBAL, sealed_store
from tests.person import sit_down
from tests.remedies.scenario import command_of, scenario

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.remedies.scenario import Desk

KEY = {"MINIMAX_API_KEY": "sk-emulator-global"}


def with_base_url(desk: Desk, provider: str, url: str, api: str) -> None:
    entry = {"baseUrl": url, "api": api, "models": [{"id": "x"}]}
    desk.commands.paths.config.write_text(json.dumps({"models": {"providers": {provider: entry}}}), encoding="utf-8")


@scenario("{prog} config set models.providers.{}.baseUrl {}", "write {}")
def a_base_url_where_the_provider_serves_another_api(desk):
    with_base_url(desk, "minimax", "https://api.minimax.io/v1", "anthropic-messages")
    (problem,) = json.loads(desk.commands.run("config", "validate", "--json").stdout)["problems"]
    desk.printed.append(problem["hint"])
    desk.follow(desk.found("base-url-refused", env=KEY)["hint"])
    desk.not_found("base-url-refused", env=KEY)


@scenario("{prog} config set {} {}", "if nothing answers there, write {}: {}")
def a_base_url_that_looks_like_that_of_another_api(desk):
    with_base_url(desk, "acme", "http://127.0.0.1:9/anthropic", "openai-completions")
    desk.shown("if nothing answers there", "config", "validate")
    desk.follow(desk.found("base-url-of-another-api")["hint"])
    desk.not_found("base-url-of-another-api")


@scenario("write it without `{}`", "write its host as it is in DNS: xn--...")
def a_base_url_that_is_one_endpoint_or_has_a_host_that_dns_does_not_have(desk):
    written = [
        ("http://127.0.0.1:9/v1/chat/completions", "write it without", "http://127.0.0.1:9/v1"),
        ("https://bücher.example/v1", "write its host", "https://xn--bcher-kva.example/v1"),
    ]
    for url, hint, right in written:
        with_base_url(desk, "acme", url, "openai-completions")
        desk.shown(hint, "config", "validate")
        with_base_url(desk, "acme", right, "openai-completions")
        desk.ok("config", "validate")


@scenario("write it without them", "leave it out")
def what_stands_in_a_provider_without_effect(desk):
    def written(url: str, headers: dict[str, str]) -> None:
        entry = {"baseUrl": url, "api": "openai-completions", "headers": headers, "models": [{"id": "x"}]}
        desk.commands.paths.config.write_text(json.dumps({"models": {"providers": {"acme": entry}}}), encoding="utf-8")

    written(" http://127.0.0.1:9/v1", {"Content-Length": "7", "X-Team": "blue"})
    desk.shown("write it without them", "config", "validate")
    desk.shown("leave it out", "config", "validate")
    written("http://127.0.0.1:9/v1", {"X-Team": "blue"})
    assert "warning" not in desk.ok("config", "validate")


@scenario("{prog} auth order {}")
def an_order_that_names_nobody(desk):
    desk.ok("config", "set", "auth.order.acme", '["acme:gone"]')
    desk.follow(desk.found("dangling-reference")["hint"])
    desk.not_found("dangling-reference")


@scenario("{prog} plugins info {}")
def a_plugin_that_is_broken(desk):
    folder = desk.commands.paths.config.parent / "broken"
    folder.mkdir()
    (folder / "portico.plugin.json").write_text('{"id": 1}', encoding="utf-8")
    desk.ok("config", "set", "plugins.load.paths", json.dumps([str(folder)]))
    desk.follow(desk.found("plugin-broken")["hint"])


@scenario("Run `{prog} config set models.providers.{}.apiKey -`.", "{prog} config set models.providers.{}.apiKey -")
def a_default_model_of_a_provider_that_only_the_config_knows(desk):
    entry = {"baseUrl": "https://acme.example/v1", "api": "openai-completions", "models": [{"id": "m"}]}
    desk.ok("config", "set", "models.providers.acme", json.dumps(entry))
    desk.ok("models", "set", "acme/m")
    hint = desk.found("unknown-model")["hint"]
    desk.shown("Run `", "models", "status")
    desk.ok(*command_of(hint)[:-1], '"sk-any"')
    desk.not_found("unknown-model")


@scenario("{prog} auth status")
def a_refresh_that_keeps_failing(desk):
    desk.signed_in()
    failing = Failure(at=1, id="network", message="No answer.", terminal=False)
    ProfileIndex(desk.commands.paths).update(GLOBAL, lambda one: replace(one, failure=failing))
    desk.follow(desk.found("refresh-failing")["hint"])


def with_an_open_state(desk: Desk) -> Path:
    """The state folder, which others can read."""
    desk.ok("config", "set", "gateway.port", "18555")
    state: Path = desk.commands.paths.state
    state.mkdir(exist_ok=True)
    state.chmod(0o755)
    return state


@scenario("chmod {} {}")
def a_state_folder_that_others_can_read(desk):
    state = with_an_open_state(desk)
    _, mode, path = desk.found("state-open")["hint"].split()
    assert path == str(state)
    state.chmod(int(mode, 8))
    desk.not_found("state-open")


@scenario("Subscribe: {}")
def an_account_without_a_plan(desk):
    session = desk.signed_in(knobs={"quota": "none"})
    hint = desk.found("no-plan")["hint"]
    assert hint.startswith("Subscribe: https://platform.minimax.io/")
    assert session.profiles()[0]["region"] == "global"


# --- the configuration and the packages --------------------------------------------------------------------------------------------


def edited(desk: Desk, old: str, new: str) -> None:
    """`config edit`, with an editor that puts one text in the place of another."""
    editor = desk.commands.paths.config.parent / "editor.py"
    editor.write_text(
        "import sys, pathlib\n"
        "path = pathlib.Path(sys.argv[1])\n"
        f"path.write_text(path.read_text(encoding='utf-8').replace({old!r}, {new!r}), encoding='utf-8')\n",
        encoding="utf-8",
    )
    done, _ = sit_down(desk.commands, "config", "edit", answers=[], env={"VISUAL": shlex.join([sys.executable, str(editor)])})
    assert done.returncode == 0, done.stderr


@scenario("{prog} config edit")
def a_key_that_has_no_effect(desk):
    desk.commands.paths.config.write_text('{ wishes: "none" }\n', encoding="utf-8")
    assert command_of(desk.found("config-doubt")["hint"]) == ["config", "edit"]
    edited(desk, 'wishes: "none"', "")
    desk.not_found("config-doubt")


@scenario("correct it in that file")
def a_doubt_about_a_file_beside_the_config(desk):
    corrections = desk.commands.paths.config.with_name("models.json")
    corrections.write_text("{}\n", encoding="utf-8")
    assert str(corrections) in desk.found("config-doubt")["message"]
    corrections.write_text('{ "providers": {} }\n', encoding="utf-8")
    desk.not_found("config-doubt")


@contextmanager
def installed(folder: Path, name: str, version: str, *metadata: str, **files: str) -> Iterator[None]:
    """A package of this name and version is the one that Python finds first; of it only its metadata is there."""
    place = folder / "packages" / version / f"{name}-{version}.dist-info"
    place.mkdir(parents=True)
    lines = ("Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}", *metadata)
    for file, text in {"METADATA": "\n".join((*lines, "")), **files}.items():
        (place / file).write_text(text, encoding="utf-8")
    with patch.object(sys, "path", [str(place.parent), *sys.path]):
        yield


@scenario("{} -m pip install --upgrade '{}>={}'")
def a_package_that_is_too_old(desk):
    folder = desk.commands.paths.config.parent
    with installed(folder, "portico", "0.0.1", "Requires-Dist: authlib>=1.6.5"), installed(folder, "authlib", "0.15"):
        python, *words, requirement = shlex.split(desk.found("package-old")["hint"])
        assert (python, words) == (sys.executable, ["-m", "pip", "install", "--upgrade"])
        assert subprocess.run([python, "-m", "pip", "--version"], capture_output=True, check=False).returncode == 0
        with installed(folder, *requirement.split(">=")):  # as pip would
            desk.not_found("package-old")


# --- plugins -----------------------------------------------------------------------------------------------------------------------


@scenario("correct or remove that path of plugins.load.paths: {prog} config edit")
def a_path_at_which_there_is_no_plugin(desk):
    text = '{ plugins: { load: { paths: ["/nowhere/plugin"] } } }\n'
    desk.commands.paths.config.write_text(text, encoding="utf-8")
    assert command_of(desk.found("plugin-fault")["hint"]) == ["config", "edit"]
    edited(desk, '"/nowhere/plugin"', "")
    desk.not_found("plugin-fault")


@scenario("install that package again")
def a_plugin_whose_package_is_gone(desk):
    folder = desk.commands.paths.config.parent
    points = {"entry_points.txt": "[portico.plugins]\nlost-auth = lost_auth\n"}
    with installed(folder, "lost", "1.0", **points):
        assert "package lost_auth of an installed plugin is missing" in desk.found("plugin-fault")["message"]
        package = folder / "packages" / "1.0" / "lost_auth"
        package.mkdir()
        (package / "__init__.py").touch()
        manifest = {"id": "lost-auth", "name": "Lost", "entry": "lost_auth", "configSchema": {"type": "object"}}
        (package / "portico.plugin.json").write_text(json.dumps(manifest), encoding="utf-8")
        desk.not_found("plugin-fault")


@scenario("report it to the provider or to the author of its plugin, {prog} plugins info {}")
def fields_of_a_token_reply_that_cannot_be_read(desk):
    desk.signed_in()
    ProfileIndex(desk.commands.paths).update(GLOBAL, lambda one: replace(one, unread=("expired_in",)))
    assert "minimax-portal-auth" in desk.follow(desk.found("reply-fields-unread")["hint"])
    desk.commands.sign_in("--region", "global", "--replace")
    desk.not_found("reply-fields-unread")


@scenario("{prog} auth logout {}")
def a_sign_out_that_is_unfinished(desk):
    desk.signed_in()
    unfinished = Failure(at=1, id=SIGN_OUT_UNFINISHED, message="It was cut off.", terminal=True)
    ProfileIndex(desk.commands.paths).update(GLOBAL, lambda one: replace(one, failure=unfinished))
    desk.follow(desk.found("sign-in-ended")["hint"], "--yes")
    desk.not_found("sign-in-ended")


# --- the machine -------------------------------------------------------------------------------------------------------------------


@scenario(
    "set the clock by the network: sudo timedatectl set-ntp true (Linux), sudo sntp -sS time.apple.com (macOS), w32tm /resync (Windows)"
)
def a_clock_that_is_wrong(desk):
    desk.signed_in()
    true = SystemClock.wall_ms

    def wrong(clock: SystemClock) -> int:
        return true(clock) + (0 if threading.current_thread().name == "emulation" else 3_600_000)

    with patch.object(SystemClock, "wall_ms", wrong):
        desk.found("clock-skew")
    desk.not_found("clock-skew")


@scenario("see if another program or a keyring window is blocking it, then run {prog} doctor again")
def a_check_that_does_not_come_to_an_end(desk):
    place = desk.commands.paths.locks / "held.lock"
    place.parent.mkdir(parents=True)
    lock = FileLock(place)
    assert lock.try_acquire()
    check = Check("held", "what another program holds", lambda _: wait_for(place))
    app = App("portico", env=desk.commands.run_portico.environment())
    (late,) = examine(app, checks=(check,), longest_s=0.2)[0].findings
    assert late.hint is not None
    desk.printed.append(late.hint.replace("{prog}", "portico"))
    lock.release()
    assert examine(app, checks=(check,), longest_s=5)[0].status == "ok"


def wait_for(place: Path) -> tuple[()]:
    with file_lock(place):
        return ()


@scenario("{prog} gateway restart")
def a_gateway_that_cannot_open_the_sealed_file(desk):
    try:
        desk.ok("gateway", "start", "--port", "0")
        ProfileIndex(desk.commands.paths).remember_store("file")  # as a sign-in does that cannot restart the gateway itself
        desk.follow(desk.found("gateway-locked")["hint"], "--port", "0", env=sealed_store())
        desk.not_found("gateway-locked")
    finally:
        desk.commands.run("gateway", "stop")
