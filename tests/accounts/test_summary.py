from __future__ import annotations

from dataclasses import replace

import pytest

from portico.accounts.summary import remarks
from portico.interfaces.authorization import OAuthServer, TokenSet
from portico.secret import Secret
from portico.testing.canary import canary
from tests.store.helpers import a_profile

SERVER = OAuthServer(
    issuer="https://as.example", client_id="c", token_endpoint="https://as.example/token", scope="profile models"
)


def grant(*, refresh=True, **reported):
    return TokenSet(Secret(canary("at")), Secret(canary("rt")) if refresh else None, None, **reported)


@pytest.mark.requirement("E136")
@pytest.mark.parametrize(
    ("scope", "advice"),
    [
        ("openid profile", " Add `offline_access` to the scope to get a refresh token."),
        ("openid offline_access", ""),
        ("profile", ""),
    ],
)
def test_a_missing_refresh_token_gives_a_note(scope, advice):
    assert remarks(replace(SERVER, scope=scope), grant(refresh=False), None) == (
        f"The provider issued no refresh token: you must sign in again when the access token expires.{advice}",
    )


def test_extra_scopes_give_a_note():
    assert remarks(SERVER, grant(scope="models profile billing admin"), None) == (
        "The provider granted more scopes than requested: admin billing",
    )


def test_the_same_or_fewer_scopes_give_no_note():
    for scope in (None, "profile", "models profile"):
        assert remarks(SERVER, grant(scope=scope), None) == ()
    assert remarks(replace(SERVER, scope=""), grant(scope="openid"), None) == ()


def test_another_account_with_the_same_name_gives_a_note():
    before = a_profile(subject="alice")
    assert remarks(SERVER, grant(subject="bob"), before) == ("minimax-portal:default is now signed in to a different account.",)
    for subject in ("alice", None):
        assert remarks(SERVER, grant(subject=subject), before) == ()
    assert remarks(SERVER, grant(subject="bob"), a_profile()) == ()
