"""`config edit`: open a private copy in the editor, and replace the config file if the copy is valid. No typed text is lost."""

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
from portico.terminal.prompts import JSON_ASKS_NOTHING, InputNeeded
from portico.util.children import child_environment, find_program

if TYPE_CHECKING:
    import argparse

    from portico.app import App
    from portico.config.document import Document

_EMPTY: Final = b"{}\n"
_FALLBACKS: Final = ("sensible-editor", "nano", "vi", "notepad")


class EditorFailed(UsageError):
    """No editor could be started, or the editor ended with an error."""

    id = "editor-failed"


def edit(_args: argparse.Namespace, app: App) -> int:
    """Open a copy in the editor until it is valid or the user gives up, then replace the file with it.

    Raises:
        UsageError: there is no terminal, or `--json` is set (`input-needed`); there is no editor (`editor-failed`).
        ConfigError: the copy is invalid (`config-invalid`), or the file has changed in the meantime. The copy is kept, and stderr
        names its path.
    """
    if not app.prompter.interactive:
        hint = "To change one value without a terminal: {prog} config set KEY VALUE"
        why = JSON_ASKS_NOTHING if app.options.json else None
        raise InputNeeded("`config edit` needs a terminal.", why=why, hint=hint)
    editor = _editor(app)
    before = read_bytes(app.paths.config)
    copy = _copy(app, _EMPTY if before is None else before)
    try:
        changed = _edit_and_replace(app, editor, copy, before)
    except BaseException:
        if _is_changed(copy, before):
            app.out.warn(f"{app.program}: your edited copy is kept at {copy}")
        else:
            shutil.rmtree(copy.parent)
        raise
    shutil.rmtree(copy.parent)
    restart = ". Restart the gateway to apply" if changed and app.gateway_runs() else ""
    app.out.line(f"Updated {app.paths.config}{restart}." if changed else "Nothing was changed.")
    app.warn_if_exposed()
    return ExitCode.OK


def _edit_and_replace(app: App, editor: list[str], copy: Path, before: bytes | None) -> bool:
    """Edit the copy and replace the file with it. Return whether the file changed."""
    while True:
        _run(app, editor, copy)
        if copy.exists() and not _is_changed(copy, before):
            return False
        try:
            after = _checked(app, copy)
        except ConfigError as error:
            app.out.warn(f"{app.program}: {error}")
            if not app.prompter.confirm("Edit it again?", flag="{prog} config edit", default=True):
                raise InvalidConfig(f"{app.paths.config} was not changed.") from None
        else:
            private = _has_secret(after) and not (before is not None and _is_secret_data(before))
            ConfigFile(app.paths.config, app.paths.locks).put(after, expected_data=before, private=private)
            return True


def _checked(app: App, copy: Path) -> Document:
    """Check the copy and return it as a document with the config file's name."""
    data = read_bytes(copy)
    if data is None:
        raise InvalidConfig("the editor deleted the file")
    document = decode_document(data, str(app.paths.config))
    files = checked(document)
    problems = (*problems_of(app, files), *misfit_problems(app, files))
    refuse_errors("your edited copy", (problem for problem in problems if problem.layer == "own"))
    return document


def _copy(app: App, data: bytes) -> Path:
    """Make a copy for the editor, in a private folder because editors put backup files beside it."""
    copy = Path(mkdtemp(prefix="edit-", dir=make_private_folder(app.paths.state))) / app.paths.config.name
    copy.touch(mode=FILE_MODE)
    copy.write_bytes(data)
    return copy


def _run(app: App, editor: list[str], copy: Path) -> None:
    """Run the editor on the terminal; Ctrl-C goes to the editor. The editor gets no secret from this process's environment."""
    from portico.util.children import resolve_command

    try:
        child = subprocess.Popen(resolve_command([*editor, str(copy)], app.env), env=child_environment(app.env))
    except OSError as error:
        raise EditorFailed(f"Could not start {editor[0]}.", why=error.strerror, hint=_set_another(app)) from None
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        code = child.wait()
    finally:
        signal.signal(signal.SIGINT, handler)
    if code:
        raise EditorFailed(f"{editor[0]} ended with exit code {code}. {app.paths.config} was not changed.")


def _editor(app: App) -> list[str]:
    """Return the editor's command and its arguments."""
    chosen = app.env.get(_variable(app), "").strip()
    if chosen:
        try:
            return shlex.split(chosen, posix=os.name == "posix")
        except ValueError as error:
            message = f"Could not read {_variable(app)} as a command: {chosen}"
            raise EditorFailed(message, why=str(error), hint=_set_another(app)) from None
    program = next(filter(None, (find_program(name, app.env) for name in _FALLBACKS)), None)
    if program is None:
        raise EditorFailed("No editor was found.", hint=_set_another(app))
    return [program]


def _variable(app: App) -> str:
    return "VISUAL" if app.env.get("VISUAL", "").strip() else "EDITOR"


def _set_another(app: App) -> str:
    return f"Set {_variable(app)} to an editor's command, or change one value: {{prog}} config set KEY VALUE"


def _is_changed(copy: Path, before: bytes | None) -> bool:
    try:
        return read_bytes(copy) not in {_EMPTY if before is None else before, None}
    except ConfigError:
        return False


def _is_secret_data(data: bytes) -> bool:
    try:
        return _has_secret(decode_document(data, ""))
    except ConfigError:
        return False


def _has_secret(document: Document) -> bool:
    value = document.value()
    return masked(value, ()) != value
