"""Find endpoints in the metadata (RFC 8414), and refuse unsafe metadata."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from aiohttp import web

from portico.errors import ConfigError, NetworkError, OAuthError
from portico.interfaces.authorization import HttpReply, OAuthServer
from portico.net.client import HttpClient
from portico.oauth.discovery import discover, metadata_urls
from portico.secret import Secret
from portico.testing.authorization_server import AuthorizationServer, Fault, serve

METADATA = "/.well-known/oauth-authorization-server"


class Serving:
    """Answers every metadata request with the same document."""

    def __init__(self, metadata: dict[str, str]) -> None:
        self._metadata = metadata

    async def get(self, url: str, *, timeout_s: float = 10.0) -> HttpReply:
        return HttpReply(200, {}, Secret(json.dumps(self._metadata)), url, 0)


def bare(issuer: str) -> OAuthServer:
    return OAuthServer(issuer=issuer, client_id="portico-test", token_endpoint="")


@asynccontextmanager
async def discovery(**extra):
    """Run discovery with a server whose metadata has `extra`."""
    server = AuthorizationServer()
    server.metadata_extra.update(extra)
    async with serve(server) as base_url, HttpClient() as http:

        async def find(**known):
            return await discover(replace(bare(base_url), **known), http)

        yield server, base_url, find


async def test_with_only_an_issuer_the_endpoints_are_found():
    async with discovery() as (_, base_url, find):
        server = await find()

    assert server.token_endpoint == f"{base_url}/token"
    assert server.authorization_endpoint == f"{base_url}/authorize"
    assert server.device_authorization_endpoint == f"{base_url}/device_authorization"
    assert server.revocation_endpoint == f"{base_url}/revoke"
    assert server.iss_advertised
    assert server.redirect is None


async def test_known_endpoints_stay_and_if_all_are_known_there_is_no_request():
    async with discovery() as (server, base_url, find):
        complete = await find(token_endpoint="https://as.test/t", device_authorization_endpoint="https://as.test/d")
        assert server.faults.requests.total() == 0

        partly = await find(token_endpoint="https://as.test/t")

    assert complete.revocation_endpoint is None
    assert (partly.token_endpoint, partly.authorization_endpoint) == ("https://as.test/t", f"{base_url}/authorize")


async def test_openid_configuration_is_tried_second():
    async with discovery() as (server, _, find):
        server.faults.always(METADATA, Fault(status=404))
        with pytest.raises(OAuthError) as error:
            await find()
        assert error.value.id == "discovery-failed"

    async def openid(request):
        origin = f"http://{request.host}/realm"
        return web.json_response({"issuer": origin, "token_endpoint": f"{origin}/t", "authorization_endpoint": f"{origin}/a"})

    app = web.Application()
    app.router.add_get("/realm/.well-known/openid-configuration", openid)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    issuer = f"http://127.0.0.1:{runner.addresses[0][1]}/realm"
    async with HttpClient() as http:
        found = await discover(bare(issuer), http)
    await runner.cleanup()

    assert found.token_endpoint == f"{issuer}/t"


def test_the_metadata_url_of_an_issuer_with_a_path_follows_the_rfcs():
    assert metadata_urls("https://as.test/realm/a") == (
        "https://as.test/.well-known/oauth-authorization-server/realm/a",
        "https://as.test/realm/a/.well-known/openid-configuration",
    )


@pytest.mark.parametrize(
    "issuer", ["http://as.test", "https://u@as.test", "https://as.test?x=1", "https://as.test#x", "file:///x"]
)
def test_an_issuer_that_is_not_a_plain_https_url_is_refused(issuer):
    with pytest.raises(ConfigError):
        metadata_urls(issuer)


@pytest.mark.requirement("E33")
@pytest.mark.parametrize("issuer", ["https://other.test", "", None, 5])
async def test_metadata_of_another_issuer_is_refused(issuer):
    async with discovery(issuer=issuer) as (_, _, find):
        with pytest.raises(OAuthError) as error:
            await find()

    assert error.value.id == "discovery-failed"


@pytest.mark.requirement("E33")
async def test_an_issuer_that_differs_by_a_slash_is_another_issuer():
    async with discovery() as (_, base_url, find):
        with pytest.raises(OAuthError):
            await find(issuer=f"{base_url}/")


@pytest.mark.requirement("E33")
@pytest.mark.parametrize(
    "field", ["token_endpoint", "authorization_endpoint", "device_authorization_endpoint", "revocation_endpoint"]
)
@pytest.mark.parametrize(
    "value", ["http://public.test/x", "file:///etc/passwd", "javascript:alert(1)", "https://as.test/$(x)", 5, ["x"]]
)
async def test_an_unsafe_endpoint_in_metadata_is_refused(field, value):
    async with discovery(**{field: value}) as (_, _, find):
        with pytest.raises(ConfigError) as error:
            await find()

    assert error.value.id == "endpoint-refused"
    assert str(value) not in str(error.value)


@pytest.mark.requirement("E33")
@pytest.mark.parametrize(
    "field", ["token_endpoint", "authorization_endpoint", "device_authorization_endpoint", "revocation_endpoint"]
)
@pytest.mark.parametrize("value", ["http://127.0.0.1:6379/x", "http://localhost/x", "http://[::1]:631/admin"])
async def test_metadata_of_a_remote_server_cannot_name_a_local_http_service(field, value):
    metadata = {"issuer": "https://as.test", "token_endpoint": "https://as.test/t", field: value}
    with pytest.raises(ConfigError) as error:
        await discover(bare("https://as.test"), Serving(metadata))

    assert error.value.id == "endpoint-refused"


@pytest.mark.requirement("E33")
async def test_metadata_without_a_token_endpoint_is_refused():
    async with discovery(token_endpoint=None) as (_, _, find):
        with pytest.raises(ConfigError):
            await find()


@pytest.mark.requirement("E34")
@pytest.mark.parametrize("methods", [["plain"], []])
async def test_a_server_without_s256_is_refused(methods):
    async with discovery(code_challenge_methods_supported=methods) as (_, _, find):
        with pytest.raises(ConfigError) as error:
            await find()

    assert error.value.id == "pkce-not-offered"


@pytest.mark.parametrize("body", ["<html>", "[]", "{", '{"issuer": 1, "issuer": 2}'])
async def test_metadata_that_is_not_a_json_object_is_a_failed_discovery(body):
    async with discovery() as (server, _, find):
        server.faults.always(METADATA, Fault(status=200, body=body))
        with pytest.raises(OAuthError) as error:
            await find()

    assert error.value.id == "discovery-failed"


async def test_a_redirect_of_the_metadata_is_not_followed():
    async with discovery() as (server, _, find):
        server.faults.always(METADATA, Fault(status=302, headers={"Location": "https://evil.test/"}))
        with pytest.raises(OAuthError):
            await find()


async def test_a_server_that_cannot_be_reached_is_a_network_error():
    async with HttpClient() as http:
        with pytest.raises(NetworkError) as error:
            await discover(bare("http://127.0.0.1:9"), http)

    assert error.value.id == "network"


def test_a_server_without_endpoints_needs_discovery():
    assert bare("https://as.test").needs_discovery
    assert replace(bare("https://as.test"), token_endpoint="https://as.test/t").needs_discovery
    with_both = replace(bare("x"), token_endpoint="https://as.test/t", authorization_endpoint="https://as.test/a")
    assert not with_both.needs_discovery
