"""Which models a provider says it has now: `GET /v1/models`, in Anthropic's shape and in OpenAI's.

What comes back is a list of names that a server sent: it is shown, and makes nothing callable that the loader would refuse.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

from portico.errors import NetworkError, PorticoError
from portico.models.client import request_headers, with_credential
from portico.models.protocols.completions import versioned
from portico.models.protocols.messages import API_VERSION
from portico.models.provider_errors import AttemptFailed, ProviderRefused, is_error_body, model_error, read_provider_error, shown
from portico.net.errors import Unreachable
from portico.util import signals

if TYPE_CHECKING:
    from collections.abc import Mapping

    from portico.auth.broker import TokenBroker
    from portico.interfaces.authorization import FormPoster
    from portico.models.loader import CallableModel
    from portico.models.provider_errors import ProviderError
    from portico.net.client import HttpClient
    from portico.secret import Secret

    ModelList = tuple["Discovered", ...] | PorticoError

TIMEOUT_S: Final = 5.0
_MAX_BYTES: Final = 4 << 20
_MAX_MODELS: Final = 2000
_MAX_ID_LENGTH: Final = 200
_OK: Final = 200


class ListUnreadable(NetworkError):
    """The provider's list of models is in no form that is known."""

    id = "reply-invalid"


@dataclass(frozen=True, slots=True)
class Discovered:
    """One model as a provider lists it."""

    id: str
    name: str
    context_window: int | None = None


class Connects(Protocol):
    """What opens connections to account services, and refreshes tokens over them: the parts of one run."""

    def http(self) -> HttpClient: ...

    def broker(self, http: FormPoster) -> TokenBroker: ...


async def discover(
    model: CallableModel, *, http: HttpClient, broker: TokenBroker, within_s: float | None = None
) -> tuple[Discovered, ...]:
    """The models that `model`'s provider lists for this credential, within `within_s` seconds (5 if None).

    Raises:
        PorticoError: it does not list them.
    """
    within_s = TIMEOUT_S if within_s is None else within_s
    try:
        async with asyncio.timeout(within_s):
            return await with_credential(model, broker, lambda key: _fetch_models(model, key, http, within_s))
    except AttemptFailed as failure:
        raise failure.error or _not_listed_error(model, failure.provider_error) from None
    except TimeoutError:
        why = f"no answer within {within_s:g} s"
        raise Unreachable(f"{model.reference.provider} did not list its models.", why=why) from None


def _not_listed_error(model: CallableModel, provider_error: ProviderError) -> PorticoError:
    """The error for a list that was refused, which is about no single model."""
    if provider_error.kind != "model-refused":
        return model_error(model, provider_error)
    return ProviderRefused(f"{model.reference.provider} does not list its models for this account.", why=str(provider_error))


def list_models(app: Connects, models: Mapping[str, CallableModel], *, within_s: float | None = None) -> dict[str, ModelList]:
    """What each provider lists for its model's credential, by its id, or why it does not. All are asked at once."""
    return signals.run(_list_all(app, models, within_s)) if models else {}


async def _list_all(app: Connects, models: Mapping[str, CallableModel], within_s: float | None) -> dict[str, ModelList]:
    async with app.http() as http:
        broker = app.broker(http)

        async def one(candidate: CallableModel) -> ModelList:
            try:
                return await discover(candidate, http=http, broker=broker, within_s=within_s)
            except PorticoError as error:
                return error

        lists = await asyncio.gather(*(one(model) for model in models.values()))
    return dict(zip(models, lists, strict=True))


def list_url(model: CallableModel) -> str:
    """Where the list is: beside the chat endpoint where there is one, which MiniMax has it at, else beside the messages."""
    base = model.bases.get("openai-completions") or model.bases.get("openai-responses")
    if base is not None:
        return f"{versioned(base)}/models"
    base = model.base_url.rstrip("/")
    return f"{base}/models" if base.endswith("/v1") else f"{base}/v1/models"


async def _fetch_models(model: CallableModel, key: Secret | None, http: HttpClient, within_s: float) -> tuple[Discovered, ...]:
    headers = request_headers(model, key, {"anthropic-version": API_VERSION, "accept": "application/json"})
    async with await http.send(list_url(model), headers=headers) as response:
        if response.status != _OK:
            body = await response.read_error(forbidden_s=within_s * 0.7)
            raise AttemptFailed(read_provider_error(response.status, response.headers, body, model.error_codes, key))
        body, complete = await response.read(_MAX_BYTES)
        if is_error_body(body, model.error_codes):
            raise AttemptFailed(read_provider_error(response.status, response.headers, body, model.error_codes, key))
    if not complete:
        why = f"its answer is longer than {_MAX_BYTES >> 20} MiB"
        raise ListUnreadable(f"{model.reference.provider} did not list its models.", why=why)
    return tuple(_read_models(body, model))


def _read_models(body: bytes, model: CallableModel) -> list[Discovered]:
    try:
        rows = json.loads(body)["data"]
        models = [_read_model(entry) for entry in rows[:_MAX_MODELS]]
    except (ValueError, KeyError, TypeError, RecursionError):
        why = "its answer is not a list of models"
        raise ListUnreadable(f"{model.reference.provider} did not list its models.", why=why) from None
    return [entry for entry in models if entry is not None]


def _read_model(fields: Any) -> Discovered | None:
    id = fields.get("id") if isinstance(fields, dict) else None
    if not isinstance(id, str) or not 0 < len(id) <= _MAX_ID_LENGTH or not id.isprintable():
        return None
    name = fields.get("display_name")
    window = fields.get("max_context_length")  # LM Studio's own addition
    context_window = window if isinstance(window, int) and not isinstance(window, bool) and window > 0 else None
    return Discovered(id, shown(name) if isinstance(name, str) and name else id, context_window)
