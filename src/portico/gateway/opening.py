"""The front of a gateway, put together from what is installed here."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from portico.gateway.descriptors import most_connections
from portico.gateway.forward import Parts
from portico.gateway.front import Front, log_outcome
from portico.gateway.keys import KeyInfo, KeyPaths, known
from portico.gateway.live_models import LiveModels, live_models
from portico.gateway.metrics import Metrics
from portico.gateway.recording import entry_for
from portico.gateway.reloading import Reloading
from portico.gateway.shares import Limits, Shares, requests_within
from portico.installation import Installation
from portico.models.cooldown import Cooldowns
from portico.net.client import HttpClient
from portico.store.off_loop import off_loop

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from portico.auth.broker import TokenBroker
    from portico.gateway.outcome import Outcome


# An answer that is not streamed may take a model minutes; Anthropic's own SDK waits as long (docs.claude.com/en/api/errors).
SILENCE_TIMEOUT_S: Final = 600.0
# Some ten files; the keys, which are one, are looked at for each request.
_LOOK_EVERY_S: Final = 0.1
# Seconds of rows that a kill may lose; a thread that wakes for each of them would cost more than the rows do.
_GATHER_S: Final = 0.25


@asynccontextmanager
async def open_front(here: Installation, broker: TokenBroker, started_at: int) -> AsyncIterator[Front]:
    """The front, while its connections to providers are open. `started_at` is the gateway's start, in wall ms."""
    metrics, keys_store = Metrics(), here.local_store(paths=KeyPaths.of(here.paths))

    history = await off_loop(lambda: here.history(gather_s=_GATHER_S))

    def done(outcome: Outcome) -> None:
        metrics.done(outcome)
        log_outcome(outcome)
        entry = entry_for(outcome) if history is not None else None
        if history is not None and entry is not None:
            history.record(entry)

    def read_models() -> tuple[LiveModels, tuple[Path, ...]]:
        return live_models(Installation(here.config_file, here.env, here.clock))

    models = Reloading[LiveModels | None](read_models, None, keeps=True, every_s=_LOOK_EVERY_S)
    shares = Shares(Limits(requests=requests_within(most_connections())))
    keys = Reloading[tuple[KeyInfo, ...]](lambda: (known(keys_store.profiles()), keys_store.files), ())
    async with HttpClient(silence_s=SILENCE_TIMEOUT_S, connections=0, unpacks=False) as upstream:
        # What a first request would wait for is read before there is a port to send one to.
        await asyncio.gather(models.now(), keys.now())
        parts = Parts(upstream, broker, Cooldowns(here.clock), Cooldowns(here.clock), here.clock, done)
        try:
            yield Front(models, keys, parts, metrics, started_at, shares)
        finally:
            if history is not None:
                await off_loop(history.close)
