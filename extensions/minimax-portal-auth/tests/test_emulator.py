"""The emulator over real TLS, with the requests of MiniMax's clients."""

from __future__ import annotations

import datetime as dt
import json
import ssl
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from yarl import URL

from minimax_portal_auth.emulator import MinimaxEmulator
from minimax_portal_auth.emulator.plan_usage import TOTAL
from minimax_portal_auth.emulator.settings import parse_settings
from minimax_portal_auth.portals import MCODE_CLIENT, MMX_CLIENT, OPENCLAW_CLIENT
from portico.emulation.run import run_emulation
from portico.plugin_api import EmulatorOptions, UsageError
from portico.testing.clock import FakeClock
from portico.testing.grants import s256

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

USER_CODE_GRANT = "urn:ietf:params:oauth:grant-type:user_code"
DEVICE_CODE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
VERIFIER = "v" * 43
CHALLENGE = s256(VERIFIER)
ACCOUNT, API = "https://account.minimax.io", "https://api.minimax.io"
PLAIN = EmulatorOptions()


class Person:
    """A client of the emulated service, and the person who uses it."""

    def __init__(self, session: aiohttp.ClientSession, emulator: MinimaxEmulator) -> None:
        self.session = session
        self.emulator = emulator

    @property
    def service(self):
        return self.emulator.service

    async def ask(self, method: str, url: str, **more: Any) -> tuple[int, Any, dict[str, str]]:
        async with self.session.request(method, url, allow_redirects=False, **more) as reply:
            text = await reply.text()
            body = json.loads(text) if reply.content_type == "application/json" else text
            return reply.status, body, dict(reply.headers)

    async def post(self, url: str, **form: str) -> tuple[int, Any]:
        status, body, _ = await self.ask("POST", url, data=form)
        return status, body

    async def start(self, client: str = OPENCLAW_CLIENT, account: str = ACCOUNT, **more: str) -> dict[str, Any]:
        scope = "agent.default" if client == MCODE_CLIENT else "x"
        form = {"client_id": client, "scope": scope, "code_challenge": CHALLENGE, "code_challenge_method": "S256"}
        status, body = await self.post(f"{account}/oauth2/device/code", **form, **more)
        assert status == 200
        return body

    async def approve(self, page: str, decision: str = "approve") -> str:
        code = page.partition("user_code=")[2].partition("&")[0]
        return (await self.post(page.partition("?")[0], user_code=code, decision=decision))[1]

    async def poll(self, code: str, client: str = OPENCLAW_CLIENT, account: str = ACCOUNT, **more: str) -> tuple[int, Any]:
        form = {"grant_type": USER_CODE_GRANT, "client_id": client, "user_code": code, "code_verifier": VERIFIER, **more}
        return await self.post(f"{account}/oauth2/token", **form)

    async def sign_in(self, client: str = OPENCLAW_CLIENT, account: str = ACCOUNT) -> dict[str, Any]:
        started = await self.start(client, account)
        await self.approve(started.get("verification_uri_complete") or started["verification_uri"])
        return (await self.poll(started["user_code"], client, account))[1]

    async def refresh(self, token: str, client: str = OPENCLAW_CLIENT, account: str = ACCOUNT) -> tuple[int, Any]:
        return await self.post(f"{account}/oauth2/token", grant_type="refresh_token", refresh_token=token, client_id=client)


@pytest.fixture
def options() -> EmulatorOptions:
    return PLAIN


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def person(options: EmulatorOptions, clock: FakeClock, tmp_path: Path) -> AsyncIterator[Person]:
    emulator = MinimaxEmulator(clock=clock)
    async with run_emulation([emulator], options, tmp_path / "run") as info:
        connector = aiohttp.TCPConnector(ssl=ssl.create_default_context(cafile=info.ca_file))
        async with aiohttp.ClientSession(connector=connector, proxy=info.proxy_url) as session:
            yield Person(session, emulator)


def with_knobs(**knobs: str) -> Any:
    named = {name.replace("_", "-"): value for name, value in knobs.items()}
    return pytest.mark.parametrize("options", [EmulatorOptions(knobs=named)], ids=[",".join(named)])


# --- signing in --------------------------------------------------------------------------------------------------------------


@pytest.mark.requirement("S7")
@pytest.mark.parametrize(
    ("account", "page", "api"),
    [
        (ACCOUNT, "https://platform.minimax.io", "https://api.minimax.io"),
        ("https://account.minimaxi.com", "https://platform.minimaxi.com", "https://api.minimaxi.com"),
        ("https://account.minimax.cn", "https://platform.minimax.cn", "https://api.minimax.cn"),
    ],
)
async def test_openclaws_client_signs_in_by_user_code(
    person: Person, clock: FakeClock, account: str, page: str, api: str
) -> None:
    started = await person.start(account=account, state="st", response_type="code")
    code = started["user_code"]
    assert started == {
        "user_code": code,
        "verification_uri": f"{page}/oauth-authorize?user_code={code}&client=OpenClaw",
        "expired_in": clock.wall_ms() + 300_000,
        "interval": 3000,
        "state": "st",
    }
    assert await person.poll(code, account=account) == (200, {"status": "pending"})
    await person.approve(started["verification_uri"])
    status, body = await person.poll(code, account=account)
    assert status == 200
    assert body.pop("access_token") != body.pop("refresh_token")
    assert body == {
        "status": "success",
        "token_type": "Bearer",
        "expired_in": clock.wall_ms() + 172_800_000,
        "resource_url": f"{api}/anthropic",
    }
    assert (await person.poll(code, account=account))[0] == 400


async def test_minimaxs_own_cli_polls_by_user_code_under_the_device_grant_and_gets_a_bare_origin(person: Person) -> None:
    started = await person.start(MMX_CLIENT, state="st")
    await person.approve(started["verification_uri"])
    _, body = await person.poll(started["user_code"], MMX_CLIENT, grant_type=DEVICE_CODE_GRANT)
    assert body["resource_url"] == "https://api.minimax.io"
    assert "client=MiniMax+CLI" in started["verification_uri"]


async def test_minimax_code_signs_in_by_device_code(person: Person) -> None:
    started = await person.start(MCODE_CLIENT)
    assert started["verification_uri_complete"] == f"{ACCOUNT}/oauth-authorize?user_code={started['user_code']}"
    assert (started["expires_in"], started["interval"]) == (300, 3.0)
    form = {"grant_type": DEVICE_CODE_GRANT, "client_id": MCODE_CLIENT, "device_code": started["device_code"]}
    assert await person.post(f"{ACCOUNT}/oauth2/token", **form, code_verifier=VERIFIER) == (
        400,
        {"error": "authorization_pending"},
    )
    await person.approve(started["verification_uri_complete"])
    _, body = await person.post(f"{ACCOUNT}/oauth2/token", **form, code_verifier=VERIFIER)
    assert (body["expires_in"], body["scope"], body["token_type"]) == (3600, "agent.default", "Bearer")
    assert "status" not in body


async def test_a_denied_and_an_expired_code_end_the_sign_in(person: Person, clock: FakeClock) -> None:
    denied, expired = await person.start(), await person.start()
    assert "Denied" in await person.approve(denied["verification_uri"], "deny")
    assert await person.poll(denied["user_code"]) == (200, {"status": "denied"})
    clock.advance(301)
    assert await person.poll(expired["user_code"]) == (200, {"status": "expired"})
    assert "unknown or has expired" in await person.approve(expired["verification_uri"])


async def test_a_wrong_verifier_gets_no_tokens(person: Person) -> None:
    started = await person.start()
    await person.approve(started["verification_uri"])
    status, body = await person.poll(started["user_code"], code_verifier="w" * 43)
    assert (status, body["error"]) == (400, "invalid_grant")


async def test_each_client_gets_the_replies_of_the_real_service(person: Person) -> None:
    url = f"{ACCOUNT}/oauth2/device/code"
    error_body = {"error": "invalid_request", "error_description": "client_id is required"}
    assert await person.post(url, scope="x") == (400, error_body)
    assert (await person.post(url, client_id="unknown"))[1]["error"] == "invalid_client"
    assert (await person.post(url, client_id=MCODE_CLIENT, scope="x"))[1]["error"] == "invalid_scope"


async def test_the_page_fills_in_the_code_and_says_that_it_is_the_emulators(person: Person) -> None:
    started = await person.start()
    _, page, headers = await person.ask("GET", started["verification_uri"])
    assert f'value="{started["user_code"]}"' in page
    assert "This is Portico's emulator, not MiniMax" in page
    assert headers["Cache-Control"] == "no-store"


async def test_one_address_is_enough_to_approve_a_code_of_either_region(person: Person) -> None:
    started = await person.start(account="https://account.minimaxi.com")
    await person.approve(person.emulator.approval_url(started["user_code"]))
    assert (await person.poll(started["user_code"], account="https://account.minimaxi.com"))[1]["status"] == "success"


@pytest.mark.parametrize("options", [EmulatorOptions(auto_approve=True)])
async def test_auto_approve_approves_every_code(person: Person) -> None:
    started = await person.start()
    assert (await person.poll(started["user_code"]))[1]["status"] == "success"


# --- refresh and revocation --------------------------------------------------------------------------------------------------


async def test_a_refresh_rotates_and_a_second_use_ends_the_family(person: Person) -> None:
    first = await person.sign_in()
    status, second = await person.refresh(first["refresh_token"])
    assert (status, second["status"]) == (200, "success")
    assert second["refresh_token"] != first["refresh_token"]
    reused = {
        "error": "invalid_grant",
        "error_description": "this refresh token can no longer be used, start a new authorization",
    }
    assert await person.refresh(first["refresh_token"]) == (400, reused)
    assert (await person.refresh(second["refresh_token"]))[0] == 400
    assert person.service.presented.times(first["refresh_token"]) == 2


async def test_a_refresh_token_is_valid_only_in_its_region_and_for_its_client(person: Person) -> None:
    tokens = await person.sign_in()
    assert (await person.refresh(tokens["refresh_token"], account="https://account.minimaxi.com"))[0] == 400
    assert (await person.refresh(tokens["refresh_token"], client=MMX_CLIENT))[0] == 400
    assert (await person.refresh(tokens["refresh_token"]))[0] == 200


async def test_revocation_is_an_empty_answer_and_ends_the_tokens(person: Person) -> None:
    tokens = await person.sign_in()
    form = {"token": tokens["refresh_token"], "token_type_hint": "refresh_token", "client_id": OPENCLAW_CLIENT}
    assert await person.post(f"{ACCOUNT}/oauth2/revoke", **form) == (200, "")
    assert (await person.refresh(tokens["refresh_token"]))[0] == 400
    assert (await person.ask("GET", f"{API}/v1/models", headers=bearer(tokens)))[0] == 401


@pytest.mark.parametrize("options", [EmulatorOptions(access_ttl_s=30)])
async def test_the_lifetime_of_access_tokens_can_be_set(person: Person, clock: FakeClock) -> None:
    tokens = await person.sign_in()
    assert tokens["expired_in"] == clock.wall_ms() + 30_000
    clock.advance(31)
    assert (await person.ask("GET", f"{API}/v1/models", headers=bearer(tokens)))[0] == 401


# --- moved, missing and added endpoints --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("api", "account"), [(API, ACCOUNT), ("https://api.minimaxi.com", "https://account.minimaxi.com")])
async def test_the_old_paths_are_redirects(person: Person, api: str, account: str) -> None:
    for old, new in (("/oauth/code", "/oauth2/device/code"), ("/oauth/token", "/oauth2/token")):
        status, _, headers = await person.ask("POST", api + old, data={"client_id": OPENCLAW_CLIENT})
        assert (status, headers["Location"]) == (307, account + new)


@with_knobs(legacy="on")
async def test_with_legacy_the_old_paths_answer_themselves(person: Person) -> None:
    assert (await person.post(f"{API}/oauth/code", client_id=OPENCLAW_CLIENT, state="st"))[1]["state"] == "st"


@pytest.mark.requirement("S7")
@pytest.mark.parametrize(
    "url",
    [
        "https://platform.minimax.io/oauth/authorize?client_id=mmx-cli",
        f"{ACCOUNT}/oauth2/authorize?client_id={OPENCLAW_CLIENT}&response_type=code",
        f"{ACCOUNT}/.well-known/oauth-authorization-server",
        f"{ACCOUNT}/.well-known/openid-configuration",
        f"{API}/.well-known/openid-configuration",
        f"{API}/oauth2/token",
    ],
)
async def test_unknown_paths_are_404(person: Person, url: str) -> None:
    assert (await person.ask("GET", url))[:2] == (404, "404 page not found")


async def test_the_old_www_address_redirects_to_the_homepage(person: Person) -> None:
    status, _, headers = await person.ask("GET", "https://www.minimax.io/oauth-authorize?user_code=X")
    assert (status, headers["Location"]) == (307, "/")
    assert "nothing to approve" in (await person.ask("GET", "https://www.minimax.io/"))[1]


@pytest.mark.parametrize("options", [EmulatorOptions(redirect=True)])
async def test_the_redirect_is_an_extension_and_its_page_says_so(person: Person) -> None:
    metadata = (await person.ask("GET", f"{ACCOUNT}/.well-known/oauth-authorization-server"))[1]
    assert metadata["issuer"] == ACCOUNT
    assert metadata["authorization_endpoint"] == f"{ACCOUNT}/oauth2/authorize"
    assert metadata["device_authorization_endpoint"] == f"{ACCOUNT}/oauth2/device/code"
    redirect_uri = "http://127.0.0.1:54321/cb"
    parameters = {
        "client_id": OPENCLAW_CLIENT,
        "response_type": "code",
        "redirect_uri": redirect_uri,
        "state": "st",
        "code_challenge": CHALLENGE,
        "code_challenge_method": "S256",
    }
    _, page, _ = await person.ask("GET", metadata["authorization_endpoint"], params=parameters)
    assert "MiniMax has no such page for third parties" in page
    ticket = page.partition('name="ticket" value="')[2].partition('"')[0]
    form = {"ticket": ticket, "decision": "approve"}
    status, _, headers = await person.ask("POST", metadata["authorization_endpoint"], data=form)
    assert status == 303
    back = URL(headers["Location"]).query
    assert (back["state"], back["iss"]) == ("st", ACCOUNT)
    exchange = {
        "grant_type": "authorization_code",
        "client_id": OPENCLAW_CLIENT,
        "code": back["code"],
        "redirect_uri": redirect_uri,
        "code_verifier": VERIFIER,
    }
    assert (await person.post(metadata["token_endpoint"], **exchange))[1]["status"] == "success"


async def test_the_code_grant_is_refused_without_the_extension(person: Person) -> None:
    form = {"grant_type": "authorization_code", "client_id": OPENCLAW_CLIENT, "code": "x"}
    assert (await person.post(f"{ACCOUNT}/oauth2/token", **form))[1]["error"] == "unsupported_grant_type"


# --- the models --------------------------------------------------------------------------------------------------------------


def bearer(tokens: dict[str, Any]) -> dict[str, str]:
    return {"Authorization": f"Bearer {tokens['access_token']}"}


def question(**more: object) -> dict[str, Any]:
    return {"model": "MiniMax-M2.1", "max_tokens": 100, "messages": [{"role": "user", "content": "hello there"}], **more}


async def test_a_model_gives_the_same_answer_with_and_without_streaming(person: Person) -> None:
    tokens = await person.sign_in()
    url = f"{API}/anthropic/v1/messages"
    status, complete, _ = await person.ask("POST", url, json=question(), headers=bearer(tokens))
    assert status == 200
    text = complete["content"][0]["text"]
    assert text == "This is Portico's emulator, answering as MiniMax-M2.1. You said: hello there"
    _, streamed, headers = await person.ask(
        "POST", url, json=question(stream=True), headers={"x-api-key": tokens["access_token"]}
    )
    assert headers["Content-Type"].startswith("text/event-stream")
    events = [json.loads(line[6:]) for line in streamed.splitlines() if line.startswith("data: ")]
    assert [event["type"] for event in events[:3]] == ["message_start", "content_block_start", "ping"]
    assert [event["type"] for event in events[-3:]] == ["content_block_stop", "message_delta", "message_stop"]
    assert "".join(event["delta"]["text"] for event in events if event["type"] == "content_block_delta") == text
    assert events[-2]["usage"]["output_tokens"] == complete["usage"]["output_tokens"]


async def test_the_output_limit_applies(person: Person) -> None:
    tokens = await person.sign_in()
    body = (await person.ask("POST", f"{API}/anthropic/v1/messages", json=question(max_tokens=3), headers=bearer(tokens)))[1]
    assert (body["content"][0]["text"], body["stop_reason"]) == ("This is Portico's", "max_tokens")


async def test_the_openai_shapes_answer_too(person: Person) -> None:
    tokens = await person.sign_in()
    complete = (await person.ask("POST", f"{API}/v1/chat/completions", json=question(), headers=bearer(tokens)))[1]
    text = complete["choices"][0]["message"]["content"]
    streamed = (await person.ask("POST", f"{API}/v1/chat/completions", json=question(stream=True), headers=bearer(tokens)))[1]
    lines = [line[6:] for line in streamed.splitlines() if line]
    assert lines[-1] == "[DONE]"
    assert "".join(json.loads(line)["choices"][0]["delta"].get("content", "") for line in lines[:-1]) == text
    models = (await person.ask("GET", f"{API}/v1/models", headers=bearer(tokens)))[1]
    assert "MiniMax-M2.1-lightning" in [model["id"] for model in models["data"]]


async def test_error_replies_are_those_that_users_have_seen(person: Person) -> None:
    anthropic, openai = f"{API}/anthropic/v1/messages", f"{API}/v1/chat/completions"
    tokens = await person.sign_in(account="https://account.minimaxi.com")

    async def error_of(url: str, **headers: str) -> dict[str, str]:
        status, body, _ = await person.ask("POST", url, json=question(), headers=headers)
        assert status == 401
        return body["error"]

    wrong = {"Authorization": "Bearer wrong"}
    assert (await error_of(anthropic))["message"].startswith("login fail: Please carry the API secret key in the 'X-Api-Key'")
    assert await error_of(anthropic, **wrong) == {"type": "authentication_error", "message": "invalid api key"}
    assert (await error_of(openai))["message"].endswith("(1004)")
    text = {"type": "authorized_error", "message": "invalid api key (2049)", "http_code": "401"}
    assert await error_of(openai, **wrong) == text
    assert (await error_of(anthropic, **bearer(tokens)))["message"] == "invalid api key (2049)"


async def test_model_ids_are_case_sensitive(person: Person) -> None:
    tokens = await person.sign_in()
    url = f"{API}/anthropic/v1/messages"
    status, body, _ = await person.ask("POST", url, json=question(model="minimax-m2.1"), headers=bearer(tokens))
    assert status == 400
    assert "unknown model 'minimax-m2.1' (2013)" in body["error"]["message"]


@with_knobs(quota="exhausted")
async def test_an_exhausted_plan_is_a_429(person: Person) -> None:
    tokens = await person.sign_in()
    status, body, _ = await person.ask("POST", f"{API}/anthropic/v1/messages", json=question(), headers=bearer(tokens))
    assert (status, body["error"]["type"]) == (429, "rate_limit_error")
    now = person.service.spaces["global"].mint.clock.wall_ms() // 1000
    resets = dt.datetime.fromtimestamp(now + 2 * 3600, dt.UTC)
    assert body["error"]["message"].endswith(f"resets at {resets:%Y-%m-%dT%H:%M:%SZ} (2056)")


@with_knobs(refuse_model="MiniMax-M3", api_key="sk-cp-mine")
async def test_a_model_outside_the_plan_and_the_users_own_key(person: Person) -> None:
    url, key = f"{API}/anthropic/v1/messages", {"x-api-key": "sk-cp-mine"}
    body = (await person.ask("POST", url, json=question(model="MiniMax-M3"), headers=key))[1]
    assert "(2061)" in body["error"]["message"]
    assert (await person.ask("POST", url, json=question(), headers=key))[0] == 200


@with_knobs(refusal="403")
async def test_a_credential_may_be_refused_with_403(person: Person) -> None:
    status, body, _ = await person.ask("POST", f"{API}/v1/chat/completions", json=question())
    assert (status, body["error"]["message"][-6:]) == (403, "(1004)")


@with_knobs(refusal="200")
async def test_a_credential_may_be_refused_inside_a_200(person: Person) -> None:
    status, body, _ = await person.ask("POST", f"{API}/anthropic/v1/messages", json=question())
    assert (status, body["base_resp"]["status_code"]) == (200, 1004)


async def test_minimax_codes_token_is_for_the_agent_host(person: Person) -> None:
    tokens = await person.sign_in(MCODE_CLIENT)
    url = "https://agent.minimax.io/mavis/api/v1/llm/v1/messages"
    assert (await person.ask("POST", url, json=question(), headers=bearer(tokens)))[0] == 200
    error_body = {"code": 401, "message": "token is required"}
    key_only = {"x-api-key": tokens["access_token"]}
    assert (await person.ask("POST", url, json=question(), headers=key_only))[:2] == (401, error_body)


# --- usage -------------------------------------------------------------------------------------------------------------------


async def test_the_two_usage_endpoints_count_in_opposite_directions(person: Person) -> None:
    tokens = await person.sign_in()
    await person.ask("POST", f"{API}/anthropic/v1/messages", json=question(), headers=bearer(tokens))
    new = (await person.ask("GET", f"{API}/v1/token_plan/remains", headers=bearer(tokens)))[1]
    paths = ("/v1/coding_plan/remains", "/v1/api/openplatform/coding_plan/remains")
    old = [(await person.ask("GET", API + path, headers=bearer(tokens)))[1] for path in paths]
    assert old[0] == old[1]
    row, old_row = new["model_remains"][0], old[0]["model_remains"][0]
    assert row["current_interval_usage_count"] == 152
    assert row["current_interval_usage_count"] + old_row["current_interval_usage_count"] == TOTAL
    assert row["current_interval_remaining_percent"] == old_row["current_interval_remaining_percent"] == 89
    assert {"weekly_start_time", "weekly_end_time", "weekly_remains_time"} <= set(row)
    assert [row["model_name"] for row in new["model_remains"]] == ["general", "video"]
    assert new["base_resp"]["status_code"] == 0


async def test_usage_failures_are_an_http_200(person: Person) -> None:
    url = f"{API}/v1/token_plan/remains"
    login = {"base_resp": {"status_code": 1004, "status_msg": "cookie is missing, log in again"}}
    foreign = await person.sign_in(account="https://account.minimaxi.com")
    code = await person.sign_in(MCODE_CLIENT)
    for headers in ({}, bearer(foreign), bearer(code)):
        assert (await person.ask("GET", url, headers=headers))[:2] == (200, login)


@with_knobs(quota="none")
async def test_an_account_without_a_plan(person: Person) -> None:
    tokens = await person.sign_in()
    body = (await person.ask("GET", f"{API}/v1/token_plan/remains", headers=bearer(tokens)))[1]
    assert (body["model_remains"], body["base_resp"]["status_code"]) == (None, 2062)


@pytest.mark.parametrize(
    ("options", "total", "status"),
    [
        (EmulatorOptions(knobs={"quota": quota, "boost": "2000"}), total, status)
        for quota, total, status in (("exhausted", TOTAL, 2), ("unlimited", TOTAL, 3), ("not-in-plan", 0, 3))
    ],
)
async def test_knobs_set_the_plans_usage(person: Person, total: int, status: int) -> None:
    tokens = await person.sign_in()
    row = (await person.ask("GET", f"{API}/v1/token_plan/remains", headers=bearer(tokens)))[1]["model_remains"][0]
    assert (row["current_interval_total_count"], row["current_interval_status"]) == (total, status)
    assert row["interval_boost_permille"] == 2000


@with_knobs(remains="older")
async def test_a_knob_leaves_only_the_older_usage_endpoint(person: Person) -> None:
    tokens = await person.sign_in()
    older = f"{API}/v1/api/openplatform/coding_plan/remains"
    assert (await person.ask("GET", f"{API}/v1/token_plan/remains", headers=bearer(tokens)))[0] == 404
    row = (await person.ask("GET", older, headers=bearer(tokens)))[1]["model_remains"][0]
    assert row["current_interval_usage_count"] > TOTAL / 2


# --- knobs -------------------------------------------------------------------------------------------------------------------


@with_knobs(expiry="s", omit="refresh_token,resource_url", notice="Hi!", interval="0", www="on")
async def test_knobs_change_the_replies(person: Person, clock: FakeClock) -> None:
    started = await person.start()
    assert started["verification_uri"].startswith("https://www.minimax.io/oauth-authorize")
    assert (started["interval"], started["expired_in"]) == (0, clock.wall_ms() // 1000 + 300)
    await person.approve(person.emulator.approval_url(started["user_code"]))
    body = (await person.poll(started["user_code"]))[1]
    assert not {"refresh_token", "resource_url"} & set(body)
    assert body["notification_message"] == "Hi!"


@with_knobs(expiry="relative", resource_url="https://evil.example")
async def test_a_knob_sets_a_foreign_resource_url(person: Person) -> None:
    tokens = await person.sign_in()
    assert (tokens["expired_in"], tokens["resource_url"]) == (172_800, "https://evil.example")


@with_knobs(status="slow_down")
async def test_a_knob_sets_the_status_of_every_poll(person: Person) -> None:
    started = await person.start()
    assert await person.poll(started["user_code"]) == (200, {"status": "slow_down"})


@pytest.mark.parametrize(("fault", "status"), [("500", 500), ("503", 503), ("html", 200), ("oversize", 200)])
async def test_endpoints_can_be_made_to_fail(fault: str, status: int, clock: FakeClock, tmp_path: Path) -> None:
    emulator = MinimaxEmulator(clock=clock)
    options = EmulatorOptions(knobs={"token-fault": fault})
    async with run_emulation([emulator], options, tmp_path / "run") as info:
        connector = aiohttp.TCPConnector(ssl=ssl.create_default_context(cafile=info.ca_file))
        async with (
            aiohttp.ClientSession(connector=connector, proxy=info.proxy_url) as session,
            session.post(f"{ACCOUNT}/oauth2/token", data={"client_id": OPENCLAW_CLIENT}) as reply,
        ):
            assert reply.status == status
            assert (reply.content_length or 0) > (1 << 20) or fault != "oversize"


@pytest.mark.parametrize(
    ("knobs", "says"),
    [
        ({"expirey": "s"}, "Did you mean expiry?"),
        ({"zzzz": "s"}, "Knobs: "),
        ({"expiry": "weeks"}, "expected one of ms, s, relative"),
        ({"omit": "everything"}, "some of"),
        ({"interval": "-1"}, "0 to 600"),
        ({"lmstudio": "99999"}, "a port"),
        ({"www": "maybe"}, "on, off"),
    ],
)
def test_an_unknown_knob_is_named(knobs: dict[str, str], says: str) -> None:
    with pytest.raises(UsageError) as raised:
        parse_settings(knobs)
    assert says in f"{raised.value} {raised.value.hint}"


# --- the neighbours ----------------------------------------------------------------------------------------------------------


async def test_anthropics_api_answers_for_its_own_kind_of_key(person: Person) -> None:
    url = "https://api.anthropic.com/v1/messages"
    body = question(model="claude-opus-4-6")
    assert (await person.ask("POST", url, json=body, headers={"x-api-key": "sk-ant-x"}))[1]["model"] == "claude-opus-4-6"
    status, error_body, _ = await person.ask("POST", url, json=body)
    assert (status, error_body["error"]["message"]) == (401, "invalid x-api-key")


@with_knobs(anthropic="overloaded")
async def test_anthropics_api_can_be_overloaded(person: Person) -> None:
    headers = {"x-api-key": "sk-ant-x"}
    status, body, _ = await person.ask("POST", "https://api.anthropic.com/v1/messages", json=question(), headers=headers)
    assert (status, body["error"]["type"]) == (529, "overloaded_error")


async def test_a_local_lm_studio_answers_on_loopback(clock: FakeClock, tmp_path: Path) -> None:
    options = EmulatorOptions(knobs={"lmstudio": "0"})
    async with (
        run_emulation([MinimaxEmulator(clock=clock)], options, tmp_path / "run") as info,
        aiohttp.ClientSession() as session,
    ):
        base = info.loopback["minimax"]
        async with session.get(f"{base}/v1/models") as reply:
            assert (await reply.json())["data"][0]["id"] == "minimax-m2.1-gs32"
        body = {"model": "minimax-m2.1-gs32", "input": "hello", "stream": True}
        async with session.post(f"{base}/v1/responses", json=body) as reply:
            assert "event: response.completed" in await reply.text()


async def test_the_redirect_extension_is_reached_by_config_alone() -> None:
    from minimax_portal_auth.overrides import configured_portals

    emulator = MinimaxEmulator()
    assert emulator.config(PLAIN) == {}
    config: Any = emulator.config(EmulatorOptions(redirect=True))
    portals = configured_portals(config["plugins"]["entries"]["minimax-portal-auth"]["config"])
    for region, issuer in (("global", ACCOUNT), ("cn", "https://account.minimaxi.com")):
        assert portals[region].server.issuer == issuer
        assert portals[region].server.redirect is not None
        assert portals[region].server.token_endpoint == ""
