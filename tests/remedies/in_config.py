"""Files of the configuration that cannot be read, written or used, and the folders that Portico does not find."""

from __future__ import annotations

import contextlib
import errno
import itertools
import json
import os
import shlex
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from unittest.mock import patch

import pytest

from portico.config import document
from portico.util.files import write_temporary
from tests.gateway.providers import STREAMS
from tests.remedies.in_models import ASK, acme
from tests.remedies.in_sign_in import standard_input
from tests.remedies.scenario import command_of, scenario

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.remedies.scenario import Desk

PORT: Final = ("config", "set", "gateway.port", "18555")
LIST: Final = ("models", "list", "--all")


def write(desk: Desk, text: str) -> Path:
    """The config file, with this text."""
    path: Path = desk.commands.paths.config
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


@contextlib.contextmanager
def failing(folder: Path, code: int, *, flags: int = os.O_RDONLY) -> Iterator[None]:
    """A system in which no file of this folder can be opened for reading, or for writing: root is bound by no mode."""
    real = os.open

    def opened(path: Any, how: int, *more: Any, **named: Any) -> int:
        if Path(os.fsdecode(path)).parent == folder and how & os.O_ACCMODE == flags:
            raise OSError(code, os.strerror(code))
        return real(path, how, *more, **named)

    with patch("os.open", opened):
        yield


def named_elsewhere(desk: Desk, error: dict[str, Any], *words: str) -> None:
    """Name another file by both of what the hint says."""
    other = desk.commands.paths.config.parent / "elsewhere" / "portico.json5"
    other.parent.mkdir(exist_ok=True)
    other.write_text("{}\n", encoding="utf-8")
    assert ("`--config`" in error["hint"], "PORTICO_CONFIG" in error["hint"]) == (True, True)
    desk.ok("--config", str(other), *words)
    desk.ok(*words, env={"PORTICO_CONFIG": str(other)})


# --- files that cannot be read or written ------------------------------------------------------------------------------------------


@scenario("make it yours (chown, chmod u+rw), or name another file with `--config` or PORTICO_CONFIG")
def a_config_of_another_user(desk):
    path = write(desk, "{}\n")
    for code in (errno.EACCES, errno.EPERM):
        with failing(path.parent, code):
            named_elsewhere(desk, desk.refused(*LIST), *LIST)
    desk.ok(*LIST)


@scenario("that file system is read-only: name another file with `--config` or PORTICO_CONFIG")
def a_config_on_a_file_system_that_cannot_be_written(desk):
    path = write(desk, "{}\n")
    with failing(path.parent, errno.EROFS, flags=os.O_WRONLY):
        named_elsewhere(desk, desk.refused(*PORT), *PORT)


@scenario(
    "free some space on that disk and run the command again",
    "free some of your disk quota and run the command again",
)
def a_disk_or_a_quota_that_is_full(desk):
    path = write(desk, "{}\n")
    for code in (errno.ENOSPC, errno.EDQUOT):
        with failing(path.parent, code, flags=os.O_WRONLY):
            desk.refused(*PORT)
        assert path.read_text(encoding="utf-8") == "{}\n"
    desk.ok(*PORT)


@scenario("name a regular file with `--config` or PORTICO_CONFIG")
def a_config_that_is_a_folder_or_a_fifo(desk):
    path = write(desk, "")
    path.unlink()
    for make, remove in ((Path.mkdir, Path.rmdir), (os.mkfifo, Path.unlink)):
        make(path)
        named_elsewhere(desk, desk.refused(*LIST), *LIST)
        remove(path)


@scenario("name another file with `--config` or PORTICO_CONFIG")
def a_file_that_is_too_large_for_a_config(desk):
    write(desk, " " * (4 << 20) + "{}")
    named_elsewhere(desk, desk.refused(*LIST), *LIST)


@scenario("save it as UTF-8")
def a_config_in_another_encoding(desk):
    path = write(desk, "")
    path.write_bytes("{ gateway: { port: 18555 } }".encode("utf-16"))
    desk.refused(*LIST)
    path.write_text(path.read_bytes().decode("utf-16"), encoding="utf-8")
    desk.ok(*LIST)


@scenario("close the file in that program and run the command again")
def a_config_that_another_program_keeps_changing(desk):
    path, saves = write(desk, "{}\n"), itertools.count()

    def while_it_saves(target: Path, data: bytes, **more: Any) -> Path:
        path.write_text(f"// {next(saves)}\n{{}}\n", encoding="utf-8")
        return write_temporary(target, data, **more)

    with pytest.MonkeyPatch.context() as seam:
        seam.setattr(document, "write_temporary", while_it_saves)
        desk.refused("config", "set", "models.mode", '"merge"')
    assert next(saves) > 1
    desk.ok("config", "set", "models.mode", "merge")


@scenario("correct the path, or remove `base`")
def a_base_that_cannot_be_read(desk):
    base = write(desk, "{}\n").with_name("openclaw.json")
    base.mkdir()
    desk.ok("config", "set", "base", str(base.with_name("other.json")))  # which is not there: a warning
    assert "a file that does not exist" in desk.shown("correct the path, or remove `base`", "config", "validate")
    write(desk, json.dumps({"base": str(base)}))
    desk.refused(*LIST)
    base.with_name("right.json").write_text("{}\n", encoding="utf-8")
    desk.ok("config", "set", "base", str(base.with_name("right.json")))
    desk.ok(*LIST)
    write(desk, json.dumps({"base": str(base)}))
    desk.ok("config", "unset", "base")
    desk.ok(*LIST)


@scenario("make it a file that you can read, or move it away")
def corrections_of_models_that_cannot_be_read(desk):
    corrections = write(desk, "{}\n").with_name("models.json")
    corrections.mkdir()
    desk.refused(*LIST)
    corrections.rename(corrections.with_name("away"))
    desk.ok(*LIST)


# --- what stands in them -----------------------------------------------------------------------------------------------------------


@scenario("correct them and run the command again")
def several_errors_in_the_config(desk):
    write(desk, '{ gateway: { port: "many" }, models: { mode: "marge" } }')
    error = desk.refused(*LIST)
    assert ("gateway.port" in error["message"], "models.mode" in error["message"]) == (True, True)
    desk.ok(*PORT)
    desk.ok("config", "set", "models.mode", "merge")
    desk.ok(*LIST)


@scenario("leave the key out", "write it in one line", "write letters, digits and hyphens, such as X-Team")
def values_that_cannot_be(desk):
    def checked(mode: object, headers: dict[str, str]) -> dict[str, str]:
        entry = {"baseUrl": "https://acme.example/v1", "models": [{"id": "m"}], "headers": headers}
        write(desk, json.dumps({"models": {**({} if mode == "" else {"mode": mode}), "providers": {"acme": entry}}}))
        problems = json.loads(desk.commands.run("config", "validate", "--json").stdout)["problems"]
        desk.printed += [each["hint"] for each in problems]
        return {each["path"].rpartition(".")[2]: each["hint"] for each in problems}

    hints = checked(None, {"X Team": "red", "X-Line": "one\ntwo"})
    assert hints["mode"] == "leave the key out"
    assert hints["X-Line"] == "write it in one line"
    assert len(hints) == 3
    assert checked("", {"X-Team": "red", "X-Line": "one two"}) == {}


@scenario("leave out `--write-base` to write to Portico's own file")
def a_key_of_porticos_own_in_the_file_of_openclaw(desk):
    base = write(desk, "{}\n").with_name("openclaw.json")
    base.write_text("{}\n", encoding="utf-8")
    desk.ok("config", "set", "base", str(base))
    words = ("config", "set", "auth.store", '"file"')
    desk.refused(*words, "--write-base")
    desk.ok(*words)
    assert "file" in desk.ok("config", "get", "auth.store")
    assert base.read_text(encoding="utf-8") == "{}\n"


@scenario("set {}, or put it into the config: `{prog} config set env.{} -`")
def a_variable_in_the_config_that_is_not_set(desk):
    with acme(desk, STREAMS["/v1/chat/completions"], headers={"X-Team": "${ACME_TEAM}"}) as served:
        error = desk.refused(*ASK, "acme/model", "Hello")
        name = error["hint"].removeprefix("set ").partition(",")[0]
        desk.ok(*ASK, "acme/model", "Hello", env={name: "red"})
        with standard_input("blue"):
            desk.follow(error["hint"])
        desk.ok(*ASK, "acme/model", "Hello")
        assert [request.header("x-team") for request in served.requests] == ["red", "blue"]


# --- whose they are ----------------------------------------------------------------------------------------------------------------


def needs_root() -> None:
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        pytest.skip("only root can give a file to another user")


@scenario("move it to a folder of your own, or take it over: {}chown -h {} {}")
def a_config_file_that_belongs_to_another_user(desk):
    needs_root()
    path = write(desk, "{}\n")
    os.chown(path, 65534, 65534)
    command = desk.found("others-may-change")["hint"].partition("take it over: ")[2]
    assert str(path) in command
    subprocess.run(shlex.split(command), check=True)
    desk.not_found("others-may-change")


@scenario("move your files to a folder of your own")
def a_config_in_the_folder_of_another_user(desk):
    needs_root()
    theirs = desk.commands.paths.config.parent / "theirs"
    theirs.mkdir()
    (theirs / "portico.json5").write_text("{}\n", encoding="utf-8")
    os.chown(theirs, 65534, 65534)
    desk.found("others-may-change", env={"PORTICO_CONFIG": str(theirs / "portico.json5")})
    mine = (theirs / "portico.json5").rename(theirs.with_name("mine.json5"))
    desk.not_found("others-may-change", env={"PORTICO_CONFIG": str(mine)})


# --- where they are ----------------------------------------------------------------------------------------------------------------


@scenario("Write the whole path, `~/...` for your own home folder, or `./~...` for a file whose name begins with `~`.")
def a_path_that_begins_with_the_home_folder_of_nobody(desk):
    home = write(desk, "{}\n").parent
    desk.refused(*LIST, env={"PORTICO_STATE_DIR": "~nosuchuser/state"})
    desk.refused("--config", "~nosuchuser/portico.json5", *LIST)
    with contextlib.chdir(home):
        for name in (str(home / "state"), "~/state", "./~nosuchuser"):
            desk.ok(*PORT, env={"PORTICO_STATE_DIR": name, "HOME": str(home)})
            desk.ok("config", "unset", "gateway.port")
    assert (home / "~nosuchuser").is_dir()


@scenario("Set HOME, or set PORTICO_CONFIG and PORTICO_STATE_DIR.")
def a_user_without_a_home_folder(desk):
    places = ("HOME", "PORTICO_CONFIG", "PORTICO_STATE_DIR", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_DATA_HOME", "USERPROFILE")
    nowhere = dict.fromkeys(places)
    paths = desk.commands.paths
    # What the environment does not name is the process's, so that must not have one either.
    with patch("pwd.getpwuid", side_effect=KeyError("no such user")), patch.dict(os.environ):
        for name in places:
            os.environ.pop(name, None)
        desk.refused(*LIST, env=nowhere)
        desk.ok(*LIST, env={**nowhere, "HOME": str(paths.config.parent)})
        desk.ok(*LIST, env={**nowhere, "PORTICO_CONFIG": str(paths.config), "PORTICO_STATE_DIR": str(paths.state)})


@scenario(
    'Open a new shell to use the real provider, or start an emulator ({prog} emulator run) and: eval "$({prog} emulator env)"'
)
def an_emulator_that_has_ended(desk):
    home = desk.commands.paths.config.parent
    pointed = {"PORTICO_EMULATOR_HOME": str(home / "state"), "PORTICO_STATE_DIR": str(home / "gone" / "state")}
    error = desk.refused(*LIST, env=pointed)
    assert command_of(error["hint"]) == ["emulator", "run"]
    desk.ok(*LIST)  # in a new shell
    # In this shell the two commands still find what a new emulator notes: they fail only because there is none yet.
    desk.ok("emulator", "run", "--help", env=pointed)
    assert command_of(desk.refused("emulator", "env", env=pointed)["hint"]) == ["emulator", "run"]
    session = desk.emulator()
    session.sign_in("--region", "global")
