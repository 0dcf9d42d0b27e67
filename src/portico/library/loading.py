"""`portico.load_model`: from a name to a model, with one engine for each state folder that a program uses."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Final

from portico.app import App
from portico.library.engine import Engine
from portico.library.model import Model
from portico.models.failover import Cooldowns
from portico.models.loader import Resolution
from portico.store.profiles import require_profile

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_lock: Final = threading.Lock()
_engines: Final[dict[Path, tuple[Engine, Cooldowns]]] = {}


def load_model(
    name: str | None = None,
    *,
    profile: str | None = None,
    fallback: bool = True,
    config: str | os.PathLike[str] | None = None,
    env: Mapping[str, str] | None = None,
) -> Model:
    """The model of this name, signed in to, as `portico ask` would use it.

    Args:
        name: `provider/model` or an alias; the default model where there is none.
        profile: the sign-in to use, and no other.
        fallback: whether the provider's other accounts and, for the default model, the fallbacks may answer too.
        config: a configuration other than the usual one.
        env: the environment; that of this process where nothing is given.

    Raises:
        PorticoError: it cannot be called; the message says why, `hint_for("portico")` what to do, and `id` is stable.
    """
    app = App.without_terminal(None if config is None else os.fspath(config), env)
    engine, cooldowns = _engine_for(app)
    return Model(_resolve(app, name, profile, fallback=fallback), engine, cooldowns)


def _resolve(app: App, name: str | None, profile: str | None, *, fallback: bool) -> Resolution:
    loader = app.models()
    if profile is not None:
        return Resolution((loader.load(name, profile=require_profile(app.token_store.snapshot(), profile)),))
    return loader.resolve(name) if fallback else Resolution((loader.load(name),))


def _engine_for(app: App) -> tuple[Engine, Cooldowns]:
    state = app.paths.state
    with _lock:
        if state not in _engines:
            _engines[state] = (Engine(app), Cooldowns(app.clock))
        return _engines[state]
