from __future__ import annotations

import pytest

from portico.config.document import Document
from portico.config.schema import PluginEntry, PluginsConfig
from portico.config.sources import read_stack
from portico.plugins.discovery import decide, with_entry_enabled, with_plugin_disabled, with_plugin_enabled

ON, OFF = {"acme": PluginEntry(enabled=True)}, {"acme": PluginEntry(enabled=False)}


@pytest.mark.parametrize(
    ("plugins", "bundled", "reason"),
    [
        ({"enabled": False, "entries": ON}, False, "plugins disabled"),
        ({"deny": ("acme",), "allow": ("acme",), "entries": ON}, False, "blocked by denylist"),
        ({"allow": ("other",), "entries": ON}, False, "not in allowlist"),
        ({"entries": ON}, True, None),
        ({"entries": OFF}, False, "disabled in config"),
        ({"entries": OFF}, True, "disabled in config"),
        ({"entries": {"acme": PluginEntry()}}, True, "bundled (disabled by default)"),
        ({}, True, "bundled (disabled by default)"),
        ({}, False, None),
        ({"allow": ()}, False, None),
        ({"allow": ("acme",)}, True, "bundled (disabled by default)"),
    ],
)
def test_the_first_rule_that_applies_decides(plugins, bundled, reason):
    decision = decide("acme", PluginsConfig(**plugins), {}, bundled=bundled)
    assert (decision.enabled, decision.reason) == (reason is None, reason)
    assert (decision.remedy is None) == decision.enabled


@pytest.mark.parametrize(("value", "enabled"), [("", False), ("acme", True), ("other, acme", True), ("other", False)])
def test_the_environment_narrows_what_is_on(value, enabled):
    assert decide("acme", PluginsConfig(), {"PORTICO_LOAD_PLUGINS": value}, bundled=False).enabled is enabled


def test_the_environment_switches_nothing_on():
    assert not decide("acme", PluginsConfig(), {"PORTICO_LOAD_PLUGINS": "acme"}, bundled=True).enabled


def test_enabling_joins_an_allow_list_that_has_members_and_keeps_the_rest():
    text = '{ // mine\n  plugins: { allow: ["other"], entries: { acme: { config: { a: 1 } } } } }'
    document = with_plugin_enabled(Document.parse(text, name="c"), "acme")
    assert document.get(("plugins", "allow")) == ["other", "acme"]
    assert document.get(("plugins", "entries", "acme")) == {"config": {"a": 1}, "enabled": True}
    assert "// mine" in document.text


def test_enabling_joins_an_allow_list_that_stands_in_an_included_file(tmp_path):
    (tmp_path / "theirs.json5").write_text("{ plugins: { allow: ['other'] } }", encoding="utf-8")
    for own, allowed in (("", ("acme",)), (", plugins: { allow: ['mine'] }", ("mine", "acme"))):
        document = with_plugin_enabled(
            Document.parse(f"{{ $include: './theirs.json5'{own} }}", name=str(tmp_path / "c.json5")), "acme"
        )
        assert document.get(("plugins", "allow")) == [*allowed]
        assert read_stack(document).effective.get(("plugins", "allow")) == ["other", *allowed]
        assert with_plugin_enabled(document, "acme").text == document.text


def test_a_denied_plugin_is_not_named_by_its_place_which_the_own_file_counts_otherwise():
    remedy = decide("acme", PluginsConfig(deny=("theirs", "acme", "mine")), {}, bundled=False).remedy
    assert "acme" in remedy
    assert "deny[" not in remedy


def test_enabling_leaves_an_empty_allow_list_alone_since_one_member_would_shut_out_the_others():
    document = with_plugin_enabled(Document.parse("{ plugins: { allow: [] } }", name="c"), "acme")
    assert document.get(("plugins", "allow")) == []


def test_enabling_twice_changes_nothing_more():
    once = with_plugin_enabled(Document.parse('{ plugins: { allow: ["other"] } }', name="c"), "acme")
    assert with_plugin_enabled(once, "acme").text == once.text


def test_disabling_keeps_the_plugins_own_config():
    document = with_plugin_disabled(
        Document.parse("{ plugins: { entries: { acme: { enabled: true, config: { a: 1 } } } } }", name="c"), "acme"
    )
    assert document.get(("plugins", "entries", "acme")) == {"enabled": False, "config": {"a": 1}}


def test_the_section_in_memory_is_what_the_edit_will_make_of_the_file():
    config = with_entry_enabled(PluginsConfig(allow=("other",), entries={"acme": PluginEntry(config={"a": 1})}), "acme")
    assert config.allow == ("other", "acme")
    assert config.entries["acme"] == PluginEntry(enabled=True, config={"a": 1})
