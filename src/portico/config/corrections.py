"""`models.json` beside the configuration: prices and limits that correct what the configuration and the built-ins say.

Its shape is OpenClaw's (https://docs.openclaw.ai/concepts/models): `{ "providers": { "<id>": { "models": [ ... ] } } }`. OpenClaw
writes keys and URLs into its own; here they have no effect, so that no secret has to stand in the file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from portico.config.check import read
from portico.config.problem import Problem
from portico.config.reading import read_document
from portico.config.schema import CORRECTIONS
from portico.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from portico.config.schema import ModelConfig

NAME: Final = "models.json"


def read_corrections(folder: Path) -> tuple[Mapping[tuple[str, str], ModelConfig], tuple[Problem, ...]]:
    """The models of `folder`'s `models.json`, by provider and model id, and what is wrong with it."""
    path = folder / NAME
    try:
        document = read_document(path)
    except ConfigError as error:
        if error.where is not None:
            return {}, (Problem("error", error.where, (), error.message, error.hint),)
        return {}, (Problem("error", f"{path}:1:1", (), str(error), "make it a file that you can read, or move it away"),)
    if document is None:
        return {}, ()
    value = document.value()
    if not isinstance(value, dict) or "providers" not in value:
        return {}, (Problem("warning", f"{path}:1:1", (), "it has no `providers`, so nothing is read from it"),)
    fields, problems = read(CORRECTIONS, document)
    providers = fields.get("providers", {}) if fields is not None else {}
    return {(id, model.id): model for id, each in providers.items() for model in each.get("models", ())}, tuple(problems)
