"""`onboard` and `models auth login`: what is asked, what is refused before a browser opens, what a program reads."""

from __future__ import annotations

import json
import os
import shlex
import sys

import pytest

from portico.config.document import ConfigFile
from portico.store.profiles import ProfileIndex
from portico.testing.canary import canary
from tests.minimax_session import CN, GLOBAL, SIGN_IN, events

BROWSER = ("--flow", "browser")


@pytest.fixture
def session(minimax):
    return minimax()


@pytest.fixture
def no_browser(tmp_path):
    """A $BROWSER that leaves a mark when it is opened."""
    mark = tmp_path / "opened"
    return {"BROWSER": f"{sys.executable} -c open({str(mark)!r},'w') %s"}, mark


def test_without_a_terminal_the_choice_and_the_region_are_named_by_their_flags(session):
    before = session.paths.config.read_bytes()

    choice = session.run("onboard", "--non-interactive")
    region = session.run(*SIGN_IN)

    assert session.paths.config.read_bytes() == before
    assert (choice.returncode, region.returncode) == (2, 2)
    assert "--auth-choice {minimax-portal," in choice.stderr
    assert "--region {global,cn}" in region.stderr


def test_a_wrong_choice_and_a_wrong_region_get_a_hint(session):
    choice = session.run("onboard", "--auth-choice", "minimax-portl")
    region = session.run(*SIGN_IN, "--region", "mars")

    near = session.run(*SIGN_IN, "--region", "cnn")
    short = session.run("onboard", "--auth-choice", "minimax", "--non-interactive")

    for done in (choice, short):
        assert "Did you mean --auth-choice minimax-portal?" in done.stderr
    assert "--region global|cn" in region.stderr
    assert "Did you mean --region cn?" in near.stderr


def test_models_auth_login_without_a_terminal_names_its_own_option(session):
    done = session.run("models", "auth", "login", "--non-interactive")

    assert done.returncode == 2
    assert "Run the command again with --provider {minimax-portal}." in done.stderr


@pytest.mark.requirement("P2")
def test_a_sign_in_enables_the_plugin_writes_the_config_and_says_what_is_now_so(session):
    done = session.run(*SIGN_IN, "--region", "global", *BROWSER, *session.store)

    assert done.returncode == 0
    assert done.stdout == ""
    for said in ('Enabled plugin "minimax-portal-auth".', f"Signed in: {GLOBAL}", "minimax-portal/MiniMax-M2.1", "Next:"):
        assert said in done.stderr
    assert session.ok("config", "get", "agents.defaults.model.primary").strip() in {
        "minimax-portal/MiniMax-M2.1",
        '"minimax-portal/MiniMax-M2.1"',
    }
    assert ProfileIndex(session.paths).get(GLOBAL).config_pending is False


@pytest.mark.requirement("E107")
@pytest.mark.parametrize(("name", "profile"), [("minimax-global-oauth", GLOBAL), ("minimax-cn-oauth", CN)])
def test_openclaws_newer_names_are_the_portal_and_its_region(session, name, profile):
    done = session.run("onboard", "--auth-choice", name, "--non-interactive", "--no-background", *BROWSER, *session.store)

    assert done.returncode == 0, done.stderr
    (kept,) = ProfileIndex(session.paths).profiles()
    assert (kept.id, kept.provider) == (profile, "minimax-portal")
    assert f"Signed in: {profile}" in done.stderr


@pytest.mark.requirement("E107")
@pytest.mark.parametrize(
    ("name", "region"), [("minimax-global-oauth", "cn"), ("minimax-cn-oauth", "global"), ("minimax-global-api", "cn")]
)
def test_a_name_that_means_one_region_does_not_go_with_another(session, name, region):
    done = session.run("onboard", "--auth-choice", name, "--region", region, "--non-interactive")

    assert done.returncode == 2
    assert f"{name} is region" in done.stderr
    assert "Leave --region out." in done.stderr
    assert ProfileIndex(session.paths).profiles() == ()


@pytest.mark.requirement("E107")
def test_menus_and_lists_show_one_name_for_one_choice(session):
    done = session.run("onboard", "--auth-choice", "nonsense", "--non-interactive")
    near = session.run("onboard", "--auth-choice", "minimax-global-oath", "--non-interactive")

    assert "minimax-global-" not in done.stderr
    assert "Did you mean --auth-choice minimax-global-oauth?" in near.stderr


def test_a_borrowed_client_id_is_told_once_and_ones_own_is_not_remarked_on(session):
    person = session.run(*SIGN_IN, "--region", "global", *BROWSER, *session.store)
    program = session.sign_in("--region", "cn")
    own = (
        "config",
        "set",
        "plugins.entries.minimax-portal-auth.config.portals.global.clientId",
        "659cf4c1-615c-45f6-a5f6-4bf15eb476e5",
    )
    session.ok(*own)
    other = session.run(*SIGN_IN, "--region", "global", "--replace", *BROWSER, *session.store)

    assert (person.returncode, other.returncode) == (0, 0)
    assert person.stderr.count("OpenClaw's public client id") == 1
    assert "portals.global.clientId" in person.stderr
    assert "portals.cn.clientId" in program[0]["hint"]
    assert not any("hint" in step for step in program[1:])
    assert "OpenClaw" not in other.stderr


@pytest.mark.requirement("E77")
def test_with_json_every_step_is_one_object_on_stdout_and_the_last_one_is_the_outcome(session):
    steps = session.sign_in("--region", "cn")

    assert [step["event"] for step in steps] == ["authorize-url", "redirect-caught", "exchanging", "finished", "signed-in"]
    assert steps[0]["redirectUri"].startswith("http://127.0.0.1:")
    assert (steps[-1]["profile"], steps[-1]["region"]) == (CN, "cn")
    assert steps[-1]["apiBase"] == "https://api.minimaxi.com/anthropic"
    assert steps[-1]["defaultModel"] == "minimax-portal/MiniMax-M2.1"


def test_a_plugin_that_the_config_denies_is_not_enabled_and_the_reason_is_given(session, no_browser):
    env, opened = no_browser
    session.ok("config", "set", "plugins.deny", '["minimax-portal-auth"]')
    before = session.paths.config.read_bytes()

    done = session.run(*SIGN_IN, "--region", "global", *BROWSER, env=env)

    assert done.returncode == 9
    assert "denylist" in done.stderr
    assert session.paths.config.read_bytes() == before
    assert not opened.exists()


def test_a_plugin_that_the_user_switched_off_stays_off_and_the_way_on_is_named(session, no_browser):
    env, opened = no_browser
    session.ok("plugins", "enable", "minimax-portal-auth")
    session.ok("plugins", "disable", "minimax-portal-auth")
    before = session.paths.config.read_bytes()

    done = session.run(*SIGN_IN, "--region", "global", *BROWSER, env=env)

    assert done.returncode == 9
    assert "portico plugins enable minimax-portal-auth" in done.stderr
    assert session.paths.config.read_bytes() == before
    assert not opened.exists()


def test_a_plugin_that_does_not_load_is_not_enabled(session, no_browser):
    env, opened = no_browser
    flow = ("plugins", "entries", "minimax-portal-auth", "config", "portals", "global", "flow")
    ConfigFile(session.paths.config, session.paths.locks).edit(lambda document: document.set(flow, "sideways"))
    before = session.paths.config.read_bytes()

    done = session.run(*SIGN_IN, "--region", "global", *BROWSER, env=env)

    assert done.returncode == 9
    assert session.paths.config.read_bytes() == before
    assert not opened.exists()


@pytest.mark.requirement("E37")
def test_a_store_that_does_not_work_is_found_out_before_any_browser_opens(session, no_browser):
    env, opened = no_browser
    before = session.paths.config.read_bytes()

    done = session.run(
        *SIGN_IN, "--region", "global", *BROWSER, env={**env, "DBUS_SESSION_BUS_ADDRESS": "unix:path=/nonexistent"}
    )

    assert done.returncode == 7
    assert "portico onboard --auth-choice minimax-portal --store file" in done.stderr
    assert session.paths.config.read_bytes() == before
    assert not opened.exists()
    assert session.profiles() == []


def test_a_browser_flow_without_a_redirect_is_refused_at_once_and_names_the_device_flow(minimax, no_browser):
    env, opened = no_browser
    session = minimax(redirect=False)

    done = session.run(*SIGN_IN, "--region", "global", *BROWSER, "--json", env=env)

    error = json.loads(done.stdout)["error"]
    assert (done.returncode, error["id"], error["exitCode"]) == (6, "redirect-not-offered", 6)
    assert "--flow device" in error["hint"]
    assert not opened.exists()


def test_signing_in_twice_wants_replace_and_then_revokes_the_old(session):
    session.sign_in("--region", "global")
    first = ProfileIndex(session.paths).get(GLOBAL)

    again = session.run(*SIGN_IN, "--region", "global", *BROWSER, *session.store)
    assert again.returncode == 2
    assert "--replace" in again.stderr

    assert session.sign_in("--region", "global", "--replace")[-1]["oldRevoked"] is True
    assert ProfileIndex(session.paths).get(GLOBAL).generation > first.generation
    assert len(session.profiles()) == 1


def test_both_regions_and_a_named_profile_live_side_by_side(session):
    session.sign_in("--region", "global")
    session.sign_in("--region", "cn")
    session.sign_in("--region", "cn", "--profile", "minimax-portal:work")

    assert [profile["id"] for profile in session.profiles()] == [GLOBAL, CN, "minimax-portal:work"]


@pytest.mark.parametrize(
    ("command", "needed"),
    [
        (SIGN_IN, "--profile minimax-portal:work"),
        (("models", "auth", "login", "--provider", "minimax-portal", "--non-interactive"), "--model minimax-portal/MiniMax-M2.1"),
    ],
)
def test_the_next_command_that_is_named_asks_with_the_sign_in_just_made(session, command, needed):
    session.sign_in("--region", "global")
    if command[0] == "models":
        session.ok("config", "set", "agents.defaults.model.primary", "anthropic/claude-opus-4-6")

    done = session.run(*command, "--region", "global", "--profile", "minimax-portal:work", *BROWSER, *session.store)

    line = next(line for line in done.stderr.splitlines() if line.startswith("Next:"))
    words = shlex.split(line.removeprefix("Next:").partition("|")[0])
    assert needed in line
    assert json.loads(session.ok(*words[1:], "--json"))["source"] == "profile minimax-portal:work"


def test_a_profile_is_named_after_its_provider(session):
    session.sign_in("--region", "global", "--profile", "work")

    assert [profile["id"] for profile in session.profiles()] == ["minimax-portal:work"]


@pytest.mark.parametrize("name", ["we ird/../x", "", "a\nb", "x" * 201])
def test_a_profile_name_that_would_have_to_be_quoted_is_refused(session, no_browser, name):
    env, opened = no_browser

    done = session.run(*SIGN_IN, "--region", "global", *BROWSER, *session.store, "--profile", name, env=env)

    assert done.returncode == 2
    assert "Invalid account name" in done.stderr
    assert not opened.exists()


def test_a_store_that_was_chosen_last_time_is_named_with_the_way_back(session):
    sealed = {"PORTICO_PASSPHRASE": canary("passphrase")} | session.env
    session.sign_in("--region", "global", "--store", "file", env=sealed)

    done = session.run(*SIGN_IN, "--region", "cn", *BROWSER, env=sealed)

    assert done.returncode == 0
    assert "encrypted file, as last time. To use the OS keyring: --store keyring" in done.stderr


def test_the_fixed_callback_port_is_used(session, unused_tcp_port):
    steps = session.sign_in("--region", "global", "--callback-port", str(unused_tcp_port))

    assert steps[0]["redirectUri"].startswith(f"http://127.0.0.1:{unused_tcp_port}/")


def test_nobody_approving_ends_in_time_with_its_own_exit_code(session):
    done = session.run(*SIGN_IN, "--region", "global", *BROWSER, *session.store, "--no-browser", "--timeout", "0.5", "--json")

    assert done.returncode == 5
    assert events(done.stdout)[-1]["error"]["exitCode"] == 5
    assert session.profiles() == []


def test_a_provider_that_cannot_be_reached_ends_quickly_and_names_the_check(session, unused_tcp_port):
    proxy = f"http://127.0.0.1:{unused_tcp_port}"

    done = session.run(
        *SIGN_IN, "--region", "global", "--flow", "device", *session.store, env={"HTTPS_PROXY": proxy, "https_proxy": proxy}
    )

    assert done.returncode == 8
    assert "portico doctor" in done.stderr
    assert "emulator" not in done.stderr


@pytest.mark.requirement("E112")
@pytest.mark.parametrize(
    ("words", "code"),
    [
        ((*SIGN_IN, "--region", "cn", "--flow", "device"), 8),
        (("ask", "Hello"), 8),
        (("models", "status", "--probe", "--probe-provider", "minimax-portal"), 0),
        (("auth", "logout", GLOBAL, "--yes"), 11),
        (("doctor",), 9),
    ],
    ids=lambda words: words[0] if isinstance(words, tuple) else None,
)
def test_each_command_that_sends_something_names_the_variable_of_a_malformed_proxy(session, words, code):
    session.sign_in("--region", "global")
    for value in ("http://me:hunter2@[::1", "http://me:hunter2@host:no"):
        done = session.run(
            *words, *(session.store if words[0] == "onboard" else ()), env={"HTTPS_PROXY": value, "https_proxy": None}
        )

        assert done.returncode == code, done.stderr
        shown = done.stdout + done.stderr
        assert "HTTPS_PROXY" in shown
        assert "hunter2" not in shown
        assert "Traceback" not in shown
        if words[0] == "auth":
            break  # it is signed out now


def test_models_auth_login_is_the_same_sign_in_and_leaves_a_default_alone(session):
    session.ok("config", "set", "agents.defaults.model.primary", "anthropic/claude-opus-4-6")
    login = ("models", "auth", "login", "--non-interactive", "--no-background", *BROWSER, *session.store, "--json")

    steps = events(session.ok(*login, "--provider", "minimax-portal", "--method", "oauth-cn"))
    assert (steps[-1]["region"], steps[-1]["defaultModel"]) == ("cn", "anthropic/claude-opus-4-6")

    steps = events(session.ok(*login, "--provider", "minimax-portal", "--region", "global", "--set-default"))
    assert steps[-1]["defaultModel"] == "minimax-portal/MiniMax-M2.1"

    assert session.run(*login, "--provider", "nobody").returncode == 2
    assert session.run(*login, "--provider", "minimax-portal", "--method", "magic").returncode == 2


def test_another_default_than_the_sign_ins_own_may_be_named_and_the_old_one_may_be_kept(session):
    lightning = "minimax-portal/MiniMax-M2.1-lightning"
    wrong = session.run(*SIGN_IN, "--region", "global", "--default-model", lightning.lower().replace("-l", "-L"), *session.store)
    assert (wrong.returncode, f"Did you mean {lightning}?" in wrong.stderr) == (2, True)

    session.sign_in("--region", "global", "--default-model", "MiniMax-M2.1-lightning")
    assert session.ok("models", "status", "--plain").strip() == lightning
    told = session.run(*SIGN_IN, "--region", "cn", "--keep-default", *BROWSER, *session.store)
    assert f"Default model  {lightning} (unchanged)" in told.stderr
    assert session.ok("models", "status", "--plain").strip() == lightning


@pytest.mark.requirement("E41")
@pytest.mark.parametrize("model", ["MiniMax-M2.1", "MiniMax-M3"])
def test_a_sign_in_that_was_killed_before_its_config_edit_is_finished_by_the_next_run(session, model):
    from dataclasses import replace

    session.sign_in("--region", "global")
    session.ok("config", "unset", "models")
    session.ok("config", "unset", "agents")
    default = {"default_pending": True, "default_model": f"minimax-portal/{model}" if model == "MiniMax-M3" else None}
    ProfileIndex(session.paths).update(GLOBAL, lambda profile: replace(profile, config_pending=True, **default))

    session.sign_in("--region", "cn", "--profile", "minimax-portal:other", "--keep-default")

    assert session.ok("config", "get", "agents.defaults.model.primary", "--json").strip() == f'"minimax-portal/{model}"'
    assert ProfileIndex(session.paths).get(GLOBAL).config_pending is False


def test_the_browser_is_started_without_the_stores_passphrase(session, tmp_path):
    seen = tmp_path / "environment"
    script = tmp_path / "browser.sh"
    script.write_text(f"#!/bin/sh\nenv > {seen}\nexec {session.env['BROWSER'].replace('%s', chr(34) + '$1' + chr(34))}\n")
    script.chmod(0o700)
    secrets = {"PORTICO_PASSPHRASE": session.env.get("PORTICO_PASSPHRASE", "not-to-be-seen"), "PORTICO_PASSPHRASE_FILE": None}

    session.sign_in("--region", "global", env={"BROWSER": str(script), **secrets})

    assert "PORTICO_PASSPHRASE" not in seen.read_text()
    assert f"HOME={os.environ['HOME']}" in seen.read_text()


@pytest.mark.requirement("P11")
@pytest.mark.parametrize(
    ("region", "link"),
    [
        ("global", "https://platform.minimax.io/console/plan"),
        ("cn", "https://platform.minimaxi.com/subscribe/coding-plan"),
    ],
)
def test_an_account_without_a_plan_is_told_once_where_its_region_sells_one(minimax, region, link):
    session = minimax(knobs={"quota": "none"})

    done = session.run(*SIGN_IN, "--region", region, *BROWSER, *session.store)

    assert done.returncode == 0
    assert done.stderr.count(f"Subscribe: {link}") == 1
    plan = session.sign_in("--region", region, "--replace")[-1]["plan"]
    assert (plan["state"], plan["subscribeUrl"]) == ("no-plan", link)


def test_a_sign_in_says_what_its_plan_has_left(session):
    done = session.run(*SIGN_IN, "--region", "global", *BROWSER, *session.store)

    assert "Plan           5h 89% left (1349 of 1500); week 98% left (14849 of 15000)\n" in done.stderr


def test_a_plan_that_is_not_told_fails_no_sign_in(minimax):
    session = minimax(knobs={"remains": "html"})

    done = session.run(*SIGN_IN, "--region", "global", *BROWSER, *session.store, "--verbose")

    assert done.returncode == 0
    assert f"Signed in: {GLOBAL}" in done.stderr
    assert "Plan           not checked; check again: portico usage\n" in done.stderr
    assert "the response is a web page" in done.stderr


@pytest.mark.parametrize("raising", ["urls", "read"])
def test_a_plan_reader_that_fails_fails_no_sign_in(session, monkeypatch, raising):
    def broken(*_args):
        raise KeyError(raising)

    monkeypatch.setattr(f"portico.plugins.minimax_plans.MinimaxPlans.{raising}", broken)

    assert session.sign_in("--region", "global")[-1]["profile"] == GLOBAL
