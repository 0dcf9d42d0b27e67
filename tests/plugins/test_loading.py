from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor, wait
from threading import Event
from types import SimpleNamespace

import pytest

from tests.plugins.helpers import write_plugin

HOOKS = "from portico.plugin_api import *\nfrom portico.plugin_api import hookimpl\n"
BROKEN = {
    "an exception while importing": ("raise RuntimeError('boom')", "failed to load plugin: RuntimeError: boom"),
    "a syntax error": ("def", "failed to load plugin: SyntaxError"),
    "a missing dependency": ("import nothing_of_this_name", "ModuleNotFoundError: No module named 'nothing_of_this_name'"),
    "an exception that would repaint the terminal": ("raise RuntimeError('\x1b[2J')", "RuntimeError: [2J"),
    "an exit while importing": ("raise SystemExit(3)", "failed to load plugin: SystemExit: 3"),
    "no hook at all": ("x = 1", "implements no hook"),
    "a misspelt hook": (
        HOOKS + "@hookimpl\ndef portico_provider(): return []",
        "unknown hook portico_provider; did you mean portico_providers?",
    ),
    "a hook without its prefix": (HOOKS + "@hookimpl\ndef providers(): return []", "unknown hook providers"),
    "a hook without its marker": (
        HOOKS + "def portico_providers(): return []",
        "portico_providers is not marked with @hookimpl",
    ),
    "a hook that wants what it is not given": (HOOKS + "@hookimpl\ndef portico_providers(app): return []", "hook"),
}


@pytest.mark.requirement("S3")
@pytest.mark.parametrize(("code", "error"), BROKEN.values(), ids=BROKEN)
def test_a_plugin_that_cannot_be_loaded_is_reported_and_the_others_work(tmp_path, make_host, code, error):
    broken, good = write_plugin(tmp_path / "broken", "broken", code=code), write_plugin(tmp_path / "good", "good")
    host = make_host(broken, good)
    assert "good" in [provider.id for provider in host.providers()]
    record = host.record("broken")
    assert (record.status, record.loaded) == ("error", False)
    assert error in record.error


FAILING = {
    "raises": ("raise RuntimeError('token=CANARY')", "portico_providers failed: RuntimeError: token=[redacted]"),
    "raises halfway": ("yield from [ProviderSpec(**SPEC)]; raise KeyError('x')", "portico_providers failed: KeyError"),
    "exits": ("raise SystemExit", "portico_providers failed: SystemExit"),
    "answers something else": ("return ['acme']", "provider must be a ProviderSpec, not str"),
}
SPEC = "SPEC = dict(id='x', label='X', api='openai-completions', base_urls={}, hosts={})\n"


@pytest.mark.requirement("S3")
@pytest.mark.parametrize(("body", "error"), FAILING.values(), ids=FAILING)
def test_a_hook_that_fails_when_called_is_reported_and_the_others_answer(tmp_path, make_host, body, error):
    code = f"{HOOKS}{SPEC}@hookimpl\ndef portico_providers():\n    {body}\n"
    code += "@hookimpl\ndef portico_cli_commands(): return [CliCommand('acme', 'Acme', 'a:b')]\n"
    broken, good = write_plugin(tmp_path / "broken", "broken", code=code), write_plugin(tmp_path / "good", "good")
    host = make_host(broken, good)
    providers = [provider.id for provider in host.providers()]
    assert "good" in providers
    assert "x" not in providers
    assert error in host.record("broken").error
    assert [command.name for command in host.cli_commands()] == ["acme"]


def test_a_provider_with_a_used_name_is_left_out_and_its_plugin_reported(tmp_path, make_host):
    first, second = write_plugin(tmp_path / "a", "first"), write_plugin(tmp_path / "b", "second")
    (second / "plugin.py").write_text((second / "plugin.py").read_text().replace("PROVIDER = 'second'", "PROVIDER = 'first'"))
    host = make_host(first, second)
    assert [provider.id for provider in host.providers()].count("first") == 1
    assert host.record("second").error == "provider already registered: first (first)"


def test_a_plugin_cannot_replace_a_built_in_provider(tmp_path, make_host):
    folder = write_plugin(tmp_path, "anthropic")
    host = make_host(folder)
    assert [provider.label for provider in host.providers() if provider.id == "anthropic"] == ["Anthropic"]
    assert host.record("anthropic").error == "provider already registered: anthropic (builtin:anthropic)"


@pytest.mark.requirement("S3")
def test_config_that_the_manifest_does_not_allow_keeps_its_plugin_from_loading(tmp_path, make_host):
    schema = {"type": "object", "additionalProperties": False, "properties": {"port": {"type": "integer"}}}
    folder = write_plugin(tmp_path, configSchema=schema)
    host = make_host(folder, config={"acme-auth": {"port": "x", "prot": 1}})
    host.load()
    error = "invalid config: port: must be integer; prot: is unknown; did you mean port?"
    assert host.record("acme-auth").error == error
    assert not (folder / "imported").exists()


def test_each_plugin_is_asked_for_its_methods_with_its_own_config(tmp_path, make_host):
    code = HOOKS + "@hookimpl\ndef portico_auth_methods(config): (HERE / 'seen').write_text(repr(config)); return []"
    schema = {"type": "object"}
    one = write_plugin(tmp_path / "one", "one", code=code, configSchema=schema)
    two = write_plugin(tmp_path / "two", "two", code=code, configSchema=schema)
    make_host(one, two, config={"one": {"a": 1}}).auth_methods()
    assert ((one / "seen").read_text(), (two / "seen").read_text()) == ("{'a': 1}", "{}")


def test_what_a_plugin_prints_does_not_reach_stdout(tmp_path, make_host, capsys):
    code = "print('importing')\n" + HOOKS + "@hookimpl\ndef portico_providers():\n    print('asked')\n    return []"
    make_host(write_plugin(tmp_path, code=code)).providers()
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "importing\nasked\n"


def test_a_package_of_a_name_already_loaded_from_elsewhere_is_an_error_of_that_plugin(tmp_path, make_host):
    first = write_plugin(tmp_path / "a", "first", package="same_package_name")
    second = write_plugin(tmp_path / "b", "second", package="same_package_name")
    host = make_host(first, second)
    host.load()
    assert host.record("first").status == "loaded"
    assert "another package named same_package_name is already loaded" in host.record("second").error


def test_a_package_that_failed_to_import_leaves_no_half_made_module(tmp_path, make_host):
    folder = write_plugin(tmp_path)
    (folder / "__init__.py").write_text("raise RuntimeError('early')")
    host = make_host(folder)
    host.load()
    assert "early" in host.record("acme-auth").error
    assert folder.name not in sys.modules


def test_a_plugin_is_imported_and_asked_once(tmp_path, make_host):
    code = "with (HERE / 'log').open('a') as log: log.write('imported ')\n" + HOOKS
    code += "@hookimpl\ndef portico_providers():\n    with (HERE / 'log').open('a') as log: log.write('asked ')\n    return []"
    folder = write_plugin(tmp_path, code=code)
    host = make_host(folder)
    host.providers()
    host.providers()
    host.load()
    assert (folder / "log").read_text() == "imported asked "


@pytest.mark.parametrize("same_host", [True, False])
def test_threads_that_want_a_plugin_while_it_is_imported_wait_for_it(tmp_path, make_host, monkeypatch, same_host):
    gate = SimpleNamespace(entered=Event(), go=Event())
    monkeypatch.setitem(sys.modules, "gate_of_this_test", gate)
    code = "import gate_of_this_test as gate\ngate.entered.set()\nassert gate.go.wait(10)\n" + HOOKS
    code += "class Words(StandardDialect):\n    name = 'words'\n@hookimpl\ndef portico_token_dialects(): return [Words()]"
    folder = write_plugin(tmp_path, code=code, dialects=["words"])
    host, stdout = make_host(folder), sys.stdout
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(host.dialect, "words")
        assert gate.entered.wait(10)
        second = pool.submit((host if same_host else make_host(folder)).dialect, "words")
        wait([second], timeout=0.2)
        gate.go.set()
        assert (first.result(10).name, second.result(10).name) == ("words", "words")
    assert sys.stdout is stdout
