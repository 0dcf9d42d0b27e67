"""What every test of this repository stands on, the host's and the plugins': fixtures, session rules, the final canary scan."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

import pytest

from tests.source_tree import PLUGINS

# Before the imports that need it, since pytest's own `pythonpath` takes no pattern.
# ruff: noqa: E402
sys.path[:0] = map(str, PLUGINS)

from portico.store import encrypted_file
from portico.testing import pytest_plugin
from tests import minimax_session, session_rules
from tests.approving_browser import approving_browser
from tests.commands import HereRunner
from tests.isolation import Isolation
from tests.second_user import second_user

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from portico.paths import Paths
    from portico.testing.clock import FakeClock
    from portico.testing.process import PorticoRunner
    from portico.testing.secret_service import SecretService
    from tests.minimax_session import MinimaxSession
    from tests.second_user import SecondUser

# What Portico, and Python on its way to Portico, imports by name: each would be found in the current folder first.
_PLANTED: Final = (
    "portico.py",
    "json.py",
    "aiohttp.py",
    "argparse.py",
    "sitecustomize.py",
    "usercustomize.py",
    "minimax_portal_auth.py",
)


def pytest_configure(config: pytest.Config) -> None:
    """Leave what is the user's alone, then bring in the fixtures for plugin authors and the rules of this repository."""
    isolation = Isolation()
    isolation.begin()
    config.add_cleanup(isolation.end)
    # Portico 0.4 and before had an entry point for it, which an environment keeps until Portico is installed there anew.
    if not config.pluginmanager.is_registered(pytest_plugin):
        config.pluginmanager.register(pytest_plugin, "portico")
    config.pluginmanager.register(session_rules.SessionRules(config, isolation), "portico-session-rules")
    session_rules.set_property_test_size()
    session_rules.lead_children_to_the_checkout()


@pytest.fixture
def paths(portico_paths: Paths) -> Paths:
    """Config and state in `tmp_path`; HOME, XDG and PORTICO variables point there, and no proxy is set."""
    return portico_paths


@pytest.fixture(scope="session")
def another_user() -> Iterator[SecondUser]:
    """A second user of this machine, for tests that are marked `root`."""
    with second_user() as user:
        yield user


@pytest.fixture
def hostile_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current folder, full of modules that make a note when they are run; the notes must stay empty."""
    folder = tmp_path / "cloned-project"
    folder.mkdir()
    for name in _PLANTED:
        (folder / name).write_text("open(__file__ + '.ran', 'w').close()\nraise ImportError('planted')\n", encoding="utf-8")
    monkeypatch.chdir(folder)
    yield folder
    ran = [path.name for path in folder.glob("*.ran")]
    if ran:
        pytest.fail(f"the current folder's modules were run: {ran}", pytrace=False)


@pytest.fixture
def fake_clock(portico_clock: FakeClock) -> FakeClock:
    """A clock that moves as soon as somebody waits for it."""
    return portico_clock


@pytest.fixture
def secret_service(portico_secret_service: SecretService) -> SecretService:
    """The session's real Secret Service, reachable through the environment."""
    return portico_secret_service


@pytest.fixture
def run_portico(portico_run: PorticoRunner) -> PorticoRunner:
    """A command in this process, its output kept for the canary scan; `portico_run` is for tests of the process itself."""
    return HereRunner(portico_run.paths, portico_run.outputs)


@pytest.fixture
def minimax(
    run_portico: PorticoRunner, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[Callable[..., MinimaxSession]]:
    """Starts MiniMax's emulator, `minimax(access_ttl_s=5)` say, and gives a session whose real commands meet it."""
    yield from minimax_session.sessions(run_portico, tmp_path, request)


@pytest.fixture(scope="session")
def browser_that_approves(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], dict[str, str]]]:
    """Gives the variable BROWSER of a session that meets the emulator; that of `emulator env` where there are no FIFOs."""
    if sys.platform == "win32":
        yield dict
        return
    with approving_browser(tmp_path_factory.mktemp("browser")) as browser:
        yield lambda: {"BROWSER": browser.value()}


@pytest.fixture(scope="session", autouse=True)
def _debug_log(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with session_rules.debug_log(tmp_path_factory.getbasetemp()):
        yield


@pytest.fixture(scope="session", autouse=True)
def _quick_scrypt() -> Iterator[None]:
    """A key of a sealed file costs a quarter of a second on purpose; what the tests of this run seal says another cost."""
    with session_rules.quick_scrypt():
        yield


@pytest.fixture
def real_scrypt(monkeypatch: pytest.MonkeyPatch) -> None:
    """The cost that Portico asks for."""
    monkeypatch.setattr(encrypted_file, "_COST", session_rules.REAL_SCRYPT)


@pytest.fixture(autouse=True)
def _no_blocking_calls(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail an async test in which Portico's own code blocks the event loop."""
    with session_rules.no_blocking_calls(request.node):
        yield
