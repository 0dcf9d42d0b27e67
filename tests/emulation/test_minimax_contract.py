"""The emulated models refuse what MiniMax's documents and users show the real ones to refuse."""

from __future__ import annotations

import pytest

from minimax_portal_auth.emulator import MinimaxEmulator
from portico.plugin_api import EmulatorOptions

pytestmark = pytest.mark.requirement("E168")

ANTHROPIC, CHAT = "/anthropic/v1/messages", "/v1/chat/completions"
ADAPTIVE, DISABLED = {"thinking": {"type": "adaptive"}}, {"thinking": {"type": "disabled"}}
BUDGET = {"thinking": {"type": "enabled", "budget_tokens": 1024}}


@pytest.fixture
async def ask(aiohttp_client):
    """Ask a model of the Global region; the status, and the body."""
    app = MinimaxEmulator().app(EmulatorOptions(knobs={"api-key": "sk-cp-contract"}))
    client = await aiohttp_client(app)

    async def asked(path, model, **more):
        body = {"model": model, "max_tokens": 4096, "messages": [{"role": "user", "content": "hi"}], **more}
        headers = {"Host": "api.minimax.io", "Authorization": "Bearer sk-cp-contract"}
        async with client.post(path, json=body, headers=headers) as response:
            return response.status, await response.json()

    return asked


@pytest.mark.parametrize(
    ("path", "model", "form"),
    [
        (ANTHROPIC, "MiniMax-M3", ADAPTIVE),
        (ANTHROPIC, "MiniMax-M3", DISABLED),
        (ANTHROPIC, "MiniMax-M3", {}),
        (CHAT, "MiniMax-M3", ADAPTIVE),
        (ANTHROPIC, "MiniMax-M3.1-Flash", {**ADAPTIVE, "output_config": {"effort": "xhigh"}}),
        (ANTHROPIC, "MiniMax-M3.1-Flash", DISABLED),  # 200, and it thinks all the same (dev.to/aihubmix, October 2026)
        (CHAT, "MiniMax-M3.1-Flash", {**ADAPTIVE, "reasoning_effort": "low"}),
        (ANTHROPIC, "MiniMax-M2.1", BUDGET),
    ],
)
async def test_the_documented_forms_are_answered(ask, path, model, form):
    assert (await ask(path, model, **form))[0] == 200


@pytest.mark.parametrize(
    ("path", "model", "form", "says"),
    [
        (CHAT, "MiniMax-M3.1-Flash", DISABLED, "requires adaptive thinking"),
        (ANTHROPIC, "MiniMax-M3", BUDGET, "thinking.type"),
        (ANTHROPIC, "MiniMax-M3.1-Flash", BUDGET, "thinking.type"),
        (CHAT, "MiniMax-M3", {"reasoning_effort": "low"}, "reasoning_effort"),
        (ANTHROPIC, "MiniMax-M3.1-Flash", {**ADAPTIVE, "output_config": {"effort": "huge"}}, "effort"),
        (ANTHROPIC, "MiniMax-M2.1", {"thinking": {"type": "much"}}, "thinking.type"),
    ],
)
async def test_a_form_that_the_family_does_not_take_is_a_400_with_2013(ask, path, model, form, says):
    status, body = await ask(path, model, **form)

    assert (status, body["type"], body["error"]["type"]) == (400, "error", "invalid_request_error")
    assert says in body["error"]["message"]
    assert body["error"]["message"].endswith("(2013)")
    assert body["request_id"]
    assert body["error"].get("http_code") == ("400" if path == CHAT else None)
