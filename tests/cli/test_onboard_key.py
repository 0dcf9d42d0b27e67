"""`onboard` with an API key: where it is kept, how it is checked, and what the config says afterwards."""

from __future__ import annotations

import http.server
import io
import json
import sys
import threading

import pytest

from portico.accounts import api_key
from portico.config.document import Document
from portico.store.profiles import ProfileIndex
from portico.testing.canary import in_text
from tests.gateway.fronts import CHAT, MESSAGES
from tests.gateway.providers import STREAMS, answered, provider_beside
from tests.minimax_session import events, in_this_process
from tests.person import ENTER, sit_down

KEY = "sk-emulator-global"
SET_UP = ("onboard", "--auth-choice", "minimax-api", "--non-interactive")


@pytest.fixture
def session(minimax):
    return minimax()


@pytest.fixture
def typed(monkeypatch):
    """Puts a line on standard input."""

    def type_(text):
        monkeypatch.setattr(sys, "stdin", io.StringIO(f"{text}\n"))

    return type_


def config(session):
    return Document.parse(session.paths.config.read_text(encoding="utf-8"), name="config").value()


@pytest.mark.requirement("P3")
def test_a_key_from_standard_input_goes_to_the_keyring_and_the_model_answers(session, typed):
    typed(f'  export MINIMAX_API_KEY="{KEY}";  ')
    (told,) = events(session.ok(*SET_UP, "--api-key-stdin", "--json", *session.store))

    assert (told["model"], told["keptIn"], told["check"]) == (
        "minimax/MiniMax-M2.1",
        "keyring",
        "checked: minimax/MiniMax-M2.1 answers",
    )
    written = config(session)
    assert written["agents"]["defaults"]["model"]["primary"] == "minimax/MiniMax-M2.1"
    assert written["auth"]["profiles"]["minimax:default"] == {"provider": "minimax", "mode": "api_key"}
    block = written["models"]["providers"]["minimax"]
    assert (block["baseUrl"], block["api"]) == ("https://api.minimax.io/anthropic", "anthropic-messages")
    assert "apiKey" not in block
    assert KEY not in session.paths.config.read_text(encoding="utf-8")
    assert KEY not in session.paths.index.read_text(encoding="utf-8")
    assert "answering as MiniMax-M2.1" in session.ok("ask", "Hello")
    (row,) = session.profiles()
    assert (row["type"], row["status"], row["expiresAt"]) == ("api_key", "ok", None)


@pytest.mark.requirement("P3")
@pytest.mark.parametrize("place", ["env", "config"])
def test_a_key_may_stay_in_the_environment_or_stand_in_the_config(session, typed, place):
    given = {"MINIMAX_API_KEY": KEY} if place == "env" else {}
    typed(KEY)
    stdin = () if place == "env" else ("--api-key-stdin",)
    session.ok(*SET_UP, *stdin, "--keep-key", place, env=given)

    text = session.paths.config.read_text(encoding="utf-8")
    assert config(session)["models"]["providers"]["minimax"]["apiKey"] == "${MINIMAX_API_KEY}"
    assert (KEY in text) == (place == "config")
    if place == "config":
        assert session.paths.config.stat().st_mode & 0o777 == 0o600
    assert ProfileIndex(session.paths).profiles() == ()
    assert "answering as MiniMax-M2.1" in session.ok("ask", "Hello", env=given)


def test_cn_and_lightning_have_choices_of_their_own(session, typed):
    typed("sk-emulator-cn")
    session.ok("onboard", "--auth-choice", "minimax-cn-api", "--non-interactive", "--api-key-stdin", *session.store)
    assert config(session)["models"]["providers"]["minimax"]["baseUrl"] == "https://api.minimaxi.com/anthropic"
    assert "answering as MiniMax-M2.1" in session.ok("ask", "Hello")

    typed(KEY)
    options = ("--api-key-stdin", "--profile", "global", *session.store)
    session.ok("onboard", "--auth-choice", "minimax-api-lightning", "--non-interactive", *options)
    assert config(session)["agents"]["defaults"]["model"]["primary"] == "minimax/MiniMax-M2.1-lightning"
    assert len(config(session)["models"]["providers"]["minimax"]["models"]) == 2


@pytest.mark.requirement("E107")
@pytest.mark.parametrize(
    ("name", "key", "base"),
    [
        ("minimax-global-api", KEY, "https://api.minimax.io/anthropic"),
        ("minimax-cn-api", "sk-emulator-cn", "https://api.minimaxi.com/anthropic"),
    ],
)
def test_openclaws_newer_names_set_an_api_key_up(session, typed, name, key, base):
    typed(key)

    session.ok("onboard", "--auth-choice", name, "--non-interactive", "--api-key-stdin", *session.store)

    assert config(session)["models"]["providers"]["minimax"]["baseUrl"] == base


def test_a_refused_key_is_not_kept_and_nothing_is_written(session, typed):
    before = session.paths.config.read_bytes()
    typed("sk-wrong-1234567890")
    done = session.run(*SET_UP, "--api-key-stdin", *session.store)

    assert done.returncode == 3
    assert "minimax rejected the credential from the new key." in done.stderr
    assert session.paths.config.read_bytes() == before
    assert ProfileIndex(session.paths).profiles() == ()


@pytest.mark.parametrize("scheme", ["http", "socks5"])
def test_without_a_network_the_key_is_not_checked_and_kept_all_the_same(session, typed, unused_tcp_port, scheme):
    typed(KEY)
    proxy = f"{scheme}://127.0.0.1:{unused_tcp_port}"
    done = session.run(*SET_UP, "--api-key-stdin", *session.store, env={"HTTPS_PROXY": proxy, "https_proxy": proxy})

    assert done.returncode == 0, done.stderr
    assert "not checked (" in done.stderr
    assert "stored anyway" in done.stderr
    assert "answering as MiniMax-M2.1" in session.ok("ask", "Hello")


def test_an_account_without_a_plan_is_told_where_one_is_bought(minimax, typed):
    session = minimax(knobs={"quota": "none"})
    typed(KEY)
    done = session.run(*SET_UP, "--api-key-stdin", *session.store)

    assert done.returncode == 0, done.stderr
    assert "Subscribe: https://platform.minimax.io/console/plan" in done.stderr
    asked = session.run("ask", "Hello")
    assert asked.returncode == 8
    assert "Subscribe: https://platform.minimax.io/console/plan" in asked.stderr


@pytest.mark.parametrize("text", ["", "   ", "a b", "sk-\u00e9\u00e9\u00e9"])
def test_what_is_no_key_is_refused_before_anything_is_asked(session, typed, text):
    typed(text)
    done = session.run(*SET_UP, "--api-key-stdin")
    assert (done.returncode, "This is not an API key." in done.stderr) == (2, True)


def test_a_second_key_replaces_the_first_only_when_told(session, typed):
    typed(KEY)
    session.ok(*SET_UP, "--api-key-stdin", *session.store)
    typed(KEY)
    refused = session.run(*SET_UP, "--api-key-stdin", *session.store)
    assert refused.returncode == 2
    assert "--replace" in refused.stderr
    typed(KEY)
    session.ok(*SET_UP, "--api-key-stdin", "--replace", *session.store)


@pytest.mark.requirement("E86")
def test_a_key_that_was_stored_while_another_was_checked_is_not_overwritten(session, typed, monkeypatch):
    keep = api_key.store_key

    def after_another(*parts):
        monkeypatch.setattr(api_key, "store_key", keep)
        done = session.run_portico(*SET_UP, "--api-key-stdin", *session.store, env=session.env, input=KEY)
        assert done.returncode == 0, done.stderr
        return keep(*parts)

    monkeypatch.setattr(api_key, "store_key", after_another)
    typed(KEY)
    done = session.run(*SET_UP, "--api-key-stdin", *session.store)

    assert (done.returncode, "minimax:default already has a key" in done.stderr) == (2, True)
    assert ProfileIndex(session.paths).get("minimax:default").generation == 1


@pytest.mark.requirement("E86")
@pytest.mark.parametrize("place", ["models.providers.minimax.apiKey", "env.vars.MINIMAX_API_KEY"])
@pytest.mark.parametrize("keep", ["config", "env"])
def test_a_key_that_stands_elsewhere_in_the_config_is_not_written_over_either(session, typed, place, keep):
    session.ok("config", "set", place, "sk-emulator-cn")
    before = config(session)
    typed(KEY)
    done = session.run(*SET_UP, "--api-key-stdin", "--keep-key", keep)
    if keep == "env" and place.startswith("env."):
        assert config(session)["env"] == before["env"]  # it is not written there
        return
    assert (done.returncode, f"{place} already has a key" in done.stderr) == (2, True)
    assert config(session) == before


@pytest.mark.requirement("E86")
def test_a_key_in_the_config_is_replaced_only_when_told(session, typed):
    session.ok("config", "set", "env.MINIMAX_API_KEY", "sk-emulator-cn")
    words = (*SET_UP, "--api-key-stdin", "--keep-key", "config")
    typed(KEY)
    refused = session.run(*words)
    assert (refused.returncode, "env.MINIMAX_API_KEY already has a key" in refused.stderr) == (2, True)
    assert config(session)["env"] == {"MINIMAX_API_KEY": "sk-emulator-cn"}

    typed(KEY)
    session.ok(*words, "--replace")
    assert config(session)["env"] == {"MINIMAX_API_KEY": KEY}
    typed(KEY)
    session.ok(*words)


def test_signing_out_deletes_the_key_and_says_that_it_is_still_good_elsewhere(session, typed):
    typed(KEY)
    session.ok(*SET_UP, "--api-key-stdin", *session.store)
    done = session.run("auth", "logout", "--yes")
    assert done.returncode == 0, done.stderr
    assert "the key still works at the provider" in done.stderr
    assert ProfileIndex(session.paths).profiles() == ()
    assert in_text(done.stderr) == []


def test_nobody_to_ask_and_no_key_names_the_flag(session):
    done = session.run(*SET_UP)
    assert done.returncode == 2
    assert "--api-key-stdin" in done.stderr
    assert "export MINIMAX_API_KEY=" in session.run(*SET_UP, "--keep-key", "env").stderr


@pytest.mark.requirement("P5")
def test_lm_studio_needs_no_key_and_its_block_is_the_pages(session):
    session.ok("onboard", "--auth-choice", "lmstudio", "--non-interactive", "--no-check")
    written = config(session)
    assert written["agents"]["defaults"]["model"]["primary"] == "lmstudio/minimax-m2.1-gs32"
    block = written["models"]["providers"]["lmstudio"]
    assert (block["baseUrl"], block["apiKey"], block["api"]) == ("http://127.0.0.1:1234/v1", "lmstudio", "openai-responses")
    (model,) = block["models"]
    assert (model["id"], model["contextWindow"], model["maxTokens"]) == ("minimax-m2.1-gs32", 196608, 8192)


class _Busy(http.server.BaseHTTPRequestHandler):
    """A server of models that has no time."""

    def do_POST(self):
        self.server.asked.append(self.path)
        self.send_error(503)

    def log_message(self, *_):
        pass


def test_a_server_at_an_address_of_the_users_own_stays_there_and_is_asked_there(session):
    with http.server.HTTPServer(("127.0.0.1", 0), _Busy) as server:
        server.asked, own = [], f"http://127.0.0.1:{server.server_port}/v1"
        session.paths.config.write_text(json.dumps({"models": {"providers": {"lmstudio": {"baseUrl": own, "models": []}}}}))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        session.ok("onboard", "--auth-choice", "lmstudio", "--non-interactive")
        server.shutdown()

    assert server.asked == ["/v1/responses"]
    assert config(session)["models"]["providers"]["lmstudio"]["baseUrl"] == own


@pytest.mark.requirement("E157")
def test_a_base_url_of_another_host_stays_and_the_key_is_not_shown_to_the_provider_instead(session, typed):
    own = {"baseUrl": "https://proxy.example/v1", "api": "openai-completions", "models": []}
    session.paths.config.write_text(json.dumps({"models": {"providers": {"minimax": own}}}))
    typed(KEY)

    (told,) = events(session.ok(*SET_UP, "--api-key-stdin", "--json", *session.store))

    assert told["check"].startswith("not checked (")  # the emulator has no such host
    block = config(session)["models"]["providers"]["minimax"]
    assert (block["baseUrl"], block["api"]) == (own["baseUrl"], own["api"])


def test_openai_asks_for_a_model_and_an_unknown_region_is_named(session, typed):
    typed("sk-openai-1234567890")
    options = ("--api-key-stdin", "--non-interactive", "--no-check", *session.store)
    refused = session.run("onboard", "--auth-choice", "openai-api", *options)
    assert (refused.returncode, "--default-model MODEL" in refused.stderr) == (2, True)
    typed("sk-openai-1234567890")
    session.ok("onboard", "--auth-choice", "openai-api", "--default-model", "gpt-test", *options)
    assert config(session)["agents"]["defaults"]["model"]["primary"] == "openai/gpt-test"
    typed(KEY)
    wrong = session.run(*SET_UP, "--api-key-stdin", "--region", "mars")
    assert (wrong.returncode, "--region global|cn" in wrong.stderr) == (2, True)


def test_the_model_may_be_another_one_of_the_provider_and_its_case_counts(session, typed):
    typed(KEY)
    session.ok(*SET_UP, "--api-key-stdin", "--default-model", "minimax/MiniMax-M3", *session.store)
    written = config(session)
    assert written["agents"]["defaults"]["model"]["primary"] == "minimax/MiniMax-M3"
    assert [model["id"] for model in written["models"]["providers"]["minimax"]["models"]] == ["MiniMax-M3"]

    typed(KEY)
    wrong = session.run(*SET_UP, "--api-key-stdin", "--replace", "--default-model", "minimax-m3", *session.store)
    assert (wrong.returncode, "Did you mean minimax/MiniMax-M3?" in wrong.stderr) == (2, True)


def test_the_default_model_may_be_kept(session, typed):
    session.ok("config", "set", "agents.defaults.model.primary", "anthropic/claude-opus-4-6")
    typed(KEY)
    (told,) = events(session.ok(*SET_UP, "--api-key-stdin", "--keep-default", "--json", *session.store))
    assert (told["model"], told["defaultModel"]) == ("minimax/MiniMax-M2.1", "anthropic/claude-opus-4-6")
    assert "answering as MiniMax-M2.1" in session.ok("ask", "--model", "minimax/MiniMax-M2.1", "Hello")


def test_a_person_whose_key_is_no_key_or_is_refused_is_asked_again(session):
    answers = ["keyring", "a b", "sk-wrong-1234567890", KEY]
    done, person = sit_down(session, "onboard", "--auth-choice", "minimax-api", *session.store, answers=answers)
    assert done.returncode == 0, done.stderr
    assert person.asked == [
        "Where do you want to store the key?",
        "Enter MiniMax API key",
        "Enter MiniMax API key (empty: give up)",
        "Enter MiniMax API key (empty: give up)",
    ]
    assert "This is not an API key." in done.stderr
    assert "minimax rejected the credential" in done.stderr
    assert "answering as MiniMax-M2.1" in session.ok("ask", "Hello")


def test_a_key_that_the_environment_holds_is_offered_and_another_may_be_typed(session):
    held = {"MINIMAX_API_KEY": "sk-wrong-1234567890"}
    words = ("onboard", "--auth-choice", "minimax-api", "--keep-key", "config")
    done, person = sit_down(session, *words, answers=["y", KEY], env=held)
    assert done.returncode == 0, done.stderr
    assert person.asked == ["Use the key in MINIMAX_API_KEY?", "Enter MiniMax API key (empty: give up)"]
    assert f'"{KEY}"' in session.paths.config.read_text(encoding="utf-8")


@pytest.mark.parametrize(("held", "code"), [("sk-wrong-1234567890", 3), (KEY, 0), (None, 0)])
def test_a_key_that_stays_in_the_environment_is_the_users_to_set(session, held, code):
    words = ("onboard", "--auth-choice", "minimax-api", "--keep-key", "env")
    done, person = sit_down(session, *words, answers=[] if held else [KEY], env={"MINIMAX_API_KEY": held})
    assert done.returncode == code, done.stderr
    assert bool(person.asked) == (held is None)
    assert ("set it: export MINIMAX_API_KEY=..." in done.stderr) == (held is None)
    assert KEY not in session.paths.config.read_text(encoding="utf-8")


def test_a_person_who_gives_up_gets_the_refusal_and_nothing_is_written(session):
    before = session.paths.config.read_bytes()
    answers = ["config", "sk-wrong-1234567890", ENTER]
    done, _ = sit_down(session, "onboard", "--auth-choice", "minimax-api", answers=answers)
    assert (done.returncode, session.paths.config.read_bytes()) == (3, before)


def test_a_provider_without_a_catalogue_that_does_not_answer_has_its_model_typed(session):
    answers = ["keyring", "sk-openai-1234567890", ENTER, "gpt-test"]
    options = ("--no-check", *session.store)
    done, person = sit_down(session, "onboard", "--auth-choice", "openai-api", *options, answers=answers)
    assert done.returncode == 0, done.stderr
    assert person.asked[2:] == ["Model id at OpenAI"] * 2
    assert "Invalid model reference" in done.stderr
    assert config(session)["agents"]["defaults"]["model"]["primary"] == "openai/gpt-test"


def test_the_choices_are_named_for_a_typo(session):
    done = session.run("onboard", "--auth-choice", "minimax-apy", "--non-interactive")
    assert done.returncode == 2
    assert "Did you mean --auth-choice minimax-api?" in done.stderr


def test_json_has_one_event_and_no_key(session, typed):
    typed(KEY)
    told = json.loads(session.ok(*SET_UP, "--api-key-stdin", "--json", *session.store))
    assert told["event"] == "set-up"
    assert KEY not in json.dumps(told)


# --- a base URL of one's own -------------------------------------------------------------------------------------------------

TYPED = "sk-typed-at-the-prompt"
CHOICES = [
    pytest.param("anthropic-api", "anthropic", MESSAGES, {"x-api-key": TYPED, "authorization": None}, (), id="anthropic-api"),
    pytest.param(
        "openai-api", "openai", CHAT, {"authorization": f"Bearer {TYPED}"}, ("--default-model", "openai/gpt-x"), id="openai-api"
    ),
    pytest.param("minimax-api", "minimax", MESSAGES, {"authorization": f"Bearer {TYPED}"}, (), id="minimax-api"),
]
# What goes anywhere but to loopback ends here, at a port that nobody listens on.
NOWHERE = {"HTTPS_PROXY": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}


def set_up(run_portico, choice, *options):
    words = ("onboard", "--auth-choice", choice, "--non-interactive", "--api-key-stdin", "--keep-key", "config", *options)
    return in_this_process(words, run_portico.environment(NOWHERE))


@pytest.mark.requirement("E157")
@pytest.mark.parametrize("layer", ["own", "base"])
@pytest.mark.parametrize(("choice", "id", "path", "headers", "options"), CHOICES)
def test_a_key_is_checked_at_the_base_url_that_is_configured(run_portico, typed, choice, id, path, headers, options, layer):
    typed(TYPED)
    with provider_beside(STREAMS[path]) as proxy:
        block = {"baseUrl": f"http://127.0.0.1:{proxy.port}/proxy/v1", "headers": {"X-Team": "a"}, "models": []}
        text = json.dumps({"models": {"providers": {id: block}}})
        own = run_portico.paths.config
        own.parent.mkdir(parents=True, exist_ok=True)
        base = own.parent / "openclaw.json"
        base.write_text(text, encoding="utf-8")
        own.write_text(text if layer == "own" else json.dumps({"base": str(base)}), encoding="utf-8")
        done = set_up(run_portico, choice, *options)
        assert done.returncode == 0, done.stderr
        asked = in_this_process(("ask", "Hello"), run_portico.environment(NOWHERE))

    assert f"at http://127.0.0.1:{proxy.port}/proxy/v1" in done.stderr
    assert "checked: " in done.stderr
    assert (asked.returncode, asked.stdout.strip()) == (0, "yes"), asked.stderr
    check, question = proxy.requests
    for request in (check, question):
        assert request.path == f"/proxy{path}"
        assert {name: request.header(name) for name in (*headers, "x-team")} == {**headers, "x-team": "a"}
    assert base.read_text(encoding="utf-8") == text


@pytest.mark.requirement("E157")
@pytest.mark.parametrize(("choice", "id", "path", "headers", "options"), CHOICES)
def test_a_key_that_the_configured_server_refuses_is_not_kept(run_portico, typed, choice, id, path, headers, options):
    typed(TYPED)
    with provider_beside(answered({"error": {"message": "no such key"}}, status=401)) as proxy:
        own = run_portico.paths.config
        own.parent.mkdir(parents=True, exist_ok=True)
        own.write_text(json.dumps({"models": {"providers": {id: {"baseUrl": f"http://127.0.0.1:{proxy.port}/v1"}}}}))
        before = own.read_bytes()
        done = set_up(run_portico, choice, *options)

    assert (done.returncode, len(proxy.requests), own.read_bytes()) == (3, 1, before), done.stderr
