"""Edits of an OpenClaw file, which its strict schema must not refuse afterwards (https://docs.openclaw.ai/gateway/configuration)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from portico.config.check import check
from portico.config.problem import named, refuse_errors
from portico.config.schema import porticos_own
from portico.config.stack import alone
from portico.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from portico.config.config_path import ConfigPath
    from portico.config.document import Document
    from portico.config.effective import Effective
    from portico.config.problem import Problem

_PROVIDER_NEEDS: Final = ("baseUrl", "models")
_MODEL_NEEDS: Final = ("id", "name")


def checked_for_openclaw(before: Document, after: Document) -> Document:
    """`after`, if nothing that has changed since `before` would make OpenClaw refuse its file.

    Raises:
        ConfigError: it would (`config-not-openclaw`, or `config-invalid` with every error that is new).
    """
    if after is before:
        return after
    old, new = alone(before), alone(after)
    had = {_essence(problem) for problem in check(old)[1]}
    found = [problem for problem in check(new)[1] if _essence(problem) not in had]
    refuse_errors(f"{after.name} as it would be", found)
    known = set(_complaints(old))
    told = [complaint for complaint in _complaints(new) if complaint not in known]
    told += [problem.message for problem in found if "is not a key" in problem.message]
    if told:
        hint = "leave out `--write-base` to write it to Portico's own file"
        raise ConfigError("config-not-openclaw", f"OpenClaw would refuse its file: {told[0]}", where=after.name, hint=hint)
    return after


def _essence(problem: Problem) -> tuple[ConfigPath, str]:
    return problem.path, problem.message


def _complaints(base: Effective) -> Iterator[str]:
    for path in porticos_own(base.value()):
        yield f"{named(path)} is a key of Portico's own"
    providers = base.get(("models", "providers")) if base.has(("models", "providers")) else {}
    for id, provider in providers.items() if isinstance(providers, dict) else ():
        place = ("models", "providers", id)
        yield from _lacking(place, provider, _PROVIDER_NEEDS)
        models = provider.get("models") if isinstance(provider, dict) else None
        for index, model in enumerate(models if isinstance(models, list) else ()):
            yield from _lacking((*place, "models", index), model, _MODEL_NEEDS)


def _lacking(path: ConfigPath, value: object, needed: Sequence[str]) -> Iterator[str]:
    if isinstance(value, dict):
        yield from (f"{named(path)} needs `{key}` there" for key in needed if key not in value)
