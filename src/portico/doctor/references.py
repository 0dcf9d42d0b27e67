"""What the configuration names and what does not exist: profiles in `auth.order`, models, aliases."""

from __future__ import annotations

import shlex
from functools import partial
from typing import TYPE_CHECKING, Final

from portico.config.document import format_path
from portico.config.load import ORDER, PROFILES, model_names, own_profiles
from portico.doctor.finding import Found, Saw, Skipped
from portico.errors import PorticoError, StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from portico.config.document import ConfigPath, Document
    from portico.config.load import LoadedConfig
    from portico.doctor.finding import Level, Seen
    from portico.doctor.patient import Patient

_MOST: Final = 5


def references(patient: Patient) -> Iterator[Seen]:
    """A profile in an order, or a model name, that refers to nothing."""
    if patient.config is None:
        yield Skipped("the configuration cannot be read")
        return
    models, orders = len([*model_names(patient.config.config)]), len(patient.config.config.auth.order)
    yield Saw(f"names of models: {models}, orders of accounts: {orders}")
    yield from _profiles(patient, patient.config)
    yield from _models(patient, patient.config)


def _profiles(patient: Patient, loaded: LoadedConfig) -> Iterator[Found]:
    try:
        sign_ins = patient.here.token_store.snapshot()
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
            mend = _reordered(patient, loaded, (*ORDER, provider), gone)
            yield Found("dangling-reference", "warning", message, "It is ignored.", f"{{prog}} auth order {instead}", mend)
    if gone := tuple(id for id in own_profiles(loaded.document) if id not in {*known, *damaged}):
        message = f"auth.profiles names {_listed(gone)}: not signed in."
        yield Found("dangling-reference", "warning", message, "It is ignored.", None, partial(_removed, patient, gone))


def _listed(ids: Sequence[str]) -> str:
    more = f" and {len(ids) - _MOST} more" if len(ids) > _MOST else ""
    return f"{', '.join(ids[:_MOST])}{more}"


def _reordered(patient: Patient, loaded: LoadedConfig, path: ConfigPath, gone: Sequence[str]) -> Callable[[], str] | None:
    """Take them out of the config file itself; None if only other files name them, which are not Portico's to change."""
    own = loaded.document.get(path) if loaded.document.has(path) else None
    if not isinstance(own, list) or not (here := [id for id in gone if id in own]):
        return None
    left = [id for id in own if id not in gone]

    def change() -> str:
        patient.here.config.file.edit(lambda document: document.set(path, left) if left else document.unset(path))
        return f"{_listed(here)} is no longer in {format_path(path)}"

    return change


def _removed(patient: Patient, gone: Sequence[str]) -> str:
    def change(document: Document) -> Document:
        for id in gone:
            document = document.unset((*PROFILES, id)) if document.has((*PROFILES, id)) else document
        return document

    patient.here.config.file.edit(change)
    return f"{_listed(gone)} is no longer in auth.profiles"


def _models(patient: Patient, loaded: LoadedConfig) -> Iterator[Found]:
    if patient.models is None:
        return
    for path, text in model_names(loaded.config):
        try:
            patient.models.check(text)
        except PorticoError as error:
            place = format_path(path)
            level: Level = "error" if path[-1] == "primary" else "warning"
            yield Found("dangling-reference", level, f"{place} names {text}, which is no model here.", error.why, error.hint)
