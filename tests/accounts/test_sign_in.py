"""The end of a sign-in: new tokens are stored or revoked."""

from __future__ import annotations

import pytest

from minimax_portal_auth.plugin import MinimaxPortal
from minimax_portal_auth.portals import ResourceUrlRefused
from portico.accounts import sign_out
from tests.minimax_session import SIGN_IN


@pytest.fixture
def refusing(monkeypatch):
    """The plugin refuses every token set, as for a reply that names a foreign API."""

    def refuse(*_args):
        raise ResourceUrlRefused("The token reply names an API that is not the Global portal's.")

    monkeypatch.setattr(MinimaxPortal, "accept", refuse)


@pytest.mark.requirement("E37")
@pytest.mark.parametrize("answers", [True, False])
def test_tokens_that_the_plugin_refuses_are_revoked(minimax, refusing, monkeypatch, answers):
    session = minimax()
    if not answers:
        monkeypatch.setattr(sign_out, "REVOKE_WITHIN_S", 0)

    result = session.run(*SIGN_IN, "--region", "global", "--flow", "browser", *session.store)

    output = "the new tokens were revoked" if answers else "the provider did not revoke the new tokens"
    assert result.returncode == 8
    assert f"not the Global portal's; {output}." in result.stderr
    assert session.profiles() == []
