"""The names that a plugin may import."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace

import pytest

from portico import plugin_api
from portico.config.schema import PluginsConfig
from portico.interfaces.authorization import HttpReply
from portico.plugins.manager import PluginHost
from portico.secret import Secret
from tests.source_tree import PLUGINS, modules


@pytest.mark.parametrize("name", plugin_api.__all__)
def test_every_name_of_the_plugin_api_is_there(name):
    assert getattr(plugin_api, name) is not None


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = plugin_api.nothing


def test_the_plugin_api_has_few_names_and_each_has_its_topic_in_the_docstring():
    assert len(plugin_api.__all__) <= 45
    assert set(plugin_api.__all__) <= set(re.findall(r"`(\w+)`", plugin_api.__doc__))


def test_the_bundled_plugins_use_these_names_alone():
    used = {
        name.removeprefix("portico.plugin_api.")
        for source in PLUGINS
        for module in modules(source)
        for _, name in module.imports()
        if name.startswith("portico.plugin_api.")
    }
    assert "ReplyReader" in used
    assert used <= set(plugin_api.__all__)


@pytest.mark.parametrize("name", plugin_api._LEAVING)
def test_a_name_that_0_5_had_can_be_imported_and_warns_of_what_takes_its_place(name):
    with pytest.warns(DeprecationWarning, match=rf"portico\.plugin_api\.{name} goes with 1\.0; use \w") as warnings:
        assert getattr(plugin_api, name) is not None

    replacement, _, member = re.search(r"use (\w+)(\.(\w+))?", str(warnings[0].message)).groups()
    assert name not in plugin_api.__all__
    if member:
        taking_over = getattr(plugin_api, replacement)
        assert member in vars(taking_over)


@pytest.mark.parametrize(("old", "new"), plugin_api._RENAMED.items())
def test_a_name_that_was_changed_can_be_imported_under_the_old_one_with_a_warning(old, new):
    with pytest.warns(DeprecationWarning, match=rf"portico\.plugin_api\.{old} goes with 1\.0; use {new}"):
        assert getattr(plugin_api, old) is getattr(plugin_api, new)

    assert old not in plugin_api.__all__
    assert new in plugin_api.__all__


def test_a_dialect_that_calls_the_readers_grant_gets_the_token_set_and_a_warning():
    reader = plugin_api.ReplyReader(
        HttpReply(200, {}, Secret('{"access_token": "a", "token_type": "Bearer"}'), "https://as.test", 0)
    )
    with pytest.warns(DeprecationWarning, match=r"ReplyReader\.grant goes with 1\.0; use ReplyReader\.token_set"):
        assert reader.grant() == reader.token_set()


def test_a_provider_spec_takes_the_old_name_of_its_group_with_a_warning():
    with pytest.warns(DeprecationWarning, match=r"ProviderSpec\(vendor(_hint)?=\.\.\.\) goes with 1\.0; use group"):
        spec = plugin_api.ProviderSpec("acme", "Acme", "openai-completions", {}, {}, vendor="ACME", vendor_hint="Keys")

    assert (spec.group, spec.group_hint) == ("ACME", "Keys")
    assert replace(spec, label="A").group == "ACME"


def test_importing_the_plugin_api_loads_no_oauth_engine():
    code = "import sys, portico.plugin_api; print([n for n in sys.modules if 'oauth' in n or n in ('aiohttp', 'authlib', 'ssl')])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=True)
    assert result.stdout.strip() == "[]"


def test_the_quick_start_makes_a_working_plugin(paths, tmp_path):
    manifest, code = _snippets(plugin_api.__doc__)[:2]
    folder = tmp_path / "acme_auth"
    folder.mkdir()
    (folder / "portico.plugin.json").write_text(manifest)
    (folder / "__init__.py").write_text("")
    (folder / "plugin.py").write_text(code)
    host = PluginHost(PluginsConfig(load_paths=(str(folder),)), paths=paths, env={}, bundled=[])
    assert "acme" in [provider.id for provider in host.providers()]
    assert host.record("acme-auth").status == "loaded"


def test_a_provider_whose_key_has_no_variable_is_refused_where_it_is_written():
    choice = plugin_api.KeyChoice("acme-api", "Acme", "large")
    with pytest.raises(ValueError, match="acme has a choice that needs a key, and no env_keys"):
        plugin_api.ProviderSpec("acme", "Acme", "openai-completions", {"": "https://a.example"}, {}, key_choices=(choice,))


def _snippets(text):
    """Return the indented blocks of `text`; a block may contain blank lines."""
    blocks, inside = [], False
    for line in text.splitlines():
        if line.startswith("    "):
            if not inside:
                blocks.append([])
            blocks[-1].append(line[4:])
            inside = True
        elif line:
            inside = False
        elif inside:
            blocks[-1].append("")
    return ["\n".join(block) for block in blocks]
