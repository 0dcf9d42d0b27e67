"""`doctor` and `auth status` on machines without a working model, and the line of each check."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace

import pytest

from portico.app import App
from portico.cli.doctor import finding_json
from portico.doctor.examination import CHECKS, examine
from portico.store.profiles import ProfileIndex
from tests.commands import Commands
from tests.minimax_session import GLOBAL, SIGN_IN, sealed_store
from tests.store.helpers import HELPERS

M21 = "minimax-portal/MiniMax-M2.1"
KEY = {"MINIMAX_API_KEY": "sk-emulator-global"}
UNATTENDED = ("--region", "global", "--non-interactive", "--no-background")


@pytest.fixture
def newcomer(minimax):
    """Signed out; without a keyring the config chooses the encrypted file."""
    session = minimax()
    if session.store:
        session.ok("config", "set", "auth.store", "file")
    return session


@pytest.fixture
def session(newcomer):
    newcomer.sign_in("--region", "global")
    return newcomer


def report(session, env=None):
    return json.loads(session.run("doctor", "--json", env=env).stdout)


def misfits(session):
    """What `doctor` finds of addresses; no server is asked for it."""
    env = session.run_portico.environment(KEY)
    results = examine(App("portico", env=env), checks=[check for check in CHECKS if check.id == "base-urls"])
    return [finding_json(finding, "portico") for result in results for finding in result.findings]


@pytest.mark.requirement("E176")
def test_an_account_whose_plan_cannot_be_read_is_not_an_account_without_a_plan(set_up):
    env = {"ANTHROPIC_API_KEY": "sk-ant-of-a-test", "ANTHROPIC_BASE_URL": "http://127.0.0.1:9"}
    app = App("portico", env=set_up.run_portico.environment(env))

    (plans,) = examine(app, checks=[check for check in CHECKS if check.id == "plans"])

    assert (plans.status, plans.examined) == ("skipped", "no account has a plan that Portico can read")


@pytest.fixture
def set_up(run_portico):
    """Commands without any server."""
    return Commands(run_portico)


def write(session, providers):
    """A config as a user writes it in an editor."""
    session.paths.config.write_text(json.dumps({"models": {"providers": providers}}), encoding="utf-8")


def ids(session, env=None):
    return [each["id"] for each in report(session, env)["findings"]]


def follow(session, hint, *more):
    """Run the first command of a hint as a user would type it."""
    command = hint.split("`")[1] if "`" in hint else hint.split("\n")[0].rpartition(": ")[2]
    assert command.startswith("portico ")
    return session.ok(*shlex.split(command)[1:], *more)


# --- E175 ------------------------------------------------------------------------------------------------------------------


@pytest.mark.requirement("E175")
def test_being_signed_out_is_one_finding_and_its_command_signs_in(newcomer):
    (found,) = report(newcomer)["findings"]

    assert (found["id"], found["level"], found["message"]) == ("not-signed-in", "error", "You are not signed in.")
    assert newcomer.run("doctor").returncode == 9
    follow(newcomer, found["hint"], *UNATTENDED, *newcomer.store)
    assert report(newcomer)["findings"] == []


@pytest.mark.requirement("E175")
def test_a_machine_with_only_an_api_key_is_well(newcomer):
    assert ids(newcomer, KEY) == []


@pytest.mark.requirement("E175")
def test_a_machine_with_only_an_api_key_needs_no_token_store_until_the_gateway_has_a_key(newcomer):
    newcomer.env |= {**KEY, "PYTHON_KEYRING_BACKEND": f"{HELPERS}.Broken", "PORTICO_PASSPHRASE": None}
    passphrase = sealed_store()
    newcomer.run("config", "unset", "auth.store")

    result = newcomer.run("doctor", "--json")

    (found,) = json.loads(result.stdout)["findings"]
    assert (found["level"], result.returncode) == ("warning", 0)
    assert found["why"].endswith("`exec`, `env` and the gateway do, for gateway keys.")
    assert "or: portico config set auth.store file" in found["hint"]
    newcomer.ok("config", "set", "auth.store", "file")
    assert report(newcomer, passphrase)["findings"] == []
    newcomer.ok("gateway", "key", "add", "tool", env=passphrase)
    assert newcomer.run("doctor").returncode == 9


@pytest.mark.requirement("E175")
def test_an_encrypted_file_chosen_by_the_last_sign_in_is_named_and_its_problem_reported_once(newcomer):
    newcomer.env |= sealed_store()
    newcomer.run("config", "unset", "auth.store")
    newcomer.sign_in("--region", "global", "--store", "file")

    def of_the_store(env=None):
        shown = report(newcomer, env)
        return shown["findings"], next(each for each in shown["results"] if each["id"] == "store")

    assert of_the_store()[1] | {"tookMs": 0} == {
        "id": "store",
        "label": "the token store",
        "status": "ok",
        "saw": "an encrypted file",
        "findings": [],
        "tookMs": 0,
    }
    (found,), _ = of_the_store({"PORTICO_PASSPHRASE": None})
    assert found["id"] == "passphrase-needed"


@pytest.mark.requirement("E175")
def test_a_default_model_without_a_credential_is_found_though_another_provider_has_one(session):
    session.ok("models", "set", "anthropic/claude-opus-4-6")

    (found,) = report(session)["findings"]

    assert (found["id"], found["level"]) == ("unknown-model", "error")
    assert "agents.defaults.model.primary" in found["message"]
    assert ids(session, {"ANTHROPIC_API_KEY": "sk-any"}) == []


@pytest.mark.requirement("E175")
def test_a_default_model_whose_key_is_in_a_variable_that_is_not_set_names_the_variable(newcomer):
    block = {"baseUrl": "http://127.0.0.1:9/v1", "api": "openai-completions", "apiKey": "ACME_API_KEY", "models": [{"id": "m"}]}
    newcomer.ok("config", "set", "models.providers.acme", json.dumps(block))
    newcomer.ok("models", "set", "acme/m")

    found = next(each for each in report(newcomer, KEY)["findings"] if each["id"] == "key-not-set")

    assert "ACME_API_KEY is not set" in found["message"]
    assert found["hint"].startswith("portico config set env.ACME_API_KEY -")
    assert "key-not-set" not in ids(newcomer, KEY | {"ACME_API_KEY": "sk-any"})


@pytest.mark.requirement("E175")
def test_a_default_model_that_is_signed_out_of_names_the_command_that_signs_in(session):
    session.ok("auth", "logout", "--yes")
    session.ok("models", "set", M21)

    other_key = {"OPENAI_API_KEY": "sk-any"}

    (found,) = report(session, other_key)["findings"]

    assert (found["id"], found["level"]) == ("not-signed-in", "error")
    follow(session, found["hint"], *UNATTENDED, *session.store)
    assert ids(session, other_key) == []


@pytest.mark.requirement("E175")
def test_a_fallback_that_would_answer_makes_a_default_without_a_credential_a_warning(session):
    model = {"primary": "anthropic/claude-opus-4-6", "fallbacks": [M21]}
    session.ok("config", "set", "agents.defaults.model", json.dumps(model))

    (found,) = report(session)["findings"]

    assert (found["id"], found["level"]) == ("unknown-model", "warning")
    assert f"{M21} answers instead" in found["message"]


@pytest.mark.requirement("E175")
@pytest.mark.parametrize("order", [{"minimax-portal": ["minimax-portal:gone"]}, {"nobody": ["nobody:default"]}])
def test_an_order_of_missing_accounts_is_found_on_a_machine_with_a_key(newcomer, order):
    newcomer.ok("config", "set", "auth.order", json.dumps(order))

    (found,) = report(newcomer, KEY)["findings"]

    assert (found["id"], found["level"]) == ("dangling-reference", "warning")
    follow(newcomer, found["hint"])
    assert ids(newcomer, KEY) == []


OF_ANOTHER_API = [
    ("minimax", "https://api.minimax.io/anthropic", "openai-completions", ("baseUrl", "https://api.minimax.io/v1"), "error"),
    ("minimax", "https://api.minimax.io/v1", "anthropic-messages", ("baseUrl", "https://api.minimax.io/anthropic"), "error"),
    ("acme", "http://127.0.0.1:9/anthropic/", "openai-responses", ("api", "anthropic-messages"), "warning"),
]


@pytest.mark.requirement("E175")
@pytest.mark.parametrize(("provider", "base", "api", "right", "level"), OF_ANOTHER_API)
def test_a_base_url_of_another_api_is_found_and_its_command_makes_them_fit(set_up, provider, base, api, right, level):
    write(set_up, {provider: {"baseUrl": base, "api": api, "models": [{"id": "MiniMax-M2.1"}]}})

    (found,) = misfits(set_up)

    assert (found["level"], api in f"{found['message']}{found['why']}") == (level, True)
    follow(set_up, found["hint"])
    assert set_up.ok("config", "get", f"models.providers.{provider}.{right[0]}").strip() == right[1]
    assert misfits(set_up) == []


@pytest.mark.requirement("E158")
@pytest.mark.requirement("E175")
@pytest.mark.parametrize(("provider", "base", "api", "right", "level"), OF_ANOTHER_API)
def test_validate_and_doctor_report_the_same_about_a_base_url_each_once(set_up, provider, base, api, right, level):
    entry = {"baseUrl": base, "api": api, "apiKey": "sk-x", "models": [{"id": "MiniMax-M2.1"}]}
    agents = {"defaults": {"model": {"primary": f"{provider}/MiniMax-M2.1"}}}
    set_up.paths.config.write_text(json.dumps({"models": {"providers": {provider: entry}}, "agents": agents}), encoding="utf-8")
    set_up.paths.config.chmod(0o600)

    (problem,) = json.loads(set_up.run("config", "validate", "--json").stdout)["problems"]
    findings = [each for each in report(set_up)["findings"] if each["id"] not in {"keyring-unavailable", "network"}]

    assert (problem["level"], right[1] in problem["hint"]) == (level, True)
    assert [(each["level"], right[1] in each["hint"]) for each in findings] == [(level, True)], findings


@pytest.mark.requirement("E175")
@pytest.mark.parametrize("endpoint", ["/v1/messages", "/v1/chat/completions", "/v1/responses"])
def test_a_base_url_that_is_one_endpoint_is_found_once_where_it_is_written(set_up, endpoint):
    entry = {"baseUrl": f"http://127.0.0.1:9{endpoint}", "api": "openai-completions", "models": [{"id": "x"}]}
    write(set_up, {"acme": entry})

    (found,) = [each for each in report(set_up)["findings"] if "acme" in json.dumps(each)]

    assert (found["id"], found["hint"]) == ("base-url-refused", "portico config set models.providers.acme.baseUrl URL")
    assert f"{set_up.paths.config}:1:" in found["why"]
    assert "ends with the path of one endpoint" in found["why"]


@pytest.mark.requirement("E175")
def test_a_base_url_that_may_fit_its_api_is_no_finding(set_up):
    fitting = [
        ("http://127.0.0.1:9/anthropic", "anthropic-messages"),
        ("http://127.0.0.1:9/v1", "openai-completions"),
        ("http://127.0.0.1:9/v1", "openai-responses"),
        ("http://127.0.0.1:9", "anthropic-messages"),
        ("http://127.0.0.1:9/v1", "anthropic-messages"),  # `/messages` is appended: https://api.anthropic.com/v1 works
        ("http://127.0.0.1:9/api/v3", "openai-completions"),
        ("http://127.0.0.1:9/anthropic-proxy/v1", "openai-completions"),
    ]
    entries = {
        f"acme-{number}": {"baseUrl": base, "api": api, "models": [{"id": "x"}]} for number, (base, api) in enumerate(fitting)
    }
    set_up.ok("config", "set", "models.providers", json.dumps(entries))
    assert misfits(set_up) == []


# --- E176 ------------------------------------------------------------------------------------------------------------------


@pytest.mark.requirement("E176")
def test_each_check_has_a_line_with_its_result_and_what_it_looked_at(session):
    lines = session.ok("doctor").splitlines()

    shown = {line.split(":")[0].split("]")[1].strip(): line for line in lines if line.startswith("[")}
    assert [each["label"] for each in report(session)["results"]] == [*shown]
    assert shown["the config"].startswith("[ok] ")
    assert str(session.paths.config) in shown["the config"]
    assert GLOBAL in shown["the accounts"]
    assert M21 in shown["a credential for each model in use"]
    assert lines[-1] == "No problems found."


@pytest.mark.requirement("E176")
def test_the_line_of_a_check_shows_its_level_and_its_findings_follow(session):
    session.ok("config", "set", "auth.order.minimax-portal", '["minimax-portal:gone"]')
    session.ok("plugins", "disable", "minimax-portal-auth")

    result = session.run("doctor")
    lines = result.stdout.splitlines()

    assert any(line.startswith("[error]   the plugins: ") for line in lines)
    assert any(line.startswith("[warning] references in the config: ") for line in lines)
    assert any(line.startswith("error: The plugin minimax-portal-auth is off. [plugin-off]") for line in lines)


@pytest.mark.requirement("E176")
def test_json_has_a_status_for_each_check_with_the_ids_of_its_findings(newcomer):
    newcomer.ok("config", "set", "auth.order.nobody", '["nobody:gone"]')
    value = report(newcomer)

    results = {each["id"]: each for each in value["results"]}
    assert set(results) == set(value["checks"])
    assert {each["status"] for each in results.values()} <= {"ok", "warning", "error", "skipped"}
    assert (results["references"]["status"], results["references"]["findings"]) == ("warning", ["dangling-reference"])
    assert (results["credentials"]["status"], results["credentials"]["findings"]) == ("error", ["not-signed-in"])
    assert (results["records"]["status"], results["health"]["status"]) == ("skipped", "skipped")
    assert results["config"]["status"] == "ok"
    assert all(each["saw"] for each in results.values())
    assert sorted(found["id"] for found in value["findings"]) == sorted(
        id for each in results.values() for id in each["findings"]
    )


@pytest.mark.requirement("E176")
def test_checks_that_need_an_unreadable_config_are_skipped_and_not_ok(session):
    session.paths.config.write_text("{ broken", encoding="utf-8")

    results = {each["id"]: each["status"] for each in report(session)["results"]}

    assert results["config"] == "error"
    assert {results[name] for name in ("plugins", "references", "credentials", "base-urls")} == {"skipped"}


# --- E177 ------------------------------------------------------------------------------------------------------------------


def status(session, env=None, *words):
    result = session.run("auth", "status", "--json", *words, env=env)
    value = json.loads(result.stdout)
    assert value["exitCode"] == result.returncode
    (profile,) = value["profiles"]
    return result.returncode, profile


@pytest.fixture
def encrypted(minimax):
    session = minimax()
    session.env |= sealed_store()
    session.ok(*SIGN_IN, "--json", "--flow", "browser", "--region", "global", "--store", "file")
    return session


@pytest.mark.requirement("E177")
@pytest.mark.parametrize(("passphrase", "id"), [(None, "passphrase-needed"), ("another", "passphrase-wrong")])
def test_an_encrypted_file_that_cannot_be_opened_is_not_ok(encrypted, passphrase, id):
    assert status(encrypted)[0] == 0

    code, profile = status(encrypted, {"PORTICO_PASSPHRASE": passphrase})

    assert (code, profile["status"], profile["storeError"]["id"]) == (7, "store unreadable", id)
    assert profile["advice"]
    assert encrypted.run("ask", "Hello", env={"PORTICO_PASSPHRASE": passphrase}).returncode == 7
    shown = encrypted.run("auth", "status", env={"PORTICO_PASSPHRASE": passphrase})
    assert f"{GLOBAL}: store unreadable" in shown.stdout


@pytest.mark.requirement("E177")
def test_a_sign_in_whose_plugin_is_off_is_not_ok_and_its_command_makes_it_so(session):
    session.ok("plugins", "disable", "minimax-portal-auth")

    code, profile = status(session)

    assert (code, profile["status"]) == (9, "plugin off")
    follow(session, profile["advice"])
    assert (status(session)[0], status(session)[1]["status"]) == (0, "ok")


@pytest.mark.requirement("E177")
def test_a_token_that_has_ended_without_a_refresh_token_is_not_ok(session):
    ProfileIndex(session.paths).update(GLOBAL, lambda one: replace(one, has_refresh=False, expires_at=1))

    code, profile = status(session)

    assert (code, profile["status"]) == (3, "sign in again")
    follow(session, profile["advice"], "--no-background", "--flow", "browser")
    assert status(session)[0] == 0


@pytest.mark.requirement("E177")
def test_a_keyring_that_cannot_be_opened_is_not_ok(session, tmp_path):
    if session.store:
        pytest.skip("no keyring here")
    away = {"DBUS_SESSION_BUS_ADDRESS": f"unix:path={tmp_path}/nowhere"}

    code, profile = status(session, away)

    assert (code, profile["status"]) == (7, "store unreadable")


@pytest.mark.requirement("E177")
def test_a_locked_keyring_is_not_ok_and_no_window_is_opened_for_it(session, secret_service):
    secret_service.lock()

    code, profile = status(session)

    assert (code, profile["status"], profile["storeError"]["id"]) == (7, "store unreadable", "keyring-locked")


# --- E178 ------------------------------------------------------------------------------------------------------------------


@pytest.mark.requirement("E178")
@pytest.mark.parametrize(
    "words",
    [
        ("ask", "Hello"),
        ("ask", "--no-fallback", "Hello"),
        ("exec", "--", "true"),
        ("auth", "token"),
        ("usage",),
        ("env",),
    ],
    ids=" ".join,
)
def test_when_signed_out_doctor_says_so_with_the_command_to_sign_in(session, words):
    session.ok("auth", "logout", "--yes")
    session.ok("models", "set", M21)

    result = session.run(*words)

    assert result.returncode == 3
    first, *rest = result.stderr.splitlines()
    assert first.startswith("portico: You are not signed in")
    assert "  Run `portico onboard --auth-choice minimax-portal`." in rest
    assert "Unknown model" not in result.stderr
    error = json.loads(session.run(*words[:1], "--json", *words[1:]).stdout.splitlines()[-1])["error"]
    assert error["id"] == "not-signed-in"


@pytest.mark.requirement("E178")
@pytest.mark.parametrize("words", [("models", "status"), ("auth", "status"), ("auth", "list")])
def test_commands_that_show_what_there_is_say_it_too(session, words):
    session.ok("auth", "logout", "--yes")
    session.ok("models", "set", M21)

    result = session.run(*words)

    shown = result.stdout + result.stderr
    assert "You are not signed in" in shown
    assert "portico onboard --auth-choice minimax-portal" in shown
