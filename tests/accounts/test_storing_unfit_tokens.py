"""A portal that issues unusable tokens: nothing is stored, and the tokens are revoked."""

from __future__ import annotations

import json

import pytest

from minimax_portal_auth.emulator import MinimaxEmulator
from portico.interfaces.plugins import EmulatorOptions
from portico.testing.emulated import emulated
from portico.testing.faults import Fault
from tests.minimax_session import SIGN_IN, MinimaxSession, sealed_store

TOKEN, REVOKE = "/oauth2/token", "/oauth2/revoke"
GRANTED = {
    "status": "success",
    "access_token": "at-unfit",
    "refresh_token": "rt-unfit",
    "token_type": "Bearer",
    "expired_in": 3600,
}


@pytest.fixture
def portal(run_portico, tmp_path):
    emulator = MinimaxEmulator()
    with emulated([emulator], EmulatorOptions(redirect=True, auto_approve=True), tmp_path / "emulation") as info:
        yield emulator.service, MinimaxSession(info, run_portico, True, ("--store", "file"), sealed_store())


@pytest.mark.requirement("E91")
@pytest.mark.requirement("E93")
@pytest.mark.parametrize("flow", ["browser", "device"])
@pytest.mark.parametrize(
    ("changes", "revoked"), [({"token_type": "mac"}, 2), ({"access_token": "a b"}, 2), ({"access_token": None}, 1)], ids=str
)
def test_unusable_tokens_are_revoked_and_the_reason_is_printed(portal, flow, changes, revoked):
    service, session = portal
    answer = Fault(status=200, body=json.dumps({**GRANTED, **changes}), headers={"Content-Type": "application/json"})
    service.faults.add(TOKEN, answer)
    result = session.run(*SIGN_IN, "--region", "global", "--json", "--flow", flow, "--store", "file")
    error = json.loads(result.stdout.splitlines()[-1])["error"]
    assert (result.returncode, error["id"]) == (8, "sign-in-ended")
    assert error["message"].endswith("the new tokens were revoked.")
    assert service.faults.requests[REVOKE] == revoked
    assert service.faults.requests[TOKEN] == 1
    assert session.profiles() == []


@pytest.mark.requirement("E93")
@pytest.mark.parametrize("flow", ["browser", "device"])
def test_a_reply_without_a_token_ends_the_sign_in_with_the_reason(portal, flow):
    service, session = portal
    service.faults.add(TOKEN, Fault(status=200, body='{"status": "success"}', headers={"Content-Type": "application/json"}))
    result = session.run(*SIGN_IN, "--region", "global", "--json", "--flow", flow, "--store", "file")
    error = json.loads(result.stdout.splitlines()[-1])["error"]
    assert (result.returncode, error["id"]) == (8, "reply-invalid")
    assert "access_token" in error["why"]
    assert service.faults.requests[TOKEN] == 1


@pytest.mark.requirement("E90")
@pytest.mark.parametrize("flow", ["browser", "device"])
def test_an_invalid_field_beside_valid_tokens_signs_in_and_is_a_finding_of_doctor(portal, flow):
    service, session = portal
    body = json.dumps({**GRANTED, "expired_in": "soon", "scope": 7})
    service.faults.add(TOKEN, Fault(status=200, body=body, headers={"Content-Type": "application/json"}))
    session.ok(*SIGN_IN, "--region", "global", "--flow", flow, "--store", "file")
    findings = json.loads(session.run("doctor", "--json").stdout)["findings"]
    told = next(each for each in findings if each["id"] == "reply-fields-unread")
    assert "expired_in, scope" in told["message"]
    assert session.ok("auth", "token").strip() == "at-unfit"
