"""Checks of the config and the state folder: their problems and permissions, and names in the config that do not exist."""

from __future__ import annotations

import os
import shlex
from functools import partial
from shlex import quote
from typing import TYPE_CHECKING, Final

from portico.config.document import format_path
from portico.config.load import ORDER, PROFILES, model_names, profile_ids, protected_paths
from portico.config.sources import exposed_files, named_variable
from portico.doctor.finding import Examined, Finding, Skipped, of_error
from portico.errors import PorticoError, StoreError
from portico.paths import FILE_MODE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from portico.config.document import ConfigPath, Document
    from portico.config.load import LoadedConfig
    from portico.doctor.finding import CheckContext, Level, Outcome

_OTHERS: Final = 0o077
_FOLDER_MODE: Final = 0o700
_MOST_PROBLEMS: Final = 10


def config(context: CheckContext) -> Iterator[Outcome]:
    """Find errors and warnings in the config, each with its file, line and column."""
    try:
        loaded = context.app.config
    except PorticoError as error:
        yield of_error(error, why=error.why or "No command can choose a model.")
        return
    path = context.app.paths.config
    yield Examined(str(path) if path.exists() else f"there is no {path}: Portico uses the defaults")
    other_checks = {*exposed_files(protected_paths(loaded.sources, context.app.paths, context.app.env))}
    other_checks |= {each for each in loaded.problems if each.path[-1:] == ("baseUrl",) and not each.standing}
    for problem in [each for each in loaded.problems if each not in other_checks][:_MOST_PROBLEMS]:
        is_own = problem.where.startswith(f"{path}:")
        yield Finding("config-doubt", "warning", str(problem), hint="{prog} config edit" if is_own else "correct it in that file")


def readable_by_others(context: CheckContext) -> Iterator[Outcome]:
    """Find a state folder or a config file with keys that other users can read."""
    if os.name != "posix":
        yield Skipped("this system has no POSIX modes")
        return
    paths, loaded = context.app.paths, context.config
    yield Examined(f"{paths.state}, {paths.config}")
    if paths.state.exists() and paths.state.stat().st_mode & _OTHERS:
        why = "It shows which accounts you have, and may contain the encrypted file."
        yield _open_to_others("state-open", paths.state, _FOLDER_MODE, why)
    if loaded is not None and _has_keys(context, loaded) and paths.config.exists() and paths.config.stat().st_mode & _OTHERS:
        yield _open_to_others("config-open", paths.config, FILE_MODE, "It contains keys.")


def writable_by_others(context: CheckContext) -> Iterator[Outcome]:
    """Find files, and folders above them, that another user owns or can write to."""
    app = context.app
    sources = context.config.sources if context.config is not None else (app.paths.config,)
    checked = protected_paths(sources, app.paths, app.env)
    yield Examined(", ".join(map(str, checked)))
    for problem in exposed_files(checked):
        why = "Another user could choose the servers that get your keys and tokens, or read them."
        yield Finding("others-may-change", "warning", f"{problem.where}: {problem.message}", why, problem.hint)


def _has_keys(context: CheckContext, loaded: LoadedConfig) -> bool:
    """Whether the config file contains a key that is not the name of a variable or the placeholder of a sign-in."""
    signed_in = {profile.provider for profile in context.profiles}
    keys = {name: each.api_key for name, each in loaded.config.models.providers.items() if name not in signed_in}
    specs = context.models.catalog.specs if context.models is not None else {}
    placeholders = {name: spec.placeholder_key for name, spec in specs.items()}
    written = {name: key.reveal() for name, key in keys.items() if key is not None}
    return bool(loaded.config.env) or any(
        not text.startswith("${") and named_variable(text) is None and text != placeholders.get(name)
        for name, text in written.items()
    )


def index(context: CheckContext) -> Iterator[Outcome]:
    """Check that the profile index can be read."""
    try:
        count = len(context.app.token_store.profiles())
    except PorticoError as error:
        yield of_error(error)
    else:
        yield Examined("1 account" if count == 1 else f"{count} accounts")


def _open_to_others(id: str, path: Path, mode: int, why: str) -> Finding:
    def close() -> str:
        path.chmod(mode)
        return f"only you can read {path} now"

    return Finding(id, "error", f"Other users can read {path}.", why, f"chmod {mode:o} {quote(str(path))}", close)


_MOST_NAMED: Final = 5
_IGNORED: Final = "Portico ignores it."


def references(context: CheckContext) -> Iterator[Outcome]:
    """Find profile ids and model names in the config that do not exist."""
    if context.config is None:
        yield Skipped("the config cannot be read")
        return
    models, orders = len([*model_names(context.config.config)]), len(context.config.config.auth.order)
    yield Examined(f"model names: {models}, orders of accounts: {orders}")
    yield from _profiles(context, context.config)
    yield from _models(context, context.config)


def _profiles(context: CheckContext, loaded: LoadedConfig) -> Iterator[Finding]:
    try:
        snapshot = context.app.token_store.snapshot()
    except StoreError:
        return  # `index` reports this
    known = {profile.id: profile.provider for profile in snapshot.profiles if not profile.sign_out_unfinished}
    damaged = frozenset(snapshot.damaged)  # the user can sign in again under the same id
    for provider, order in loaded.config.auth.order.items():
        present = tuple(id for id in order if known.get(id) == provider or id in damaged)
        if missing := tuple(dict.fromkeys(id for id in order if id not in present)):
            place = format_path((*ORDER, provider))
            command = shlex.join(["set", "--provider", provider, *present] if present else ["clear", "--provider", provider])
            message = f"{place} names {_listed(missing)}: not a signed-in account of {provider}."
            fix = _order_fix(context, loaded, (*ORDER, provider), missing)
            yield Finding("dangling-reference", "warning", message, _IGNORED, f"{{prog}} auth order {command}", fix)
    if missing := tuple(id for id in profile_ids(loaded.document) if id not in {*known, *damaged}):
        message = f"auth.profiles names {_listed(missing)}: not signed in."
        yield Finding("dangling-reference", "warning", message, _IGNORED, None, partial(_remove_profiles, context, missing))


def _listed(ids: Sequence[str]) -> str:
    more = f" and {len(ids) - _MOST_NAMED} more" if len(ids) > _MOST_NAMED else ""
    return f"{', '.join(ids[:_MOST_NAMED])}{more}"


def _order_fix(context: CheckContext, loaded: LoadedConfig, path: ConfigPath, missing: Sequence[str]) -> Callable[[], str] | None:
    """Return a fix that removes the ids from the config file; None if only other files name them, which Portico never edits."""
    order = loaded.document.get(path) if loaded.document.has(path) else None
    if not isinstance(order, list) or not (removed := [id for id in missing if id in order]):
        return None
    present = [id for id in order if id not in missing]

    def fix() -> str:
        context.app.config.file.edit(lambda document: document.set(path, present) if present else document.unset(path))
        return f"removed {_listed(removed)} from {format_path(path)}"

    return fix


def _remove_profiles(context: CheckContext, ids: Sequence[str]) -> str:
    def change(document: Document) -> Document:
        for id in ids:
            document = document.unset((*PROFILES, id)) if document.has((*PROFILES, id)) else document
        return document

    context.app.config.file.edit(change)
    return f"removed {_listed(ids)} from auth.profiles"


def _models(context: CheckContext, loaded: LoadedConfig) -> Iterator[Finding]:
    if context.models is None:
        return
    for path, text in model_names(loaded.config):
        try:
            context.models.check(text)
        except PorticoError as error:
            place = format_path(path)
            level: Level = "error" if path[-1] == "primary" else "warning"
            yield Finding("dangling-reference", level, f"{place} names {text}: there is no such model.", error.why, error.hint)
