"""The demo's acts: the page's three commands, a token that ends and is replaced, a question, and the way out."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from portico.errors import ExitCode, PorticoError, StoreError

if TYPE_CHECKING:
    from portico.cli.demo_stage import Stage

_PROFILE = {"global": "minimax-portal:default", "cn": "minimax-portal:cn"}
_QUESTION = "Say hello in one sentence."
_LOOK_EVERY_S = 0.1


@dataclass(frozen=True, slots=True)
class Play:
    """What is played."""

    flow: Literal["browser", "device"]
    region: Literal["global", "cn"]
    keep: bool

    async def run(self, stage: Stage) -> int:
        """Play it; the exit code."""
        stage.tell(f"An emulator answers for {', '.join(stage.hosts[:4])} and {len(stage.hosts) - 4} more, on this machine only.")
        if self.flow == "browser":
            stage.more("Its redirect is Portico's extension: MiniMax itself offers third parties only the device code.")
        store = _store(stage)
        await self._sign_in(stage, store)
        await self._show_place(stage)
        await self._wait_for_refresh(stage)
        await self._ask(stage)
        if not self.keep:
            await self._sign_out(stage)
        return ExitCode.OK

    async def _sign_in(self, stage: Stage, store: list[str]) -> None:
        await stage.command("plugins", "enable", "minimax-portal-auth")
        said = await stage.command("gateway", "restart")
        stage.more(_first_line(said.out + said.err))
        options = ["--region", self.region, "--flow", self.flow, "--background", *store]
        words = ("onboard", "--auth-choice", "minimax-portal", *options, "--non-interactive", "--json")
        await stage.command(*words, on_line=lambda line: self._tell_event(stage, json.loads(line)))

    def _tell_event(self, stage: Stage, event: dict[str, Any]) -> None:
        match event.get("event"):
            case "authorize-url":
                stage.more(f"the browser was sent to {event['url'].partition('?')[0]}")
                stage.more(f"the redirect was awaited at {event['redirectUri']}")
            case "device-code":
                stage.more(f"code {event['userCode']} at {event['verificationUri'].partition('?')[0]}")
            case "redirect-caught":
                stage.tell("Redirect caught; state, issuer and PKCE hold; the code is exchanged.")
            case "signed-in":
                stage.tell(f"Signed in as {event['profile']} ({event['region']}): default model {event['defaultModel']}")
                stage.more(f"API base {event['apiBase']}; {event['background']}")

    async def _show_place(self, stage: Stage) -> None:
        said = await stage.command("auth", "list", "--verbose", "--json")
        profile = json.loads(said.out)["profiles"][0]
        where = profile["backend"] or "a file sealed with a throwaway passphrase"
        stage.more(f"tokens kept in {where}: service {profile['service']}, user {profile['user']}")

    async def _wait_for_refresh(self, stage: Stage) -> None:
        from portico.cli.demo_stage import ACCESS_TTL_S
        from portico.store.token_store import local_token_store

        store = local_token_store(stage.paths, env=stage.env)
        first = store.get(_PROFILE[self.region])
        if first is None or first.expires_at is None:
            raise PorticoError("demo-failed", "The sign-in is not in the profile index.")
        stage.tell(f"The first access token lives {ACCESS_TTL_S:g} s; no command is run while it is replaced.")
        try:
            async with asyncio.timeout(ACCESS_TTL_S * 3):
                while True:
                    now = store.get(first.id)
                    if now is not None and now.generation > first.generation and stage.rt.clock.wall_ms() > first.expires_at:
                        break
                    await asyncio.sleep(_LOOK_EVERY_S)
        except TimeoutError:
            raise PorticoError("demo-failed", "The background process did not refresh the token.") from None
        stage.tell(f"Refreshed in the background: generation {first.generation} -> {now.generation}; the first token has ended.")

    async def _ask(self, stage: Stage) -> None:
        said = await stage.command("models", "list", "--plain")
        stage.more(f"models that the sign-in brought: {', '.join(said.out.split())}")
        said = await stage.command("ask", _QUESTION)
        stage.more(said.out.strip())

    async def _sign_out(self, stage: Stage) -> None:
        await stage.command("auth", "logout", _PROFILE[self.region], "--yes")
        stage.more("revoked at the provider, deleted here")
        said = await stage.command("gateway", "stop")
        stage.more(_first_line(said.out + said.err))
        stage.tell("Done. Nothing is left behind: no process, no record, no file.")


def _store(stage: Stage) -> list[str]:
    """The options that choose the store: none where the keyring works, else a sealed file with a throwaway passphrase."""
    from portico.store.encrypted_file import FILE_ENV, PassphraseSource
    from portico.store.token_store import local_token_store

    try:
        place = local_token_store(stage.paths, passphrase=lambda: PassphraseSource({}), env=stage.env).probe()
    except StoreError as error:
        import secrets

        from portico.util.files import write_private

        stage.tell("No keyring can be used here; a sealed file with a throwaway passphrase takes its place.")
        stage.more(f"why: {(error.why or error.message).partition(';')[0]}")
        passphrase = stage.folder / "passphrase"
        write_private(passphrase, secrets.token_urlsafe(24).encode())
        stage.env[FILE_ENV] = str(passphrase)
        return ["--store", "file"]
    stage.tell(f"The keyring works: {place.backend}.")
    return []


def _first_line(text: str) -> str:
    return next((line.strip() for line in text.splitlines() if line.strip()), "")
