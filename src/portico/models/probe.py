"""Whether a model answers with a credential: one tiny real request, in the words of OpenClaw's `models status --probe`."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from portico.errors import NetworkError, SignInNeeded
from portico.models.acceptance import Patience
from portico.models.client import NoStream, begin
from portico.models.protocols.question import Question
from portico.models.provider_errors import AttemptFailed, model_error
from portico.net.errors import Unreachable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from portico.auth.broker import TokenBroker
    from portico.errors import PorticoError
    from portico.interfaces.basics import Clock
    from portico.interfaces.provider_spec import ProviderErrorKind
    from portico.models.loader import CallableModel
    from portico.net.client import HttpClient

Status = Literal["ok", "auth", "rate_limit", "billing", "timeout", "format", "no_model", "unreachable", "unknown"]

_QUESTION: Final = "Reply with OK. Do not use tools."
_STATUS: Final[Mapping[ProviderErrorKind, Status]] = {
    "auth": "auth",
    "account-refused": "auth",
    "model-refused": "no_model",
    "billing": "billing",
    "no-plan": "billing",
    "plan-lacks-model": "no_model",
    "plan-used-up": "rate_limit",
    "rate-limit": "rate_limit",
    "timeout": "timeout",
    "unreachable": "unreachable",
    "answer-unknown": "unreachable",
    "unknown-model": "no_model",
    "invalid-request": "format",
}
DEFAULT_TIMEOUT_S: Final = 8.0
DEFAULT_MAX_TOKENS: Final = 8


@dataclass(frozen=True, slots=True)
class Probe:
    """What came of it. `error` says in full why it is not `ok`; `latency_ms` is the time to the first sign of an answer."""

    model: CallableModel
    status: Status
    latency_ms: int | None = None
    error: PorticoError | None = None


async def probe(
    model: CallableModel,
    *,
    http: HttpClient,
    broker: TokenBroker,
    clock: Clock,
    timeout_s: float = DEFAULT_TIMEOUT_S,
    max_tokens: int = DEFAULT_MAX_TOKENS,
) -> Probe:
    """Ask `model` for a word, for at most `timeout_s` seconds. Never raises for what the provider or the network does."""
    started = clock.monotonic()
    try:
        async with asyncio.timeout(timeout_s):
            patience = Patience(forbidden_s=timeout_s / 2)
            answer = await begin(model, Question(_QUESTION, max_tokens), http=http, broker=broker, patience=patience)
            latency_ms = round((clock.monotonic() - started) * 1000)
            async for _piece in answer.pieces():
                pass
    except AttemptFailed as failure:
        return Probe(model, _status(failure), error=failure.error or model_error(model, failure.provider_error))
    except TimeoutError:
        why = f"no answer within {timeout_s:g} s"
        return Probe(model, "timeout", error=Unreachable(f"{model.reference.provider} did not answer.", why=why))
    except NetworkError as error:
        return Probe(model, "unknown", error=error)
    return Probe(model, "ok", latency_ms)


def _status(failure: AttemptFailed) -> Status:
    if isinstance(failure.error, NoStream):
        return "format"
    if isinstance(failure.error, SignInNeeded):
        return "auth"
    if failure.provider_error.kind == "local" and isinstance(failure.error, NetworkError) and failure.error.unsent:
        return "unreachable"  # a proxy that cannot be used, say: no provider has seen the credential
    return _STATUS.get(failure.provider_error.kind, "unknown")
