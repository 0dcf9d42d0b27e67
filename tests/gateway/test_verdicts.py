"""What a failure is taken for: whose it is, what it keeps from being tried again, and which status and advice a client gets."""

from __future__ import annotations

import asyncio
import contextlib
import json
from dataclasses import replace

import pytest

from portico.auth.backoff import SignInExpired
from portico.errors import LockBusy
from portico.net.errors import CertificatesUnreadable, ProxyUnusable, RequestRefused
from portico.plugins.manifest import PluginFailed
from portico.store.encrypted_file import PassphraseSource
from portico.store.errors import KeyringLocked
from portico.store.token_store import refresh_lock
from portico.store.vault import Vault
from portico.testing.canary import canary
from portico.testing.clock import FakeClock
from portico.util.lock import FileLock
from tests.auth.helpers import PROFILE, OffLoop
from tests.gateway.fronts import CHAT, MESSAGES, RESPONSES, configure, gateway
from tests.gateway.providers import WHOLE, answered, provider

OTHER = {**WHOLE, "id": "other"}
USED_UP = (
    "usage limit exceeded, 5-hour usage limit reached for Token Plan Starter (0/0 used), resets at 2033-05-18T06:33:20Z (2056)"
)
# `FakeClock` begins at 2033-05-18T03:33:20Z.
THREE_HOURS_S, RESETS_AT_S = 10_800, 2_000_010_800


def error(message="Overloaded", **fields):
    return {"error": {"message": message, "type": "x", **fields}}


@pytest.fixture
def wall():
    return FakeClock()


class Troubled:
    """The account's store, which fails with `error` as long as there is one. `read_times` counts how often it was read."""

    def __init__(self, vault):
        self._vault = vault
        self.error = None
        self.read_times = 0

    def __getattr__(self, name):
        return getattr(self._vault, name)

    def read(self, *args, **named):
        self.read_times += 1
        if self.error is not None:
            raise self.error
        return self._vault.read(*args, **named)


@contextlib.asynccontextmanager
async def signed_in(account, acme, *, fallback=None, ids=(PROFILE,)):
    """A gateway whose candidates are these profiles at `acme`, each with tokens of its own, and the store that it reads."""
    for id in ids:
        account.sign_in(id, ttl_s=3600)
        account.index.update(id, lambda profile: replace(profile, api_base=acme.base))
    others = {} if fallback is None else {"backup": fallback.base}
    configure(account.paths, {"test": acme.base, **others}, fallbacks=[f"{name}/model" for name in others])
    store = Troubled(account.vault.real)
    async with gateway(account.paths, clock=account.clock, vault=store) as here:
        yield here, store


@contextlib.asynccontextmanager
async def changed(here):
    """What is done within is noticed by the gateway when this returns: it looks at its files ten times a second."""
    before = await here.front.models.now()
    yield
    async with asyncio.timeout(5):
        while await here.front.models.now() is before:
            await asyncio.sleep(0.01)


LOCAL = {
    "keyring-locked": (KeyringLocked("the keyring is locked", hint="unlock it"), 500, "false"),
    "lock-busy": (LockBusy("another process holds the lock"), 503, None),
    "plugin-failed": (PluginFailed('Plugin "acme" cannot be used.'), 500, "false"),
    "internal-error": (RuntimeError("a bug"), 500, "false"),
    "sign-in-expired": (SignInExpired("The sign-in has ended."), 403, None),
}


@pytest.mark.requirement("E141")
@pytest.mark.parametrize("id", LOCAL)
async def test_what_fails_on_this_machine_is_named_and_is_over_as_soon_as_it_works_again(account, id):
    trouble, status, should_retry = LOCAL[id]
    async with provider(answered(WHOLE)) as acme, signed_in(account, acme) as (here, store):
        store.error = trouble
        failed = await here.json()
        store.error = None
        works = await here.json()

    assert (failed[0], failed[1]["error"]["code"]) == (status, id)
    assert "refuse" not in failed[1]["error"]["message"]
    assert failed[2].get("x-should-retry") == should_retry
    assert failed[2]["x-portico-attempts"] == f"test/model; {PROFILE}; {id}"
    assert (works[0], works[1]) == (200, WHOLE)


@pytest.mark.requirement("E141")
@pytest.mark.parametrize("id", LOCAL)
async def test_while_something_fails_on_this_machine_the_next_candidate_answers(account, id):
    async with (
        provider(answered(WHOLE)) as acme,
        provider(answered(OTHER)) as backup,
        signed_in(account, acme, fallback=backup) as (here, store),
    ):
        store.error = LOCAL[id][0]
        first, second = await here.json(), await here.json()

    for status, reply, headers in (first, second):
        assert (status, reply) == (200, OTHER)
        assert headers["x-portico-attempts"] == f"test/model; {PROFILE}; {id}, backup/model; key; answered"
    assert (store.read_times, acme.requests) == (2, [])


UNSENT = {
    "proxy-unusable": ProxyUnusable("The file in PORTICO_PROXY_FILE cannot be used.", unsent=True),
    "certificate-refused": CertificatesUnreadable("SSL_CERT_FILE cannot be read.", unsent=True),
    "request-refused": RequestRefused("A header of the request holds a line break.", unsent=True),
}


@pytest.mark.requirement("E141")
@pytest.mark.parametrize("id", UNSENT)
async def test_what_keeps_a_request_from_being_sent_is_no_verdict_on_the_provider_either(paths, wall, monkeypatch, id):
    async def fails(*_args, **_more):
        raise UNSENT[id]

    async with provider(answered(WHOLE)) as acme, provider(answered(OTHER)) as backup:
        configure(paths, {"acme": acme.base, "backup": backup.base}, fallbacks=["backup/model"])
        async with gateway(paths, clock=wall) as here:
            with monkeypatch.context() as broken:
                broken.setattr(here.front.parts.upstream, "send", fails)
                failed = await here.json(body={"model": "backup/model", "messages": []})
                both = await here.json()
            works = await here.json()

    assert (failed[0], failed[1]["error"]["code"], failed[2]["x-should-retry"]) == (502, id, "false")
    assert both[2]["x-portico-attempts"] == f"acme/model; key; {id}, backup/model; key; {id}"
    assert (works[0], works[1], works[2]["x-portico-attempts"]) == (200, WHOLE, "acme/model; key; answered")


@pytest.mark.requirement("E141")
async def test_a_refresh_of_another_process_that_hangs_is_a_busy_lock_and_nothing_about_the_credential(account, monkeypatch):
    monkeypatch.setattr("portico.auth.broker.PATIENCE_S", 0.05)
    async with provider(answered(WHOLE)) as acme, signed_in(account, acme) as (here, _):
        account.clock.advance(3600)
        lock = OffLoop(FileLock(refresh_lock(account.paths, PROFILE).path))
        lock.acquire(1)
        busy = await here.json()
        lock.release()
        works = await here.json()

    assert (busy[0], busy[1]["error"]["code"], busy[2]["Retry-After"]) == (503, "lock-busy", "1")
    assert works[0] == 200


@pytest.mark.requirement("E141")
@pytest.mark.parametrize("bug", [StopIteration, SystemExit])
async def test_a_bug_that_no_future_can_hold_or_that_would_end_the_process_fails_one_candidate_alone(account, bug):
    async with (
        provider(answered(WHOLE)) as acme,
        provider(answered(OTHER)) as backup,
        signed_in(account, acme, fallback=backup) as (here, store),
        asyncio.timeout(10),
    ):
        store.error = bug()
        _, reply, headers = await here.json()

    assert reply == OTHER
    assert headers["x-portico-attempts"] == f"test/model; {PROFILE}; internal-error, backup/model; key; answered"


@pytest.mark.requirement("E141")
async def test_a_bug_is_told_without_its_text_which_may_hold_a_secret(account):
    secret = canary("bug")
    async with provider(answered(WHOLE)) as acme, signed_in(account, acme) as (here, store):
        store.error = RuntimeError(secret)
        _, reply, _ = await here.json()
    assert secret not in str(reply)
    assert "RuntimeError" in reply["error"]["message"]


@pytest.mark.requirement("E141")
@pytest.mark.requirement("E142")
async def test_a_store_that_is_locked_is_used_by_the_next_request_once_it_is_unlocked(account):
    unlocked = account.vault.real._passphrase.get().reveal()
    env = {}
    async with provider(answered(WHOLE)) as acme:
        account.sign_in(ttl_s=3600)
        account.index.update(PROFILE, lambda profile: replace(profile, api_base=acme.base))
        configure(account.paths, {"test": acme.base})
        store = Vault(account.paths, account.index.real, store="file", passphrase=PassphraseSource(env))
        async with gateway(account.paths, clock=account.clock, vault=store) as here:
            locked = [await here.json() for _ in range(2)]
            env["PORTICO_PASSPHRASE"] = unlocked
            works = await here.json()

    assert [(status, reply["error"]["code"]) for status, reply, _ in locked] == [(500, "passphrase-needed")] * 2
    assert works[0] == 200


@pytest.mark.requirement("E74")
@pytest.mark.parametrize("new", [PROFILE, "test:other"])
async def test_after_a_sign_out_and_a_sign_in_as_another_user_only_the_new_accounts_token_is_sent(account, new):
    async with provider(*[answered(WHOLE)] * 4) as acme, signed_in(account, acme) as (here, _):
        first = account.vault.read(PROFILE).access.reveal()
        answers = [await here.json()]
        async with changed(here):
            account.vault.delete(PROFILE)
        answers.append(await here.json())
        async with changed(here):
            account.clock.advance(5)
            account.sign_in(new, ttl_s=3600)
            account.index.update(new, lambda profile: replace(profile, api_base=acme.base))
        second = account.vault.read(new).access.reveal()
        answers += [await here.json(), await here.json()]

    assert [status for status, _, _ in answers] == [200] * 4
    assert first != second
    # Signed out, a provider on this machine is asked without a credential.
    sent = [f"Bearer {first}", None, f"Bearer {second}", f"Bearer {second}"]
    assert [request.header("authorization") for request in acme.requests] == sent


@pytest.mark.requirement("E142")
async def test_a_new_sign_in_is_used_by_the_next_request(account):
    refused = answered(error("invalid token"), status=401)
    async with provider(refused, refused, answered(WHOLE)) as acme, signed_in(account, acme) as (here, _):
        first, resting = await here.json(), await here.json()
        async with changed(here):
            account.clock.advance(5)
            account.sign_in(ttl_s=3600)
            account.index.update(PROFILE, lambda profile: replace(profile, api_base=acme.base))
        after = await here.json()

    assert (first[0], resting[0]) == (403, 403)
    assert "was not asked again" in resting[1]["error"]["message"]
    assert (after[0], after[1]) == (200, WHOLE)


CHANGES = {
    "key": {"apiKey": "sk-right-1234567890"},
    "headers": {"headers": {"X-Group-Id": "7"}},
    "api": {"authHeader": True, "api": "anthropic-messages"},
}


@pytest.mark.requirement("E142")
@pytest.mark.parametrize("change", CHANGES)
async def test_a_changed_config_is_used_by_the_next_request(paths, wall, change):
    block = {"apiKey": "sk-wrong-1234567890"}
    path = MESSAGES if change == "api" else CHAT
    async with provider(answered(error("invalid api key"), status=401), answered(WHOLE)) as acme:
        block |= {"baseUrl": acme.base, "api": "anthropic-messages" if change == "api" else "openai-completions"}
        configure(paths, {"acme": block})
        async with gateway(paths, clock=wall) as here:
            refused, resting = await here.json(path), await here.json(path)
            async with changed(here):
                configure(paths, {"acme": {**block, **CHANGES[change]}})
            after = await here.json(path)

    assert (refused[0], resting[0], after[0], after[1]) == (403, 403, 200, WHOLE)
    assert len(acme.requests) == 2


@pytest.mark.requirement("E142")
async def test_a_changed_address_is_used_by_the_next_request_and_one_that_changes_back_still_waits(paths, wall):
    used_up = answered(error(USED_UP), status=429)
    async with provider(used_up) as acme, provider(answered(OTHER)) as elsewhere:
        configure(paths, {"acme": acme.base})
        async with gateway(paths, clock=wall) as here:
            first = await here.json()
            async with changed(here):
                configure(paths, {"acme": elsewhere.base})
            there = await here.json()
            async with changed(here):
                configure(paths, {"acme": {"baseUrl": acme.base}})
            back = await here.json()

    assert (first[0], there[0], there[1], back[0]) == (429, 200, OTHER, 429)
    assert len(acme.requests) == 1


def two_models(base, **more):
    return {"acme": {"baseUrl": base, "apiKey": "sk-1234567890", "models": [{"id": "one"}, {"id": "two"}], **more}}


NO_ACCESS = {"message": "Project `proj_1` does not have access to model `one`", "code": "model_not_found"}
OF_ONE_MODEL = {
    "model_not_found": answered({"error": {"type": "invalid_request_error", **NO_ACCESS}}, status=403),
    "no-words": answered(error("no"), status=403),
    "page": answered(b"<html>Forbidden</html>", status=403, content_type="text/html"),
    "region-of-a-model": answered(error("The model one is not available in your region"), status=403),
}
OF_THE_ACCOUNT = {
    "suspended": answered(error("Your account has been suspended"), status=403),
    "key": answered(error("Your API key has been disabled"), status=403),
    "billing": answered(error("Please add a payment method to your billing account"), status=403),
    "country": answered(error("Country, region, or territory not supported"), status=403),
    "organization": answered(error("This organization has been disabled.", code="organization_restricted"), status=403),
}


@pytest.mark.requirement("E143")
@pytest.mark.parametrize("answer", OF_ONE_MODEL)
async def test_a_403_about_a_model_leaves_the_other_models_of_its_key_alone(paths, wall, answer):
    async with provider(OF_ONE_MODEL[answer], answered(WHOLE)) as acme:
        configure(paths, two_models(acme.base), primary="acme/one")
        async with gateway(paths, clock=wall) as here:
            refused = await here.json(body={"model": "acme/one", "messages": []})
            other = await here.json(body={"model": "acme/two", "messages": []})
            resting = await here.json(body={"model": "acme/one", "messages": []})

    code = "model_not_found" if answer == "model_not_found" else "model-refused"
    assert (refused[0], refused[1]["error"]["code"]) == (403, code)
    assert (other[0], other[1]) == (200, WHOLE)
    assert (resting[0], resting[1]["error"]["code"], len(acme.requests)) == (403, code, 2)
    for words in ("key", "region:", "Sign in", "other region"):
        assert words not in refused[1]["error"]["message"].replace("not available in your region", "")


@pytest.mark.requirement("E143")
@pytest.mark.parametrize("answer", OF_THE_ACCOUNT)
async def test_a_403_about_the_account_counts_for_all_of_its_models(paths, wall, answer):
    async with provider(OF_THE_ACCOUNT[answer], answered(WHOLE)) as acme:
        configure(paths, two_models(acme.base), primary="acme/one")
        async with gateway(paths, clock=wall) as here:
            refused = await here.json(body={"model": "acme/one", "messages": []})
            other = await here.json(body={"model": "acme/two", "messages": []})

    assert (refused[0] in {402, 403}, other[0], len(acme.requests)) == (True, refused[0], 1)
    assert ("Check config models" in refused[1]["error"]["message"]) == (answer == "key")


@pytest.mark.requirement("E143")
@pytest.mark.parametrize(("name", "speaks_of_it"), [("minimax", True), ("acme", False)])
async def test_the_other_region_is_mentioned_only_where_the_provider_has_regions(paths, name, speaks_of_it):
    async with provider(answered(error("invalid api key (2049)"), status=401)) as acme:
        configure(paths, {name: {"baseUrl": acme.base, "apiKey": "sk-1234567890"}})
        async with gateway(paths) as here:
            _, reply, _ = await here.json()
    assert ("other region" in reply["error"]["message"]) == speaks_of_it
    assert f"Check config models.providers.{name}.apiKey" in reply["error"]["message"]


SHAPES = [
    (MESSAGES, "anthropic-messages", "rate_limit_error"),
    (CHAT, "openai-completions", "rate_limit_error"),
    (RESPONSES, "openai-responses", "usage_limit_reached"),
]


@pytest.mark.requirement("E144")
@pytest.mark.parametrize("status", [429, 200])
@pytest.mark.parametrize(("path", "api", "kind"), SHAPES)
async def test_a_used_up_plan_is_the_same_429_at_every_request_and_is_not_worth_a_retry(paths, wall, path, api, kind, status):
    body = error(USED_UP) if status == 429 else {"base_resp": {"status_code": 2056, "status_msg": USED_UP}}
    async with provider(answered(body, status=status)) as acme:
        block = {"baseUrl": acme.base, "api": api, "apiKey": "k", "models": [{"id": "model"}]}
        configure(paths, {"minimax": block})
        async with gateway(paths, clock=wall) as here:
            got = []
            for _ in range(3):
                got.append(await here.json(path))
                wall.advance(60)

    assert len(acme.requests) == 1
    for number, (found, reply, headers) in enumerate(got):
        kept = "x" if status == 429 and path != RESPONSES else kind
        assert (found, reply["error"]["type"], reply["error"]["code"]) == (429, kept, "plan-used-up")
        assert reply.get("type") == ("error" if path == MESSAGES else None)
        assert headers["x-should-retry"] == "false"
        assert int(headers["Retry-After"]) == THREE_HOURS_S - 60 * number
        assert headers["retry-after-ms"] == "1", "opencode sleeps for as long as this says"
        assert reply["error"].get("resets_at") == (RESETS_AT_S if path == RESPONSES else None)


WAITS = {
    "rate-limit": (answered(error("slow down"), "Retry-After: 7", status=429), 429, 7),
    "in-ms": (answered(error("slow down"), "retry-after-ms: 2500", status=429), 429, 3),
    "without-a-time": (answered(error("slow down"), status=429), 429, 15),
    "in-words": (answered(error("Rate limit reached. Please try again in 1m12.5s."), status=429), 429, 73),
    "openai-codex": (answered(error("limit", resets_in_seconds=40), status=429), 429, 40),
    "no-credit": (answered(error("Your credit balance is too low"), status=402), 402, None),
    "no-plan": (answered({"base_resp": {"status_code": 2062, "status_msg": "no active token plan subscription"}}), 403, None),
    "key": (answered(error("invalid api key"), status=401), 403, None),
}


MS = {"in-ms": "2500", "in-words": "1"}


@pytest.mark.requirement("E144")
@pytest.mark.parametrize("name", WAITS)
async def test_each_reason_keeps_its_status_and_a_short_wait_is_worth_a_retry(paths, wall, name):
    answer, status, seconds = WAITS[name]
    async with provider(answer) as acme:
        configure(paths, {"minimax": {"baseUrl": acme.base, "apiKey": "k", "models": [{"id": "model"}]}})
        async with gateway(paths, clock=wall) as here:
            got = [await here.json() for _ in range(2)]

    assert len(acme.requests) == 1
    for found, _, headers in got:
        assert found == status
        assert headers.get("Retry-After") == (None if seconds is None else str(seconds))
        assert headers.get("retry-after-ms") == MS.get(name, None if seconds is None else str(seconds * 1000))
        assert headers.get("x-should-retry") == ("false" if (seconds or 0) > 60 else None)


# MiniMax's numbers come with HTTP 200 and with HTTP 500; each reason has one status all the same.
NUMBERED = {1002: 429, 1004: 403, 1008: 402, 1027: 400, 2013: 400, 2049: 403, 2056: 429, 2061: 403, 2062: 403}


@pytest.mark.requirement("E144")
@pytest.mark.parametrize("status", [200, 500])
@pytest.mark.parametrize("number", NUMBERED)
async def test_the_reason_is_the_status_also_where_the_providers_own_says_success_or_failure(paths, wall, number, status):
    body = {"base_resp": {"status_code": number, "status_msg": "no"}}
    async with provider(answered(body, status=status)) as acme:
        configure(paths, {"minimax": {"baseUrl": acme.base, "apiKey": "k", "models": [{"id": "model"}]}})
        async with gateway(paths, clock=wall) as here:
            got = [await here.json() for _ in range(2)]
    assert [found for found, *_ in got] == [NUMBERED[number]] * 2


@pytest.mark.requirement("E144")
@pytest.mark.parametrize("status", [600, 999])
async def test_a_status_that_http_does_not_have_is_a_bad_gateway(paths, status):
    async with provider(answered(error(), status=status)) as acme:
        configure(paths, {"acme": acme.base})
        async with gateway(paths) as here:
            assert (await here.json())[0] == 502


@pytest.mark.requirement("E144")
async def test_a_bill_that_comes_as_429_is_not_worth_a_retry(paths):
    unpaid = error("You exceeded your current quota, please check your plan and billing details.", code="insufficient_quota")
    async with provider(answered(unpaid, status=429)) as acme:
        configure(paths, {"acme": acme.base})
        async with gateway(paths) as here:
            got = [await here.json() for _ in range(2)]
    assert [(status, reply["error"]["code"], headers["x-should-retry"]) for status, reply, headers in got] == [
        (429, "insufficient_quota", "false")
    ] * 2


@pytest.mark.requirement("E144")
async def test_of_several_accounts_the_one_that_is_back_first_says_when(account):
    slow = answered(error("slow down"), "Retry-After: 9", status=429)
    async with (
        provider(answered(error(USED_UP), status=429), slow) as acme,
        signed_in(account, acme, ids=(PROFILE, "test:work")) as (here, _),
    ):
        got = [await here.json() for _ in range(2)]

    for status, reply, headers in got:
        assert (status, reply["error"]["code"], headers["Retry-After"]) == (429, "rate-limited", "9")
        assert "x-should-retry" not in headers
        assert "usage limit exceeded" in reply["error"]["message"]


@pytest.mark.requirement("E144")
async def test_a_fallback_that_is_back_sooner_shortens_the_wait_of_a_used_up_plan(paths, wall):
    slow = answered(error("slow down"), "Retry-After: 9", status=429)
    async with provider(answered(error(USED_UP), status=429)) as acme, provider(slow) as backup:
        configure(paths, {"acme": acme.base, "backup": backup.base}, fallbacks=["backup/model"])
        async with gateway(paths, clock=wall) as here:
            got = [await here.json() for _ in range(2)]

    for status, reply, headers in got:
        assert (status, reply["error"]["code"], headers["Retry-After"]) == (429, "rate-limited", "9")
        assert reply["error"]["message"].startswith("The rate limit of acme is reached (none of 2 candidates answered: ")
        assert "x-should-retry" not in headers


SIGNATURE = answered(error("messages.1.content.0: Invalid `signature` in `thinking` block", code="bad"), status=400)


@pytest.mark.requirement("E145")
@pytest.mark.parametrize(
    ("first", "status", "code"),
    [
        (answered(error("slow down"), "Retry-After: 9", status=429), 429, "rate-limited"),
        (answered(error("Overloaded"), status=529), 529, "provider-failed"),
        (answered(error("pay first"), status=402), 402, "billing"),
    ],
)
async def test_a_fallback_that_rejects_the_request_does_not_hide_why_the_first_failed(paths, first, status, code):
    async with provider(first) as acme, provider(SIGNATURE) as backup:
        configure(paths, {"acme": acme.base, "backup": backup.base}, fallbacks=["backup/model"])
        async with gateway(paths) as here:
            got = [await here.json() for _ in range(2)]

    for found, reply, headers in got:
        assert (found, reply["error"]["code"]) == (status, code)
        assert "Invalid `signature`" in reply["error"]["message"], "it is still mentioned"
        assert "backup/model; key; invalid-request 400" in headers["x-portico-attempts"]


@pytest.mark.requirement("E145")
async def test_after_a_fallback_that_rejects_the_request_the_next_one_is_asked(paths):
    async with (
        provider(answered(error(), status=529)) as acme,
        provider(SIGNATURE) as backup,
        provider(answered(OTHER)) as third,
    ):
        blocks = {"acme": acme.base, "backup": backup.base, "third": third.base}
        configure(paths, blocks, fallbacks=["backup/model", "third/model"])
        async with gateway(paths) as here:
            status, reply, _ = await here.json()
    assert (status, reply) == (200, OTHER)


@pytest.mark.requirement("E145")
async def test_where_the_default_cannot_be_called_the_next_fallback_is_asked_too_and_the_error_says_so(paths):
    rejects = answered(error("Invalid signature in thinking block"), status=400)
    async with provider(rejects) as first, provider(rejects, answered(OTHER)) as second:
        configure(
            paths, {"one": first.base, "two": second.base}, primary="minimax/MiniMax-M3", fallbacks=["one/model", "two/model"]
        )
        async with gateway(paths) as here:
            status, reply, _ = await here.json()
            answer = await here.json()

    assert (status, reply["error"]["code"]) == (400, "provider-refused")
    assert "instead of minimax/MiniMax-M3, which cannot be called" in reply["error"]["message"]
    assert (answer[0], answer[1]) == (200, OTHER)


@pytest.mark.requirement("E145")
async def test_another_key_of_the_same_model_that_rejects_the_request_is_the_answer(account):
    slow = answered(error("slow down"), status=429)
    async with (
        provider(slow, SIGNATURE) as acme,
        provider(answered(OTHER)) as backup,
        signed_in(account, acme, ids=(PROFILE, "test:work"), fallback=backup) as (here, _),
    ):
        status, reply, _ = await here.json()
    assert (status, backup.requests) == (400, [])
    assert "Invalid `signature`" in reply["error"]["message"]


@pytest.mark.requirement("E145")
async def test_of_two_that_fail_the_first_ones_status_is_told(paths):
    async with provider(answered(error(), status=529)) as acme, provider(answered(error(USED_UP), status=429)) as backup:
        configure(paths, {"acme": acme.base, "backup": backup.base}, fallbacks=["backup/model"])
        async with gateway(paths) as here:
            got = [await here.json() for _ in range(3)]
    assert [status for status, _, _ in got] == [529] * 3


NAMES = {"sonnet": "acme/model", "claude-*": "acme/model", "b": "second/model"}
ALIASES = {"acme/model": {"alias": "mine"}, "backup/model": {}, "second/model": {"alias": "two"}}


@pytest.mark.requirement("E146")
@pytest.mark.parametrize("name", [None, "acme/model", "mine", "sonnet", "claude-opus-4-6"])
async def test_fallbacks_answer_for_the_default_model_however_it_is_named(paths, name):
    status, model = await asked_by(paths, name)
    assert (status, model) == (200, "backup/model")


@pytest.mark.requirement("E146")
@pytest.mark.parametrize("name", ["second/model", "two", "b"])
async def test_a_model_that_was_named_is_never_replaced(paths, name):
    status, model = await asked_by(paths, name)
    assert (status, model) == (529, None)


async def asked_by(paths, name):
    """The status, and the model that answers, where `acme` (the default) and `second` are overloaded and `backup` answers."""
    overloaded = answered(error(), status=529)
    async with provider(overloaded) as acme, provider(overloaded) as second, provider(answered(OTHER)) as backup:
        blocks = {"acme": acme.base, "second": second.base, "backup": backup.base}
        configure(paths, blocks, fallbacks=["backup/model"], names=NAMES)
        with_aliases(paths)
        async with gateway(paths) as here:
            body = {"messages": []} if name is None else {"model": name, "messages": []}
            status, _, headers = await here.json(body=body)
    return status, headers.get("x-portico-model")


def with_aliases(paths):
    config = json.loads(paths.config.read_text(encoding="utf-8"))
    config["agents"]["defaults"]["models"] = ALIASES
    paths.config.write_text(json.dumps(config), encoding="utf-8")
