"""The rules of a whole test run: time limits, no silent skips where skips are forbidden, tests of other systems, the canary scan."""

from __future__ import annotations

import gc
import logging
import os
import sys
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Final

import pytest

from portico.store import encrypted_file
from portico.testing import canary
from tests.databases import Databases
from tests.leftover_processes import leftover_processes
from tests.source_tree import HOST, PLUGINS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from blockbuster import BlockBuster

    from tests.isolation import Isolation

NO_SKIP_ENV: Final = "PORTICO_NO_SKIP"
TIMEOUT_ENV: Final = "PORTICO_TEST_TIMEOUT_S"
TEST_TIMEOUT_S: Final = 60
PROFILE_ENV: Final = "HYPOTHESIS_PROFILE"
PROPERTY_CASES: Final = {"test": 25, "chaos": 1_000, "soak": 100_000}
REAL_SCRYPT: Final = encrypted_file._COST
_QUICK_SCRYPT: Final = {"n": 16, "r": 1, "p": 1}
ELSEWHERE: Final = frozenset({"slow", "interop"})
"""The marks of tests that a run leaves out unless `-m` selects; other targets of the Makefile run them."""
LEFT_OUT: Final = pytest.StashKey[frozenset[pytest.Item]]()
"""The tests that this run leaves out for such a mark."""
PLATFORMS: Final = {"linux": "linux", "macos": "darwin", "windows": "win32"}
_SCANNED: Final = ("portico", "minimax_portal_auth")
_LOG: Final = "portico-debug.log"
_WORKER_KEY: Final = "portico-session-rules"


class SessionRules:
    """A pytest plugin with the rules of this repository."""

    def __init__(self, config: pytest.Config, isolation: Isolation) -> None:
        self._isolation = isolation
        self._databases = Databases()
        self.skipped: list[str] = []
        self.shown: list[str] = []
        self.leaks: list[str] = []
        for name, system in PLATFORMS.items():
            config.addinivalue_line("markers", f"{name}: needs {system}; deselected, and listed, anywhere else")
        config.addinivalue_line("markers", "root: needs root on Linux; deselected, and listed, anywhere else")
        if not config.pluginmanager.has_plugin("timeout"):
            config.addinivalue_line("markers", "timeout(seconds): the limit of this test where pytest-timeout is installed")

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        marks = {item: {mark.name for mark in item.iter_markers()} for item in items}
        foreign = [item for item in items if _is_foreign(marks[item])]
        self.shown.extend(f"deselected: {item.nodeid}" for item in foreign)
        elsewhere = {item for item in items if marks[item] & ELSEWHERE and not config.option.markexpr} - {*foreign}
        config.stash[LEFT_OUT] = frozenset(elsewhere)
        left_out = {*foreign, *elsewhere}
        if left_out:
            items[:] = [item for item in items if item not in left_out]
            config.hook.pytest_deselected(items=[*left_out])
        if elsewhere:
            self.shown.append(f"deselected: {len(elsewhere)} tests of `make chaos`, `make soak` and `make interop`")
        if config.pluginmanager.has_plugin("timeout"):
            limit = float(os.environ.get(TIMEOUT_ENV, TEST_TIMEOUT_S))
            for item in items:
                if "timeout" not in marks[item]:
                    item.add_marker(pytest.mark.timeout(limit))

    @pytest.hookimpl(trylast=True)
    def pytest_collection_finish(self) -> None:
        """Leave what was collected, a million objects, out of each later run of the garbage collector."""
        gc.collect()
        gc.freeze()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.skipped and not hasattr(report, "wasxfail"):
            reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
            self.skipped.append(f"{report.nodeid}: {reason}")
        if report.passed:
            leaked = canary.in_text("\n".join(text for _, text in report.sections))
            self.leaks.extend(f"{report.nodeid}: captured output: {leaks}" for leaks in leaked)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.skipped:
            reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
            self.skipped.append(f"{report.nodeid}: {reason}")

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_teardown(self) -> Iterator[None]:
        """Fail a test that has used what is the user's, or has left a database open; its fixtures have ended by now."""
        yield
        leaks = [f"no test may use {line}" for line in self._isolation.refused()] + self._databases.unclosed_databases()
        if leaks:
            pytest.fail("\n".join(leaks), pytrace=False)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: object) -> None:
        """Take over what a worker of pytest-xdist has found: each scans its own files, since it knows which are exempt."""
        leaks = getattr(node, "workeroutput", {}).get(_WORKER_KEY, {"leaks": [], "shown": []})
        self.leaks.extend(leaks["leaks"])
        self.shown.extend(line for line in leaks["shown"] if line not in self.shown)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        base = session.config._tmp_path_factory._basetemp  # asking through the API would make the folder
        has_workers = bool(getattr(session.config.option, "numprocesses", None))
        # Of a process that outlived its test, or that did not say whose it was.
        self.leaks.extend(f"no test may use {line}" for line in self._isolation.refused())
        self.leaks.extend(leaks_of_the_run(None if has_workers else base))
        if hasattr(session.config, "workeroutput"):
            session.config.workeroutput[_WORKER_KEY] = {"leaks": self.leaks, "shown": self.shown}
            return
        self.leaks.extend(self._isolation.left_at_home())
        forbidden = bool(os.environ.get(NO_SKIP_ENV)) and bool(self.skipped)
        if exitstatus == pytest.ExitCode.OK and (self.leaks or forbidden):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        for line in self.shown:
            terminalreporter.write_line(line)
        for leak in self.leaks:
            terminalreporter.write_line(f"LEAKED: {leak}", red=True)
        if os.environ.get(NO_SKIP_ENV):
            for skip in self.skipped:
                terminalreporter.write_line(f"SKIPPED, and skips are forbidden here: {skip}", red=True)


@contextmanager
def debug_log(base: Path) -> Iterator[None]:
    """Every log record of the run, at DEBUG where a test asks for that, in a file that the canary scan reads."""
    handler = logging.FileHandler(base / _LOG, encoding="utf-8")
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)
        handler.close()


@contextmanager
def quick_scrypt() -> Iterator[None]:
    """Seal files of this process with keys that cost nothing to derive. A file says its own cost, so other processes follow."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encrypted_file, "_COST", _QUICK_SCRYPT)
        yield


def is_long_run() -> bool:
    """Whether this is a run of `make chaos` or `make soak`, which try every case of what others sample."""
    return os.environ.get(PROFILE_ENV, "test") != "test"


def set_property_test_size() -> None:
    """25 cases, the same ones each time; 10^3 random ones in `make chaos`, and 10^5 in `make soak`."""
    try:
        from hypothesis import HealthCheck, settings
    except ImportError:
        return
    for name, cases in PROPERTY_CASES.items():
        slow = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
        settings.register_profile(
            name, max_examples=cases, deadline=None, derandomize=name == "test", database=None, suppress_health_check=slow
        )
    settings.load_profile(os.environ.get(PROFILE_ENV, "test"))


def lead_children_to_the_checkout() -> None:
    """Let every Python that a test starts import this checkout, as pytest's own `pythonpath` lets the tests."""
    inherited = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([*map(str, (HOST, *PLUGINS)), *([inherited] if inherited else [])])


def leaks_of_the_run(base: Path | None) -> list[str]:
    """What a run may not leave: canaries in its files and in the environment of the process, and processes of its own."""
    in_environment = [f"environment: {name}" for name in canary.in_mapping(os.environ)]
    return in_environment + (canary.find_canaries(base) + leftover_processes(base) if base is not None else [])


def no_blocking_calls(item: pytest.Item) -> AbstractContextManager[object]:
    """Forbid calls that block the event loop, made from Portico's own code, while an async test runs."""
    if item.get_closest_marker("asyncio") is None:
        return nullcontext()
    try:
        from blockbuster import blockbuster_ctx
    except ImportError:
        return nullcontext()
    return _forbidding(blockbuster_ctx(list(_SCANNED), excluded_modules=["portico.testing"]))


@contextmanager
def _forbidding(rules: AbstractContextManager[BlockBuster]) -> Iterator[None]:
    with rules as leaks:
        # A few microseconds for each request, on purpose: a key that was revoked is refused by the next one.
        leaks.functions["os.stat"].can_block_in("portico/gateway/router.py", "signature")
        yield


def _is_foreign(marks: set[str]) -> bool:
    wanted = {system for name, system in PLATFORMS.items() if name in marks}
    if "root" in marks and (sys.platform != "linux" or os.geteuid() != 0):
        return True
    return bool(wanted) and sys.platform not in wanted
