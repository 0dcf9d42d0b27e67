"""References to a deleted profile, alias or model: removed with it, else ignored and a finding of `doctor`."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace

import pytest

from portico.config.document import Document
from portico.store.profiles import ProfileIndex
from tests.minimax_session import CN, GLOBAL
from tests.person import Person, sit_down

pytestmark = pytest.mark.requirement("E87")

WORK = "minimax-portal:work"
PROVIDER = ("--provider", "minimax-portal")
ORDER = ("auth", "order", "minimax-portal")


@pytest.fixture
def session(minimax):
    return minimax()


@pytest.fixture
def two(session):
    session.sign_in("--region", "global")
    session.sign_in("--region", "global", "--profile", "work")
    return session


def config(session):
    return Document.parse(session.paths.config.read_text(encoding="utf-8"), name="config")


def in_use(session):
    return json.loads(session.ok("ask", "--json", "Who?"))["source"].removeprefix("profile ")


def findings(session, *words):
    result = session.run("doctor", "--json", *words, env={"PORTICO_GATEWAY_PORT": "0"})
    return [each for each in json.loads(result.stdout)["findings"] if each["id"] == "dangling-reference"]


def test_after_signing_out_of_the_first_of_the_order_the_other_account_answers(two, unused_tcp_port):
    port = {"PORTICO_GATEWAY_PORT": str(unused_tcp_port)}
    two.ok("auth", "order", "set", *PROVIDER, WORK)
    two.ok("auth", "logout", WORK, "--yes")

    assert in_use(two) == GLOBAL
    assert two.run("exec", "--", "true", env=port).returncode == 0
    assert "ANTHROPIC_BASE_URL" in two.ok("env", env=port)
    assert not config(two).has(ORDER)
    assert not config(two).has(("auth", "profiles", WORK))
    assert findings(two) == []


def test_the_others_of_the_order_keep_their_places(two):
    two.sign_in("--region", "cn", "--keep-default")
    two.ok("auth", "order", "set", *PROVIDER, WORK, CN, GLOBAL)
    two.ok("auth", "logout", CN, "--yes")

    assert config(two).get(ORDER) == [WORK, GLOBAL]
    assert in_use(two) == WORK


def test_a_damaged_profile_is_taken_out_of_the_order_too(two):
    two.ok("auth", "order", "set", *PROVIDER, WORK, GLOBAL)
    index = json.loads(two.paths.index.read_text(encoding="utf-8"))
    index["profiles"][WORK]["generation"] = "damaged"
    two.paths.index.write_text(json.dumps(index), encoding="utf-8")

    two.run("auth", "logout", WORK, "--yes")

    assert config(two).get(ORDER) == [GLOBAL]


def test_a_damaged_profile_that_is_to_be_signed_in_again_keeps_its_place(two):
    two.ok("auth", "order", "set", *PROVIDER, WORK, GLOBAL)
    index = json.loads(two.paths.index.read_text(encoding="utf-8"))
    index["profiles"][WORK]["generation"] = "damaged"
    two.paths.index.write_text(json.dumps(index), encoding="utf-8")

    assert findings(two, "--fix") == []
    assert config(two).get(ORDER) == [WORK, GLOBAL]


def test_purge_that_keeps_the_config_removes_profile_names_from_it(two):
    two.ok("auth", "order", "set", *PROVIDER, WORK, GLOBAL)
    two.run("purge", "--yes", "--keep-config")
    assert WORK not in two.paths.config.read_text(encoding="utf-8")
    assert GLOBAL not in two.paths.config.read_text(encoding="utf-8")


def test_purge_works_with_a_config_that_cannot_be_read(two):
    two.paths.config.write_text("{ broken", encoding="utf-8")
    result = two.run("purge", "--yes", "--keep-config")
    assert "The config still names" in result.stderr
    assert not two.paths.index.exists()


def test_a_handwritten_order_of_missing_accounts_is_ignored_found_and_removed(two):
    two.ok("config", "set", "auth.order.minimax-portal", '["minimax-portal:gone"]')

    assert in_use(two) == GLOBAL
    (found,) = findings(two)
    assert (found["level"], found["fixable"]) == ("warning", True)
    assert "minimax-portal:gone" in found["message"]
    assert findings(two, "--fix") == []
    assert in_use(two) == GLOBAL


def test_the_advice_for_a_dangling_order_removes_it(two):
    two.ok("config", "set", "auth.order.minimax-portal", f'["minimax-portal:gone", "{WORK}"]')
    (found,) = findings(two)
    two.ok(*shlex.split(found["hint"])[1:])
    assert findings(two) == []
    assert in_use(two) == WORK


def test_an_order_of_missing_accounts_in_the_base_is_ignored_and_not_changed(two, tmp_path):
    base = tmp_path / "openclaw.json"
    base.write_text('{"auth": {"order": {"minimax-portal": ["minimax-portal:gone"]}}}', encoding="utf-8")
    two.ok("config", "set", "base", str(base))
    before = base.read_bytes()

    assert in_use(two) == GLOBAL
    (found,) = findings(two, "--fix")
    assert found["fixable"] is False
    assert base.read_bytes() == before


@pytest.fixture
def named_by_alias(two):
    two.ok("models", "aliases", "add", "mine", "minimax-portal/MiniMax-M2.1-lightning")
    two.ok("config", "set", "agents.defaults.model", '{"primary": "Mine", "fallbacks": ["mine"]}')
    two.ok("config", "set", "gateway.models", '{"claude-*": "mine", "gpt": "MINE"}')
    return two


def test_what_an_alias_stood_for_takes_its_place_when_it_is_removed(named_by_alias):
    named_by_alias.ok("models", "aliases", "remove", "mine")

    reference = "minimax-portal/MiniMax-M2.1-lightning"
    after = config(named_by_alias)
    assert after.get(("agents", "defaults", "model")) == {"primary": reference, "fallbacks": [reference]}
    assert after.get(("gateway", "models")) == {"claude-*": reference, "gpt": reference}
    assert json.loads(named_by_alias.ok("ask", "--json", "Who?"))["model"] == reference
    assert findings(named_by_alias) == []


def test_an_account_of_another_provider_and_an_entry_of_none_are_found_and_removed(two):
    two.ok("config", "set", "auth.order.anthropic", f'["{GLOBAL}"]')
    two.ok("config", "set", 'auth.profiles["minimax-portal:gone"]', '{"provider": "minimax-portal", "mode": "oauth"}')

    found = [each["message"] for each in findings(two)]
    assert [GLOBAL in found[0], "minimax-portal:gone" in found[1]] == [True, True]
    assert findings(two, "--fix") == []
    assert not config(two).has(("auth", "order", "anthropic"))
    assert config(two).has(("auth", "profiles", GLOBAL))


def test_many_of_them_are_one_finding_and_one_edit_and_a_name_moves_no_cursor(two):
    gone = [f"gone:{number}\x1b[2J" for number in range(6)]
    two.ok("config", "set", "auth.order.minimax-portal", json.dumps([*gone, GLOBAL]))
    before = two.paths.config.read_text(encoding="utf-8")

    shown = two.run("doctor", "--fix", env={"PORTICO_GATEWAY_PORT": "0"}).stdout

    assert config(two).get(ORDER) == [GLOBAL]
    assert two.paths.config.with_name(f"{two.paths.config.name}.bak").read_text(encoding="utf-8") == before
    assert "and 1 more" in shown
    assert "\x1b" not in shown


def test_names_of_models_that_are_gone_are_found_each_at_its_place(two):
    two.ok(
        "config",
        "set",
        "agents.defaults.model",
        '{"primary": "gone/one", "fallbacks": ["gone/two", "minimax-portal/MiniMax-M2.1"]}',
    )
    two.ok("config", "set", "gateway.models", '{"claude-*": "nothing-at-all", "gpt": "minimax-portal/MiniMax-M2.1"}')

    found = {each["message"].split(" names ")[0]: each["level"] for each in findings(two)}

    assert found == {
        "agents.defaults.model.primary": "error",
        "agents.defaults.model.fallbacks[0]": "warning",
        "gateway.models.claude-*": "warning",
    }
    two.ok("models", "set", "minimax-portal/MiniMax-M2.1")
    assert in_use(two) == GLOBAL


def test_a_sign_out_does_not_meet_the_account_that_came_while_it_was_asked(two, monkeypatch):
    index, readline = ProfileIndex(two.paths), Person.readline

    def after_another_sign_in(person, _size=-1):
        index.update(WORK, lambda profile: replace(profile, created_at=profile.created_at + 1))
        return readline(person)

    monkeypatch.setattr(Person, "readline", after_another_sign_in)
    result, _ = sit_down(two, "auth", "logout", WORK, answers=["y"])

    assert result.returncode == 2
    assert "a different account now. It was not changed." in result.stderr
    assert index.get(WORK) is not None
