"""Files that another user can change or replace, with real users and groups."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from portico.accounts.choices import announced_choices, choice_of_provider, resolve_choice
from portico.cli.main import main
from portico.config.load import load_config
from portico.config.sources import exposed_files
from portico.errors import ConfigError, StoreError
from portico.plugins.manager import PluginHost
from portico.store.encrypted_file import FILE_ENV, PassphraseSource
from portico.util.ownership import OwnershipCheck
from tests.plugins.helpers import install, was_imported, write_plugin

pytestmark = [pytest.mark.requirement("E122"), pytest.mark.skipif(os.name != "posix", reason="POSIX owners and modes")]


@pytest.fixture
def portico(paths, capsys):
    def run(*words: str, config: object = None) -> tuple[int, str, str]:
        if config is not None:
            paths.config.write_text(json.dumps(config), encoding="utf-8")
            paths.config.chmod(0o600)
        code = main([*words], program="portico")
        output = capsys.readouterr()
        return code, output.out, output.err

    return run


@pytest.fixture
def deep(tmp_path):
    """A file four folders down, all of it ours alone."""
    folder = tmp_path / "one" / "two" / "three"
    folder.mkdir(parents=True)
    for each in (folder, folder.parent, folder.parent.parent):
        each.chmod(0o755)
    file = folder / "file"
    file.write_text("{}", encoding="utf-8")
    file.chmod(0o600)
    return file


def _exposed(path: Path) -> str | None:
    exposure = OwnershipCheck().exposure(path)
    return exposure.path if exposure is not None else None


def test_a_file_of_ours_in_folders_of_ours_and_of_roots_is_ours(deep):
    assert _exposed(deep) is None
    assert _exposed(Path("/etc/passwd")) is None
    assert _exposed(deep.parent / "missing") is None


@pytest.mark.parametrize("depth", [0, 1, 2, 3])
def test_the_file_or_any_folder_above_it_that_others_may_write_is_named(deep, depth):
    open_one = [deep, *deep.parents][depth]
    open_one.chmod(0o777)
    exposure = OwnershipCheck().exposure(deep)
    assert (exposure.path, exposure.why, exposure.hint) == (str(open_one), "its mode is 0777", f"chmod go-w {open_one}")
    subprocess.run(exposure.hint.split(), check=True)
    assert _exposed(deep) is None


def test_the_command_that_ends_it_can_be_run_as_it_is_whatever_the_folder_is_called(deep):
    odd = deep.parent.rename(deep.parent.with_name("Application Support; touch 'it'"))
    odd.chmod(0o777)
    exposure = OwnershipCheck().exposure(odd / "file")
    subprocess.run(["/bin/sh", "-c", exposure.hint], check=True, cwd=odd.parent)
    assert [*odd.parent.iterdir()] == [odd]
    assert _exposed(odd / "file") is None
    (odd / "file").chmod(0o606)
    (warning,) = exposed_files([odd / "file"])
    subprocess.run(["/bin/sh", "-c", warning.hint], check=True, cwd=odd.parent)
    assert _exposed(odd / "file") is None


def test_a_step_up_after_a_link_leads_out_of_the_links_target_and_not_back(deep, tmp_path):
    open_one = tmp_path / "open"
    (open_one / "inner").mkdir(parents=True)
    (open_one / "file").write_text("{}", encoding="utf-8")
    open_one.chmod(0o777)
    (tmp_path / "link").symlink_to(open_one / "inner")
    path = tmp_path / "link" / ".." / "file"
    assert path.exists()
    assert _exposed(path) == str(open_one)


def test_no_hint_changes_the_mode_of_a_device():
    assert _exposed(Path(os.devnull)) is None


def test_in_a_sticky_folder_our_own_file_is_safe_but_not_one_that_others_may_write(deep):
    deep.parent.chmod(0o1777)
    assert _exposed(deep) is None
    deep.chmod(0o606)
    assert _exposed(deep) == str(deep)


def test_the_folders_of_a_link_and_of_its_target_are_checked(deep, tmp_path):
    link = tmp_path / "links" / "link"
    link.parent.mkdir()
    link.symlink_to(os.path.relpath(deep, link.parent))
    assert _exposed(link) is None
    deep.parent.parent.chmod(0o777)
    assert _exposed(link) == str(deep.parent.parent)
    deep.parent.parent.chmod(0o755)
    link.parent.chmod(0o777)
    assert _exposed(link) == str(link.parent)
    (tmp_path / "loop").symlink_to("loop")
    assert _exposed(tmp_path / "loop") is None


@pytest.mark.root
def test_another_users_file_folder_or_link_is_named_with_her_name(deep, another_user):
    for folder in (deep, deep.parent, deep.parents[2]):
        os.chown(folder, another_user.uid, another_user.gid)
        exposure = OwnershipCheck().exposure(deep)
        assert (exposure.path, exposure.why) == (str(folder), f"it belongs to {another_user.name}")
        assert ("chown" in exposure.hint) == (folder == deep)  # never a folder, which may be her home
        os.chown(folder, 0, 0)
    deep.parent.chmod(0o1777)
    link = deep.parent / "hers"
    link.symlink_to(deep)
    os.lchown(link, another_user.uid, another_user.gid)
    assert _exposed(link) == str(link)


@pytest.mark.root
def test_a_group_with_write_permission_counts_only_with_other_members(deep, another_user):
    deep.chmod(0o660)
    assert _exposed(deep) is None  # the group of the user who runs this
    os.chown(deep, -1, another_user.gid)
    assert _exposed(deep) == str(deep)
    os.chown(deep, -1, 54321)  # an unknown group may have any members
    assert _exposed(deep) == str(deep)


@pytest.mark.parametrize(("name", "private"), [("domain-users", False), ("alice", True)])
def test_a_group_of_a_directory_service_without_lists_is_private_only_with_the_name_of_a_user(name, private, deep, monkeypatch):
    import grp  # not on Windows
    import pwd

    group = grp.struct_group((name, "x", deep.stat().st_gid, []))
    alice = pwd.struct_passwd(("alice", "x", os.geteuid(), group.gr_gid, "", "/", "/bin/sh"))
    monkeypatch.setattr(pwd, "getpwall", list)
    monkeypatch.setattr(pwd, "getpwnam", {"alice": alice}.__getitem__)
    monkeypatch.setattr(grp, "getgrall", list)
    monkeypatch.setattr(grp, "getgrgid", lambda _: group)
    deep.chmod(0o660)
    assert (_exposed(deep) is None) == private


def test_a_member_whom_the_system_knows_and_does_not_list_is_still_that_user(deep, monkeypatch):
    import grp  # not on Windows
    import pwd

    me = pwd.getpwuid(os.geteuid())
    listed = grp.struct_group(("users", "x", deep.stat().st_gid, [me.pw_name]))
    monkeypatch.setattr(pwd, "getpwall", list)
    monkeypatch.setattr(grp, "getgrall", lambda: [listed])
    monkeypatch.setattr(grp, "getgrgid", lambda _: listed)
    deep.chmod(0o660)
    assert _exposed(deep) is None


def test_a_user_named_in_an_access_list_counts_although_the_group_is_private(deep):
    # ACL_EA_VERSION 2, then tag, permissions and id of each entry: owner rw, user 54321 rw, group rw, mask rw, others none.
    entries = [(1, 6, -1), (2, 6, 54321), (4, 6, -1), (16, 6, -1), (32, 0, -1)]
    packed = (2).to_bytes(4, "little") + b"".join(
        tag.to_bytes(2, "little") + bits.to_bytes(2, "little") + id.to_bytes(4, "little", signed=True)
        for tag, bits, id in entries
    )
    try:
        os.setxattr(deep, "system.posix_acl_access", packed)
    except (OSError, AttributeError):
        pytest.skip("this file system has no access lists")
    assert _exposed(deep) == str(deep)


# --- what reads them ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["portico.json5", "models.json", ".env", "part.json5", "base.json5"])
def test_each_file_of_a_configuration_that_others_may_change_is_warned_of_once_and_a_finding(name, portico, paths):
    folder = paths.config.parent
    for other, text in (("models.json", '{"providers": {}}'), (".env", ""), ("part.json5", "{}"), ("base.json5", "{}")):
        (folder / other).write_text(text, encoding="utf-8")
        (folder / other).chmod(0o600)
    config = {"base": str(folder / "base.json5"), "env": {"$include": "part.json5"}}
    assert portico("plugins", "list", config=config)[2] == ""

    (folder / name).chmod(0o606)
    code, _, err = portico("plugins", "list")
    assert code == 0
    assert err.count("other users may change it (its mode is 0606)") == err.count("other users may change") == 1
    assert f"chmod go-w {folder / name}" in err
    findings = json.loads(portico("doctor", "--json")[1])["findings"]
    warnings = [each for each in findings if each["id"] == "others-may-change"]
    assert [(each["level"], each["hint"]) for each in warnings] == [("warning", f"chmod go-w {folder / name}")]
    assert not [each for each in findings if each["id"] == "config-doubt" and "may change" in each["message"]]


def test_a_folder_that_exposes_several_files_is_named_once_and_before_all_other_warnings(portico, paths):
    folder = paths.config.parent / "shared"
    folder.mkdir()
    folder.chmod(0o777)
    config = folder / "portico.json5"
    config.write_text("{" + ", ".join(f"zebra{n}: 1" for n in range(20)) + "}", encoding="utf-8")
    (folder / ".env").write_text("", encoding="utf-8")
    for each in (config, folder / ".env"):
        each.chmod(0o600)
    err = portico("plugins", "list", "--config", str(config))[2]
    assert err.splitlines()[0] == (
        f"portico: {config}: other users may replace it ({folder}: its mode is 0777) (chmod go-w {folder})"
    )
    assert err.count("other users") == 1


def test_commands_that_read_or_write_the_text_of_the_file_alone_warn_of_it_too(portico, paths):
    portico("config", "set", "history", "off", config={})
    paths.config.chmod(0o606)
    for words in (("get", "history"), ("set", "history", "on"), ("unset", "history"), ("validate",)):
        paths.config.chmod(0o606)
        code, out, err = portico("config", *words)
        assert (code, (out + err).count("other users may change it")) == (0, 1), words


def test_a_state_folder_that_others_may_replace_is_warned_of_and_a_finding(portico, paths, monkeypatch):
    state = paths.config.parent / "open" / "state"
    state.mkdir(parents=True)
    state.chmod(0o700)
    state.parent.chmod(0o777)
    monkeypatch.setenv("PORTICO_STATE_DIR", str(state))
    assert "other users may replace it" in portico("plugins", "list", config={})[2]
    findings = json.loads(portico("doctor", "--json")[1])["findings"]
    assert f"chmod go-w {state.parent}" in {each["hint"] for each in findings if each["id"] == "others-may-change"}


@pytest.mark.parametrize("name", ["SSL_CERT_FILE", "SSL_CERT_DIR"])
def test_certificates_that_others_may_replace_are_warned_of_and_a_finding(name, deep, portico, monkeypatch):
    folders = os.pathsep.join(["/etc/ssl/certs", str(deep.parent)])
    monkeypatch.setenv(name, folders if name == "SSL_CERT_DIR" else str(deep))
    assert portico("plugins", "list", config={})[2] == ""
    deep.parent.parent.chmod(0o777)
    assert portico("plugins", "list")[2].count("other users may replace it") == 1
    findings = json.loads(portico("doctor", "--json")[1])["findings"]
    assert f"chmod go-w {deep.parent.parent}" in {each["hint"] for each in findings if each["id"] == "others-may-change"}


@pytest.mark.parametrize("depth", [0, 1, 2])
def test_a_passphrase_file_that_others_could_replace_is_refused(deep, depth):
    deep.write_text("correct horse", encoding="utf-8")
    assert PassphraseSource({FILE_ENV: str(deep)}).get().reveal() == "correct horse"
    [deep, *deep.parents][depth].chmod(0o777)
    with pytest.raises(StoreError) as exc_info:
        PassphraseSource({FILE_ENV: str(deep)}).get()
    assert (exc_info.value.id, exc_info.value.hint) == ("passphrase-needed", f"chmod go-w {[deep, *deep.parents][depth]}")


@pytest.mark.root
def test_another_users_passphrase_file_is_used_as_in_a_container_warned_of_and_a_finding(
    deep, another_user, portico, monkeypatch
):
    deep.write_text("correct horse", encoding="utf-8")
    os.chown(deep, another_user.uid, another_user.gid)
    monkeypatch.setenv(FILE_ENV, str(deep))
    assert PassphraseSource({FILE_ENV: str(deep)}).get().reveal() == "correct horse"
    assert portico("plugins", "list", config={})[2].count(f"{deep}: other users may change it") == 1
    findings = json.loads(portico("doctor", "--json")[1])["findings"]
    assert [each["id"] for each in findings if str(deep) in each["message"]] == ["others-may-change"]
    deep.chmod(0o666)  # anybody's choice, and not hers alone
    with pytest.raises(StoreError, match="can change the passphrase"):
        PassphraseSource({FILE_ENV: str(deep)}).get()


@pytest.mark.root
@pytest.mark.parametrize("depth", [0, 1])
def test_a_passphrase_file_in_another_users_folder_that_others_still_could_replace_is_refused(deep, depth, another_user):
    deep.write_text("correct horse", encoding="utf-8")
    hers = deep.parent.parent
    os.chown(hers, another_user.uid, another_user.gid)
    hers.chmod(0o775)  # as with a umask of 002: the group is hers alone
    assert PassphraseSource({FILE_ENV: str(deep)}).get().reveal() == "correct horse"
    [deep, deep.parent][depth].chmod(0o777)
    with pytest.raises(StoreError) as exc_info:
        PassphraseSource({FILE_ENV: str(deep)}).get()
    assert (exc_info.value.id, exc_info.value.hint) == ("passphrase-needed", f"chmod go-w {[deep, deep.parent][depth]}")


# --- plugins --------------------------------------------------------------------------------------------------------------


def _open_up(folder: Path, what: str) -> Path:
    """Let others write to a part of a plugin's package, and return that part."""
    parts = {
        "its module": folder / "plugin.py",
        "its manifest": folder / "portico.plugin.json",
        "its folder": folder,
        "a folder in it": folder / "inner",
        "a compiled file": folder / "inner" / "old.pyc",
        "the folder above": folder.parent,
        "a linked module's folder": folder.parent.parent / "elsewhere",
    }
    (folder / "inner").mkdir()
    (folder / "inner" / "old.pyc").touch()
    (folder.parent.parent / "elsewhere").mkdir()
    (folder.parent.parent / "elsewhere" / "more.py").touch()
    (folder / "more.py").symlink_to(folder.parent.parent / "elsewhere" / "more.py")
    parts[what].chmod(0o777)
    return parts[what]


@pytest.mark.requirement("E121")
@pytest.mark.parametrize(
    "what",
    [
        "its module",
        "its manifest",
        "its folder",
        "a folder in it",
        "a compiled file",
        "the folder above",
        "a linked module's folder",
    ],
)
def test_a_plugin_whose_code_others_may_change_is_listed_and_never_loaded(what, portico, tmp_path):
    folder = write_plugin(tmp_path / "plugins", "acme-auth")
    config = {"plugins": {"load": {"paths": [str(folder)]}}}
    part = _open_up(folder, what)

    listed = json.loads(portico("plugins", "list", "--json", config=config)[1])["plugins"]
    (record,) = [each for each in listed if each["id"] == "acme-auth"]
    assert (record["status"], record["name"]) == ("error", "The acme-auth")
    code, _, err = portico("plugins", "enable", "acme-auth")
    assert code == 9
    assert f"{part}: its mode is 0777" in err
    assert "plugin-not-yours" in err
    portico("plugins", "doctor")
    findings = json.loads(portico("doctor", "--json")[1])["findings"]
    assert [(each["level"], each["hint"]) for each in findings if each["id"] == "plugin-not-yours"] == [
        ("error", f"chmod go-w {part}")
    ]
    assert not was_imported(folder)

    part.chmod(0o755)
    assert portico("plugins", "enable", "acme-auth")[0] == 0
    assert was_imported(folder)


@pytest.mark.requirement("E121")
def test_a_sticky_folder_keeps_a_plugin_beside_others_safe_but_is_no_package_itself(portico, tmp_path):
    root = tmp_path / "plugins"
    folder = write_plugin(root, "acme-auth")
    root.chmod(0o1777)
    assert portico("plugins", "enable", "acme-auth", config={"plugins": {"load": {"paths": [str(root)]}}})[0] == 0
    folder.chmod(0o1777)  # another user could add a module to it
    assert portico("plugins", "enable", "acme-auth")[0] == 9


@pytest.mark.requirement("E121")
@pytest.mark.parametrize("id", ["minimax-portal-auth", "another-id"])
def test_a_manifest_of_another_users_takes_neither_its_id_nor_a_sign_in_from_a_plugin_that_comes_with_portico(
    id, paths, tmp_path, portico
):
    folder = write_plugin(tmp_path / "plugins", id)
    manifest = folder / "portico.plugin.json"
    choice = {"id": "minimax-portal", "provider": "minimax-portal", "label": "MiniMax"}
    hers = {"id": "hers", "provider": "minimax-portal", "label": "MiniMax", "aliases": {"minimax-global-oauth": "global"}}
    alone = {"id": "acme", "provider": "acme", "label": "Acme"}
    more = {"name": "MiniMax OAuth", "providers": ["minimax-portal"], "authChoices": [choice, hers, alone]}
    fields = json.loads(manifest.read_text(encoding="utf-8")) | more
    manifest.write_text(json.dumps(fields), encoding="utf-8")
    (tmp_path / "plugins").chmod(0o777)
    paths.config.write_text(json.dumps({"plugins": {"load": {"paths": [str(folder)]}}}), encoding="utf-8")
    host = PluginHost(load_config(paths, {}).config.plugins, paths=paths, env={})
    assert host.plugin_for_choice("minimax-portal") == "minimax-portal-auth"
    assert host.find("minimax-portal-auth").candidate.origin == "bundled"
    refused = [record for record in host.records() if record.candidate.exposure is not None]
    assert [(record.id, record.status) for record in refused] == [(id, "error")]
    assert host.find("MiniMax OAuth").candidate.origin == "bundled"
    assert host.providers_off() == {"minimax-portal": "minimax-portal-auth"}
    app = SimpleNamespace(plugins=host)
    assert [each.label for each in announced_choices(app)] == ["MiniMax OAuth", "Acme"]
    assert choice_of_provider(app, "minimax-portal") == "minimax-portal"
    assert resolve_choice(app, "minimax-global-oauth", None) == ("minimax-portal", "global")
    assert portico("plugins", "enable", "minimax-portal-auth")[0] == 0


@pytest.mark.requirement("E121")
def test_an_empty_folder_in_a_plugin_is_looked_at_as_well(tmp_path):
    folder = write_plugin(tmp_path, "acme-auth")
    compiled = folder / "__pycache__"
    compiled.mkdir()
    compiled.chmod(0o1777)  # others may add the compiled form of any module
    assert OwnershipCheck().exposure_within(folder).path == str(compiled)


@pytest.mark.requirement("E121")
def test_an_editors_lock_and_a_file_that_goes_during_the_look_refuse_no_plugin(tmp_path, monkeypatch):
    folder = write_plugin(tmp_path, "acme-auth")
    (folder / ".#plugin.py").symlink_to("me@host.123:456")  # as Emacs makes it
    assert OwnershipCheck().exposure_within(folder) is None

    class Going(OwnershipCheck):
        def _check_entry(self, entry):
            if entry.name == "plugin.pyc.1234":
                Path(entry.path).unlink()
            return super()._check_entry(entry)

    (folder / "plugin.pyc.1234").touch()
    assert Going().exposure_within(folder) is None
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    (folder / "later.py").symlink_to(tmp_path / "open" / "later.py")  # another user could make it
    assert OwnershipCheck().exposure_within(folder).path == str(tmp_path / "open")


@pytest.mark.root
@pytest.mark.requirement("E121")
def test_code_that_another_user_puts_into_a_shared_folder_does_not_run(another_user, paths):
    shared = another_user.home / "plugins"
    folder = write_plugin(shared, "acme-auth")
    for each in (shared, folder, *folder.iterdir()):
        os.chown(each, another_user.uid, another_user.gid)
    paths.config.write_text(json.dumps({"plugins": {"load": {"paths": [str(shared)]}}}), encoding="utf-8")
    host = PluginHost(load_config(paths, {}).config.plugins, paths=paths, env={})
    host.load()
    assert (
        host.find("acme-auth").error
        == f"another user can change its code ({another_user.home}: it belongs to {another_user.name})"
    )
    with pytest.raises(ConfigError) as exc_info:
        host.require("acme-auth")
    assert exc_info.value.id == "plugin-not-yours"
    assert not was_imported(folder)


@pytest.mark.requirement("E121")
def test_an_installed_plugin_is_checked_too_but_not_the_folder_it_shares_with_portico(tmp_path, monkeypatch, portico):
    site = tmp_path / "site"
    folder = write_plugin(site, "acme-auth")
    install(site, folder)
    monkeypatch.syspath_prepend(str(site))
    site.chmod(0o777)
    assert portico("plugins", "enable", "acme-auth", config={})[0] == 9
    assert not was_imported(folder)
    own = site / "portico"
    own.mkdir(mode=0o755)
    monkeypatch.setattr("portico.plugins.discovery.PACKAGE", own)
    (folder / "plugin.py").chmod(0o666)  # as a package that was unpacked under a umask of 0
    assert portico("plugins", "enable", "acme-auth")[0] == 9
    assert not was_imported(folder)
    own.chmod(0o777)  # who may write here has Portico itself
    assert portico("plugins", "list")[0] == 0
    assert portico("plugins", "enable", "acme-auth")[0] == 0


@pytest.mark.root
@pytest.mark.requirement("E121")
def test_root_runs_the_plugins_beside_a_portico_of_another_user_but_not_those_of_a_third(tmp_path, another_user):
    own, folder = tmp_path / "portico", write_plugin(tmp_path, "acme-auth")
    own.mkdir(mode=0o755)
    for each in (own, folder, *folder.iterdir()):
        os.chown(each, another_user.uid, another_user.gid)
        each.chmod(each.stat().st_mode | 0o020)  # her own group
    assert OwnershipCheck().exposure_beside(folder, own) is None
    os.chown(folder / "plugin.py", another_user.uid + 1, -1)
    assert OwnershipCheck().exposure_beside(folder, own).path == str(folder / "plugin.py")


def test_a_look_at_the_files_of_a_command_costs_less_than_a_millisecond(deep):
    paths = [deep, *(deep.with_name(name) for name in ("models.json", ".env", "state"))] * 5
    durations = []
    for _ in range(20):
        began = time.perf_counter()
        owners = OwnershipCheck()
        for path in paths:
            owners.exposure(path)
        durations.append(time.perf_counter() - began)
    assert min(durations) < 0.001
