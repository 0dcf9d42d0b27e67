"""What the gateway does: every sign-in kept fresh, and models for whoever shows a key."""

from __future__ import annotations

import logging
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from portico.auth.background import BackgroundRefresh
from portico.auth.broker import TokenBroker
from portico.errors import ConfigError, PorticoError, internal_error
from portico.gateway.reloading import RETRY_S, Signature, signature
from portico.installation import Installation
from portico.plugins.code import code_files, which_code
from portico.secret import Secret
from portico.store.network_folder import shared_folder_warning
from portico.store.off_loop import off_loop
from portico.store.passphrase import TEXT_ENV, PassphraseSource

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from portico.cli.runtime import Runtime
    from portico.gateway.server import Inside
    from portico.interfaces.authorization import TokenDialect
    from portico.store.token_store import TokenStore

Code = tuple[tuple[str, int, int], ...]
_LONGEST_LINE = 64 * 1024
_LOOK_EVERY_S = 1.0
WHOLE_EVERY_S = 10.0
_MAY_HAVE_CHANGED = frozenset({"unknown-dialect", "plugin-disabled"})
_log = logging.getLogger(__name__)


async def keep_fresh(rt: Runtime, passphrase: Secret | None) -> None:
    """Refresh every profile when it is due, until cancelled. `passphrase` opens the sealed file store."""
    store = unattended_store(rt, passphrase)
    async with refreshing(rt, store) as broker:
        await refresh_for_good(rt, store, broker)


async def refresh_for_good(rt: Runtime, store: TokenStore, broker: TokenBroker) -> None:
    """Look for what killed processes have left, then refresh what is due, until cancelled."""
    await tidy_up(rt, store)
    await BackgroundRefresh(broker, store, rt.clock).run()


async def tidy_up(rt: Runtime, store: TokenStore) -> None:
    """Delete what killed processes have left, and warn of a state folder that several machines share."""
    warning = await off_loop(lambda: shared_folder_warning(rt.paths.state))
    if warning is not None:
        _log.warning("%s", warning)
    try:
        await off_loop(store.sweep)
    except PorticoError as error:
        _log.warning("leftovers of earlier runs could not be looked for: %s", error)


@asynccontextmanager
async def serving(rt: Runtime, passphrase: Secret | None, started_at: int) -> AsyncIterator[Inside]:
    """The inside of a gateway process that started at `started_at` (wall ms)."""
    from portico.gateway.opening import open_front
    from portico.gateway.server import Inside

    code = await off_loop(lambda: InstalledCode(rt))
    store = unattended_store(rt, passphrase)
    async with refreshing(rt, store) as broker, open_front(rt, broker, started_at) as front:
        yield Inside(lambda: refresh_for_good(rt, store, broker), front, code.changed)


class InstalledCode:
    """The plugins that are on, and their files, as this process found them when it began, `first`.

    Each look asks for the times of the config's files, the manifests and the folders, in which a package manager and most editors
    leave a new time. A module that is written to where it stands changes only its own time: all files are asked every
    `WHOLE_EVERY_S` seconds, and at each look while the code is another.
    """

    def __init__(self, rt: Runtime) -> None:
        self._rt = rt
        self._few: tuple[Path, ...] = ()
        self._files: tuple[Path, ...] = ()
        self._seen: tuple[Signature, Signature] = ((), ())
        self._whole_at, self._again_at = rt.clock.monotonic() + WHOLE_EVERY_S, 0.0
        self._said = ""
        self.first = self._read()
        self._code: Code | None = self.first

    async def changed(self) -> None:
        """Return when they are others, and have been so for a moment."""
        before: Code | None = self.first
        while True:
            await self._rt.clock.sleep(_LOOK_EVERY_S)
            now = await off_loop(self.look)
            if now is not None and now == before != self.first:
                return
            before = now

    def look(self) -> Code | None:
        """The plugins and their files now; None where that cannot be told. Blocking."""
        now = self._rt.clock.monotonic()
        whole = now >= self._whole_at or self._code != self.first
        if whole:
            self._whole_at = now + WHOLE_EVERY_S
        few_changed = signature(self._few) != self._seen[0]
        if few_changed or (whole and signature(self._files) != self._seen[1]) or (self._code is None and now >= self._again_at):
            self._code, self._again_at = self._read_or_say(), now + RETRY_S
        return self._code

    def _read_or_say(self) -> Code | None:
        try:
            code = self._read()
        except Exception as error:  # noqa: BLE001 - whatever it is, the process goes on with the code that it has
            fault = str(error if isinstance(error, PorticoError) else internal_error(error))
            if fault != self._said:
                self._said = fault
                _log.warning("%s", fault)
            self._seen = signature(self._few), signature(self._files)
            return None
        self._said = ""
        return code

    def _read(self) -> Code:
        here = Installation(self._rt.config_file, self._rt.env, self._rt.clock)
        records = here.plugins.records()
        files = code_files(records)
        # Taken before the code is read: what changes in between is seen by the next look.
        self._few = (*here.settings.sources, *(path for path in files if path.suffix != ".py"))
        self._files, self._seen = files, (signature(self._few), signature(files))
        return which_code(records)


@asynccontextmanager
async def refreshing(rt: Runtime, store: TokenStore) -> AsyncIterator[TokenBroker]:
    """A broker that needs nobody to be asked."""
    async with rt.http() as http:
        yield TokenBroker(
            store=store,
            dialects=lambda name: find_dialect(rt, name),
            http=http,
            clock=rt.clock,
            paths=rt.paths,
        )


def unattended_store(rt: Runtime, passphrase: Secret | None) -> TokenStore:
    """The token store, opened by `passphrase` or by what the environment has, and by nobody who would have to be asked."""
    given = rt.env if passphrase is None else {TEXT_ENV: passphrase.reveal()}
    return rt.local_store(passphrase=PassphraseSource(given), on_wait=lambda text: _log.warning("%s", text))


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
        rt.reload_config(look_for_plugins=True)
        return rt.plugins.dialect(name)


def passphrase_from_stdin() -> Secret:
    """The first line of standard input."""
    return Secret(sys.stdin.buffer.readline(_LONGEST_LINE).decode().rstrip("\r\n"))
