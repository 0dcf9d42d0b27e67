"""Tokens that came after their sign-in had ended: what the server answers to their revocation is read as at a sign-out."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from portico.interfaces.authorization import HttpReply
from portico.oauth.revocation import revoke_orphaned
from portico.secret import Secret
from portico.store.records import Tokens
from portico.store.token_store import ProfileTokens
from portico.testing.canary import canary
from tests.auth.helpers import a_profile, dialects


@pytest.fixture
def orphaned(paths, fake_clock):
    tokens = Tokens(Secret(canary("at")), Secret(canary("rt")), None)
    return ProfileTokens(a_profile("https://as.example", fake_clock), tokens)


def revoked(orphaned, paths, *answers):
    replies = iter(answers)

    def post(request, **_options):
        status, fields = next(replies)
        return HttpReply(status, {"content-type": "application/json"}, Secret(json.dumps(fields)), request.url, 0)

    revoke_orphaned(orphaned.account, orphaned.tokens, dialects, SimpleNamespace(post=post))


def test_an_access_token_that_falls_with_its_refresh_token_is_no_failure(orphaned, paths, caplog):
    revoked(orphaned, paths, (200, {}), (400, {"error": "unsupported_token_type"}))
    assert caplog.text == ""


def test_a_failed_revocation_is_reported_without_the_token(orphaned, paths, caplog):
    text = f"not {orphaned.tokens.refresh.reveal()}"
    revoked(orphaned, paths, (400, {"error": "invalid_client", "error_description": text}), (200, {}))
    assert "not [redacted]" in caplog.text
    assert orphaned.tokens.refresh.reveal() not in caplog.text
