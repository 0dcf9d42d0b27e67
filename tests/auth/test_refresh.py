"""Whatever a server answers to a refresh, what is stored is never worse than before."""

from __future__ import annotations

import json

import pytest

from portico.auth.refresh import RefreshCall, Refresher
from portico.auth.tokens import PendingTokens, TokenClock
from portico.errors import PorticoError, SignInNeeded
from portico.interfaces.authorization import HttpReply
from portico.net.errors import Unreachable
from portico.secret import Secret
from portico.store import encrypted_file
from portico.store.encrypted_file import PassphraseSource
from portico.store.profiles import ProfileIndex
from portico.store.records import Tokens
from portico.store.token_store import LocalTokenStore
from portico.store.vault import Vault
from portico.testing.canary import canary
from portico.testing.clock import FakeClock
from portico.util import files
from tests.auth.helpers import PROFILE, a_profile, dialects

hypothesis = pytest.importorskip("hypothesis")
st = hypothesis.strategies

# One token for all cases: the property is about what else is in the reply.
NEW_ACCESS, NEW_REFRESH = "at-" + "n" * 20, "rt-" + "n" * 20
_JUNK = (
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.floats() | st.text(max_size=20) | st.just([]) | st.just({})
)
_FIELDS = st.fixed_dictionaries(
    {},
    optional={
        "access_token": st.just(NEW_ACCESS) | st.sampled_from(["", "a\r\nb", "a b", "é", "x" * 70_000]) | _JUNK,
        "refresh_token": st.just(NEW_REFRESH) | st.sampled_from(["", "r\n"]) | _JUNK,
        "token_type": st.sampled_from(["Bearer", "BEARER", "bearer", "mac", ""]) | _JUNK,
        "expires_in": st.sampled_from([3600, 1, 0, -1, 1e308, "3600", "abc"]) | _JUNK,
        "error": st.sampled_from(["invalid_grant", "invalid_client", "server_error", "slow_down", "what"]) | _JUNK,
        "scope": _JUNK,
    },
)
_BODIES = (
    _FIELDS.map(json.dumps)
    | _JUNK.map(json.dumps)
    | st.sampled_from(
        ["", "<html>captive portal</html>", "{", f'{{"access_token":"a","access_token":"{NEW_ACCESS}"}}', "[" * 5000]
    )
)
_STATUSES = st.sampled_from([200, 201, 204, 400, 401, 403, 404, 408, 425, 429, 500, 502, 503])
_LOST = st.just(None)


class Server:
    """Sends the prepared responses in turn; None is a lost response."""

    def __init__(self, replies, clock):
        self._replies = list(replies)
        self._clock = clock
        self.sent = []
        self.revoked = []

    def claim(self):
        pass

    def post(self, request, *, relocated, timeout_s):
        if "token" in request.form:
            self.revoked.append(request.form["token"].reveal())
            return HttpReply(200, {}, Secret(""), request.url, self._clock.wall_ms())
        self.sent.append(request.form["refresh_token"].reveal())
        reply = self._replies.pop(0) if self._replies else None
        if reply is None:
            raise Unreachable("lost")
        status, body = reply
        return HttpReply(status, {}, Secret(body), request.url, self._clock.wall_ms())


@pytest.fixture
def store(paths, monkeypatch):
    monkeypatch.setattr(encrypted_file, "_COST", {"n": 16, "r": 1, "p": 1})
    monkeypatch.setattr(files.os, "fsync", lambda _fd: None)
    index = ProfileIndex(paths)
    return (
        Vault(paths, index, store="file", passphrase=PassphraseSource({"PORTICO_PASSPHRASE": canary("passphrase")})),
        index,
        paths,
    )


@pytest.mark.requirement("E27")
@pytest.mark.requirement("E28")
@pytest.mark.requirement("E29")
def test_no_reply_leaves_the_store_worse_than_it_was(store):
    vault, index, paths = store
    settings = hypothesis.settings(max_examples=hypothesis.settings().max_examples // 4)

    @settings
    @hypothesis.given(replies=st.lists(st.tuples(_STATUSES, _BODIES) | _LOST, min_size=1, max_size=3))
    def stays_good(replies):
        one_refresh(vault, index, paths, replies)

    stays_good()


def one_refresh(vault, index, paths, replies):
    clock = FakeClock(auto=False)
    before = Tokens(Secret("at-old"), Secret("rt-old"), clock.wall_ms() - 1)
    profile = vault.commit(a_profile("https://as.example", clock), before)
    server = Server(replies, clock)
    store = LocalTokenStore(paths, index, lambda: vault)
    parts = Refresher(store, dialects, clock, TokenClock(clock), PendingTokens(store))
    try:
        refreshed = parts.refresh(RefreshCall(profile, profile.generation, needed=True, wait_s=1), server)
    except PorticoError as error:
        refreshed, failed = None, error
    stored, after = vault.read(PROFILE), index.get(PROFILE)
    assert set(server.sent) == {"rt-old"}
    assert len(server.sent) <= 2
    if refreshed is None:
        assert (stored.access, stored.refresh, stored.expires_at) == (before.access, before.refresh, before.expires_at)
        assert stored.generation == after.generation == profile.generation
        assert after.failure.terminal == isinstance(failed, SignInNeeded)
        assert "rt-old" not in server.revoked
    else:
        assert stored.access == refreshed.profile_tokens.tokens.access == Secret(NEW_ACCESS)
        assert stored.refresh in [Secret(NEW_REFRESH), before.refresh]
        assert stored.generation == after.generation > profile.generation
        assert stored.expires_at is None or stored.expires_at > clock.wall_ms()
        assert (after.failure, after.journal_entry) == (None, None)
