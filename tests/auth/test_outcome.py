from __future__ import annotations

from dataclasses import replace

import pytest

from portico.auth.outcome import answers_missing, failure_of, is_terminal, sign_in_expired
from portico.errors import ConfigError, Denied, LockBusy, NetworkError, OAuthError, StoreError
from portico.oauth.token_errors import error_for
from portico.store.profiles import Fence
from portico.store.remedy import sign_in_again
from tests.auth.parts import a_profile


@pytest.mark.parametrize("code", ["invalid_grant", "invalid_client", "unauthorized_client", "invalid_scope"])
def test_a_refusal_by_the_server_is_final(code):
    error = error_for(code)
    assert is_terminal(error)
    assert failure_of(error, 5).code == code


@pytest.mark.parametrize(
    "error",
    [
        error_for("server_error"),
        error_for("temporarily_unavailable"),
        error_for("invalid_grant", transient=True),
        OAuthError("reply-unreadable", "a page", transient=True),
        NetworkError("network", "unreachable"),
        StoreError("disk-full", "full"),
        ConfigError("plugin-off", "off"),
        LockBusy("lock-busy", "busy"),
    ],
)
def test_anything_else_may_be_tried_again(error):
    assert not is_terminal(error)


def test_a_denial_is_final():
    assert is_terminal(Denied("access-denied", "no"))


def test_every_remedy_names_the_sign_in_that_it_is_for(fake_clock):
    profile = replace(a_profile("https://as.example", fake_clock), id="minimax-portal:cn", region="cn")
    refused = replace(profile, failure=failure_of(error_for("invalid_client"), 5))
    fence = Fence(generation=1, token="", started_at=0, sends=3, pid=1)
    for error in (
        sign_in_expired(profile),
        sign_in_expired(refused),
        *(answers_missing(profile, fence, usable=usable) for usable in (True, False)),
    ):
        assert sign_in_again(profile) in error.hint
