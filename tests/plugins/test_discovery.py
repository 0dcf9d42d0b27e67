from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import portico
from portico.config.schema import PluginEntry
from portico.plugins import discovery
from tests.plugins.helpers import install, was_imported, write_plugin


@pytest.fixture
def site(tmp_path, monkeypatch):
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    return folder


def test_a_load_path_may_be_a_package_its_manifest_a_folder_of_packages_or_a_project(tmp_path, make_host):
    one = write_plugin(tmp_path / "one", "one")
    two = write_plugin(tmp_path / "two", "two")
    write_plugin(tmp_path / "many", "three")
    write_plugin(tmp_path / "many", "four")
    write_plugin(tmp_path / "project" / "src", "five")
    host = make_host(one, two / "portico.plugin.json", tmp_path / "many", tmp_path / "project")
    assert sorted(record.id for record in host.records()) == ["five", "four", "one", "three", "two"]
    assert {record.candidate.origin for record in host.records()} == {"config"}


def test_a_relative_load_path_starts_at_the_config_files_folder(paths, make_host):
    write_plugin(paths.config.parent / "near", "near")
    assert [record.id for record in make_host("near").records()] == ["near"]


def test_a_missing_load_path_is_reported_and_stops_nothing(tmp_path, make_host):
    (tmp_path / "empty").mkdir()
    good = write_plugin(tmp_path / "good", "good")
    host = make_host(tmp_path / "gone", tmp_path / "empty", good)
    assert [record.id for record in host.records()] == ["good"]
    messages = [diagnostic.message for diagnostic in host.diagnostics()]
    assert messages == [f"plugin path not found: {tmp_path / 'gone'}", f"plugin manifest not found: {tmp_path / 'empty'}"]


@pytest.mark.requirement("S2")
def test_an_installed_plugin_is_found_by_its_entry_point_and_not_imported(site, make_host):
    folder = write_plugin(site, "installed-one")
    install(site, folder, "installed-one")
    host = make_host(deny=("installed-one",))
    record = host.record("installed-one")
    assert (record.candidate.origin, record.version, record.status) == ("installed", "1.2.3", "disabled")
    host.load()
    assert not was_imported(folder)
    assert not [name for name in sys.modules if name.startswith(folder.name)]


def test_an_entry_point_whose_package_is_missing_is_reported(site, make_host):
    folder = write_plugin(site, "vanished")
    install(site, folder, "vanished")
    folder.rename(site / "elsewhere")
    host = make_host()
    assert host.record("vanished") is None
    assert f"package {folder.name} of an installed plugin is missing" in [each.message for each in host.diagnostics()]


def test_an_installed_package_without_a_manifest_is_an_error_of_that_plugin(site, make_host):
    folder = write_plugin(site, "bare")
    install(site, folder, "bare")
    (folder / "portico.plugin.json").unlink()
    record = make_host().record("bare")
    assert (record.status, record.error) == ("error", "plugin manifest not found")


def test_the_first_copy_of_an_id_wins_and_later_ones_are_shown_as_overridden(tmp_path, make_host):
    first, second = write_plugin(tmp_path / "a", "twin"), write_plugin(tmp_path / "b", "twin")
    bundled = write_plugin(tmp_path / "c", "twin")
    host = make_host(first, second, bundled=[bundled])
    assert host.record("twin").source.parent == first
    reasons = [record.why for record in host.records()[1:]]
    assert reasons == ["overridden by config plugin", "overridden by config plugin"]


def test_an_installed_copy_of_a_bundled_plugin_is_shown_once_and_stays_off_by_default(site, tmp_path, make_host):
    folder = write_plugin(site, "both")
    install(site, folder, "both")
    host = make_host(bundled=[write_plugin(tmp_path / "bundled", "both")])
    (record,) = host.records()
    assert (record.candidate.origin, record.why) == ("installed", "bundled (disabled by default)")


def test_ids_that_no_plugin_has_are_warnings_with_the_nearest_one(tmp_path, make_host):
    good = write_plugin(tmp_path, "acme-auth")
    host = make_host(good, entries={"acme-aut": PluginEntry(enabled=True)}, allow=("acme-auth", "gone"), deny=("zzz",))
    assert [(each.level, each.message) for each in host.diagnostics()] == [
        ("warning", "plugins.entries: plugin not found: acme-aut; did you mean acme-auth?"),
        ("warning", "plugins.allow: plugin not found: gone"),
        ("warning", "plugins.deny: plugin not found: zzz"),
    ]


def test_config_of_a_plugin_that_is_off_is_a_warning(tmp_path, make_host):
    folder = write_plugin(tmp_path)
    host = make_host(folder, entries={"acme-auth": PluginEntry(enabled=False, config={"a": 1})})
    assert [each.message for each in host.diagnostics()] == ["plugin disabled (disabled in config) but config is present"]


def test_the_bundled_plugin_is_found_in_a_checkout():
    assert "minimax_portal_auth" in [folder.name for folder in discovery.bundled_folders()]


def test_the_bundled_plugin_is_found_where_the_wheel_puts_it(tmp_path):
    source = Path(portico.__file__).parent
    extension = source.parents[1] / "extensions" / "minimax-portal-auth" / "src" / "minimax_portal_auth"
    site = tmp_path / "site-packages"
    shutil.copytree(source, site / "portico", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(extension, site / "portico" / "_bundled" / extension.name)
    words = ["plugins", "enable", "minimax-portal-auth"]
    env = {**os.environ, "PYTHONPATH": str(site), "PORTICO_STATE_DIR": str(tmp_path), "PORTICO_CONFIG": str(tmp_path / "c.json5")}
    result = subprocess.run(
        [sys.executable, "-m", "portico", *words], env=env, capture_output=True, encoding="utf-8", cwd=tmp_path, check=False
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, 'Enabled plugin "minimax-portal-auth".\n', "")
