"""`models.json` beside the configuration: prices and limits that correct what the configuration and the built-ins say.

Its shape is OpenClaw's (https://docs.openclaw.ai/concepts/models): `{ "providers": { "<id>": { "models": [ ... ] } } }`. OpenClaw
writes keys and URLs into its own; here they have no effect, so that no secret has to stand in the file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from portico.config.effective import Effective
from portico.config.model_checker import read_model
from portico.config.problem import Problem, Report
from portico.config.reading import read_document
from portico.config.section import Section
from portico.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from portico.config.schema import ModelConfig

NAME: Final = "models.json"
_WITHOUT_EFFECT: Final = ("baseUrl", "api", "auth", "authHeader")
_SECRET: Final = ("apiKey", "headers")


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
    report = Report(Effective(document))
    top = Section(report, (), value)
    found = {(id, model.id): model for id, provider in top.sections("providers") for model in _models(provider)}
    top.finish()
    return found, tuple(report.problems)


def _models(provider: Section) -> list[ModelConfig]:
    for key in _SECRET:
        if key in provider.members:
            provider.doubt(key, "is not read here: keep secrets out of this file")
    models = [model for each in provider.elements("models") if (model := _read(each)) is not None]
    provider.finish((*_WITHOUT_EFFECT, *_SECRET))
    return models


def _read(model: Section) -> ModelConfig | None:
    if "headers" in model.members:
        model.doubt("headers", "is not read here: keep secrets out of this file")
    return read_model(model)
