"""From the name in a request to the models that may answer it, as the config, the plugins and the sign-ins are now."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Final

from portico.errors import UsageError
from portico.gateway.outcome import headers_of
from portico.models.callable import Passed
from portico.models.failover import Attempt

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from portico.installation import Installation
    from portico.interfaces.provider_spec import ApiKind
    from portico.models.callable import CallableModel
    from portico.models.loader import ModelLoader
    from portico.models.reference import ModelReference

_REMEMBERED: Final = 1000


@dataclass(frozen=True)
class Candidates:
    """What may answer a request, in order, and what might have and cannot. `wanted` is the model that was asked for."""

    models: tuple[CallableModel, ...]
    passed: tuple[Passed, ...]
    wanted: ModelReference | None = None

    @cached_property
    def first_answers(self) -> dict[str, str]:
        """The headers of an answer by the first of them, which most answers are."""
        first = self.models[0]
        return headers_of(first, [Attempt(first, "answered")], self.passed)


@dataclass(slots=True)
class LiveModels:
    """Names and models at one moment. `names` maps names as clients send them; `claude-*` stands for all that begin so."""

    loader: ModelLoader
    names: Mapping[str, str]
    _known: dict[tuple[str | None, ApiKind], Candidates] = field(default_factory=dict)

    def candidates(self, name: str | None, api: ApiKind) -> Candidates:
        """What may answer over `api` for this name; the default model's where there is none.

        Raises:
            PorticoError: as `ModelLoader.resolve`; `no-such-protocol`, with the models that are served over `api`.
        """
        known = self._known.get((name, api))
        if known is None:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            known = self._known[name, api] = self._found(name, api)
        return known

    def _found(self, name: str | None, api: ApiKind) -> Candidates:
        resolution = self.loader.resolve(self._told_apart(self.meant(name)))
        fitting = tuple(model for model in resolution.candidates if api in self._apis(model))
        if not fitting:
            raise self._not_served(resolution.model, api)
        lacking = [model for model in resolution.candidates if model not in fitting]
        why = UsageError("no-such-protocol", f"It is not served over {api}.")
        return Candidates(fitting, (*resolution.passed, *(Passed(model.reference, why) for model in lacking)), resolution.wanted)

    def meant(self, name: str | None) -> str | None:
        """The reference or alias that `gateway.models` maps `name` to; else `name` itself."""
        if name is None or name in self.names:
            return self.names.get(name or "", name)
        patterns = [each for each in self.names if each.endswith("*") and name.startswith(each[:-1])]
        return self.names[max(patterns, key=len)] if patterns else name

    def _told_apart(self, name: str | None) -> str | None:
        """A bare id that several providers have is the one's that is set up, if that is one."""
        if name is None or "/" in name or name.lower() in self.loader.catalog.aliases:
            return name
        catalog = self.loader.catalog
        holders = [reference for reference in catalog.references() if reference.model == name]
        ready = [reference for reference in holders if self.loader.has_credential(catalog.providers[reference.provider])]
        return str(ready[0]) if len(ready) == 1 else name

    def _not_served(self, model: CallableModel, api: ApiKind) -> UsageError:
        others = sorted({str(one.reference) for one in self.ready() if api in self._apis(one)})
        served = f"These are: {', '.join(others)}." if others else f"No model here is served over {api}."
        why = f"it is served over {', '.join(sorted(self._apis(model)))}"
        return UsageError("no-such-protocol", f"{model.reference} is not served over {api}.", why=why, hint=served)

    def ready(self) -> Iterable[CallableModel]:
        """Every model of the catalogue that has a credential and is not retired, each once."""
        catalog = self.loader.catalog
        for reference in catalog.references():
            spec = catalog.find(reference)
            if spec is not None and spec.retired_on is not None:
                continue
            if self.loader.has_credential(catalog.providers[reference.provider]) and catalog.allows(reference):
                yield from self.loader.each_credential(str(reference))[:1]

    @staticmethod
    def _apis(model: CallableModel) -> Iterable[ApiKind]:
        return model.bases or {model.api: model.base_url}


def live_models(installation: Installation) -> tuple[LiveModels, tuple[Path, ...]]:
    """The models as they are now, and the files that this rests on. Blocking.

    Raises:
        PorticoError: the config or the index cannot be read.
    """
    loaded = installation.config
    models = LiveModels(installation.models(), loaded.config.gateway.models)
    return models, (*loaded.sources, *installation.token_store.files)
