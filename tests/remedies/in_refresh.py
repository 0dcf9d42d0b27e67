"""Refreshing the tokens of an account whose server answers wrongly, or not at all, or which is signed in to anew meanwhile."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace

import pytest

from portico.secret import Secret
from portico.store.encrypted_file import PassphraseSource
from portico.store.profiles import ProfileIndex
from portico.store.records import Tokens
from portico.store.vault import Vault
from portico.testing.authorization_server import CLIENT_ID, Fault
from portico.testing.canary import canary
from portico.util.clock import SystemClock
from tests.minimax_session import GLOBAL
from tests.remedies.in_sign_in import BY_BROWSER
from tests.remedies.portal import own_portal
from tests.remedies.scenario import scenario

TOKEN = ("auth", "token")


@contextmanager
def later(minutes: float):
    """Until the block ends it is later, for the commands and for the server: tokens live for an hour."""
    now = SystemClock.wall_ms
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SystemClock, "wall_ms", lambda clock: now(clock) + round(minutes * 60_000))
        yield


@contextmanager
def signed_in(desk):
    with own_portal(desk) as portal:
        portal.works()
        yield portal


def sign_in_anew(desk, **changed):
    """What another process stores that signs in under the same name."""
    paths, index = desk.commands.paths, ProfileIndex(desk.commands.paths)
    profile = index.get(GLOBAL)
    anew = replace(profile, created_at=profile.created_at + 1, **changed)
    tokens = Tokens(Secret(canary("at")), Secret(canary("rt")), SystemClock().wall_ms() + 3_600_000)
    Vault(paths, index, store="file", passphrase=PassphraseSource(desk.commands.env)).commit(anew, tokens)
    return tokens.access.reveal()


@scenario("Try again in a moment.")
def a_refresh_that_is_answered_as_if_a_person_had_said_no(desk):
    with signed_in(desk) as portal:
        portal.answers("/token", {"error": "access_denied"}, status=400)
        with later(90):
            desk.refused(*TOKEN)
        with later(91):
            desk.ok(*TOKEN)


@scenario("Tried {} s ago; run the command again in {} s.")
def a_server_that_asks_to_be_left_alone(desk):
    with signed_in(desk) as portal:
        portal.answers("/token", {"error": "temporarily_unavailable"}, status=503, Retry_After="120")
        with later(90):
            desk.refused(*TOKEN)
            hint = desk.refused(*TOKEN)["hint"]
        assert portal.server.faults.requests["/token"] == 2  # the sign-in's, and one
        with later(90 + int(hint.split()[-2]) / 60):
            desk.ok(*TOKEN)


@scenario(
    "Run the command again in {} min. If you cannot wait, sign in again: {prog} models auth login --provider {} --profile {} --replace"
)
def a_server_whose_answers_are_lost(desk):
    with signed_in(desk) as portal:
        portal.server.faults.always("/token", Fault(drop="before"))
        with later(90):
            desk.refused(*TOKEN)
        with later(91):
            hint = desk.refused(*TOKEN)["hint"]
        portal.server.faults.always("/token", None)
        with later(91):
            desk.refused(*TOKEN)
        with later(91 + int(hint.split()[5])):
            desk.ok(*TOKEN)
            desk.follow(hint, *BY_BROWSER)
            desk.ok(*TOKEN)


@scenario(
    "The client id or its registration is wrong for this server. Correct it with {prog} config edit, then sign in again: "
    "{prog} models auth login --provider {} --profile {} --replace"
)
def a_client_whose_registration_has_ended(desk):
    with signed_in(desk) as portal:
        portal.server.clients["renewed"] = replace(portal.server.clients.pop(CLIENT_ID), id="renewed")
        with later(90):
            hint = desk.refused(*TOKEN)["hint"]
            portal.edit(hint, clientId="renewed")
            desk.follow(hint.partition("sign in again: ")[2], *BY_BROWSER)
            desk.ok(*TOKEN)


@scenario("Run the command again to use the new account.")
def an_account_that_is_signed_in_to_elsewhere_while_it_is_refreshed(desk):
    with signed_in(desk) as portal, later(90):
        rotate, anew = portal.server.mint.rotate, []

        def meanwhile(*args):
            anew.append(sign_in_anew(desk, issuer="https://other.example", region="cn"))
            return rotate(*args)

        portal.server.mint.rotate = meanwhile
        desk.refused(*TOKEN)
        assert desk.ok(*TOKEN).split() == anew


@scenario("Run the command again.")
def an_account_that_is_signed_in_to_again_and_again(desk):
    with signed_in(desk), later(90):
        read, anew = Vault.read, []

        def meanwhile(vault, profile_id, **how):
            tokens = read(vault, profile_id, **how)
            anew.append(sign_in_anew(desk))
            return tokens

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Vault, "read", meanwhile)
            desk.refused(*TOKEN)
        assert desk.ok(*TOKEN).split() == anew[-1:]
