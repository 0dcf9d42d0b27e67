"""Fixtures for the tests of plugins. To use them, add this line to the `conftest.py` in the root of the tests:

    pytest_plugins = ["portico.testing.pytest_plugin"]

Without this line, pytest loads no part of Portico.

| fixture | value | |---|---| | `portico_paths` | `Paths` in `tmp_path`, with an environment of its own: HOME, XDG folders, any
gateway port, no proxies | | `portico_clock` | a `FakeClock` | | `portico_secret_service` | a real Secret Service, unlocked and
empty; skips where none can run | | `portico_run` | `run(*args, env=, input=, timeout=)`: `python -m portico` in a process of
its own |
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from portico.paths import Paths
    from portico.testing.clock import FakeClock
    from portico.testing.process import PorticoRunner
    from portico.testing.secret_service import SecretService

_FOLDERS = {
    "HOME": "home",
    "USERPROFILE": "home",
    "XDG_CONFIG_HOME": "home/.config",
    "XDG_STATE_HOME": "home/.local/state",
    "XDG_DATA_HOME": "home/.local/share",
    "XDG_CACHE_HOME": "home/.cache",
}
_CLEARED = (
    *("http_proxy", "https_proxy", "all_proxy", "no_proxy", "ssl_cert_file", "ssl_cert_dir", "browser"),
    *("minimax_region", "minimax_api_key", "minimax_code_plan_key", "minimax_oauth_token"),
)


@pytest.fixture
def portico_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Paths:
    """Config and state in `tmp_path`, and an environment that names no other place."""
    from portico.gateway.port import PORT_ENV
    from portico.paths import CONFIG_ENV, STATE_ENV, resolve_paths

    for name in list(os.environ):
        if name.upper().startswith("PORTICO_") or name.lower() in _CLEARED:
            monkeypatch.delenv(name)
    for name, folder in _FOLDERS.items():
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        monkeypatch.setenv(name, str(tmp_path / folder))
    monkeypatch.setenv(CONFIG_ENV, str(tmp_path / "portico.json5"))
    monkeypatch.setenv(STATE_ENV, str(tmp_path / "state"))
    monkeypatch.setenv(PORT_ENV, "0")  # the user's own gateway may use the usual port
    return resolve_paths()


@pytest.fixture
def portico_clock() -> FakeClock:
    """A clock that advances itself when a task sleeps."""
    from portico.testing.clock import FakeClock

    return FakeClock()


class _SharedSecretService:
    """One Secret Service for all tests of a session, emptied between tests. It is replaced if it is locked or ended."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._service: SecretService | None = None

    def empty(self) -> SecretService:
        from portico.testing.secret_service import secret_service

        if self._service is None or not self._service.clear():
            self._stack.close()
            self._service = self._stack.enter_context(secret_service())
        return self._service


@pytest.fixture(scope="session")
def _portico_shared_secret_service() -> Iterator[_SharedSecretService]:
    from portico.testing.secret_service import missing_part

    reason = missing_part()
    if reason is not None:
        pytest.skip(reason)
    with ExitStack() as stack:
        yield _SharedSecretService(stack)


@pytest.fixture
def portico_secret_service(
    _portico_shared_secret_service: _SharedSecretService, monkeypatch: pytest.MonkeyPatch
) -> SecretService:
    """A real Secret Service, unlocked and empty. Only the environment of this test names it."""
    service = _portico_shared_secret_service.empty()
    for name, value in service.env.items():
        monkeypatch.setenv(name, value)
    return service


@pytest.fixture
def portico_run(portico_paths: Paths, tmp_path: Path) -> PorticoRunner:
    """Runs `python -m portico` with this test's paths. The canary scan reads its output in `tmp_path/outputs`."""
    from portico.testing.process import PorticoRunner

    return PorticoRunner(portico_paths, tmp_path / "outputs")
