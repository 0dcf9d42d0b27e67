"""Plugins that are off, gone or broken."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tests.plugins.helpers import DIALECT, write_plugin
from tests.remedies.in_doctor import edited
from tests.remedies.scenario import command_of, scenario

if TYPE_CHECKING:
    from tests.remedies.scenario import Desk

PLUGIN = "minimax-portal-auth"


def blocked(desk: Desk, key: str, value: str) -> None:
    """A key of the config blocks the plugin of an account that has to be refreshed, until the hint is followed."""
    desk.signed_in()
    desk.expired()
    desk.ok("config", "set", key, value)
    desk.follow(desk.refused("auth", "token")["hint"])
    desk.ok("auth", "token")


@scenario("Run `{prog} config set plugins.enabled true`.")
def all_plugins_are_off(desk):
    blocked(desk, "plugins.enabled", "false")


@scenario("Remove {} from `plugins.deny`: `{prog} config edit`, or edit the included file or the base file.")
def a_plugin_that_is_denied_beside_others(desk):
    desk.signed_in()
    desk.expired()
    desk.ok("config", "set", "plugins.deny", json.dumps(["other", PLUGIN, "third"]))
    hint = desk.refused("auth", "token")["hint"]
    assert hint.startswith(f"Remove {PLUGIN} from `plugins.deny`")
    assert command_of(hint) == ["config", "edit"]
    edited(desk, f'"{PLUGIN}", ', "")
    desk.ok("auth", "token")
    assert json.loads(desk.ok("config", "get", "plugins.deny")) == ["other", "third"]


@scenario("Run `{prog} plugins enable {}`.")
def a_plugin_that_is_not_among_those_that_are_allowed(desk):
    blocked(desk, "plugins.allow", '["other"]')
    assert json.loads(desk.ok("config", "get", "plugins.allow")) == ["other", PLUGIN]


@scenario("Unset {}, or add {} to it.")
def a_plugin_that_the_environment_leaves_out(desk):
    desk.signed_in()
    desk.expired()
    variable = "PORTICO_LOAD_PLUGINS"
    assert desk.refused("auth", "token", env={variable: "other"})["hint"] == f"Unset {variable}, or add {PLUGIN} to it."
    desk.ok("auth", "token", env={variable: f"other,{PLUGIN}"})
    desk.ok("auth", "token")


def signed_in_with(desk: Desk, dialect: str) -> None:
    """The account has to be refreshed, by `dialect`."""
    desk.signed_in()
    desk.expired(dialect=dialect)


@scenario("The plugin of this account is no longer installed: see `{prog} plugins list`.")
def a_sign_in_whose_plugin_is_gone(desk):
    signed_in_with(desk, "acme-words")
    error = desk.refused("auth", "token")
    desk.follow(error["hint"])


@scenario("See `{prog} plugins info {}`.")
def a_sign_in_whose_plugin_fails(desk):
    signed_in_with(desk, "acme-words")
    code = f"if not (HERE / 'reader').exists():\n    raise OSError('no card reader')\n{DIALECT}"
    folder = write_plugin(desk.commands.paths.state, code=code, dialects=["acme-words"])
    desk.ok("config", "set", "plugins.load.paths", json.dumps([str(folder)]))
    error = desk.refused("auth", "token")
    assert "no card reader" in desk.follow(error["hint"])
    (folder / "reader").touch()
    desk.ok("auth", "token")
