"""What the gateway does besides answering: every sign-in kept fresh."""

from __future__ import annotations

import logging
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from portico.auth.background import BackgroundRefresh
from portico.auth.broker import TokenBroker
from portico.errors import ConfigError, PorticoError
from portico.secret import Secret
from portico.store.off_loop import off_loop
from portico.store.passphrase import TEXT_ENV, PassphraseSource
from portico.store.vault import Vault

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from portico.cli.runtime import Runtime
    from portico.contracts import TokenDialect

_LONGEST_LINE = 64 * 1024
_MAY_HAVE_CHANGED = frozenset({"unknown-dialect", "plugin-disabled"})
_log = logging.getLogger(__name__)


async def keep_fresh(rt: Runtime, passphrase: Secret | None) -> None:
    """Refresh every profile when it is due, until cancelled. `passphrase` opens the sealed file store."""
    async with refreshing(rt, passphrase) as broker:
        await BackgroundRefresh(broker, rt.index, rt.clock).run()


@asynccontextmanager
async def refreshing(rt: Runtime, passphrase: Secret | None) -> AsyncIterator[TokenBroker]:
    """A broker that needs nobody to be asked, after looking for what killed processes have left."""
    given = rt.env if passphrase is None else {TEXT_ENV: passphrase.reveal()}
    vault = Vault(rt.paths, rt.index, passphrase=PassphraseSource(given), env=rt.env)
    async with rt.http() as http:
        try:
            await off_loop(vault.sweep)
        except PorticoError as error:
            _log.warning("leftovers of earlier runs could not be looked for: %s", error)
        yield TokenBroker(
            vault=vault,
            index=rt.index,
            dialects=lambda name: find_dialect(rt, name),
            http=http,
            clock=rt.clock,
            paths=rt.paths,
        )


def find_dialect(rt: Runtime, name: str) -> TokenDialect:
    """The token dialect of this name, from a plugin that may have been added or switched on since this process began.

    Raises:
        ConfigError: as `PluginHost.dialect` has it.
    """
    try:
        return rt.plugins.dialect(name)
    except ConfigError as error:
        if error.id not in _MAY_HAVE_CHANGED:
            raise
        rt.reload_config()
        return rt.plugins.dialect(name)


def passphrase_from_stdin() -> Secret:
    """The first line of standard input."""
    return Secret(sys.stdin.buffer.readline(_LONGEST_LINE).decode().rstrip("\r\n"))
