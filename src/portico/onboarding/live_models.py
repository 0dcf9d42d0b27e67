"""The models that providers list at this moment, for a question that nobody should wait long for."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from portico import signals
from portico.errors import NetworkError, PorticoError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from portico.models.callable import CallableModel
    from portico.models.discovery import Discovered
    from portico.onboarding.workbench import Workbench

    Listed = tuple[Discovered, ...] | PorticoError

WITHIN_S: Final = 2.0


def live_models(bench: Workbench, models: Mapping[str, CallableModel]) -> dict[str, Listed]:
    """What each provider lists, by its id, or why it does not say; all are asked at once, for two seconds at most."""
    return signals.run(_all(bench, models)) if models else {}


async def _all(bench: Workbench, models: Mapping[str, CallableModel]) -> dict[str, Listed]:
    from portico.models.discovery import discover

    async with bench.http() as http:
        broker = bench.broker(http)

        async def one(model: CallableModel) -> Listed:
            try:
                async with asyncio.timeout(WITHIN_S):
                    return await discover(model, http=http, broker=broker)
            except TimeoutError:
                return NetworkError("network", f"{model.reference.provider} did not list its models in time.")
            except PorticoError as error:
                return error

        found = await asyncio.gather(*(one(model) for model in models.values()))
    return dict(zip(models, found, strict=True))
