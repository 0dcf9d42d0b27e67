from __future__ import annotations

import asyncio
import os
import shlex
import subprocess
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest
from aiohttp import web

from portico.emulation import approver
from tests.segments import cut_server, response

if TYPE_CHECKING:
    from portico.emulation.run import EmulationInfo


async def run_browser(info: EmulationInfo, url: str, *more: str) -> subprocess.CompletedProcess[str]:
    """Start `$BROWSER` the way the standard library's `webbrowser` does."""
    words = [word.replace("%s", url) for word in shlex.split(info.env["BROWSER"])] + list(more)
    return await asyncio.to_thread(
        subprocess.run, words, env={**os.environ, **info.env}, capture_output=True, text=True, timeout=20, check=False
    )


async def test_the_browser_variable_approves_what_its_page_asks(emulation, small) -> None:
    result = await run_browser(emulation, "https://login.example/approve?code=AB%26CD")
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert small.decisions == [("AB&CD", "approve")]


async def test_a_page_that_asks_again_has_not_taken_the_decision(emulation, small) -> None:
    small.then = "/approve?code=ABCD"
    result = await run_browser(emulation, small.approval_url("ABCD"))
    assert result.returncode == approver.NOT_ACCEPTED
    assert "asks again" in result.stderr


async def test_it_runs_whatever_folder_and_python_path_it_is_started_with(emulation, small, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    assert (await run_browser(emulation, small.approval_url("ABCD"))).returncode == 0


async def test_it_can_refuse(emulation, small) -> None:
    await run_browser(emulation, small.approval_url("ABCD"), "--deny")
    assert small.decisions == [("ABCD", "deny")]


async def test_it_follows_to_the_commands_own_loopback_address_past_the_proxy(emulation, small, aiohttp_server) -> None:
    seen: list[str] = []

    async def callback(request: web.Request) -> web.Response:
        seen.append(request.path_qs)
        if request.query:
            raise web.HTTPSeeOther("/done")
        return web.Response(text="<p>You can close this page.</p>", content_type="text/html")

    app = web.Application()
    app.router.add_get("/callback", callback)
    app.router.add_get("/done", callback)
    server = await aiohttp_server(app)
    small.then = str(server.make_url("/callback?code=x"))
    assert (await run_browser(emulation, small.approval_url("ABCD"))).returncode == 0
    assert seen == ["/callback?code=x", "/done"]


@pytest.fixture
async def local(small, aiohttp_server) -> LocalService:
    """A service on this machine that takes forms, and whose page `/form` leads to it as a page with `form_post` would."""
    service = LocalService()
    server = await aiohttp_server(service.app)
    service.address = str(server.make_url("/callback"))
    small.then = str(server.make_url("/form"))
    return service


class LocalService:
    def __init__(self) -> None:
        self.seen: list[dict[str, str]] = []
        self.address = ""
        self.button = ""
        self.app = web.Application()
        self.app.router.add_post("/callback", self._callback)
        self.app.router.add_get("/form", self._form)

    async def _callback(self, request: web.Request) -> web.Response:
        self.seen.append({name: str(value) for name, value in (await request.post()).items()})
        return web.Response(text="ok")

    async def _form(self, _request: web.Request) -> web.Response:
        form = f'<form method="post" action="{self.address}"><input name="code" value="x">{self.button}</form>'
        return web.Response(text=form, content_type="text/html")


async def test_it_hands_a_form_over_to_the_redirect_as_a_page_with_form_post_would(emulation, small, local) -> None:
    url = f"{small.approval_url('ABCD')}&redirect_uri={quote(local.address, safe='')}"
    assert (await run_browser(emulation, url)).returncode == 0
    assert local.seen == [{"code": "x"}]


@pytest.mark.requirement("E118")
async def test_a_commands_start_address_leads_it_to_the_page_whose_redirect_gets_the_form(
    emulation, small, local, aiohttp_server
) -> None:
    url = f"{small.approval_url('ABCD')}&redirect_uri={quote(local.address, safe='')}"

    async def start(_request: web.Request) -> web.Response:
        raise web.HTTPSeeOther(url)

    app = web.Application()
    app.router.add_get("/start/x", start)
    server = await aiohttp_server(app)
    assert (await run_browser(emulation, str(server.make_url("/start/x")))).returncode == 0
    assert (small.decisions, local.seen) == ([("ABCD", "approve")], [{"code": "x"}])


async def test_a_page_elsewhere_does_not_choose_the_address_that_gets_the_form(emulation, small, local) -> None:
    small.moved = f"/approve?code=ABCD&redirect_uri={quote(local.address, safe='')}"
    assert (await run_browser(emulation, "https://login.example/moved")).returncode == 0
    assert (small.decisions, local.seen) == ([("ABCD", "approve")], [])


@pytest.mark.requirement("E118")
async def test_it_reads_the_address_from_standard_input_where_none_is_to_be_seen(emulation, small) -> None:
    words = [*shlex.split(emulation.env["BROWSER"])[:-1], "-"]
    result = await asyncio.to_thread(
        subprocess.run,
        words,
        env={**os.environ, **emulation.env},
        input=f"{small.approval_url('ABCD')}\n",
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert small.decisions == [("ABCD", "approve")]


@pytest.mark.parametrize("redirect", ["", "&redirect_uri=http%3A%2F%2F127.0.0.1%3A1%2Fcallback", "&redirect_uri=file%3A%2F%2F"])
async def test_it_hands_no_form_to_another_service_of_this_machine(emulation, small, local, redirect: str) -> None:
    assert (await run_browser(emulation, small.approval_url("ABCD") + redirect)).returncode == 0
    assert small.decisions == [("ABCD", "approve")]
    assert local.seen == []


async def test_it_decides_nothing_on_a_page_of_another_service_of_this_machine(emulation, local) -> None:
    local.button = '<button name="decision" value="approve">Yes</button>'
    result = await run_browser(emulation, local.address.replace("/callback", "/form"))
    assert result.returncode == 1
    assert local.seen == []


@pytest.mark.parametrize("url", ["file:///etc/hostname", "https://login.example/hello", "https://elsewhere.example/"])
async def test_it_says_why_it_could_not_approve(emulation, url: str) -> None:
    result = await run_browser(emulation, url)
    assert result.returncode == 1
    assert result.stderr.startswith("approver: ")


@pytest.mark.requirement("E85")
async def test_a_page_is_read_whole_wherever_its_response_is_cut_and_a_broken_one_is_refused(monkeypatch) -> None:
    page = b"<form action='/go'><button name='decision' value='approve'>\xe2\x82\xac</button></form><p>end</p>"
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    async with cut_server(pause_s=0.001) as server:

        async def opened() -> tuple[set[str], str]:
            seen = await asyncio.to_thread(approver._open, approver._request(f"{server.origin}/page"), 5.0)
            return seen.decisions, seen.text

        for status in (200, 404):
            server.data = response(page, status=status, content_type="text/html")
            for at in range(1, len(server.data), 3):
                server.at = (at,)
                assert await opened() == ({"approve"}, "€ end")
            server.data = response(page, status=status, content_type="text/html", missing=1)
            with pytest.raises(approver.ApprovalFailed, match="the page broke off"):
                await opened()
            chunked = b"HTTP/1.1 %d X\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n40\r\n<p>" % status
            server.data, server.at = chunked, ()
            with pytest.raises(approver.ApprovalFailed):
                await opened()
