"""Every module can be imported first and alone, with every warning an error, and without starting anything heavy by surprise."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys

import pytest

from tests.source_tree import HOST, PLUGINS, ROOT, modules

MODULES = [module.name for source in (HOST, *PLUGINS) for module in modules(source) if not module.name.endswith("__main__")]
# One interpreter imports module after module, each with a fresh `sys.modules`, since a process for each would take minutes.
_PROBE = """
import sys, importlib, traceback
failed = 0
for name in sys.argv[2:]:
    for other in [each for each in sys.modules if each.split(".")[0] in ("portico", "minimax_portal_auth")]:
        del sys.modules[other]
    try:
        importlib.import_module(name)
    except Exception as failure:
        if isinstance(failure, ModuleNotFoundError) and failure.name in sys.argv[1].split(","):
            continue
        failed += 1
        print(name, traceback.format_exc())
sys.exit(bool(failed))
"""
# What `portico.integrations` is for: a person who has no such SDK has no use for its module either.
_SDKS = ("anthropic", "openai", "httpx", "httpx2")
_HEAVY = ("aiohttp", "keyring", "authlib", "asyncio", "cryptography", "questionary", "rich", "segno", "importlib.metadata", "ssl")


def _python(*args: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join(map(str, (HOST, *PLUGINS)))
    env = {**os.environ, "PYTHONPATH": path, "PYTHONWARNDEFAULTENCODING": "0"}
    return subprocess.run(
        [sys.executable, *args], env=env, cwd=ROOT, capture_output=True, encoding="utf-8", timeout=60, check=False
    )


def test_every_module_imports_alone_with_warnings_as_errors() -> None:
    absent = [sdk for sdk in _SDKS if importlib.util.find_spec(sdk) is None]
    result = _python("-W", "error", "-c", _PROBE, ",".join(absent), *MODULES)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.requirement("S4")
@pytest.mark.parametrize("module", ["portico.cli.main", "portico.store.profiles", "portico.auth.freshness", "portico.errors"])
def test_the_fast_path_imports_nothing_heavy(module: str) -> None:
    result = _python("-c", f"import sys, {module}; print(*[name for name in {_HEAVY!r} if name in sys.modules])")
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == []


@pytest.mark.requirement("S4")
@pytest.mark.parametrize("argument", ["--version", "--help"])
def test_version_and_help_import_nothing_heavy(argument: str) -> None:
    code = f"""
import sys
from portico.cli.main import main
sys.argv = ["portico", {argument!r}]
try:
    code = main()
except SystemExit as exit:
    code = exit.code
print(*[name for name in {_HEAVY!r} if name in sys.modules], file=sys.stderr)
sys.exit(code)
"""
    result = _python("-c", code)
    assert result.returncode == 0, result.stderr
    assert result.stderr.split() == []


def test_a_command_loads_no_module_of_the_commands_beside_it() -> None:
    code = "import sys; from portico.cli.main import main; main(['auth', 'token', '--help'], 'portico'); print(*sys.modules)"
    loaded = _python("-c", code).stdout.split()
    assert "portico.cli.auth" in loaded
    assert not {"portico.cli.auth_import", "portico.cli.keep_fresh"} & set(loaded)


@pytest.mark.parametrize(
    ("command", "needless"),
    [
        ("auth token", {"portico.accounts", "portico.models", "portico.config", "hashlib"}),
        ("config get", {"portico.config.check", "portico.config.schema", "portico.store", "portico.accounts", "json", "hashlib"}),
        ("models list", {"portico.cli.auth", "portico.accounts.sign_in", "portico.usage", "asyncio", "hashlib"}),
        ("plugins list", {"portico.accounts", "authlib", "asyncio", "hashlib"}),
    ],
)
def test_a_short_command_is_found_without_what_its_neighbours_need(command: str, needless: set[str]) -> None:
    words = [*command.split(), "--help"]
    code = f"import sys; from portico.cli.main import main; main({words!r}, 'portico'); print(*sys.modules)"
    assert needless & set(_python("-c", code).stdout.split()) == set()
