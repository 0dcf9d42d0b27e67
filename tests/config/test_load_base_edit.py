"""Edits of the OpenClaw file on request: its comments stay, and its strict schema accepts the result."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from portico.errors import ConfigError

SRC = Path(__file__).parents[2] / "src"
TEXT = """{
  // mine
  "agents": { "defaults": { "model": { "primary": "a/b" } } }, // the one
  "models": { "providers": { "p": { "baseUrl": "https://p.example", "models": [{ "id": "m", "name": "M" }] } } },
}
"""


@pytest.fixture
def below(files):
    files.write_base(TEXT)
    files.write_own("{ base: '../openclaw/openclaw.json' }")
    return files


def setting(path, value):
    return lambda document: document.set(path, value)


@pytest.mark.requirement("S6")
def test_one_value_changes_and_no_other_byte_of_it_and_nothing_of_the_own_file(below):
    own = below.own.read_bytes()
    assert below.load().edit_base(setting(("agents", "defaults", "model", "primary"), "c/d"))
    assert below.base.read_text(encoding="utf-8") == TEXT.replace("a/b", "c/d")
    assert below.own.read_bytes() == own
    assert below.base.with_name("openclaw.json.bak").read_text(encoding="utf-8") == TEXT
    assert not below.load().edit_base(setting(("agents", "defaults", "model", "primary"), "c/d"))


@pytest.mark.skipif(os.name != "posix", reason="POSIX modes and links")
@pytest.mark.requirement("E44")
def test_its_mode_and_a_link_to_it_stay(below):
    real = below.base.rename(below.base.with_name("real.json"))
    below.base.symlink_to(real)
    real.chmod(0o640)
    assert below.load().edit_base(setting(("models", "mode"), "merge"))
    assert below.base.is_symlink()
    assert stat.S_IMODE(real.stat().st_mode) == 0o640
    assert '"mode": "merge"' in real.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("path", "value", "id", "message"),
    [
        (("gateway", "models"), {"x": "p/m"}, "config-elsewhere", "`gateway.models` is a key of Portico's own"),
        (("auth", "store"), "file", "config-elsewhere", "`auth.store` is a key of Portico's own"),
        (("base",), "x", "config-elsewhere", "`base` is a key of Portico's own"),
        (("models", "colour"), 1, "config-elsewhere", "`models.colour` is not a key that Portico knows"),
        (("nobodys",), 1, "config-elsewhere", "`nobodys` is not a key that Portico knows"),
        (("models", "providers", "q", "apiKey"), "k", "config-elsewhere", "`models.providers.q` needs `baseUrl` there"),
        (("models", "providers", "p", "models", 1), {"id": "n"}, "config-elsewhere", "`models.providers.p.models[1]` needs `name` there"),
        (("models", "mode"), "marge", "config-invalid", '`models.mode` must be "merge" or "replace"'),
    ],
)  # fmt: skip
def test_what_openclaw_would_refuse_is_not_written(below, path, value, id, message):
    with pytest.raises(ConfigError) as exc_info:
        below.load().edit_base(setting(path, value))
    assert (exc_info.value.id, message in exc_info.value.message) == (id, True)
    assert below.base.read_text(encoding="utf-8") == TEXT


def test_problems_from_before_the_edit_do_not_block_it(below):
    below.write_base('{ "models": { "mode": "marge", "providers": { "p": {} } }, "nobodys": 1 }')
    assert below.load().edit_base(setting(("agents", "defaults", "model", "primary"), "c/d"))
    assert below.load().edit_base(setting(("models", "mode"), "merge"))
    assert below.load().fault is None


def test_without_a_base_there_is_nothing_to_write_to(files):
    files.write_own("{}")
    with pytest.raises(ConfigError) as exc_info:
        files.load().edit_base(setting(("models", "mode"), "merge"))
    assert exc_info.value.id == "config-not-found"
    files.write_own("{ base: '../openclaw/openclaw.json' }")
    with pytest.raises(ConfigError) as exc_info:
        files.load().edit_base(setting(("models", "mode"), "merge"))
    assert (exc_info.value.id, files.base.exists()) == ("config-not-found", False)


EDIT_OFTEN = """
    import sys
    from pathlib import Path
    from portico.config.load import load_config
    from portico.paths import Paths
    paths = Paths(config=Path(sys.argv[1]), state=Path(sys.argv[2]), state_id="test")
    for number in range(20):
        load_config(paths, {}).edit_base(lambda document: document.set(("env", f"{sys.argv[3]}{number}"), str(number)))
"""


def test_two_processes_that_write_into_it_at_once_lose_nothing(below):
    command = [sys.executable, "-c", textwrap.dedent(EDIT_OFTEN), str(below.own), str(below.home / "state")]
    env = {**os.environ, "PYTHONPATH": str(SRC)}
    children = [subprocess.Popen([*command, name], env=env) for name in ("A", "B")]
    assert [child.wait(timeout=50) for child in children] == [0, 0]
    assert below.load().config.env == {f"{name}{number}": str(number) for name in ("A", "B") for number in range(20)}
