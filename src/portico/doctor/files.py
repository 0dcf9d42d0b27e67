"""The configuration and the state folder: whether they can be read, and by whom."""

from __future__ import annotations

import os
from shlex import quote
from typing import TYPE_CHECKING, Final

from portico.config.load import guarded
from portico.config.sources import exposed, named_variable
from portico.doctor.finding import Found, Saw, Skipped, of_error
from portico.errors import PorticoError
from portico.paths import FILE_MODE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from portico.config.load import LoadedConfig
    from portico.doctor.finding import Seen
    from portico.doctor.patient import Patient

_OTHERS: Final = 0o077
_FOLDER_MODE: Final = 0o700
_MOST: Final = 10


def configuration(patient: Patient) -> Iterator[Seen]:
    """Errors and doubts, each with its file, line and column."""
    try:
        loaded = patient.here.config
    except PorticoError as error:
        yield of_error(error, why=error.why or "No command that chooses a model can go on.")
        return
    path = patient.here.paths.config
    yield Saw(str(path) if path.exists() else f"there is no {path}: the defaults are used")
    elsewhere = {*exposed(guarded(loaded.sources, patient.here.paths, patient.here.env))}
    elsewhere |= {each for each in loaded.problems if each.path[-1:] == ("baseUrl",) and not each.standing}
    for problem in [each for each in loaded.problems if each not in elsewhere][:_MOST]:
        is_own = problem.where.startswith(f"{path}:")
        yield Found("config-doubt", "warning", str(problem), hint="{prog} config edit" if is_own else "correct it in that file")


def who_may_read(patient: Patient) -> Iterator[Seen]:
    """A folder or a file that others can read."""
    if os.name != "posix":
        yield Skipped("this system has no POSIX modes")
        return
    paths, loaded = patient.here.paths, patient.config
    yield Saw(f"{paths.state}, {paths.config}")
    if paths.state.exists() and paths.state.stat().st_mode & _OTHERS:
        yield _open_to_others(
            "state-open", paths.state, _FOLDER_MODE, "It tells which accounts you have, and holds a sealed store."
        )
    if loaded is not None and _holds_keys(patient, loaded) and paths.config.exists() and paths.config.stat().st_mode & _OTHERS:
        yield _open_to_others("config-open", paths.config, FILE_MODE, "It holds keys.")


def who_may_change(patient: Patient) -> Iterator[Seen]:
    """A file, or a folder above one, that another user owns or can write to."""
    here = patient.here
    sources = patient.config.sources if patient.config is not None else (here.paths.config,)
    checked = guarded(sources, here.paths, here.env)
    yield Saw(", ".join(map(str, checked)))
    for problem in exposed(checked):
        why = "She could choose the servers that your keys and tokens go to, or read them."
        yield Found("others-may-change", "warning", f"{problem.where}: {problem.message}", why, problem.hint)


def _holds_keys(patient: Patient, loaded: LoadedConfig) -> bool:
    """Whether a key stands in the file itself: not a variable's name, nor what a sign-in writes in its place."""
    signed_in = {profile.provider for profile in patient.profiles}
    keys = {name: each.api_key for name, each in loaded.config.models.providers.items() if name not in signed_in}
    specs = patient.models.catalog.specs if patient.models is not None else {}
    placeholders = {name: spec.placeholder_key for name, spec in specs.items()}
    written = {name: key.reveal() for name, key in keys.items() if key is not None}
    return bool(loaded.config.env) or any(
        not text.startswith("${") and named_variable(text) is None and text != placeholders.get(name)
        for name, text in written.items()
    )


def index(patient: Patient) -> Iterator[Seen]:
    """The list of sign-ins cannot be read."""
    try:
        yield Saw(_accounts(len(patient.here.token_store.profiles())))
    except PorticoError as error:
        yield of_error(error)


def _accounts(count: int) -> str:
    return "1 account" if count == 1 else f"{count} accounts"


def _open_to_others(id: str, path: Path, mode: int, why: str) -> Found:
    def close() -> str:
        path.chmod(mode)
        return f"{path} is yours alone now"

    return Found(id, "error", f"{path} can be read by other users.", why, f"chmod {mode:o} {quote(str(path))}", close)
