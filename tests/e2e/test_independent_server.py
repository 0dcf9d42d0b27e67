"""The whole sign-in against an authorization server that Portico's authors did not write: the certified npm `oidc-provider`.

Our own emulator could share a misreading of an RFC with our client; this one cannot.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.needs import needs

pytestmark = pytest.mark.interop

HERE = Path(__file__).parent / "independent"
FORM_FILLER = f"{shlex.quote(sys.executable)} {shlex.quote(str(HERE / 'form_filler.py'))} %s"
PROFILE = "minimax-portal:default"
ACCESS_TTL_S = 1


@pytest.fixture
def issuer(request):
    """The issuer URL of a running `oidc-provider` with one public native client, `portico-test`.

    The parameter `strict` makes it require pushed requests, and consent before it gives a refresh token.
    """
    needs("node")
    if not (HERE / "node_modules" / "oidc-provider").is_dir():
        pytest.skip("oidc-provider is not installed: npm install --prefix tests/e2e/independent")
    server = subprocess.Popen(
        ["node", str(HERE / "server.mjs"), str(ACCESS_TTL_S), getattr(request, "param", "")],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        yield json.loads(server.stdout.readline())["issuer"]
    finally:
        server.kill()
        server.wait()
        server.stdout.close()


@pytest.fixture
def portico(portico_run, paths, issuer, secret_service):
    """`portico` as a process, its Global portal pointed at the independent server by nothing but an issuer."""
    portal = {
        "issuer": issuer,
        "clientId": "portico-test",
        "scope": "openid offline_access",
        "dialect": "standard",
        "apiBase": "http://127.0.0.1:9/anthropic",
        "redirect": True,
    }
    entry = {"enabled": True, "config": {"portals": {"global": portal}}}
    paths.config.write_text(json.dumps({"plugins": {"entries": {"minimax-portal-auth": entry}}}), encoding="utf-8")

    def run(*args: str) -> subprocess.CompletedProcess[str]:
        return portico_run(*args, env={"BROWSER": FORM_FILLER, "DISPLAY": ":0"})

    return run


def sign_in(portico, flow: str) -> subprocess.CompletedProcess[str]:
    words = ("onboard", "--auth-choice", "minimax-portal", "--region", "global", "--flow", flow)
    return portico(*words, "--non-interactive", "--no-background", "--json", "--timeout", "30")


@pytest.mark.requirement("E10")
@pytest.mark.requirement("E33")
@pytest.mark.requirement("E154")
@pytest.mark.parametrize("flow", ["browser", "device"])
def test_a_stranger_s_server_signs_in_with_only_its_issuer_known(portico, secret_service, flow):
    result = sign_in(portico, flow)

    assert result.returncode == 0, result.stderr + result.stdout
    assert [item.attributes["username"].startswith(PROFILE) for item in secret_service.items()] == [True]
    token = portico("auth", "token", PROFILE)
    assert (token.returncode, len(token.stdout.split())) == (0, 1), token.stderr
    logout = portico("auth", "logout", PROFILE, "--yes")
    assert logout.returncode == 0, logout.stderr
    assert secret_service.items() == []


@pytest.mark.requirement("E136")
@pytest.mark.requirement("E137")
@pytest.mark.requirement("E138")
@pytest.mark.parametrize("issuer", ["strict"], indirect=True)
def test_a_stranger_s_server_that_wants_pushed_requests_and_consent_gives_a_refresh_token(portico):
    result = sign_in(portico, "browser")

    assert result.returncode == 0, result.stderr + result.stdout
    assert '"notes": []' in result.stdout
    (profile,) = json.loads(portico("auth", "list", "--verbose", "--json").stdout)["profiles"]
    assert profile["hasRefresh"] is True


@pytest.mark.requirement("P16")
def test_a_stranger_s_server_rotates_the_refresh_token_and_the_next_one_works(portico):
    assert sign_in(portico, "browser").returncode == 0
    tokens = [portico("auth", "token", PROFILE).stdout.strip()]
    deadline = time.monotonic() + 20
    while len(tokens) < 3 and time.monotonic() < deadline:
        result = portico("auth", "token", PROFILE)
        assert result.returncode == 0, result.stderr
        if result.stdout.strip() != tokens[-1]:
            tokens.append(result.stdout.strip())

    assert len(set(tokens)) == 3
    portico("auth", "logout", PROFILE, "--yes")
