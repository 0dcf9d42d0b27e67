"""A browser on another machine: its address is pasted at the prompt."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from portico.testing.canary import in_text
from tests.e2e.terminal import ENTER
from tests.minimax_session import GLOBAL

# What the user's own browser would do, short of reaching 127.0.0.1: approve, and read the address it was sent to.
_ELSEWHERE = """
import asyncio, re, sys, aiohttp, ssl, html
async def main(url):
    async with aiohttp.ClientSession(trust_env=True) as http:
        page = await (await http.get(url)).text()
        fields = {n: html.unescape(v) for n, v in re.findall(r'<input[^>]*name="([^"]+)"[^>]*value="([^"]*)"', page)}
        action = html.unescape(re.search(r'<form[^>]*action="([^"]*)"', page)[1])
        from urllib.parse import urljoin
        reply = await http.post(urljoin(url, action), data={**fields, "decision": "approve"}, allow_redirects=False)
        print(reply.headers["Location"])
asyncio.run(main(sys.argv[1]))
"""


@pytest.mark.requirement("E23")
def test_over_ssh_the_tunnel_line_is_shown_and_a_pasted_redirect_finishes_the_sign_in(machine):
    ssh = {"SSH_CONNECTION": "10.0.0.1 50000 10.0.0.2 22", "SSH_TTY": "/dev/pts/0", "USER": "ada"}
    with machine.emulator("--redirect"):
        environment = {name: value for name, value in machine.env.items() if name not in {"BROWSER", "DISPLAY"}}
        machine.env, before = environment, machine.env
        terminal = machine.sit_down("onboard", "--auth-choice", "minimax-portal", "--region", "global", "--no-background", **ssh)
        machine.env = before
        terminal.expect(r"ssh -N -L \d+:127\.0\.0\.1:\d+ ada@10\.0\.0\.2")
        shown = terminal.expect(r"https://account\.minimax\.io/oauth2/authorize\S+(\n\S+)*")
        url = re.sub(r"\s", "", shown)

        result = subprocess.run(
            [sys.executable, "-c", _ELSEWHERE, url], env={**os.environ, **machine.env}, capture_output=True, text=True, check=True
        )
        terminal.press("http://127.0.0.1:1/nonsense" + ENTER)
        terminal.press(result.stdout.strip() + ENTER)
        terminal.expect(f"Signed in: {GLOBAL}")

        assert terminal.end() == 0
        assert machine.records()
        # The terminal shows what its user pastes; nothing but that echo may hold the code.
        terminal.raw = terminal.raw.replace(result.stdout.strip(), "")
        assert in_text(terminal.raw) == []
