"""The store that the config chooses: every command that makes a token or a key puts it there, on a machine without a keyring."""

from __future__ import annotations

import json

import pytest

from portico.services.gateway_state import running
from portico.store.profiles import ProfileIndex
from portico.testing.canary import canary
from tests.gateway.helpers import wait_until as until
from tests.key_index import key_index
from tests.minimax_session import GLOBAL
from tests.store.helpers import HELPERS, InMemory

pytestmark = pytest.mark.requirement("E152")

MODEL = "minimax/MiniMax-M2.1"
NO_KEYRING = {"PYTHON_KEYRING_BACKEND": f"{HELPERS}.Broken"}
A_KEYRING = {"PYTHON_KEYRING_BACKEND": f"{HELPERS}.InMemory"}
KEY = {"MINIMAX_API_KEY": "sk-emulator-global"}


@pytest.fixture
def session(minimax, monkeypatch):
    """A machine whose keyring does not work, with an API key, and a config that chooses the file."""
    session = minimax(redirect=True, access_ttl_s=1)
    session.store = ()
    session.env |= {**NO_KEYRING, **KEY, "PORTICO_PASSPHRASE": canary("passphrase")}
    session.ok("config", "set", "auth.store", "file")
    monkeypatch.setattr(InMemory, "passwords", {})
    yield session
    session.run("gateway", "stop")


def stores(session):
    return {profile.name: profile.store for profile in key_index(session.paths).profiles()}


@pytest.mark.parametrize(
    "words",
    [
        ("gateway", "key", "add", "default"),
        ("gateway", "key", "show"),
        ("env", "--model", MODEL),
        ("exec", "--model", MODEL, "--", "true"),
    ],
    ids=" ".join,
)
def test_the_first_key_is_made_in_the_file_whichever_command_makes_it(session, words):
    session.ok(*words)

    assert stores(session) == {"default": "file"}


def test_a_gateway_in_the_background_gets_the_passphrase_and_makes_its_first_key(session):
    session.ok("gateway", "start")

    assert stores(session) == {"default": "file"}
    assert running(session.paths).opens_encrypted_file


def test_a_sign_in_goes_there_too(session):
    session.sign_in("--region", "global")

    assert {profile.store for profile in ProfileIndex(session.paths).profiles()} == {"file"}


def test_the_doctor_finds_nothing_wrong_with_the_store_and_leaves_the_choice_to_the_config(session):
    found = json.loads(session.run("doctor", "--json").stdout)["findings"]
    assert [each for each in found if "keyring" in each["id"] or "passphrase" in each["id"]] == []

    session.ok("config", "set", "auth.store", "keyring")
    assert session.run("gateway", "key", "add", "aider").returncode == 7
    assert session.run("gateway", "key", "add", "aider", env=A_KEYRING).returncode == 0


def test_the_config_comes_before_the_store_that_worked_last_and_an_option_before_the_config(session):
    ProfileIndex(session.paths).remember_store("keyring", A_KEYRING["PYTHON_KEYRING_BACKEND"])

    session.ok("gateway", "key", "add", "one", env=A_KEYRING)
    session.ok("gateway", "key", "add", "two", "--store", "keyring", env=A_KEYRING)

    assert stores(session) == {"one": "file", "two": "keyring"}


def test_a_key_that_is_replaced_moves_and_one_that_is_revoked_needs_no_config(session):
    session.ok("gateway", "key", "add", "aider", "--store", "keyring", env=A_KEYRING)

    session.ok("gateway", "key", "rotate", "aider", env=A_KEYRING)
    assert stores(session) == {"aider": "file"}

    session.paths.config.write_text("{ auth: { store: 7 } }", encoding="utf-8")
    assert session.run("gateway", "key", "rotate", "aider").returncode == 9
    session.ok("gateway", "key", "revoke", "aider")


def test_a_refresh_stays_in_the_store_where_the_sign_in_is(session):
    session.sign_in("--region", "global", "--store", "keyring", env=A_KEYRING)

    until(lambda: session.run("auth", "token", GLOBAL, env=A_KEYRING) and ProfileIndex(session.paths).get(GLOBAL).generation > 1)

    assert ProfileIndex(session.paths).get(GLOBAL).store == "keyring"


def test_without_a_choice_the_error_of_a_key_names_the_command_that_chooses_the_file(session):
    session.ok("config", "unset", "auth.store")

    refused = session.run("gateway", "key", "add", "aider")
    assert (refused.returncode, "portico config set auth.store file" in refused.stderr) == (7, True)

    session.ok("config", "set", "auth.store", "file")
    session.ok("gateway", "key", "add", "aider")
