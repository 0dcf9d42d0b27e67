"""What commands print for a person: accounts and their sign-outs, imports, models, plans, the emulator."""

from __future__ import annotations

import json
import shlex
import signal
import sqlite3
import ssl
import subprocess
import sys
import threading
import time
from contextlib import closing, contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING
from urllib.request import HTTPSHandler, ProxyHandler, build_opener

import pytest

from minimax_portal_auth.portals import OPENCLAW_CLIENT
from portico.accounts import sign_out
from portico.cli import models
from portico.store import vault
from portico.store.profiles import ProfileIndex
from portico.store.records import SIGN_OUT_UNFINISHED, Failure
from portico.store.token_store import refresh_lock
from portico.testing.canary import exempt
from portico.util.lock import file_lock, named_lock
from tests.auth.importers.samples import Sample
from tests.minimax_session import CN, GLOBAL, sealed_store
from tests.plugins.helpers import write_plugin
from tests.remedies.in_configuring import MODEL, at_a_terminal
from tests.remedies.in_doctor import with_an_open_state
from tests.remedies.in_sign_in import BY_BROWSER, change, standard_input, taken_port, typed_key
from tests.remedies.scenario import command_of, scenario

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import IO

    from tests.remedies.scenario import Desk

PORTAL = "https://account.minimaxi.com/oauth2"
ENDED = Failure(at=1, id="sign-in-expired", message="It ended.", terminal=True, code="invalid_grant")


def said(desk: Desk, *words: str, env: dict[str, str | None] | None = None) -> tuple[int, str]:
    """The exit code of a command, and all that it prints; it counts as printed."""
    done = desk.commands.run(*words, env=env)
    desk.printed.append(done.stderr + done.stdout)
    return done.returncode, desk.printed[-1]


def profiles(desk: Desk) -> dict[str, str]:
    """The status of each profile, by id."""
    return {each["id"]: each["status"] for each in json.loads(desk.ok("auth", "list", "--json"))["profiles"]}


@contextmanager
def tokens_in_use(desk: Desk, profile_id: str) -> Iterator[None]:
    """A process that hangs uses the tokens of this profile, so that nobody can delete them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vault, "_LOCK_MARGIN_S", -60)
        with file_lock(named_lock(desk.commands.paths.locks, "vault", profile_id, what="it").path):
            yield


@scenario('{prog} ask "Hello", or pipe the question to: {prog} ask -')
def ask_without_a_question(desk):
    desk.signed_in()
    error = desk.refused("ask", "")
    desk.ok(*command_of(error["hint"]))
    with standard_input("Hello"):
        desk.ok("ask", "-")


@scenario("Choose from: {}")
def an_order_of_a_provider_that_there_is_not(desk):
    known = desk.refused("auth", "order", "get", "--provider", "zzzzzz")["hint"].removeprefix("Choose from: ").split(", ")
    assert "minimax" in known
    for provider in known:
        desk.ok("auth", "order", "get", "--provider", provider)


@scenario("nothing: it is refreshed at its next use (to keep it fresh: {prog} auth keep-fresh)")
def an_access_token_that_has_ended_and_can_be_refreshed(desk):
    desk.signed_in()
    change(desk, expires_at=int(time.time() * 1000) - 1000)
    line = desk.shown("to keep it fresh", "auth", "status")
    desk.follow(line, "--once")  # without it the command runs until it is interrupted
    assert "to keep it fresh" not in desk.ok("auth", "status")
    change(desk, expires_at=int(time.time() * 1000) - 1000)
    desk.ok("auth", "token")
    assert "to keep it fresh" not in desk.ok("auth", "status")


@scenario("finish signing out: {prog} auth logout {}")
def the_status_of_an_account_whose_sign_out_is_unfinished(desk):
    desk.signed_in()
    change(desk, failure=Failure(at=1, id=SIGN_OUT_UNFINISHED, message="It was cut off.", terminal=True))
    desk.follow(desk.shown("finish signing out", "auth", "status"), "--yes")
    assert profiles(desk) == {}


@scenario("{}: damaged\n  to do         delete its tokens: {prog} auth logout {}")
def the_status_of_an_account_whose_entry_is_damaged(desk):
    session = desk.signed_in()
    index = json.loads(session.paths.index.read_text(encoding="utf-8"))
    index["profiles"][GLOBAL]["createdAt"] = "x"
    session.paths.index.write_text(json.dumps(index), encoding="utf-8")
    code, text = said(desk, "auth", "status")
    assert code == 3
    assert session.run(*command_of(text), "--yes").returncode == 11  # whom to tell that they are revoked is not known any more
    assert profiles(desk) == {}
    session.sign_in("--region", "global")


@scenario("{prog}: these accounts must sign in again: {} - see {prog} auth status")
def every_command_says_that_two_sign_ins_have_ended(desk):
    session = desk.signed_in()
    session.sign_in("--region", "cn")
    for id in (GLOBAL, CN):
        ProfileIndex(session.paths).update(id, lambda profile: replace(profile, failure=ENDED))
    line = desk.shown("these accounts must sign in again", "config", "path")
    code, status = said(desk, *command_of(line))
    again = [each for each in status.splitlines() if "to do" in each]
    assert (code, len(again)) == (3, 2)
    for each in again:
        desk.follow(each, *BY_BROWSER)
    assert session.run("config", "path").stderr == ""


@scenario("{prog} onboard --auth-choice {}-api{} --profile {} --replace")
def the_record_of_a_stored_key_is_gone(desk):
    session = desk.emulator()
    words = ("onboard", "--auth-choice", "minimax-cn-api", "--non-interactive", "--no-background", "--api-key-stdin")
    typed_key(desk, *words, *session.store, key="sk-emulator-cn")
    (id,) = profiles(desk)
    other = {"a": "b", "b": "a"}
    ProfileIndex(session.paths).update(id, lambda profile: replace(profile, slot=other[profile.slot]))
    hint = desk.found("record-damaged")["hint"]
    typed_key(desk, *command_of(hint), "--non-interactive", "--no-background", "--api-key-stdin", key="sk-emulator-cn")
    desk.not_found("record-damaged")
    desk.ok("ask", "--model", MODEL, "Hello")


@scenario("The access token expires by itself. To end it now, remove Portico's access on the provider's website.")
def signing_out_while_the_provider_cannot_be_reached(desk):
    desk.signed_in()
    with taken_port() as port:
        pass  # nobody listens there any more
    away = dict.fromkeys(("HTTPS_PROXY", "https_proxy"), f"http://127.0.0.1:{port}")
    code, _ = said(desk, "auth", "logout", "--yes", env=away)
    # Only the provider's site can help now: nothing is left here that a command could revoke.
    assert (code, profiles(desk)) == (11, {})


@scenario("To be sure, remove Portico's access on the provider's website.")
def signing_out_beside_a_refresh_that_hangs(desk):
    session = desk.signed_in()
    with pytest.MonkeyPatch.context() as patch, file_lock(refresh_lock(session.paths, GLOBAL).path):
        patch.setattr(sign_out, "REFRESH_WITHIN_S", 0.05)
        code, _ = said(desk, "auth", "logout", "--yes")
    assert (code, profiles(desk)) == (11, {})


@scenario("When the store works again, finish it: {prog} auth logout {}")
def tokens_that_cannot_be_deleted(desk):
    desk.signed_in()
    with tokens_in_use(desk, GLOBAL):
        code, text = said(desk, "auth", "logout", "--yes")
    assert code == 7
    desk.follow(text.partition("finish it: ")[2], "--yes")
    assert profiles(desk) == {}


@scenario("{prog} auth list, then: {prog} auth logout {}")
def another_account_is_signed_in_while_a_person_is_asked_about_the_first(desk):
    session = desk.signed_in()

    def meanwhile() -> str:
        session.sign_in("--region", "global", "--replace")
        return "y"

    text = at_a_terminal(desk, "auth", "logout", answers=(meanwhile,))
    hint = next(line for line in text.splitlines() if "auth list, then" in line)
    assert profiles(desk) == {GLOBAL: "ok"}
    desk.follow(hint)
    desk.follow(hint.partition("then: ")[2], "--yes")
    assert profiles(desk) == {}


def at_home(desk: Desk) -> tuple[Path, dict[str, str | None]]:
    home = desk.commands.paths.config.parent / "home"
    return home, {"HOME": str(home), "XDG_DATA_HOME": None}


@scenario("Sign in again: {prog} models auth login --provider {} --profile {} --replace")
def the_other_tool_refreshes_while_its_sign_in_is_imported(desk):
    session = desk.emulator()
    home, env = at_home(desk)
    Sample("mmx").write(home)
    newer = Sample("mmx")

    def meanwhile() -> str:
        newer.write(home)
        return "y"

    text = at_a_terminal(desk, "auth", "import", "--remove-source", *session.store, answers=(meanwhile,), env=env)
    assert "refreshed in the meantime" in text
    assert newer.refresh in (home / ".mmx/config.json").read_text(encoding="utf-8")
    desk.follow(text.partition("Sign in again: ")[2], *BY_BROWSER)
    desk.ok("usage")


@scenario("{prog} auth import --from {} --path {}")
def an_older_copy_of_an_account_that_is_imported(desk):
    session = desk.emulator()
    home, env = at_home(desk)
    Sample("openclaw").write(home)
    older = Sample("openclaw", expires_ms=4_000_000_000_000).write(home / "older")
    other = home / ".openclaw/agents/other/agent"
    other.mkdir(parents=True)
    older.rename(exempt(other / older.name))
    _, text = said(desk, "auth", "import", "--dry-run", env=env)
    hint = next(line for line in text.splitlines() if "--path" in line)
    assert f"--path {other}" in hint
    desk.follow(hint, "--yes", *session.store, env=env)
    assert list(profiles(desk)) == [GLOBAL]


@scenario("A plugin proposes this alias. To use it for another model: {prog} models aliases add {} REF")
def an_alias_that_a_plugin_proposes(desk):
    desk.ok("plugins", "enable", "minimax-portal-auth")
    aliases = json.loads(desk.ok("models", "aliases", "list", "--json"))["aliases"]
    name, proposed = next(iter(aliases.items()))
    words = command_of(desk.refused("models", "aliases", "remove", name)["hint"])
    desk.ok(*(word.replace("REF", MODEL) for word in words))
    assert json.loads(desk.ok("models", "aliases", "list", "--json"))["aliases"][name] == MODEL != proposed


@scenario("{prog} config unset agents.defaults.model.primary", "{prog} config unset agents.defaults.model")
def a_default_model_is_written_to_the_base_under_one_of_our_own(desk):
    base = desk.commands.paths.config.with_name("openclaw.json")
    base.write_text(json.dumps({"agents": {"defaults": {"model": {"primary": f"{MODEL}-lightning"}}}}), encoding="utf-8")
    desk.ok("config", "set", "base", json.dumps(str(base)))
    for own in ("agents.defaults.model.primary", "agents.defaults.model"):
        desk.ok("config", "set", own, '"minimax/MiniMax-M3"')
        desk.follow(desk.shown("overrides it with", "models", "set", MODEL, "--write-base"))
        assert desk.ok("models", "status", "--plain") == f"{MODEL}\n"


@scenario("To list all known models: {prog} models list --all")
def no_model_is_set_up(desk):
    line = desk.shown("No models found", "models", "list")
    assert MODEL in desk.ok(*command_of(line))
    for everything in (("--all", "--provider", "lmstudio"), ("--local",)):
        assert "To list" not in desk.shown("No models found", "models", "list", *everything)


@scenario("Correct these problems, then run: {prog} purge", "Correct these problems, then run: {prog} purge --keep-config")
def something_of_ours_cannot_be_purged(desk):
    session = desk.signed_in()
    foreign = session.paths.state / "mine.txt"
    foreign.write_text("x", encoding="utf-8")
    code, text = said(desk, "purge", "--yes", "--keep-config")
    assert (code, str(session.paths.state) in text) == (7, True)
    foreign.unlink()
    desk.follow(text.partition("then run: ")[2], "--yes")
    assert (session.paths.config.exists(), session.paths.state.exists()) == (True, False)
    session.paths.state.mkdir()
    foreign.write_text("x", encoding="utf-8")
    code, text = said(desk, "purge", "--yes")
    foreign.unlink()
    desk.follow(text.partition("then run: ")[2], "--yes")
    assert not session.paths.config.exists()


@scenario("{}\n  Or set {} to a plan key.")
def no_plan_can_be_asked_about(desk):
    desk.emulator()
    hint = desk.refused("usage")["hint"]
    variable = hint.partition("Or set ")[2].split()[0]
    desk.ok("usage", env={variable: "sk-emulator-global"})


@scenario("Upgrade Portico, or move the file away: {}")
def a_history_that_a_later_version_has_written(desk):
    path = desk.commands.paths.history
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA user_version = 99")
    moved = desk.refused("usage", "cost")["hint"].rpartition(": ")[2]
    assert moved == str(path)
    path.rename(path.with_suffix(".away"))
    desk.ok("usage", "cost")


@scenario("This is a bug. Please report it, with the archive from: {prog} doctor --bundle report.tar.gz")
def an_exception_that_nobody_foresaw(desk):
    def broken(*_args: object, **_options: object) -> None:
        raise RuntimeError("a bug")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(models, "model_rows", broken)
        error = desk.refused("models", "list")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(desk.commands.paths.config.parent)
        assert desk.commands.run(*command_of(error["hint"])).returncode in {0, 9}
        assert desk.commands.paths.config.with_name("report.tar.gz").stat().st_size


@contextmanager
def a_running_emulator(desk: Desk) -> Iterator[None]:
    """`emulator run` in a process of its own; what it prints when it is ready counts as printed."""
    folder = desk.commands.paths.config.parent / "tmp"
    folder.mkdir()
    environment = desk.commands.run_portico.environment({"TMPDIR": str(folder)})
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [sys.executable, "-m", "portico", "emulator", "run", "--knob", "interval=0.2"],
        stdout=pipe,
        stderr=pipe,
        text=True,
        env=environment,
    ) as emulator:
        try:
            lines = [*iter_until(emulator.stdout, "Press Ctrl-C")]
            assert lines, emulator.stderr.read()
            desk.printed.append("".join(lines))
            yield
        finally:
            emulator.send_signal(signal.SIGINT)
            emulator.communicate(timeout=15)


def iter_until(lines: IO[str], text: str) -> Iterator[str]:
    for line in lines:
        yield line
        if text in line:
            return


@scenario(
    'eval "$({prog} emulator env)"',
    "{prog} onboard --auth-choice minimax-portal --region {} --flow {}",
    "$BROWSER approves the sign-in there. To approve by hand: {prog} emulator approve CODE",
    'To use it: eval "$({prog} emulator env)"',
    "A code works once, for a few minutes. To get a new code, start the sign-in again.",
)
def the_emulator_of_another_terminal(desk):
    with a_running_emulator(desk):
        ready = desk.printed[0]
        assert command_of(desk.refused("emulator", "run")["hint"]) == ["emulator", "env"]
        leading, signing_in = (line.strip() for line in ready.splitlines() if line.startswith("  "))
        by_hand = command_of(ready.partition("by hand: ")[2])

        # The two lines as they are printed, typed into a shell; where there is no terminal, the second needs a little more.
        more = "--non-interactive --no-background --store file"
        program = f'portico() {{ {shlex.quote(sys.executable)} -m portico "$@"; }}'
        typed_lines = f"{program}\n{leading}\n{signing_in} {more}"
        environment = desk.commands.run_portico.environment({**sealed_store(), "SHELL": "/bin/sh"})
        done = subprocess.run(["/bin/sh", "-c", typed_lines], env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

        shell = json.loads(desk.ok("emulator", "env", "--json"))
        code = a_waiting_code(shell)
        desk.ok(*by_hand[:-1], code)
        desk.refused(*by_hand[:-1], code)
        desk.ok(*by_hand[:-1], a_waiting_code(shell))


def a_waiting_code(shell: dict[str, str]) -> str:
    """The code of a sign-in that has begun and waits for a person, at the emulator of this shell."""
    context = ssl.create_default_context(cafile=shell["SSL_CERT_FILE"])
    proxy = ProxyHandler({"https": shell["HTTPS_PROXY"]})
    form = f"client_id={OPENCLAW_CLIENT}&scope=x&state=s".encode()
    with build_opener(proxy, HTTPSHandler(context=context)).open(f"{PORTAL}/device/code", data=form, timeout=10) as reply:
        return json.load(reply)["user_code"]


@scenario("To fix this: {prog} doctor --fix")
def a_finding_that_the_doctor_can_fix(desk):
    with_an_open_state(desk)
    desk.commands.run(*command_of(desk.shown("To fix this:", "doctor")))  # ends with 9: nobody is signed in
    desk.not_found("state-open")


PLANS = """
from portico.plugin_api import ProviderSpec, hookimpl

class Reader:
    provider, env_keys = PROVIDER, ("ACME_API_KEY",)
    def urls(self, base_url):
        return (f"{base_url}/plan",)
    def can_have_plan(self, key):
        return True
    def read(self, answer, now_ms):
        return answer["windows"]

@hookimpl
def portico_providers():
    return [
        ProviderSpec(
            id=PROVIDER, label="Acme", api="openai-completions", base_urls={"": "ORIGIN"}, hosts={"": frozenset({"127.0.0.1"})},
            env_keys=("ACME_API_KEY",),
        )
    ]

@hookimpl
def portico_plan_readers():
    return [Reader()]
"""


class PlanServer(BaseHTTPRequestHandler):
    """Tells an account with the key `good` of a plan without windows, one with `odd` of something else; it refuses others."""

    def do_GET(self) -> None:
        key = self.headers.get("Authorization", "").removeprefix("Bearer ")
        body = json.dumps({"good": {"windows": []}, "odd": {}}.get(key, {})).encode()
        self.send_response(200 if key in {"good", "odd"} else 401)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_args: object) -> None:
        """It remarks nothing."""


@contextmanager
def a_plugin_with_plans(desk: Desk) -> Iterator[Path]:
    """A provider without regions, of a plugin; its folder."""
    with HTTPServer(("127.0.0.1", 0), PlanServer) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            folder = desk.commands.paths.config.parent / "plugins"
            code = PLANS.replace("ORIGIN", f"http://127.0.0.1:{server.server_port}")
            written = write_plugin(folder, "acme", code=code, providers=["acme"])
            desk.ok("config", "set", "plugins.load.paths", json.dumps([str(written)]))
            desk.ok("plugins", "enable", "acme")
            yield written
        finally:
            server.shutdown()
            thread.join()


@scenario("Update its plugin, or report this to the author of the plugin: {prog} plugins list")
def a_plan_reader_that_fails(desk):
    with a_plugin_with_plans(desk) as plugin:
        _, text = said(desk, "usage", env={"ACME_API_KEY": "odd"})
        assert "acme" in desk.follow(text.partition("report this to the author of the plugin: ")[2])
        module = plugin / "plugin.py"
        module.write_text(module.read_text(encoding="utf-8").replace('answer["windows"]', "()"), encoding="utf-8")
        # This process has the older module still.
        updated = desk.commands.run_portico.in_a_process("usage", env={"ACME_API_KEY": "odd"})
        assert updated.returncode == 0, updated.stderr


@scenario("Perhaps {}")
def a_key_that_is_of_no_plan_where_there_are_no_regions(desk):
    with a_plugin_with_plans(desk):
        _, text = said(desk, "usage", env={"ACME_API_KEY": "wrong"})
        hint = next(line.strip() for line in text.splitlines() if "Perhaps" in line)
        desk.printed.append(hint)
        assert hint == "Perhaps it is not the Subscription Key of a plan in ACME_API_KEY."
        desk.ok("usage", env={"ACME_API_KEY": "good"})


@scenario("Either the credential belongs to another region ({}), or {}")
def a_stored_key_of_the_other_region_is_asked_about_its_plan(desk):
    session = desk.emulator()
    words = ("onboard", "--auth-choice", "minimax-api", "--non-interactive", "--no-background", "--no-check")
    typed_key(desk, *words, "--api-key-stdin", *session.store, key="sk-emulator-cn")
    code, text = said(desk, "usage")
    hint = next(line.strip() for line in text.splitlines() if "Either" in line)
    desk.printed.append(hint)
    assert (code, "the request went to global" in hint) == (3, True)
    again = ["cn" if word == "global" else word for word in command_of(hint)]
    typed_key(desk, *again, "--non-interactive", "--no-background", "--api-key-stdin", key="sk-emulator-cn")
    desk.ok("usage")


@scenario("Either the credential belongs to another region ({}), or {}")
def a_key_of_the_environment_that_is_of_the_other_region(desk):
    desk.emulator()
    key = {"MINIMAX_API_KEY": "sk-emulator-cn"}
    _, text = said(desk, "usage", env=key)
    hint = next(line.strip() for line in text.splitlines() if "Either" in line)
    desk.printed.append(hint)
    name, region = hint.partition("; to change it, set ")[2].split()[0].split("=")
    desk.ok("usage", env={**key, name: region})
    desk.ok("config", "set", "models.providers.minimax.baseUrl", '"https://api.minimaxi.com/anthropic"')
    desk.ok("usage", env=key)
