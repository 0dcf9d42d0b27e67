"""The guide for authors of plugins: its package is made of its blocks, and signs in to the server that it names."""

from __future__ import annotations

import asyncio
import json
import shlex
import sys

import pytest

from portico.testing.authorization_server import AuthorizationServer, serve
from tests.e2e.documents.blocks_of_documents import blocks
from tests.source_tree import ROOT

GUIDE = ROOT / "docs" / "how-to" / "write-a-plugin.md"
# A browser that follows where it is sent.
BROWSER = (
    f"{shlex.quote(sys.executable)} -c {shlex.quote('import sys, urllib.request as u; u.urlopen(sys.argv[1], timeout=20)')} %s"
)


@pytest.fixture
def package(paths):
    """The guide's package beside the configuration, which is the guide's as well but for the server's port."""
    manifest, config = (next(each.body for each in blocks(GUIDE) if each.language == language) for language in ("json", "json5"))
    module = next(each.body for each in blocks(GUIDE) if each.language == "python")
    folder = paths.config.parent / "acme_auth"
    folder.mkdir(parents=True)
    (folder / "__init__.py").touch()
    (folder / "portico.plugin.json").write_text(manifest, encoding="utf-8")
    (folder / "plugin.py").write_text(module, encoding="utf-8")
    paths.config.write_text(config, encoding="utf-8")
    return folder


async def test_the_guides_plugin_signs_in_and_its_token_is_refreshed_and_revoked(package, paths, portico_run, secret_service):
    server = AuthorizationServer(access_ttl_s=1.0)
    server.authorize.auto_approve = True
    async with serve(server) as issuer:
        paths.config.write_text(paths.config.read_text().replace("http://127.0.0.1:18999", issuer), encoding="utf-8")

        async def portico(*words):
            return await asyncio.to_thread(portico_run, *words, env={"BROWSER": BROWSER, "DISPLAY": ":0"})

        signed_in = await portico("onboard", "--auth-choice", "acme", "--non-interactive", "--no-background", "--timeout", "30")
        assert signed_in.returncode == 0, signed_in.stderr
        assert "Signs in at 127.0.0.1." in signed_in.stderr
        listed = json.loads((await portico("auth", "list", "--json")).stdout)["profiles"]
        assert [(each["id"], each["provider"]) for each in listed] == [("acme:default", "acme")]
        assert (await portico("models", "list", "--plain")).stdout == "acme/rocket-1\n"

        first = (await portico("auth", "token", "acme:default")).stdout
        await asyncio.sleep(1)  # a token's life
        second = (await portico("auth", "token", "acme:default")).stdout
        assert (len(first.split()), len(second.split()), first != second) == (1, 1, True)
        assert (await portico("auth", "logout", "--yes")).returncode == 0
        assert secret_service.items() == []
    assert (await portico("plugins", "doctor")).returncode == 0
