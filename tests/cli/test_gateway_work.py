"""A gateway reads the configuration again for a plugin that it does not have, and for no other trouble with one."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace

import pytest

from portico.cli.gateway import find_dialect
from portico.errors import ConfigError
from portico.oauth.standard import StandardDialect
from portico.plugins.discovery import PluginDisabled
from portico.plugins.manifest import PluginFailed


class App:
    """Plugins that fail with `error` until the configuration is read again."""

    def __init__(self, error: ConfigError) -> None:
        self.reloads = 0
        self.plugins = SimpleNamespace(dialect=self._dialect)
        self._error = error

    def _dialect(self, _name):
        if not self.reloads:
            raise self._error
        return StandardDialect()

    def reload_config(self, *, look_for_plugins):
        assert look_for_plugins
        self.reloads += 1


def test_a_plugin_that_was_switched_on_meanwhile_is_found():
    assert find_dialect(App(PluginDisabled("not here")), "words").name == "standard"


def test_a_plugin_that_has_failed_is_not_loaded_again_by_every_refresh():
    app = App(PluginFailed("broken"))
    with pytest.raises(ConfigError, match="broken"):
        find_dialect(app, "words")
    assert app.reloads == 0


def test_what_a_plugin_imports_that_is_switched_on_later_is_imported_before_the_gateway_answers():
    lines = ("import sys", "from portico.cli.gateway import import_all", "import_all()", "print(*sys.modules)")
    run = subprocess.run([sys.executable, "-c", "; ".join(lines)], capture_output=True, text=True, check=True)
    assert {"portico.plugin_api", "portico.models.protocols"} <= {*run.stdout.split()}
