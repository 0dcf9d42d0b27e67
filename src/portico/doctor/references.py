"""What the configuration names and what does not exist: profiles in `auth.order`, models, aliases."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from portico.config.config_path import format_path
from portico.config.references import ORDER, PROFILES, model_names, own_profiles
from portico.doctor.finding import Found
from portico.errors import PorticoError, StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from portico.config.config_path import ConfigPath
    from portico.config.layers import LoadedConfig
    from portico.doctor.finding import Level
    from portico.doctor.patient import Patient


def references(patient: Patient) -> Iterator[Found]:
    """A profile in an order, or a model name, that refers to nothing."""
    if patient.config is None:
        return
    yield from _profiles(patient, patient.config)
    yield from _models(patient, patient.config)


def _profiles(patient: Patient, loaded: LoadedConfig) -> Iterator[Found]:
    try:
        known = {one.id: one.provider for one in patient.here.index.profiles() if not one.sign_out_unfinished}
    except StoreError:
        return  # the index has a finding of its own, and nothing is known of what it holds
    for provider, order in loaded.config.auth.order.items():
        left = [id for id in order if known.get(id) == provider]
        for id in (id for id in order if id not in left):
            instead = f"set --provider {provider} {' '.join(left)}" if left else f"clear --provider {provider}"
            yield Found(
                "dangling-reference",
                "warning",
                f"auth.order.{provider} names {id}, which is no account of {provider} that is signed in.",
                "It is ignored.",
                f"{{prog}} auth order {instead}",
                _forget(patient, loaded, provider, id),
            )
    for id in own_profiles(loaded.document):
        if id not in known:
            yield Found(
                "dangling-reference",
                "warning",
                f"auth.profiles names {id}, which is not signed in.",
                "It is ignored.",
                f"{{prog}} config unset '{format_path((*PROFILES, id))}'",
                partial(_removed, patient, (*PROFILES, id)),
            )


def _forget(patient: Patient, loaded: LoadedConfig, provider: str, id: str) -> Callable[[], str] | None:
    """Take it out of the config file itself; None if another file, which is not Portico's to change, names it."""
    own = loaded.document.get((*ORDER, provider)) if loaded.document.has((*ORDER, provider)) else None
    if not isinstance(own, list) or id not in own:
        return None

    left = [other for other in own if other != id]
    path = (*ORDER, provider)

    def forget() -> str:
        patient.here.config.file.edit(lambda document: document.set(path, left) if left else document.unset(path))
        return f"{id} is no longer in auth.order.{provider}"

    return forget


def _removed(patient: Patient, path: ConfigPath) -> str:
    patient.here.config.file.edit(lambda document: document.unset(path) if document.has(path) else document)
    return f"{format_path(path)} is removed"


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
