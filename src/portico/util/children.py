"""Start child processes: run Python safely, find programs, and build the environment of a child.

`python -m` and `python SCRIPT` put the current folder, or the script's folder, first on the import path (docs.python.org:
sys.path). Then a `portico.py` or `json.py` in a cloned project would run as the user (CWE-427). So Portico starts Python with
`-P` or `-I`, and never searches the current folder for a program. No child gets the passphrase of the encrypted file, or the name
of the passphrase file: any process of the user can read a child's environment, and every process that the child starts inherits
it (CWE-214).

Every child connects to servers on this machine directly (`without_proxy`). With `HTTP_PROXY` alone, a proxy would get a tool's
prompts and gateway key in plain text, or the authorization code that a browser sends back.
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
"""The variables with the hosts to reach without a proxy. Programs read one or the other first, so Portico sets both."""
# The forms that curl, Go and Python (urllib, requests, httpx) match. undici matches only the first two forms. Not `[::1]`: httpx
# 0.25 to 0.27 fails on it. Java reads no such variable; its property `http.nonProxyHosts` has these names by default.
LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")
_PATH_ENV: Final = "PYTHONPATH"
_WINDOWS_EXTENSIONS: Final = ".COM;.EXE;.BAT;.CMD"
_SECRET_NAME: Final = re.compile(
    r"(?:^|_)(?:API_?KEY|KEY|TOKEN|SECRET|PASSWORD|PASSPHRASE(?:_FILE)?|CREDENTIALS?)$", re.IGNORECASE
)


def portico_command(*words: str) -> list[str]:
    """Return the command that runs `words` with this Portico, without the current folder on the import path."""
    return [sys.executable, "-P", "-m", "portico", *words]


def this_python() -> str:
    """Return the path of this Python interpreter, quoted for a shell."""
    return shlex.quote(sys.executable)


def script_command(script: str, *words: str) -> list[str]:
    """Return the command that runs one of Portico's scripts that need only the standard library (`python -I`)."""
    return [sys.executable, "-I", script, *words]


def find_program(name: str, env: Mapping[str, str], platform: str = sys.platform) -> str | None:
    """Return the path of a program in the absolute folders of `PATH`; a name that includes a folder is not searched for.

    The current folder is never searched. Windows searches it first, and other systems do if PATH has `.` or an empty entry.
    """
    if os.path.dirname(name):  # noqa: PTH120 - may not be a path
        return shutil.which(name)
    folders = [folder for folder in env.get("PATH", os.defpath).split(os.pathsep) if os.path.isabs(folder)]  # noqa: PTH117
    # Full paths: on Windows `which` would search the current folder first for a bare name.
    extensions = _executable_extensions(name, env, platform)
    files = (os.path.join(folder, name + extension) for folder in folders for extension in extensions)  # noqa: PTH118
    return next(filter(None, map(shutil.which, files)), None) if name else None


def _executable_extensions(name: str, env: Mapping[str, str], platform: str) -> Sequence[str]:
    """Return the extensions to try: on Windows those of `PATHEXT`, unless the name already has such an extension."""
    if platform != "win32":
        return ("",)
    extensions = [extension for extension in env.get("PATHEXT", _WINDOWS_EXTENSIONS).split(";") if extension]
    return ("",) if name.lower().endswith(tuple(extension.lower() for extension in extensions)) else extensions


def resolve_command(command: Sequence[str], env: Mapping[str, str]) -> list[str]:
    """Return `command` with the full path of its program (`find_program`). If the program is a path, it stays the same.

    Raises:
        FileNotFoundError: there is no such program.
    """
    if os.path.dirname(command[0]):  # noqa: PTH120
        return [*command]  # if the file cannot run, the system's own error is better
    program = find_program(command[0], env)
    if program is None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), command[0])
    return [program, *command[1:]]


def without_proxy(env: Mapping[str, str]) -> dict[str, str]:
    """Return `NO_PROXY` and `no_proxy` with the names of this machine added. If one is missing, it gets the value of the other.

    The user's entries stay. A value of `*` gets no other entries, because it would then no longer mean every host (curl(1)).
    """
    values = {name: env[name] for name in NO_PROXY if name in env}
    return {name: _add_loopback(values.get(name, next(iter(values.values()), ""))) for name in NO_PROXY}


def _add_loopback(hosts: str) -> str:
    existing = hosts.lower().replace(",", " ").split()
    if existing == ["*"]:
        return hosts
    return ",".join([*filter(None, [hosts.strip().rstrip(",")]), *(name for name in LOOPBACK if name not in existing)])


def portico_environment(env: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a child that runs Portico, without the current folder on the import path.

    A child that needs the passphrase reads it from a pipe (`gateway run --passphrase-stdin`).
    """
    variables = {name: value for name, value in tool_environment(env).items() if name != _PATH_ENV}
    folders = import_folders(env)
    return {**variables, **({_PATH_ENV: os.pathsep.join(folders)} if folders else {}), "PYTHONSAFEPATH": "1"}


def tool_environment(env: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a tool that the user runs with Portico: `env` without the passphrase of the encrypted file."""
    return {**{name: value for name, value in env.items() if name not in SECRET_VARIABLES}, **without_proxy(env)}


def child_environment(env: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a program that needs no credential (browser, editor, service manager): `env` without secrets."""
    return {**{name: value for name, value in env.items() if not _SECRET_NAME.search(name)}, **without_proxy(env)}


def import_folders(env: Mapping[str, str]) -> list[str]:
    """Return the folders of `PYTHONPATH` as absolute paths, without the current folder: `.`, or an empty entry as in `:lib`."""
    entries = [entry for entry in env.get(_PATH_ENV, "").split(os.pathsep) if entry]
    return [_absolute(entry) for entry in entries if os.path.normpath(entry) != os.curdir]


def _absolute(folder: str) -> str:
    return folder if os.path.isabs(folder) else os.path.join(os.getcwd(), folder)  # noqa: PTH109, PTH117, PTH118 - no disk access
