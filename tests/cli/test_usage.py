"""`usage`: what is left of a plan, for sign-ins and for keys, in either region, and what is said where nothing is."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import pytest

from portico.secret import Secret
from portico.testing.canary import canary, in_text
from tests.minimax_session import CN, GLOBAL

GLOBAL_KEY, CN_KEY = "sk-emulator-global", "sk-emulator-cn"
PLAN_KEY, API_KEY = "MINIMAX_CODE_PLAN_KEY", "MINIMAX_API_KEY"


def accounts(session, *options, code=0, **env):
    done = session.run("usage", "--json", *options, env=env)
    assert done.returncode == code, done.stderr + done.stdout
    return {account["account"]: account for account in json.loads(done.stdout)["accounts"]}


def texts(account):
    """The windows of text, by name."""
    return {window["window"]: window for window in account["windows"] if window["kind"] == "general"}


@pytest.mark.requirement("P9")
@pytest.mark.parametrize("knobs", [{}, {"remains": "older"}], ids=["counts what is used", "counts what is left"])
def test_what_is_left_is_told_alike_by_either_endpoint_and_goes_down_with_use(minimax, knobs):
    session = minimax(knobs=knobs)
    session.sign_in("--region", "cn")

    before = texts(accounts(session)[CN])
    session.ok("ask", "Hello")
    after = texts(accounts(session)[CN])

    assert (before["5h"]["percentLeft"], before["5h"]["left"], before["5h"]["total"]) == (89, 1349, 1500)
    assert (before["week"]["percentLeft"], before["week"]["left"]) == (98, 14849)
    assert (after["5h"]["left"], after["week"]["left"]) == (1348, 14848)


@pytest.mark.requirement("P9")
def test_each_sign_in_is_asked_about_at_its_own_regions_host(minimax):
    session = minimax()
    session.sign_in("--region", "global")
    session.sign_in("--region", "cn")

    found = accounts(session)

    assert {name: (one["region"], one["state"]) for name, one in found.items()} == {
        GLOBAL: ("global", "told"),
        CN: ("cn", "told"),
    }
    assert list(accounts(session, "--profile", CN)) == [CN]


def test_minimax_codes_sign_in_is_asked_about_at_the_api_host_and_not_at_its_own(minimax):
    session = minimax()
    session.ok("config", "set", "plugins.entries.minimax-portal-auth.config.portals.global.clientId", '"mcode-public"')
    session.sign_in("--region", "global")
    assert session.profiles()[0]["apiBase"].startswith("https://agent.minimax.io/")

    assert texts(accounts(session)[GLOBAL])["5h"]["left"] == 1349


def test_a_person_sees_percent_counts_and_the_time_to_reset_for_every_kind_of_use(minimax):
    session = minimax()
    session.sign_in("--region", "global")

    lines = session.ok("usage").splitlines()

    assert lines[0].split() == ["Account", "For", "Window", "Left", "Resets", "in"]
    assert [line.split()[1:3] for line in lines[2:]] == [
        ["general", "5h"],
        ["general", "week"],
        ["video", "5h"],
        ["video", "week"],
    ]
    assert "89% left (1349 of 1500)" in lines[2]
    assert all(line.split()[-1][-1] in "dhms" for line in lines[2:])


@pytest.mark.requirement("P9")
@pytest.mark.parametrize(
    ("env", "config", "label"),
    [
        ({PLAN_KEY: GLOBAL_KEY, API_KEY: "other"}, "other", PLAN_KEY),
        ({API_KEY: GLOBAL_KEY}, "other", API_KEY),
        ({}, GLOBAL_KEY, "models.providers.minimax.apiKey"),
    ],
)
def test_of_the_keys_the_first_counts_in_openclaws_order(minimax, env, config, label):
    session = minimax()
    session.ok("config", "set", "models.providers.minimax.apiKey", json.dumps(config))

    assert {name: one["state"] for name, one in accounts(session, **env).items()} == {label: "told"}


def test_a_key_that_onboard_has_kept_is_an_account_of_its_own(minimax):
    session = minimax()
    session.ok(
        *("onboard", "--auth-choice", "minimax-cn-api", "--non-interactive", "--no-check", *session.store), env={API_KEY: CN_KEY}
    )

    found = accounts(session)

    assert {name: (one["region"], one["state"]) for name, one in found.items()} == {"minimax:default": ("cn", "told")}


@pytest.mark.parametrize("how", ["MINIMAX_REGION", "baseUrl"])
def test_a_key_is_asked_about_in_the_region_that_the_environment_or_the_config_names(minimax, how):
    session = minimax()
    env = {API_KEY: CN_KEY}
    if how == "baseUrl":
        session.ok("config", "set", "models.providers.minimax.baseUrl", '"https://api.minimaxi.com/anthropic"')
    else:
        env[how] = "cn"

    assert accounts(session, **env)[API_KEY]["state"] == "told"


def test_a_key_of_the_other_region_says_region_and_kind_and_the_sign_in_beside_it_is_shown(minimax):
    session = minimax()
    session.sign_in("--region", "global")

    done = session.run("usage", env={API_KEY: CN_KEY})

    assert done.returncode == 3
    assert "89% left" in done.stdout
    for said in (
        "rejected the credential of MINIMAX_API_KEY",
        "1004",
        "other region",
        "MINIMAX_REGION=cn",
        "not the Subscription Key",
        PLAN_KEY,
    ):
        assert said in done.stderr


def test_a_pay_as_you_go_key_needs_a_plan_key_and_is_sent_nowhere(minimax, unused_tcp_port):
    session = minimax()
    away = f"http://127.0.0.1:{unused_tcp_port}"

    done = session.run("usage", env={API_KEY: f"sk-api-{canary('key')}", "HTTPS_PROXY": away, "https_proxy": away})

    assert done.returncode == 0
    assert "needs a Subscription Key" in done.stdout
    assert PLAN_KEY in done.stderr


@pytest.mark.parametrize("base", ["https://www.minimax.io/anthropic", "https://proxy.example/anthropic"])
def test_a_key_for_somebody_elses_host_is_not_asked_about(minimax, base):
    session = minimax()
    session.ok("config", "set", "models.providers.minimax.baseUrl", json.dumps(base))

    account = accounts(session, **{API_KEY: GLOBAL_KEY})[API_KEY]

    assert (account["state"], account["windows"]) == ("not-asked", [])


@pytest.mark.requirement("P11")
@pytest.mark.parametrize(
    ("region", "link"),
    [
        ("global", "https://platform.minimax.io/console/plan"),
        ("cn", "https://platform.minimaxi.com/subscribe/coding-plan"),
    ],
)
def test_without_a_plan_the_link_of_the_region_is_shown(minimax, region, link):
    session = minimax(knobs={"quota": "none"})
    session.sign_in("--region", region)

    shown = session.ok("usage")

    assert "no plan" in shown
    assert f"has no plan. Subscribe: {link}\n" in shown
    [account] = accounts(session).values()
    assert (account["state"], account["subscribeUrl"]) == ("no-plan", link)


@pytest.mark.parametrize(
    ("knobs", "cell"),
    [
        ({"quota": "exhausted"}, "used up"),
        ({"quota": "unlimited"}, "unlimited"),
        ({"quota": "not-in-plan"}, "not in the plan"),
        ({"boost": "2000"}, "178% left (1349 of 1500, boost x2)"),
        ({"remains": "no-percent"}, "unknown"),
        ({"remains": "null"}, "no limits reported"),
        ({"remains": "no-week"}, "89% left (1349 of 1500)"),
    ],
)
def test_every_state_of_a_plan_has_its_own_words(minimax, knobs, cell):
    session = minimax(knobs=knobs)
    session.sign_in("--region", "global")

    line = session.ok("usage").splitlines()[2]

    assert f"  {cell}" in line


def test_rows_of_other_modalities_are_shown_with_the_length_of_their_windows(minimax):
    session = minimax(knobs={"remains": "modalities"})
    session.sign_in("--region", "global")

    lines = [line.split("  ") for line in session.ok("usage").splitlines()[2:]]
    found = {(cells[1].strip(), next(cell for cell in cells[2:] if cell).strip()): cells for cells in lines}

    assert {("MiniMax-M*", "5h"), ("speech-hd", "24h"), ("image-01", "24h"), ("music-cover", "24h")} <= set(found)
    assert "97% left (3900 of 4000)" in " ".join(found["speech-hd", "24h"])


@pytest.mark.parametrize("remains", ["absurd", "html"])
def test_nonsense_neither_crashes_nor_reaches_the_terminal_as_it_came(minimax, remains):
    session = minimax(knobs={"remains": remains})
    session.sign_in("--region", "global")

    done = session.run("usage")

    assert done.returncode == (8 if remains == "html" else 0)
    assert "\x1b" not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert ("the response is a web page" in done.stderr) == (remains == "html")


def test_with_nobody_set_up_it_says_how_to_begin(minimax):
    done = minimax().run("usage")

    assert (done.returncode, done.stdout) == (3, "")
    assert "onboard --auth-choice minimax-portal" in done.stderr
    assert PLAN_KEY in done.stderr


def test_a_sign_in_whose_plugin_is_off_names_the_command_that_turns_it_on(minimax):
    session = minimax()
    session.sign_in("--region", "global")
    session.ok("plugins", "disable", "minimax-portal-auth")

    done = session.run("usage", "--profile", GLOBAL)

    assert done.returncode == 2
    assert "portico plugins enable minimax-portal-auth" in done.stderr


@pytest.mark.parametrize(("words", "code"), [(("--profile", "nobody"), 3), (("--provider", "openai"), 2), (("--watch", "1"), 2)])
def test_what_cannot_be_asked_is_refused_before_anything_is_sent(minimax, words, code):
    done = minimax().run("usage", *words)

    assert done.returncode == code
    assert done.stderr.count("\n") >= 2


@pytest.mark.requirement("E78")
def test_without_a_network_the_row_says_so_and_the_code_is_the_networks(minimax, unused_tcp_port):
    session = minimax()
    session.sign_in("--region", "global")
    away = f"http://127.0.0.1:{unused_tcp_port}"

    found = accounts(session, code=8, HTTPS_PROXY=away, https_proxy=away)

    assert found[GLOBAL]["error"]["exitCode"] == 8


@pytest.mark.requirement("E48")
def test_no_credential_is_in_any_output(minimax):
    key = Secret(canary("key"))
    session = minimax(knobs={"api_key": key.reveal()})
    session.sign_in("--region", "global")
    env = {API_KEY: key.reveal(), "MINIMAX_REGION": "cn"}

    for words in ((), ("--json",), ("--verbose",)):
        done = session.run("usage", *words, env=env)
        assert in_text(done.stdout + done.stderr) == []


def watching(session, *words):
    command = [sys.executable, "-m", "portico", "usage", "--watch", "5", *words]
    return subprocess.Popen(
        command,
        env=session.run_portico.environment(session.env),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )


@pytest.mark.linux
@pytest.mark.requirement("E19")
def test_a_watch_prints_lines_where_there_is_no_terminal_and_ctrl_c_ends_it_clean(minimax):
    session = minimax()
    session.sign_in("--region", "global")
    process = watching(session)

    first = process.stdout.readline()
    process.send_signal(signal.SIGINT)
    rest, said = process.communicate(timeout=20)

    assert f"Z  {GLOBAL}  general  5h  89% left (1349 of 1500)  " in first
    assert "\x1b" not in first + rest
    assert (process.returncode, said) == (130, "portico: Interrupted.\n")


@pytest.mark.linux
def test_a_watch_in_json_is_one_object_a_line(minimax):
    session = minimax()
    session.sign_in("--region", "global")
    process = watching(session, "--json")

    told = json.loads(process.stdout.readline())
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)

    assert told["accounts"][0]["account"] == GLOBAL


@pytest.mark.linux
@pytest.mark.requirement("E19")
def test_on_a_terminal_a_watch_is_drawn_over_and_ctrl_c_ends_it(minimax):
    from tests.e2e.terminal import CTRL_C, Terminal

    session = minimax()
    session.sign_in("--region", "global")
    command = [sys.executable, "-m", "portico", "usage", "--watch"]
    terminal = Terminal(command, session.run_portico.environment(session.env))
    try:
        terminal.expect("updated every 60 s. Press Ctrl-C to stop")
        terminal.press(CTRL_C)
        assert terminal.end() == 130
    finally:
        terminal.kill()

    assert "\x1b[2J\x1b[H" in terminal.raw
    assert "89% left" in terminal.text
    assert "Traceback" not in terminal.text
