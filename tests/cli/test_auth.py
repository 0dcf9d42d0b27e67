"""`auth`, and the same commands under `models auth`: real processes, the emulator, whichever store works here."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import time
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace

import pytest

from portico.accounts import sign_out
from portico.cli.main import main
from portico.store import vault
from portico.store.profiles import ProfileIndex
from portico.store.records import Failure
from portico.store.token_store import refresh_lock
from portico.testing.canary import in_text
from portico.util.lock import file_lock, named_lock
from tests.minimax_session import CN, GLOBAL, secret_service_users

HEAVY = ("aiohttp", "asyncio", "pluggy", "authlib", "questionary", "rich")


@pytest.fixture
def session(minimax):
    return minimax()


def records(session):
    """The names of token records in any store."""
    sealed = [path.name for path in session.paths.encrypted_records.glob("*") if path.name != "store.json"]
    if "DBUS_SESSION_BUS_ADDRESS" not in os.environ:
        return sealed
    return sealed + [user for user in secret_service_users() if user.endswith(session.paths.state_id)]


def test_with_nobody_signed_in_token_prints_nothing_and_exits_3(session):
    done = session.run("auth", "token")

    assert (done.returncode, done.stdout) == (3, "")
    assert "onboard --auth-choice minimax-portal" in done.stderr
    assert session.run("auth", "status").returncode == 3
    assert session.ok("auth", "list") == ""
    assert json.loads(session.ok("auth", "list", "--json")) == {"profiles": []}
    assert session.run("auth", "logout", "--yes").returncode == 0


def test_token_prints_one_token_and_a_newline_and_nothing_else(session):
    session.sign_in("--region", "global")

    done = session.run("auth", "token")

    assert done.returncode == 0
    assert done.stderr == ""
    token, end = done.stdout[:-1], done.stdout[-1:]
    assert (in_text(token), end) == ([token], "\n")


def test_as_json_token_tells_when_it_ends(session):
    session.sign_in("--region", "global")

    said = json.loads(session.ok("auth", "token", "--json"))

    (profile,) = json.loads(session.ok("auth", "list", "--json"))["profiles"]
    assert said == {"profile": profile["id"], "token": session.ok("auth", "token").strip(), "expiresAt": profile["expiresAt"]}


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.requirement("E77")
@pytest.mark.parametrize(("quiet", "remarks"), [(False, 1), (True, 0)])
def test_a_token_on_a_terminal_comes_with_one_line_of_warning_unless_quiet(session, monkeypatch, quiet, remarks):
    session.sign_in("--region", "global")
    out, err = Terminal(), io.StringIO()
    for name, value in session.run_portico.environment(session.env).items():
        monkeypatch.setenv(name, value)

    with redirect_stdout(out), redirect_stderr(err):
        code = main(["auth", "token", *(["--quiet"] if quiet else [])], program="portico")

    assert code == 0
    assert len(in_text(out.getvalue())) == 1
    assert len(err.getvalue().splitlines()) == remarks
    assert in_text(err.getvalue()) == []


@pytest.mark.requirement("S4")
def test_a_fresh_token_costs_no_http_library_no_event_loop_and_no_plugin(session):
    session.sign_in("--region", "global")
    script = (
        "import sys; sys.argv[0] = 'portico'; from portico.cli.main import main; code = main(['auth', 'token']);"
        f"print(code, [name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)"
    )

    done = subprocess.run(
        [sys.executable, "-c", script],
        env=session.run_portico.environment(session.env),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )

    assert done.stderr.splitlines()[-1] == "0 []"


@pytest.mark.requirement("P16")
def test_a_token_that_is_due_is_refreshed_on_demand_when_nothing_runs(minimax):
    session = minimax(access_ttl_s=1)
    session.sign_in("--region", "global")
    generation = session.profiles()[0]["generation"]

    tokens = {session.ok("auth", "token")}
    deadline = time.monotonic() + 10
    while len(tokens) == 1 and time.monotonic() < deadline:
        tokens.add(session.ok("auth", "token"))

    assert len(tokens) > 1
    assert session.profiles()[0]["generation"] > generation


def test_list_and_status_show_what_is_known_and_never_a_secret(session):
    session.sign_in("--region", "cn")

    plain, verbose = session.ok("auth", "list"), session.ok("auth", "list", "--verbose")
    status = session.ok("auth", "status")

    assert CN in plain
    for field in ("portico", f"{CN}#a@", "https://account.minimaxi.com", "https://api.minimaxi.com/anthropic"):
        assert field in verbose
    assert f"{CN}: ok" in status
    assert json.loads(session.ok("auth", "status", "--json"))["profiles"][0]["region"] == "cn"
    assert session.ok("models", "auth", "list") == plain


def test_a_profile_that_cannot_be_refreshed_is_told_on_every_channel(session):
    session.sign_in("--region", "global")
    failure = Failure(
        at=1, id="sign-in-expired", message="The provider refused the refresh token.", terminal=True, code="invalid_grant"
    )
    ProfileIndex(session.paths).update(GLOBAL, lambda profile: replace(profile, failure=failure))

    assert "sign in again" in session.ok("auth", "list")
    status = session.run("auth", "status")
    assert status.returncode == 3
    assert "refused the refresh token" in status.stdout
    token = session.run("auth", "token")
    assert (token.returncode, token.stderr) == (0, "")  # a tool reads it, and the token is still good
    assert GLOBAL in session.run("auth", "list").stderr
    assert json.loads(session.ok("gateway", "status", "--json"))["signInNeeded"] == [GLOBAL]


@pytest.mark.requirement("E47")
def test_logout_revokes_deletes_and_says_so(session):
    session.sign_in("--region", "global")

    done = session.run("auth", "logout", "--yes")

    assert done.returncode == 0
    assert f"Signed out: {GLOBAL} (revoked at the provider)" in done.stderr
    assert session.run("auth", "token").returncode == 3
    assert records(session) == []


@pytest.mark.requirement("E47")
def test_logout_with_the_provider_away_deletes_all_the_same_and_exits_11(session, unused_tcp_port):
    session.sign_in("--region", "global")

    done = session.run("auth", "logout", "--yes", env={"HTTPS_PROXY": f"http://127.0.0.1:{unused_tcp_port}", "https_proxy": None})

    assert done.returncode == 11
    assert "not revoked" in done.stderr
    assert session.run("auth", "token").returncode == 3
    assert records(session) == []


UNREACHABLE = {"DBUS_SESSION_BUS_ADDRESS": "unix:path=/nonexistent"}


@pytest.mark.requirement("E47")
def test_logout_with_the_keyring_away_stays_unfinished_and_the_next_one_finishes_and_revokes(secret_service, session):
    session.sign_in("--region", "global")

    done = session.run("auth", "logout", "--yes", env=UNREACHABLE)

    assert done.returncode == 7
    for said in (f"Sign-out unfinished: {GLOBAL}", "not revoked at the provider", f"portico auth logout {GLOBAL}"):
        assert said in done.stderr
    assert "sign-out unfinished" in session.ok("auth", "list")
    assert f"portico auth logout {GLOBAL}" in session.run("auth", "status").stdout
    for command in (("auth", "token"), ("auth", "token", GLOBAL), ("ask", "Why?")):
        refused = session.run(*command)
        assert (refused.returncode, refused.stdout) == (3, "")
    assert records(session)

    again = session.run("auth", "logout", "--yes")
    assert again.returncode == 0
    assert f"Signed out: {GLOBAL} (revoked at the provider)" in again.stderr
    assert records(session) == []
    assert session.profiles() == []


def test_an_unfinished_sign_out_does_not_hinder_signing_in_again(secret_service, session):
    session.sign_in("--region", "global")
    session.run("auth", "logout", "--yes", env=UNREACHABLE)

    session.sign_in("--region", "global", "--replace")

    assert session.profiles()[0]["status"] == "ok"
    assert len(records(session)) == 1


def test_logout_of_one_of_two_leaves_the_other_and_all_takes_both(session):
    session.sign_in("--region", "global")
    session.sign_in("--region", "cn")

    unclear = session.run("auth", "logout", "--yes")
    assert unclear.returncode == 2
    assert GLOBAL in unclear.stderr
    assert session.run("auth", "logout", "minimax-portal:cm", "--yes").stderr.count(f"Did you mean {CN}?") == 1

    session.ok("models", "auth", "logout", CN, "--yes")
    assert [profile["id"] for profile in session.profiles()] == [GLOBAL]
    session.sign_in("--region", "cn")
    out = json.loads(session.ok("auth", "logout", "--all", "--yes", "--json"))
    assert out == {"signedOut": [GLOBAL, CN], "taken": [], "notRevoked": {}, "mayBeLeft": {}, "unfinished": {}}
    assert session.profiles() == []


def damage(session, profile_id):
    document = json.loads(session.paths.index.read_text())
    document["profiles"][profile_id]["createdAt"] = "x"
    session.paths.index.write_text(json.dumps(document))


@pytest.mark.requirement("E43")
def test_a_sign_in_whose_entry_is_damaged_is_shown_as_such(session):
    session.sign_in("--region", "global")
    damage(session, GLOBAL)

    assert "damaged" in session.ok("auth", "list")
    assert "damaged" in session.ok("auth", "list", "--verbose")
    assert json.loads(session.ok("auth", "list", "--json")) == {"profiles": [{"id": GLOBAL, "status": "damaged"}]}
    status = session.run("auth", "status")
    assert status.returncode == 3
    assert f"{GLOBAL}: damaged" in status.stdout
    assert json.loads(session.run("auth", "status", "--json").stdout)["profiles"][0]["status"] == "damaged"
    for asked in ((), (GLOBAL,)):
        token = session.run("auth", "token", *asked)
        assert token.stdout == ""
        assert f"The entry of {GLOBAL} in the profile index is damaged." in token.stderr


@pytest.mark.requirement("E47")
@pytest.mark.parametrize("asked", [(GLOBAL,), ("--all",), ()])
def test_logout_of_a_damaged_sign_in_deletes_its_tokens_and_says_that_it_is_not_revoked(session, asked):
    session.sign_in("--region", "global")
    damage(session, GLOBAL)

    done = session.run("auth", "logout", *asked, "--yes")

    assert done.returncode == 11
    assert f"Signed out: {GLOBAL}" in done.stderr
    assert "is damaged" in done.stderr
    assert records(session) == []
    assert session.profiles() == []


@pytest.mark.requirement("E47")
def test_what_cannot_be_deleted_of_one_sign_in_hides_nothing_of_the_others(session, monkeypatch):
    for region in ("global", "cn"):
        session.sign_in("--region", region)
    damage(session, CN)
    monkeypatch.setattr(vault, "_LOCK_MARGIN_S", -60)

    with file_lock(named_lock(session.paths.locks, "vault", GLOBAL, what="it").path):
        done = session.run("auth", "logout", "--all", "--yes", "--json")

    out = json.loads(done.stdout)
    assert (done.returncode, out["error"]["id"], out["signedOut"]) == (7, "not-deleted", [CN])
    assert "is using the tokens" in out["unfinished"][GLOBAL][0]
    assert list(out["notRevoked"]) == [CN]
    for said in (GLOBAL, "is using the tokens", CN, "is damaged"):
        assert said in out["error"]["why"]
    assert f"Sign-out unfinished: {GLOBAL} (revoked at the provider)" in done.stderr
    assert [profile["id"] for profile in session.profiles()] == [GLOBAL]


HOLD = """
import sys
from pathlib import Path
from portico.util.lock import FileLock
FileLock(Path(sys.argv[1])).acquire(5)
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def refreshing_elsewhere(session, monkeypatch):
    """A process that holds the lock of a refresh of the Global account, and never ends by itself."""
    monkeypatch.setattr(sign_out, "REFRESH_WITHIN_S", 0.05)
    command = [sys.executable, "-c", HOLD, str(refresh_lock(session.paths, GLOBAL).path)]
    environment = session.run_portico.environment()
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment) as holder:
        assert holder.stdout.readline() == "held\n"
        yield holder.pid
        holder.communicate()


@pytest.mark.requirement("E110")
@pytest.mark.parametrize("json_asked", [False, True])
def test_logout_beside_a_refresh_that_hangs_says_that_it_revoked_and_what_may_be_left(session, refreshing_elsewhere, json_asked):
    session.sign_in("--region", "global")

    done = session.run("auth", "logout", "--yes", *(["--json"] if json_asked else []))

    assert done.returncode == 11
    assert f"Signed out: {GLOBAL} (revoked at the provider; a running refresh may still get new tokens)" in done.stderr
    assert "not revoked at the provider" not in done.stderr + done.stdout
    why = f"Process {refreshing_elsewhere} is using the refresh of {GLOBAL}"
    if json_asked:
        told = json.loads(done.stdout)
        assert (told["signedOut"], told["notRevoked"], told["unfinished"]) == ([GLOBAL], {}, {})
        assert why in told["mayBeLeft"][GLOBAL]
        assert told["error"]["id"] == "not-revoked"
    else:
        assert "Signed out and revoked, but a running refresh may still get new tokens." in done.stderr
        assert why in done.stderr
    assert records(session) == []


@pytest.mark.requirement("E110")
def test_purge_beside_a_refresh_that_hangs_deletes_everything_and_says_what_may_be_left(session, refreshing_elsewhere):
    session.sign_in("--region", "global")

    done = session.run("purge", "--yes", "--json")

    told = json.loads(done.stdout)
    assert (done.returncode, told["signedOut"], told["notRevoked"], told["left"]) == (11, [GLOBAL], {}, [])
    assert f"Process {refreshing_elsewhere}" in told["mayBeLeft"][GLOBAL]
    assert not session.paths.state.exists()


def test_logout_without_a_terminal_wants_yes(session):
    session.sign_in("--region", "global")

    done = session.run("auth", "logout")

    assert done.returncode == 2
    assert "--yes" in done.stderr
    assert session.profiles()


def test_of_two_sign_ins_token_takes_the_default_models(session):
    session.sign_in("--region", "global")
    session.sign_in("--region", "cn")

    assert session.ok("auth", "token") == session.ok("auth", "token", CN)
    session.ok("config", "set", "models.providers.minimax-portal.baseUrl", "https://api.minimax.io/anthropic")
    assert session.ok("auth", "token") == session.ok("auth", "token", GLOBAL)


def used(session):
    return [profile["id"] for profile in session.profiles() if profile["inUse"]]


def test_of_two_sign_ins_the_one_in_use_is_marked_and_named_and_another_can_be_chosen(session):
    session.sign_in("--region", "global")
    session.sign_in("--region", "cn")

    several = session.run("auth", "token", "minimax-portal")
    assert several.returncode == 3
    assert f"Did you mean {GLOBAL} or {CN}?" in several.stderr
    assert used(session) == [CN]
    assert f"{CN}: ok (in use)" in session.ok("auth", "status")
    for command in (("auth", "token"), ("ask", "Why?")):
        assert f"Using {CN}, and not {GLOBAL}." in session.run(*command).stderr
    chosen = session.run("ask", "--profile", GLOBAL, "--json", "Why?")
    assert (chosen.stderr, json.loads(chosen.stdout)["source"]) == ("", f"profile {GLOBAL}")
    session.ok("auth", "order", "set", "--provider", "minimax-portal", GLOBAL, CN)
    assert used(session) == [GLOBAL]
    assert session.run("ask", "Why?").stderr == ""


def test_after_a_sign_out_the_configs_api_base_is_that_of_the_sign_in_that_remains(session):
    session.sign_in("--region", "global")
    session.sign_in("--region", "cn")

    session.ok("auth", "logout", CN, "--yes")

    assert "https://api.minimax.io/anthropic" in session.ok("config", "get", "models.providers.minimax-portal.baseUrl")
    assert used(session) == [GLOBAL]


def test_list_reports_a_config_that_is_broken_or_not_there(session, tmp_path):
    broken = tmp_path / "broken.json5"
    broken.write_text("{ nope", encoding="utf-8")

    for config in (broken, tmp_path / "missing.json5"):
        done = session.run("auth", "list", "--config", str(config))
        assert done.returncode == 9
        assert str(config) in done.stderr
