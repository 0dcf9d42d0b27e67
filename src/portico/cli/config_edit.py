"""`config edit`: a person edits a private copy, which takes the file's place only if it holds. Nothing that was typed is lost."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Final

from portico.cli.config import checked, masked, misfit_problems, problems_of
from portico.config.document import ConfigFile, InvalidConfig, decode_document, read_bytes, refuse_errors
from portico.errors import ConfigError, ExitCode, UsageError
from portico.paths import FILE_MODE, make_private_folder
from portico.terminal.prompts import InputNeeded
from portico.util.children import child_environment, find_program

if TYPE_CHECKING:
    import argparse

    from portico.app import App
    from portico.config.document import Document

_EMPTY: Final = b"{}\n"
_FALLBACKS: Final = ("sensible-editor", "nano", "vi", "notepad")


class EditorFailed(UsageError):
    """There is no editor that can be started, or it ended with an error."""

    id = "editor-failed"


def edit(_args: argparse.Namespace, app: App) -> int:
    """Open a copy in the editor until it is valid or the user gives up, then put it in the file's place.

    Raises:
        UsageError: there is no terminal (`input-needed`), or no editor is known (`editor-failed`).
        ConfigError: the copy does not hold (`config-invalid`), or the file was changed meanwhile. Where the copy is kept is
            said on stderr.
    """
    if not app.prompter.interactive:
        hint = "`{prog} config set KEY VALUE` changes a value without one"
        raise InputNeeded("`config edit` needs a terminal.", hint=hint)
    editor = _editor(app)
    before = read_bytes(app.paths.config)
    copy = _copy(app, _EMPTY if before is None else before)
    try:
        changed = _edit_and_replace(app, editor, copy, before)
    except BaseException:
        if _holds_something_new(copy, before):
            app.out.warn(f"{app.program}: what you wrote is kept in {copy}")
        else:
            shutil.rmtree(copy.parent)
        raise
    shutil.rmtree(copy.parent)
    restart = ". Restart the gateway to apply" if changed and app.gateway_runs() else ""
    app.out.line(f"Updated {app.paths.config}{restart}." if changed else "Nothing was changed.")
    app.warn_if_exposed()
    return ExitCode.OK


def _edit_and_replace(app: App, editor: list[str], copy: Path, before: bytes | None) -> bool:
    """Say whether there is something new in the file's place."""
    while True:
        _run(app, editor, copy)
        if copy.exists() and not _holds_something_new(copy, before):
            return False
        try:
            after = _checked(app, copy)
        except ConfigError as error:
            app.out.warn(f"{app.program}: {error}")
            if not app.prompter.confirm("Edit it again?", flag="nothing", default=True):
                raise InvalidConfig(f"{app.paths.config} is as it was.") from None
        else:
            private = _holds_secret(after) and not (before is not None and _held_secret(before))
            ConfigFile(app.paths.config, app.paths.locks).put(after, expected_data=before, private=private)
            return True


def _checked(app: App, copy: Path) -> Document:
    """The copy as it would be in the file's place, if there is no error in it."""
    data = read_bytes(copy)
    if data is None:
        raise InvalidConfig("the editor has deleted the file")
    document = decode_document(data, str(app.paths.config))
    files = checked(document)
    problems = (*problems_of(app, files), *misfit_problems(app, files))
    refuse_errors("what you wrote", (problem for problem in problems if problem.layer == "own"))
    return document


def _copy(app: App, data: bytes) -> Path:
    """A copy for the editor, in a folder that nobody else can look into: editors leave files of their own beside it."""
    copy = Path(mkdtemp(prefix="edit-", dir=make_private_folder(app.paths.state))) / app.paths.config.name
    copy.touch(mode=FILE_MODE)
    copy.write_bytes(data)
    return copy


def _run(app: App, editor: list[str], copy: Path) -> None:
    """Let the editor have the terminal, and Ctrl-C with it; it gets no secret of this process's environment."""
    from portico.util.children import resolve_command

    try:
        child = subprocess.Popen(resolve_command([*editor, str(copy)], app.env), env=child_environment(app.env))
    except OSError as error:
        raise EditorFailed(f"{editor[0]} cannot be started: {error.strerror}", hint=_set_another(app)) from None
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        code = child.wait()
    finally:
        signal.signal(signal.SIGINT, handler)
    if code:
        raise EditorFailed(f"{editor[0]} ended with exit code {code}; {app.paths.config} is as it was")


def _editor(app: App) -> list[str]:
    """The words of the editor's command."""
    chosen = app.env.get(_variable(app), "").strip()
    if chosen:
        try:
            return shlex.split(chosen, posix=os.name == "posix")
        except ValueError as error:
            message = f"{chosen} cannot be read as a command: {error}"
            raise EditorFailed(message, hint=_set_another(app)) from None
    found = next(filter(None, (find_program(name, app.env) for name in _FALLBACKS)), None)
    if found is None:
        raise EditorFailed("No editor is known.", hint=_set_another(app))
    return [found]


def _variable(app: App) -> str:
    """The variable that names the editor: VISUAL before EDITOR."""
    return "VISUAL" if app.env.get("VISUAL", "").strip() else "EDITOR"


def _set_another(app: App) -> str:
    return f"set {_variable(app)} to the command of an editor, or change one value without it: {{prog}} config set KEY VALUE"


def _holds_something_new(copy: Path, before: bytes | None) -> bool:
    try:
        return read_bytes(copy) not in {_EMPTY if before is None else before, None}
    except ConfigError:
        return False


def _held_secret(data: bytes) -> bool:
    try:
        return _holds_secret(decode_document(data, ""))
    except ConfigError:
        return False


def _holds_secret(document: Document) -> bool:
    value = document.value()
    return masked(value, ()) != value
