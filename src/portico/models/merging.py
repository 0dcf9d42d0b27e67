"""One model from all that is said of it: a plugin's catalogue, over it the config, over it the corrections of `models.json`.

A page's config block may hold a placeholder for a price; `models.json` is where it is put right (provider page: notes).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from portico.interfaces.provider_spec import ModelSpec
from portico.models.thinking import reasons

if TYPE_CHECKING:
    from collections.abc import Mapping

    from portico.config.schema import ModelConfig, ProviderConfig
    from portico.interfaces.provider_spec import ProviderSpec

CONFIG: Final = "config"
CORRECTIONS: Final = "models.json"


def merged_models(
    spec: ProviderSpec | None,
    config: ProviderConfig | None,
    corrections: Mapping[str, ModelConfig],
    *,
    only_listed: bool,
) -> tuple[dict[str, ModelSpec], dict[str, str]]:
    """The models of one provider by id, and for each that has a price where it comes from.

    `only_listed` leaves out those of the plugin that the config does not list, as `models.mode: "replace"` wants it.
    """
    known = {model.id: model for model in spec.models} if spec is not None else {}
    listed = {model.id: model for model in config.models} if config is not None else {}
    ids = listed if only_listed else {**known, **listed}
    models, prices = {}, {}
    for id in ids:
        model, told = known.get(id) or ModelSpec(id, id, reasoning=reasons(id)), known[id].source if id in known else None
        for source, said in ((CONFIG, listed.get(id)), (CORRECTIONS, corrections.get(id))):
            if said is not None:
                model = _over(model, said)
                told = source if said.cost is not None else told
        models[id] = model
        if model.cost is not None:
            prices[id] = told or "unknown"
    return models, prices


def _over(model: ModelSpec, said: ModelConfig) -> ModelSpec:
    return replace(
        model,
        name=said.name or model.name,
        context_window=said.context_window or model.context_window,
        max_tokens=said.max_tokens or model.max_tokens,
        cost=said.cost.over(model.cost) if said.cost is not None else model.cost,
        reasoning=model.reasoning if said.reasoning is None else said.reasoning,
        input=said.input or model.input,
    )
