from __future__ import annotations

from dataclasses import replace

import pytest

from portico.config.schema import PluginEntry, PluginsConfig
from portico.errors import ConfigError, UsageError
from portico.oauth.standard import StandardDialect
from tests.plugins.helpers import DIALECT, GOOD, was_imported, write_plugin

METHOD = (
    GOOD
    + """
class Method:
    choice, provider, label = "acme", "acme", "Acme"
    regions, default_model = (), "acme/one"
    def server(self, region): ...
    def flow(self, region): ...
    def accept(self, region, grant): ...
    def hint(self, region): ...

@hookimpl
def portico_auth_methods(config):
    return [Method()]
"""
)
CHOICES = [{"id": "acme", "provider": "acme", "label": "Acme"}]


def test_without_plugins_there_are_the_built_in_providers(make_host):
    assert [provider.id for provider in make_host().providers()] == ["minimax", "anthropic", "openai", "lmstudio"]


@pytest.mark.requirement("S2")
def test_asking_everything_of_a_host_imports_no_plugin_that_is_off(tmp_path, make_host):
    folder = write_plugin(tmp_path, code=METHOD, authChoices=CHOICES, dialects=["acme-words"])
    host = make_host(bundled=[folder])
    for method in (host.providers, host.auth_methods, host.dialects, host.emulators, host.doctor_checks, host.cli_commands):
        method()
    host.load({"acme-auth"})
    for one in (lambda: host.auth_method("acme"), lambda: host.dialect("acme-words"), lambda: host.require("acme-auth")):
        with pytest.raises(ConfigError) as exc_info:
            one()
        assert (exc_info.value.id, exc_info.value.why) == ("plugin-disabled", "bundled (disabled by default)")
    assert not was_imported(folder)


def test_an_auth_choice_leads_to_its_plugin_and_loads_no_other(tmp_path, make_host):
    owner = write_plugin(tmp_path / "a", "owner", code=METHOD, authChoices=CHOICES)
    other = write_plugin(tmp_path / "b", "other")
    host = make_host(owner, other)
    assert host.plugin_for_choice("acme") == "owner"
    assert host.auth_method("acme").label == "Acme"
    assert was_imported(owner)
    assert not was_imported(other)


def test_a_dialect_leads_to_its_plugin_and_standard_is_the_hosts_own(tmp_path, make_host):
    host = make_host(write_plugin(tmp_path, code=DIALECT, dialects=["acme-words"]))
    assert host.dialect("acme-words").name == "acme-words"
    assert isinstance(host.dialect("standard"), StandardDialect)
    with pytest.raises(ConfigError, match="No plugin has the token dialect gone"):
        host.dialect("gone")


def test_a_plugin_without_the_dialect_that_it_announces_is_reported(tmp_path, make_host):
    host = make_host(write_plugin(tmp_path, dialects=["promised"], authChoices=CHOICES))
    with pytest.raises(ConfigError, match="announces the token dialect promised but does not have it"):
        host.dialect("promised")
    with pytest.raises(UsageError, match="Unknown auth choice: acmee"):
        host.auth_method("acmee")


def test_a_plugin_that_failed_says_why_where_it_is_needed(tmp_path, make_host):
    host = make_host(write_plugin(tmp_path, code="raise OSError('no card reader')", dialects=["d"]))
    with pytest.raises(ConfigError) as exc_info:
        host.dialect("d")
    assert (exc_info.value.id, exc_info.value.why) == ("plugin-failed", "failed to load plugin: OSError: no card reader")
    assert host.find("acme-auth").why == exc_info.value.why


def test_a_host_that_enables_a_plugin_leaves_the_first_host_as_it_was(tmp_path, make_host):
    host = make_host(bundled=[write_plugin(tmp_path)], allow=("other",))
    enabling = host.enabling("acme-auth")
    assert enabling.require("acme-auth").status == "loaded"
    assert host.record("acme-auth").status == "disabled"


@pytest.mark.parametrize(
    "plugins", [{"deny": ("acme-auth",)}, {"enabled": False}, {"entries": {"acme-auth": PluginEntry(enabled=False)}}]
)
def test_a_plugin_that_the_config_blocks_cannot_be_enabled_in_passing(tmp_path, make_host, plugins):
    host = make_host(bundled=[write_plugin(tmp_path)], **plugins)
    with pytest.raises(ConfigError) as exc_info:
        host.enabling("acme-auth")
    assert exc_info.value.id == "plugin-disabled"


def test_a_plugin_that_the_user_switched_off_is_named_with_the_command_that_switches_it_on(tmp_path, make_host):
    host = make_host(write_plugin(tmp_path), entries={"acme-auth": PluginEntry(enabled=False)})
    with pytest.raises(ConfigError) as exc_info:
        host.enabling("acme-auth")
    assert exc_info.value.hint == "Run `{prog} plugins enable acme-auth`."


@pytest.mark.parametrize("off", [PluginEntry(enabled=False), PluginEntry(enabled=True)])
def test_of_several_plugins_that_announce_a_choice_one_that_is_on_comes_first_and_then_the_bundled_one(tmp_path, make_host, off):
    announced = {"authChoices": CHOICES, "dialects": ["acme-words"]}
    other = write_plugin(tmp_path / "a", "other", **announced)
    own = write_plugin(tmp_path / "b", "own", **announced)
    host = make_host(other, bundled=[own], entries={"other": off})
    expected = "other" if off.enabled else "own"
    plugin_ids = {host.plugin_for_choice("acme"), host.plugin_for_dialect("acme-words")}
    assert plugin_ids == {expected}


def test_a_plugin_is_found_by_id_or_by_name_and_a_typo_gets_the_nearest_id(tmp_path, make_host):
    host = make_host(write_plugin(tmp_path))
    assert host.find("acme-auth") is host.find("the ACME-auth")
    with pytest.raises(UsageError, match="Plugin not found: acme-outh") as exc_info:
        host.find("acme-outh")
    assert exc_info.value.hint == "Did you mean acme-auth?"


def test_the_trace_tells_each_hook_call_and_no_value(tmp_path, make_host, capsys):
    make_host(write_plugin(tmp_path), env={"PORTICO_TRACE_PLUGINS": "1"}).providers()
    lines = capsys.readouterr().err.splitlines()
    assert any(line.startswith("plugins: portico_providers: acme-auth (") for line in lines)


def test_the_trace_shows_where_a_plugin_failed(tmp_path, make_host, capsys):
    make_host(write_plugin(tmp_path, code="1 / 0"), env={"PORTICO_TRACE_PLUGINS": "1"}).load()
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_an_entry_without_a_word_on_enabled_leaves_the_default(tmp_path, make_host):
    host = make_host(write_plugin(tmp_path), entries={"acme-auth": PluginEntry()})
    assert host.record("acme-auth").status == "enabled"


def test_a_run_looks_for_plugins_once_and_has_one_host_for_each_plugins_section(make_host, tmp_path):
    host = make_host(write_plugin(tmp_path / "one"))
    section = PluginsConfig(load_paths=(str(tmp_path / "one"),))
    off = replace(section, enabled=False)

    assert [record.id for record in host.for_config(section).records()] == ["acme-auth"]
    write_plugin(tmp_path / "one", "later-auth")
    (record,) = host.for_config(off).records()
    assert (record.id, record.enabled) == ("acme-auth", False)
    assert host.for_config(replace(off)) is host.for_config(off) is not host.for_config(section)

    elsewhere = replace(section, load_paths=(str(tmp_path),))
    write_plugin(tmp_path, "third-auth")
    assert [record.id for record in host.for_config(elsewhere).records()] == ["third-auth"]


def test_an_entry_that_cannot_be_used_makes_another_host_than_one_that_can(make_host):
    good = PluginsConfig(entries={"acme-auth": PluginEntry(enabled=True)})
    bad = PluginsConfig(entries={"acme-auth": PluginEntry(enabled=True, problem="config must be an object")})

    host = make_host().for_config(good)
    assert host.for_config(bad) is not host
