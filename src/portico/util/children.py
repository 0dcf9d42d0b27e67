"""The processes that Portico starts: how a Python of ours is run, where a program is found, and which environment a child gets.

`python -m` and `python SCRIPT` put the current folder, or the script's, first on the import path (docs.python.org: sys.path).
A `portico.py` or `json.py` in a project that a user has just cloned would run as the user: CWE-427. So a Python of ours is
started with `-P` or `-I`, and a program that has only a name is not one of the current folder. No child gets the
passphrase of the encrypted token store, nor the name of its file: any process of the user can read another's environment, and a
child hands its own on to everything that it starts (CWE-214).

Every child reaches this machine's own servers directly (`without_proxy`). `HTTP_PROXY` alone would send the proxy, in plain text,
the prompts and the gateway key of a tool, or the code that a browser brings back from a sign-in.
"""

from __future__ import annotations

import errno
import os
import re
import shlex
import shutil
import sys
from typing import TYPE_CHECKING, Final

from portico.secret import SECRET_VARIABLES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

NO_PROXY: Final = ("NO_PROXY", "no_proxy")
"""The variables that list the hosts reached without a proxy. Programs differ in which they read first, so both are set."""
# As curl, Go and Python match them (urllib, requests, httpx). undici matches the first two; the gateway's address is the first.
# Not `[::1]`: httpx 0.25 to 0.27 takes it for a malformed URL, and no client can be made. Java reads no such variable; its own
# property, `http.nonProxyHosts`, has these names by default.
LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")
_PATH_ENV: Final = "PYTHONPATH"
_WINDOWS_ENDINGS: Final = ".COM;.EXE;.BAT;.CMD"
_SECRET_NAME: Final = re.compile(
    r"(?:^|_)(?:API_?KEY|KEY|TOKEN|SECRET|PASSWORD|PASSPHRASE(?:_FILE)?|CREDENTIALS?)$", re.IGNORECASE
)


def portico_command(*words: str) -> list[str]:
    """What runs `words` as a command of this Portico, with the current folder off the import path."""
    return [sys.executable, "-P", "-m", "portico", *words]


def this_python() -> str:
    """The interpreter that runs Portico, as a word of a command that a person types."""
    return shlex.quote(sys.executable)


def script_command(script: str, *words: str) -> list[str]:
    """What runs a file of ours that needs the standard library alone: neither a folder nor a variable adds to its import path."""
    return [sys.executable, "-I", script, *words]


def find_program(name: str, env: Mapping[str, str], platform: str = sys.platform) -> str | None:
    """The file of a program in one of the absolute folders of `PATH`; a name with a folder in it is taken as it is.

    Windows looks in the current folder before it looks in PATH, and so does everybody whose PATH has `.` or an empty entry.
    """
    if os.path.dirname(name):  # noqa: PTH120 - of a word that may be no path
        return shutil.which(name)
    folders = [folder for folder in env.get("PATH", os.defpath).split(os.pathsep) if os.path.isabs(folder)]  # noqa: PTH117
    # By its whole path: of a bare name `which` too looks in the current folder first on Windows, and stops at what is there.
    files = (os.path.join(folder, f"{name}{ending}") for folder in folders for ending in _executable_endings(name, env, platform))  # noqa: PTH118
    return next(filter(None, map(shutil.which, files)), None) if name else None


def _executable_endings(name: str, env: Mapping[str, str], platform: str) -> Sequence[str]:
    """What may follow a program's name in that of its file: on Windows one of `PATHEXT`, unless the name has it already."""
    if platform != "win32":
        return ("",)
    endings = [ending for ending in env.get("PATHEXT", _WINDOWS_ENDINGS).split(";") if ending]
    return ("",) if name.lower().endswith(tuple(ending.lower() for ending in endings)) else endings


def resolve_command(command: Sequence[str], env: Mapping[str, str]) -> list[str]:
    """`command` with the file of its program in the program's place (`find_program`), where it has only a name.

    Raises:
        FileNotFoundError: there is none.
    """
    if os.path.dirname(command[0]):  # noqa: PTH120
        return [*command]  # what is wrong with a file that is named, the system says better
    program = find_program(command[0], env)
    if program is None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), command[0])
    return [program, *command[1:]]


def without_proxy(env: Mapping[str, str]) -> dict[str, str]:
    """`NO_PROXY` and `no_proxy`, each as `env` has it or has the other one, with the names of this machine added.

    What the user has written stays as it is. Nothing is added to `*`, which is every host only where it stands alone (curl(1)).
    """
    values = {name: env[name] for name in NO_PROXY if name in env}
    return {name: _add_loopback(values.get(name, next(iter(values.values()), ""))) for name in NO_PROXY}


def _add_loopback(hosts: str) -> str:
    existing = hosts.lower().replace(",", " ").split()
    if existing == ["*"]:
        return hosts
    return ",".join([*filter(None, [hosts.strip().rstrip(",")]), *(name for name in LOOPBACK if name not in existing)])


def portico_environment(env: Mapping[str, str]) -> dict[str, str]:
    """The environment of a child that is Portico: it and all that it starts keep the current folder off their import path.

    A child that needs the passphrase reads it from a pipe (`gateway run --passphrase-stdin`).
    """
    variables = {name: value for name, value in tool_environment(env).items() if name != _PATH_ENV}
    folders = import_folders(env)
    return {**variables, **({_PATH_ENV: os.pathsep.join(folders)} if folders else {}), "PYTHONSAFEPATH": "1"}


def tool_environment(env: Mapping[str, str]) -> dict[str, str]:
    """The environment of a program that the user runs through Portico: `env` without the passphrase of the token store."""
    return {**{name: value for name, value in env.items() if name not in SECRET_VARIABLES}, **without_proxy(env)}


def child_environment(env: Mapping[str, str]) -> dict[str, str]:
    """The environment of a program that needs no credential at all (browser, editor, service manager): `env` without any."""
    return {**{name: value for name, value in env.items() if not _SECRET_NAME.search(name)}, **without_proxy(env)}


def import_folders(env: Mapping[str, str]) -> list[str]:
    """The absolute folders of `PYTHONPATH`, without those that mean the current folder: `.`, or an empty entry as in `:lib`."""
    entries = [entry for entry in env.get(_PATH_ENV, "").split(os.pathsep) if entry]
    return [_absolute(entry) for entry in entries if os.path.normpath(entry) != os.curdir]


def _absolute(folder: str) -> str:
    return folder if os.path.isabs(folder) else os.path.join(os.getcwd(), folder)  # noqa: PTH109, PTH117, PTH118 - no look at a disk
