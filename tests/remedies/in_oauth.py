"""Signing in, refreshing and signing out at an authorization server whose replies go wrong."""

from __future__ import annotations

import json
import os
from unittest.mock import patch

import pytest

from portico.net import peer
from portico.testing.authorization_server import Fault
from tests.free_port import free_port
from tests.minimax_session import SIGN_IN
from tests.plugins.helpers import write_plugin
from tests.remedies.portal import own_portal
from tests.remedies.scenario import command_of, scenario, typed

# Polled once, when the time is over: whoever is to approve the code has done so by then.
DEVICE = ("--flow", "device", "--timeout", "0.3")


def agrees_to_devices(portal):
    """From here on, somebody approves each device code at once."""
    start = portal.server.devices.start

    def approved(*args, **context):
        grant = start(*args, **context)
        portal.server.devices.decide(grant.user_code, approved=True)
        return grant

    portal.server.devices.start = approved


@scenario("Correct `issuer` in the provider's settings, or set the endpoints there: `{prog} config edit`.")
def an_issuer_without_metadata(desk):
    with own_portal(desk) as portal:
        portal.configure(issuer=f"{portal.base}/elsewhere")
        hint = portal.refused()["hint"]
        portal.edit(hint)
        portal.works()
        portal.edit(hint, issuer=f"{portal.base}/elsewhere", **portal.named_endpoints())
        portal.server.authorize.send_iss = False
        portal.works("--replace")


@scenario("Correct this URL or `issuer` in the provider's settings: `{prog} config edit`. Do not sign in before that.")
def a_server_whose_metadata_names_an_unsafe_endpoint(desk):
    with own_portal(desk) as portal:
        tenant = f"{portal.base}/tenant"
        unsafe = {"issuer": tenant, "token_endpoint": "http://token.example/token", "authorization_endpoint": f"{tenant}/a"}
        portal.answers("/.well-known/oauth-authorization-server/tenant", unsafe)
        portal.configure(issuer=tenant)
        portal.edit(portal.refused()["hint"])
        portal.works()


@scenario("Use `--flow device`.")
def a_server_that_wants_pushed_requests_and_does_not_say_where(desk):
    with own_portal(desk) as portal:
        portal.server.metadata_extra = {
            "require_pushed_authorization_requests": True,
            "pushed_authorization_request_endpoint": None,
        }
        agrees_to_devices(portal)
        portal.refused()
        portal.works(*DEVICE)


@scenario("Correct `issuer` in the provider's settings: `{prog} config edit`. Then run the command again.")
def an_answer_of_another_issuer(desk):
    with own_portal(desk) as portal:
        portal.configure(issuer=f"{portal.base}/", **portal.named_endpoints())
        portal.edit(portal.refused()["hint"])
        portal.works()


@scenario("Run the command again. If it happens again, the server does not follow the OAuth standard: try `--flow device`.")
def an_answer_that_keeps_to_no_standard(desk):
    with own_portal(desk) as portal:
        agrees_to_devices(portal)
        with portal.sends_back(error="server_error"):  # beside a code
            portal.refused()
        portal.works()
        portal.server.authorize.send_iss = False  # the metadata says that answers have it
        portal.server.metadata_extra = {"authorization_response_iss_parameter_supported": True}
        portal.refused("--replace")
        portal.works("--replace", *DEVICE)


@scenario(
    "Run the command again. If the browser is on another machine, use `--flow device`, or forward the port of "
    "`--callback-port` with `ssh -L`, or paste the address of the page that did not open."
)
def nobody_comes_back_from_the_browser(desk):
    with own_portal(desk) as portal:
        portal.refused("--timeout", "0.2", env={"BROWSER": "echo"})
        portal.works("--callback-port", str(free_port()))


@scenario("A captive portal may be answering: open any page in a browser, then try again.")
def a_captive_portal_that_redirects(desk):
    with own_portal(desk) as portal:
        portal.answers("/token", "", status=302, Location="http://captive.example/login")
        portal.refused()
        portal.works()


@scenario(
    "A proxy or a captive portal may have answered instead. Open any page in a browser, then try again.",
)
def a_captive_portal_that_answers_with_a_page(desk):
    with own_portal(desk) as portal:
        portal.answers("/token", "<html>Welcome to the airport</html>")
        portal.refused()
        portal.works()


@scenario(
    "A captive portal or a proxy answers instead of the server: open any page in a browser first. {}",
    "Run the command again to get a new code.",
)
def a_code_that_nobody_approves_in_time(desk):
    with own_portal(desk) as portal:
        portal.answers("/token", "<html>Welcome to the airport</html>")
        assert "captive" in portal.refused(*DEVICE)["hint"]
        assert "captive" not in portal.refused(*DEVICE)["hint"]
        agrees_to_devices(portal)
        portal.works(*DEVICE)


@scenario("Do not sign in there. Correct the endpoints in the provider's settings: `{prog} config edit`.")
def a_device_endpoint_that_names_an_unsafe_page(desk):
    with own_portal(desk) as portal:
        unsafe = {"device_code": "d", "user_code": "AAAA", "verification_uri": "http://other.example/", "expires_in": 60}
        portal.answers("/elsewhere", unsafe)
        portal.configure(deviceAuthorizationEndpoint=f"{portal.base}/elsewhere", tokenEndpoint=f"{portal.base}/token")
        hint = portal.refused(*DEVICE)["hint"]
        agrees_to_devices(portal)
        portal.edit(hint)
        portal.works(*DEVICE)


@scenario("Correct `issuer` and `clientId` in the provider's settings: `{prog} config edit`. Then run the command again.")
def an_id_token_of_another_issuer(desk):
    with own_portal(desk) as portal:
        portal.server.authorize.send_iss = False
        portal.configure(issuer=f"{portal.base}/", scope="openid", **portal.named_endpoints())
        portal.edit(portal.refused()["hint"], scope="openid")
        portal.works()


@scenario("Run the command again. Do not open a sign-in link that you did not request.")
def an_id_token_of_another_sign_in(desk):
    with own_portal(desk, scope="openid") as portal:
        portal.server.id_claims = {"nonce": "of another sign-in"}
        portal.refused()
        portal.server.id_claims = {}
        portal.works()


@scenario(
    "Use `--flow device`. If you have a client id with a registered redirect, set `clientId`, `redirect` and "
    "`authorizationEndpoint` under `plugins.entries.<plugin>.config.portals.<region>`. To try anyway, add `--force`."
)
def a_client_without_a_redirect(desk):
    with own_portal(desk, redirect=None) as portal:
        agrees_to_devices(portal)
        portal.refused("--flow", "browser")
        portal.works(*DEVICE)
        portal.works("--flow", "browser", "--force", "--replace")
        settings = "plugins.entries.minimax-portal-auth.config.portals.global"
        desk.ok("config", "set", f"{settings}.authorizationEndpoint", f"{portal.base}/authorize")
        desk.ok("config", "set", f"{settings}.redirect", "true")
        portal.works("--flow", "browser", "--replace")


OPENS_TWICE = """
import sys, urllib.error, urllib.request
class Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_args):
        return None
for _ in range(2):
    try:
        urllib.request.build_opener(Stay).open(sys.argv[1])
    except urllib.error.HTTPError:
        pass
"""


@scenario("Run the command again. If it happens again, add `--no-browser` and open the printed address yourself.")
def a_browser_that_opens_the_start_address_twice(desk):
    with own_portal(desk) as portal, pytest.MonkeyPatch.context() as patch:
        patch.setattr(peer, "peer_of", lambda _connection: "unknown")  # as on a system that does not tell whose a request is
        script = desk.commands.paths.config.with_name("twice.py")
        script.write_text(OPENS_TWICE, encoding="utf-8")
        portal.refused(env={"BROWSER": portal.browser.replace(portal.browser.split()[-2], str(script))})
        portal.works()


@scenario("Run the command again and allow the access.")
def access_that_was_denied(desk):
    with own_portal(desk) as portal:
        with portal.sends_back(code=None, error="access_denied"):
            portal.refused()
        portal.works()


@scenario("Run the command again.")
def a_code_that_the_server_does_not_take(desk):
    with own_portal(desk) as portal:
        portal.answers("/token", {"error": "invalid_grant"}, status=400)
        portal.refused()
        portal.works()


@scenario(
    "The client id or its registration does not match this server. If your config sets `clientId`, correct or remove it: "
    "`{prog} config edit`. Otherwise the provider has changed its registrations: upgrade Portico."
)
def a_client_id_that_the_server_does_not_know(desk):
    with own_portal(desk, clientId="mistyped") as portal:
        hint = portal.refused(*DEVICE)["hint"]
        portal.edit(hint)
        portal.works()


@scenario("Run the command again. If it happens again, the server has changed: upgrade Portico.")
def a_token_reply_without_a_token(desk):
    with own_portal(desk) as portal:
        portal.answers("/token", {"token_type": "Bearer"}, {"token_type": "mac", "access_token": "a"})
        portal.refused()
        portal.refused()
        portal.works()


MINIMAX = {"dialect": "minimax-user-code"}
TOKENS = {"access_token": "at", "refresh_token": "rt", "token_type": "Bearer", "expires_in": 60}
ORIGIN = {"resource_url": "http://127.0.0.1:9/anthropic"}


def refused_once_by_minimax(reply, settings):
    def run(desk):
        with own_portal(desk, **settings) as portal:
            portal.answers("/token", reply)
            portal.refused()
            portal.works()

    return run


for name, hint, reply, settings in (
    (
        "an account without an M Plan",
        "Check that the account has an M Plan (earlier: Coding Plan), and that --region is the account's region.",
        {"base_resp": {"status_code": 1004, "status_msg": "token not match group"}},
        MINIMAX,
    ),
    (
        "a sign-in that MiniMax says has failed",
        "Run the command again. If it happens again, check on MiniMax's website that the account may use the portal.",
        {"status": "failed"},
        MINIMAX,
    ),
    (
        "less than the scope that was asked for",
        "Run the command again, and allow everything that the page asks for.",
        {**TOKENS, "scope": "profile"},
        {"dialect": "minimax-device-code", "scope": "agent.default"},
    ),
):
    scenario(hint, name=name)(refused_once_by_minimax(reply, settings))


def minimax_device_replies(portal, **changed):
    """The next device request is answered as MiniMax answers it, but for what is `changed`, and the next poll with tokens."""
    page = {"user_code": "AAAA", "verification_uri": f"{portal.base}/device", "expires_in": 60} | changed
    kind = {"Content-Type": "application/json"}

    def reply(form):
        return json.dumps({name: value for name, value in ({"state": form["state"]} | page).items() if value is not None})

    portal.server.faults.add("/device_authorization", Fault(status=200, body=reply, headers=kind))
    portal.server.faults.add("/token", Fault(status=200, body=json.dumps({"status": "success", **TOKENS}), headers=kind))


@scenario(
    "Run the command again. If it happens again, a proxy changes MiniMax's replies: use another network.",
    "Run the command again. If it happens again, MiniMax has changed its service: upgrade Portico.",
)
def a_device_reply_that_is_not_minimaxs(desk):
    with own_portal(desk, **MINIMAX) as portal:
        for changed in ({"state": "of another"}, {"user_code": None}):
            minimax_device_replies(portal, **changed)
            portal.refused(*DEVICE)
            portal.server.faults.clear()
        minimax_device_replies(portal)
        portal.works(*DEVICE)


@scenario(
    "Sign in with the account's own --region. For a portal of your own, set its API: "
    "{prog} config set plugins.entries.minimax-portal-auth.config.portals.{}.apiBase URL"
)
def tokens_for_an_api_of_elsewhere(desk):
    with own_portal(desk, **MINIMAX) as portal:
        portal.answers("/token", {**TOKENS, **ORIGIN}, {**TOKENS, **ORIGIN})
        command = command_of(portal.refused()["hint"])
        desk.ok(*command[:-1], ORIGIN["resource_url"])
        portal.works()


ACME = """
import os
from portico.oauth.standard import StandardDialect
from portico.plugin_api import AcceptedTokens, OAuthServer, ProviderSpec, Redirect, Region, hookimpl

class Words(StandardDialect):
    name = "acme-words"
    def read_token_reply(self, reply):
        return super().read_token_reply(reply) if "ACME_FAULT" not in os.environ else {}["access_token"]

class Method:
    choice, provider, label, default_model = "acme", "acme", "Acme", "acme/one"
    regions = (Region("", "Acme", "", "acme:default"),)
    def server(self, region):
        host = "192.0.2.1" if os.environ.get("ACME_FAULT") == "redirect" else "127.0.0.1"
        return OAuthServer("BASE", "portico-test", "", "profile", dialect="acme-words", redirect=Redirect(host=host))
    def flow(self, region):
        return "browser"
    def hint(self, region):
        return ""
    def accept(self, region, grant):
        return AcceptedTokens(api_base="BASE/v1")

@hookimpl
def portico_auth_methods(config):
    return [Method()]

@hookimpl
def portico_token_dialects():
    return [Words()]

@hookimpl
def portico_providers():
    yield ProviderSpec(id="acme", label="Acme", api="openai-completions", base_urls={"": "BASE/v1"}, hosts={"": {"127.0.0.1"}})
"""


@scenario("Report this to the author of the provider's plugin: `{prog} plugins list` shows which one it is.")
def a_plugin_that_is_at_fault(desk):
    with own_portal(desk) as portal:
        folder = desk.commands.paths.config.parent
        announced = {"authChoices": [{"id": "acme", "provider": "acme", "label": "Acme"}], "dialects": ["acme-words"]}
        plugin = write_plugin(folder, "acme-auth", code=ACME.replace("BASE", portal.base), providers=["acme"], **announced)
        desk.ok("config", "set", "plugins.load.paths", json.dumps([str(plugin)]))
        sign_in = ("onboard", "--auth-choice", "acme", "--non-interactive", "--no-background", "--store", "file")
        for fault in ("redirect", "dialect"):
            with patch.dict(os.environ, {"ACME_FAULT": fault}):  # the plugin reads it from the process
                hint = desk.refused(*sign_in)["hint"]
            assert "acme-auth" in desk.follow(hint)
        desk.ok(*sign_in)


OF_PROXIES = ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy")


@scenario(
    "Write the URL into a file of mode 600, as HTTPS_PROXY=http://proxy.example:3128, and set {} to its path.",
    "Write it again with mode 600, as HTTPS_PROXY=http://proxy.example:3128, or unset {}.",
    "chmod 600 {}",
    "{} to a proxy such as http://proxy.example:3128, or list the host in NO_PROXY to go there directly.",
)
def a_proxy_that_cannot_be_used(desk):
    session = desk.signed_in()
    another = (*SIGN_IN, "--region", "cn", "--flow", "device", *session.store)
    unset = dict.fromkeys(OF_PROXIES)
    variable = desk.refused(*another, env={**unset, "HTTPS_PROXY": "socks5://127.0.0.1:1080"})["hint"].split()[1]
    desk.ok("usage", env={**unset, variable: session.info.proxy_url})

    desk.refused(*another, env={**unset, "PORTICO_PROXY_FILE": session.info.proxy_url})
    path = session.paths.config.with_name("proxy.env")
    env = {**unset, "PORTICO_PROXY_FILE": str(path)}
    desk.refused(*another, env=env)
    path.write_text(f"HTTPS_PROXY={session.info.proxy_url}\n", encoding="utf-8")
    path.chmod(0o644)
    command, mode, file = typed(desk.refused(*another, env=env)["hint"])
    assert (command, file) == ("chmod", str(path))
    assert session.run("usage", env=env).returncode != 0
    path.chmod(int(mode, 8))
    desk.ok("usage", env=env)


@scenario(
    "Point {} at a file of certificates, or unset it.",
    "If your network replaces certificates, point SSL_CERT_FILE at its authority.",
)
def certificates_that_nobody_here_trusts(desk):
    session = desk.emulator()
    sign_in = (*SIGN_IN, "--region", "global", "--flow", "browser", *session.store)
    desk.refused(*sign_in, env={"SSL_CERT_FILE": str(session.paths.config.parent)})
    desk.refused(*sign_in, env={"SSL_CERT_FILE": None})
    desk.ok(*sign_in, env={"SSL_CERT_FILE": str(session.info.ca_file)})
