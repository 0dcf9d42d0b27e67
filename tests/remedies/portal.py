"""An authorization server of the user's own in the place of MiniMax's portal: every reply of it may be made to go wrong."""

from __future__ import annotations

import asyncio
import json
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from portico.emulation import approver
from portico.store import encrypted_file
from portico.testing.authorization_server import CLIENT_ID, AuthorizationServer, Fault, serve
from portico.util.children import script_command
from tests.commands import Commands
from tests.minimax_session import SIGN_IN, sealed_store
from tests.person import sit_down
from tests.remedies.scenario import command_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.remedies.scenario import Desk

CONFIG = "plugins.entries.minimax-portal-auth.config"
_START_S = 10.0


@dataclass
class Portal:
    """The server, with the commands that meet it: the region `global` is signed in to here."""

    desk: Desk
    server: AuthorizationServer
    base: str
    browser: str
    sign_in: tuple[str, ...] = (*SIGN_IN, "--region", "global", "--store", "file")

    def configure(self, **changed: Any) -> None:
        """Write the config."""
        self.desk.commands.paths.config.parent.mkdir(parents=True, exist_ok=True)
        self.desk.commands.paths.config.write_text(self._config(**changed), encoding="utf-8")

    def edit(self, hint: str, **changed: Any) -> None:
        """Type the hint's first command, `config edit`, and change the config there into one that is right."""
        edited(self.desk, hint, self._config(**changed))

    def _config(self, **changed: Any) -> str:
        """This server's metadata finds its endpoints. `changed` replaces settings, and None removes one."""
        settings = {
            "issuer": self.base,
            "clientId": CLIENT_ID,
            "scope": "profile",
            "dialect": "standard",
            "apiBase": f"{self.base}/anthropic",
            "redirect": True,
            "flow": "browser",
        } | changed
        portal = {name: value for name, value in settings.items() if value is not None}
        entry = {"enabled": True, "config": {"portals": {"global": portal}}}
        return json.dumps({"plugins": {"entries": {"minimax-portal-auth": entry}}})

    def named_endpoints(self) -> dict[str, str]:
        """The settings of a config that does not leave them to the metadata."""
        places = {"authorization": "authorize", "token": "token", "revocation": "revoke"}
        return {f"{name}Endpoint": f"{self.base}/{path}" for name, path in places.items()}

    @contextmanager
    def sends_back(self, **changed: str | None) -> Iterator[None]:
        """Until the block ends, the browser comes back with `changed` parameters; None leaves one out."""
        endpoint = self.server.authorize
        true = endpoint._redirect_back

        def back(request: Any, asked: Any, answer: Any) -> Any:
            fields = {name: value for name, value in {**answer, **changed}.items() if value is not None}
            return true(request, asked, fields)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(endpoint, "_redirect_back", back)
            yield

    def refused(self, *options: str, **more: Any) -> dict[str, Any]:
        """The error that the sign-in ends with; its hint counts as printed."""
        return self.desk.refused(*self.sign_in, *options, **more)

    def works(self, *options: str, **more: Any) -> str:
        """The sign-in ends well."""
        return self.desk.ok(*self.sign_in, *options, **more)

    def answers(self, path: str, *replies: dict[str, Any] | str, status: int = 200, **headers: str) -> None:
        """The next requests for `path` get these, objects as JSON, in place of the true answers."""
        kinds = {True: "application/json", False: "text/html"}
        for reply in replies:
            is_json = isinstance(reply, dict)
            sent = {"Content-Type": kinds[is_json], **{name.replace("_", "-"): value for name, value in headers.items()}}
            self.server.faults.add(path, Fault(status=status, body=json.dumps(reply) if is_json else reply, headers=sent))


def edited(desk: Desk, hint: str, text: str) -> None:
    """Type the hint's first command, `config edit`, at a terminal whose editor makes `text` of the config."""
    assert command_of(hint) == ["config", "edit"]
    right = desk.commands.paths.config.with_name("right.json")
    right.write_text(text, encoding="utf-8")
    done, _ = sit_down(desk.commands, "config", "edit", answers=[], env={"EDITOR": f"cp {right}", "VISUAL": None})
    assert done.returncode == 0, done.stderr
    assert desk.commands.paths.config.read_text(encoding="utf-8") == text


@contextmanager
def own_portal(desk: Desk, **settings: Any) -> Iterator[Portal]:
    """A portal until the block ends; from here on, commands meet it, and keep their tokens in a sealed file that opens quickly.

    Its browser goes wherever it is led, and agrees to everything.
    """
    started, ended = threading.Event(), asyncio.Event()
    server, found = AuthorizationServer(), []
    server.authorize.auto_approve = True

    async def run() -> None:
        async with serve(server) as base:
            found.extend((base, asyncio.get_running_loop()))
            started.set()
            await ended.wait()

    thread = threading.Thread(target=lambda: asyncio.run(run()), name="portal", daemon=True)
    thread.start()
    assert started.wait(_START_S)
    base, loop = found
    browser = " ".join((*script_command(approver.__file__), "%s"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encrypted_file, "_COST", {"n": 16, "r": 1, "p": 1})
        desk.commands = Commands(desk.commands.run_portico, {**sealed_store(), "BROWSER": browser})
        portal = Portal(desk, server, base, browser)
        portal.configure(**settings)
        try:
            yield portal
        finally:
            loop.call_soon_threadsafe(ended.set)
            thread.join(_START_S)
