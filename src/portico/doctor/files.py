"""The config and the state folder: whether they can be read, and by whom; and what the config names that does not exist."""

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


def configuration(context: CheckContext) -> Iterator[Outcome]:
    """Errors and doubts, each with its file, line and column."""
    try:
        loaded = context.app.config
    except PorticoError as error:
        yield of_error(error, why=error.why or "No command that chooses a model can go on.")
        return
    path = context.app.paths.config
    yield Examined(str(path) if path.exists() else f"there is no {path}: the defaults are used")
    elsewhere = {*exposed_files(protected_paths(loaded.sources, context.app.paths, context.app.env))}
    elsewhere |= {each for each in loaded.problems if each.path[-1:] == ("baseUrl",) and not each.standing}
    for problem in [each for each in loaded.problems if each not in elsewhere][:_MOST_PROBLEMS]:
        is_own = problem.where.startswith(f"{path}:")
        yield Finding("config-doubt", "warning", str(problem), hint="{prog} config edit" if is_own else "correct it in that file")


def who_may_read(context: CheckContext) -> Iterator[Outcome]:
    """A folder or a file that others can read."""
    if os.name != "posix":
        yield Skipped("this system has no POSIX modes")
        return
    paths, loaded = context.app.paths, context.config
    yield Examined(f"{paths.state}, {paths.config}")
    if paths.state.exists() and paths.state.stat().st_mode & _OTHERS:
        yield _open_to_others(
            "state-open", paths.state, _FOLDER_MODE, "It tells which accounts you have, and holds a sealed store."
        )
    if loaded is not None and _holds_keys(context, loaded) and paths.config.exists() and paths.config.stat().st_mode & _OTHERS:
        yield _open_to_others("config-open", paths.config, FILE_MODE, "It holds keys.")


def who_may_change(context: CheckContext) -> Iterator[Outcome]:
    """A file, or a folder above one, that another user owns or can write to."""
    app = context.app
    sources = context.config.sources if context.config is not None else (app.paths.config,)
    checked = protected_paths(sources, app.paths, app.env)
    yield Examined(", ".join(map(str, checked)))
    for problem in exposed_files(checked):
        why = "She could choose the servers that your keys and tokens go to, or read them."
        yield Finding("others-may-change", "warning", f"{problem.where}: {problem.message}", why, problem.hint)


def _holds_keys(context: CheckContext, loaded: LoadedConfig) -> bool:
    """Whether a key stands in the file itself: not a variable's name, nor what a sign-in writes in its place."""
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
    """The list of sign-ins cannot be read."""
    try:
        yield Examined(_accounts(len(context.app.token_store.profiles())))
    except PorticoError as error:
        yield of_error(error)


def _accounts(count: int) -> str:
    return "1 account" if count == 1 else f"{count} accounts"


def _open_to_others(id: str, path: Path, mode: int, why: str) -> Finding:
    def close() -> str:
        path.chmod(mode)
        return f"{path} is yours alone now"

    return Finding(id, "error", f"{path} can be read by other users.", why, f"chmod {mode:o} {quote(str(path))}", close)


_MOST_NAMED: Final = 5


def references(context: CheckContext) -> Iterator[Outcome]:
    """A profile in an order, or a model name, that refers to nothing."""
    if context.config is None:
        yield Skipped("the configuration cannot be read")
        return
    models, orders = len([*model_names(context.config.config)]), len(context.config.config.auth.order)
    yield Examined(f"names of models: {models}, orders of accounts: {orders}")
    yield from _profiles(context, context.config)
    yield from _models(context, context.config)


def _profiles(context: CheckContext, loaded: LoadedConfig) -> Iterator[Finding]:
    try:
        sign_ins = context.app.token_store.snapshot()
    except StoreError:
        return  # the index has a finding of its own, and nothing is known of what it holds
    known = {one.id: one.provider for one in sign_ins.profiles if not one.sign_out_unfinished}
    damaged = frozenset(sign_ins.damaged)  # to be signed in again under that name
    for provider, order in loaded.config.auth.order.items():
        left = tuple(id for id in order if known.get(id) == provider or id in damaged)
        if gone := tuple(dict.fromkeys(id for id in order if id not in left)):
            place = format_path((*ORDER, provider))
            instead = shlex.join(["set", "--provider", provider, *left] if left else ["clear", "--provider", provider])
            message = f"{place} names {_listed(gone)}: no account of {provider} that is signed in."
            fix = _reordered(context, loaded, (*ORDER, provider), gone)
            yield Finding("dangling-reference", "warning", message, "It is ignored.", f"{{prog}} auth order {instead}", fix)
    if gone := tuple(id for id in profile_ids(loaded.document) if id not in {*known, *damaged}):
        message = f"auth.profiles names {_listed(gone)}: not signed in."
        yield Finding("dangling-reference", "warning", message, "It is ignored.", None, partial(_removed, context, gone))


def _listed(ids: Sequence[str]) -> str:
    more = f" and {len(ids) - _MOST_NAMED} more" if len(ids) > _MOST_NAMED else ""
    return f"{', '.join(ids[:_MOST_NAMED])}{more}"


def _reordered(context: CheckContext, loaded: LoadedConfig, path: ConfigPath, gone: Sequence[str]) -> Callable[[], str] | None:
    """Take them out of the config file itself; None if only other files name them, which are not Portico's to change."""
    own = loaded.document.get(path) if loaded.document.has(path) else None
    if not isinstance(own, list) or not (gone_here := [id for id in gone if id in own]):
        return None
    left = [id for id in own if id not in gone]

    def change() -> str:
        context.app.config.file.edit(lambda document: document.set(path, left) if left else document.unset(path))
        return f"{_listed(gone_here)} is no longer in {format_path(path)}"

    return change


def _removed(context: CheckContext, gone: Sequence[str]) -> str:
    def change(document: Document) -> Document:
        for id in gone:
            document = document.unset((*PROFILES, id)) if document.has((*PROFILES, id)) else document
        return document

    context.app.config.file.edit(change)
    return f"{_listed(gone)} is no longer in auth.profiles"


def _models(context: CheckContext, loaded: LoadedConfig) -> Iterator[Finding]:
    if context.models is None:
        return
    for path, text in model_names(loaded.config):
        try:
            context.models.check(text)
        except PorticoError as error:
            place = format_path(path)
            level: Level = "error" if path[-1] == "primary" else "warning"
            yield Finding("dangling-reference", level, f"{place} names {text}, which is no model here.", error.why, error.hint)
