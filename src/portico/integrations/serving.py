"""What every integration asks of a model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from portico.library.loading import load_model
from portico.library.model import Model
from portico.models.loader import NoSuchProtocol

if TYPE_CHECKING:
    from portico.interfaces.provider_spec import ApiKind

PLACEHOLDER_KEY: Final = "replaced-in-each-request"
"""Stands where an SDK insists on a key; the one that is sent is put in by `PorticoAuth`."""


def loaded(model: Model | str | None) -> Model:
    """The model itself where it was given as a name, or not at all."""
    return model if isinstance(model, Model) else load_model(model)


def base_for(model: Model, *kinds: ApiKind) -> str:
    """Where `model` is served over the first of `kinds` that it is served over.

    Raises:
        UsageError: `no-such-protocol`, with those that it has.
    """
    base = next((model.bases[kind] for kind in kinds if kind in model.bases), None)
    if base is None:
        message = f"{model.reference} is not served over {' or '.join(kinds)}."
        raise NoSuchProtocol(message, hint=f"It is served over {', '.join(model.bases)}.")
    return base
