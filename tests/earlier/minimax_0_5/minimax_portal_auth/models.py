"""The models of MiniMax's plans: those that Portico knows of MiniMax, with the page's aliases and what a plan makes of them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from portico.plugin_api import built_in

if TYPE_CHECKING:
    from portico.plugin_api import ModelSpec

_ALIASES: Final = {"MiniMax-M2.1": "minimax-m2.1", "MiniMax-M2.1-lightning": "minimax-m2.1-lightning"}
_NOTES: Final = {
    "MiniMax-M2.1": "Under a Coding Plan MiniMax answers most of its traffic from Lightning.",
    "MiniMax-M2.1-lightning": (
        "Under a Coding Plan it cannot be picked: MiniMax sends most M2.1 traffic to Lightning by itself and falls back to M2.1 "
        "at peaks."
    ),
}


def _of_plan(model: ModelSpec) -> ModelSpec:
    return replace(model, alias=_ALIASES.get(model.id), note=" ".join(filter(None, (_NOTES.get(model.id), model.note))) or None)


MODELS: Final = tuple(_of_plan(model) for model in built_in("minimax").models)
