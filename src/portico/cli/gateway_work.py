"""What the gateway does: every sign-in kept fresh, and models for whoever shows a key."""

from __future__ import annotations

import gc
import importlib
import logging
import pkgutil
import re
import sys
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from portico import version
from portico.auth.background import BackgroundRefresh
from portico.auth.broker import TokenBroker
from portico.errors import ConfigError, PorticoError
from portico.gateway.router import signature
from portico.secret import Secret
from portico.store.encrypted_file import TEXT_ENV, PassphraseSource
from portico.store.keyring import imported
from portico.util.files import read_start, shared_folder_warning
from portico.util.threads import off_loop

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from portico.cli.runtime import Runtime
    from portico.gateway.server import Inside
    from portico.interfaces.authorization import TokenDialect
    from portico.interfaces.basics import Clock
    from portico.store.token_store import TokenStore

_LONGEST_LINE = 64 * 1024
_LOOK_EVERY_S = 1.0
_SAME_LOOKS = 3
_VERSION = re.compile(r'^__version__ = "([^"\n]+)"$', re.MULTILINE)
# All that a request, a refresh, or a change of the config, the sign-ins or the keys runs through.
_PACKAGES = ("auth", "config", "gateway", "interfaces", "models", "net", "oauth", "plugins", "services", "store", "usage", "util")
# What a store of credentials imports when it is opened, as far as this system has it; what prints the first line; and what a
# plugin imports that is switched on later.
_LATER = (
    "cryptography.hazmat.backends.openssl.backend",
    "cryptography.hazmat.primitives.ciphers.aead",
    "cryptography.hazmat.primitives.kdf.scrypt",
    "jeepney.bus_messages",
    "jeepney.io.blocking",
    "keyring.backend",
    "portico.cli.wrapping",
    "portico.plugin_api",
    "secretstorage.util",
)
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
    from portico.gateway.router import open_front
    from portico.gateway.server import Inside

    installed = InstalledVersion(rt.clock)
    await off_loop(import_all)
    store = unattended_store(rt, passphrase)
    async with refreshing(rt, store) as broker, open_front(rt, broker, started_at) as front:
        yield Inside(lambda: refresh_for_good(rt, store, broker), front, installed.changed)


def import_all() -> None:
    """Import what a gateway may need later, so that an upgrade under it never mixes two versions. Blocking.

    Only what another system needs may be missing. A plugin that is switched on later brings its own code.
    """
    packages = [importlib.import_module(f"portico.{name}") for name in _PACKAGES]
    modules = [each.name for package in packages for each in pkgutil.iter_modules(package.__path__, f"{package.__name__}.")]
    for name in (*modules, *_LATER):
        with suppress(ImportError):
            imported(name)
    gc.collect()
    gc.freeze()  # what was imported stays: no collection need look at it again


class InstalledVersion:
    """The version of Portico that is installed, which another one may be before this process has ended.

    The file that has it is asked for its time at each look, and read when that is another.
    """

    def __init__(self, clock: Clock, file: Path = Path(version.__file__), running: str = version.__version__) -> None:
        self._clock = clock
        self._file = file
        self._running = running
        self._version: str | None = running
        self._seen = signature([file])

    async def changed(self) -> str:
        """Return a sentence about both once it is another, and has been for a few looks: package managers write file by file."""
        looks: list[str | None] = []
        while True:
            await self._clock.sleep(_LOOK_EVERY_S)
            looks = [*looks, await off_loop(self.look)][-_SAME_LOOKS:]
            version = looks[0]
            if version not in {None, self._running} and looks == [version] * _SAME_LOOKS:
                return f"Portico {version} is installed, and this process runs {self._running}"

    def look(self) -> str | None:
        """The version now; None where that cannot be told, as while it is being installed. Blocking."""
        seen = signature([self._file])
        if seen != self._seen:
            self._seen = seen
            try:
                found = _VERSION.search(read_start(self._file, _LONGEST_LINE).decode(errors="replace"))
            except OSError:
                found = None
            self._version = found[1] if found is not None else None
        return self._version


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
