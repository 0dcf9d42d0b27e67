"""One attempt: get the credential, send the request, and decide if the response is an answer.

`ask`, the library, probes and the gateway build their own requests and use the answers differently, but all of them send
through this module. `portico.models.failover` selects the next candidate.

A probe is one tiny real request. A provider's list of models is `GET /v1/models`, in Anthropic's form or OpenAI's. Its names
are only shown; they do not make a model callable that the loader rejects.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, TypeVar

from portico.errors import NetworkError, PorticoError, SignInNeeded, UsageError
from portico.models.acceptance import Exchange, Patience, accepted, read_event
from portico.models.failover import first_answer
from portico.models.protocols import API_VERSION, PROTOCOLS, Piece, Question, versioned
from portico.models.provider_errors import (
    AttemptFailed,
    ProviderError,
    ProviderRefused,
    is_error_body,
    local_error,
    model_error,
    no_answer_error,
    read_provider_error,
    shown,
    unreachable,
)
from portico.models.thinking import ModelLacksFeature, check_thinking, thinks
from portico.net.errors import AnswerCut, AnswerUnknown, Unreachable
from portico.net.sse import EVENT_STREAM, read_events
from portico.util import signals

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

    from portico.auth.broker import TokenBroker
    from portico.interfaces.authorization import FormPoster
    from portico.interfaces.basics import Clock
    from portico.interfaces.plugins import ApiKind, ProviderErrorKind
    from portico.models.acceptance import Accepted
    from portico.models.failover import Attempt, Failover
    from portico.models.loader import CallableModel
    from portico.net.client import HttpClient, Response
    from portico.secret import Secret

    ModelList = tuple["Discovered", ...] | PorticoError

T = TypeVar("T")

ASKING: Final = Patience()
"""How long `ask`, the library and probes wait. They keep waiting while a provider sends comments."""
DEFAULT_MAX_TOKENS: Final = 8192
# For a model with thinking in its answer: MiniMax-M3.1-Flash used 6,400 tokens of thinking for a small bug fix
# (dev.to/aihubmix, October 2026), and OpenAI advises to reserve 25,000 (platform.openai.com/docs/guides/reasoning).
THINKING_MAX_TOKENS: Final = 32_768
_CHARACTERS_PER_TOKEN: Final = 4
_MIN_ANSWER_TOKENS: Final = 16


class NoStream(NetworkError):
    """The request asked for a stream, and the provider answered in another form."""

    id = "reply-invalid"


def attempt(
    model: CallableModel,
    broker: TokenBroker,
    send: Callable[[Secret | None], Awaitable[Response]],
    *,
    api: ApiKind | None = None,
    patience: Patience | None = None,
) -> Awaitable[Accepted]:
    """Call `send` with the model's credential and accept the response.

    If the provider rejects the token, refresh it and call `send` again.

    `api` is the protocol of the request, if it is not the model's own.

    Raises:
        AttemptFailed: there was no response, or the response is an error whatever its status.
    """

    async def send_and_accept(key: Secret | None) -> Accepted:
        return await accepted(Exchange(model, api or model.api, key, patience or ASKING), await send(key))

    return with_credential(model, broker, send_and_accept)


async def with_credential(model: CallableModel, broker: TokenBroker, send: Callable[[Secret | None], Awaitable[T]]) -> T:
    """Call `send` with the model's credential and return the result. If the provider rejects the credential, refresh it once.

    An error of `send` comes from the network or the provider. Any other error comes from this machine (a locked keyring, a busy
    lock, a plugin), and does not mean that the credential is invalid.

    Raises:
        AttemptFailed: the model did not start to answer.
    """

    async def send_checked(key: Secret | None) -> T:
        try:
            return await send(key)
        except NetworkError as error:
            raise AttemptFailed(unreachable(error), None if isinstance(error, AnswerUnknown) else error) from error

    try:
        if model.profile_id is None:
            return await send_checked(model.key)
        return await with_token(broker, model.profile_id, send_checked)
    except PorticoError as error:
        raise AttemptFailed(local_error(error), error) from error


async def with_token(
    broker: TokenBroker,
    profile_id: str,
    send: Callable[[Secret], Awaitable[T]],
    *,
    may_refresh: Callable[[], bool] = lambda: True,
) -> T:
    """Call `send` with the profile's token and return the result.

    If the provider rejects the token, call `send` again with a new token.

    All requests to a provider follow this rule (`provider_errors.rejects_token`). If another process has already replaced the
    token, the replacement is used without a refresh. A stored API key cannot be replaced, so it is sent only once.
    `may_refresh` is called before the second token is requested.

    Raises:
        AttemptFailed: the last error of `send`.
        PorticoError: no token is available.
    """
    token = await broker.access(profile_id)
    try:
        return await send(token.token)
    except AttemptFailed as failed:
        if not failed.provider_error.rejects_token or not may_refresh():
            raise
        rejected = failed
    fresh = await broker.access(profile_id, rejected_generation=token.generation)
    if fresh.generation == token.generation:
        raise rejected
    return await send(fresh.token)


def credential_header(model: CallableModel, key: Secret | None) -> dict[str, str]:
    """Return the header that carries the credential to this model's provider."""
    if key is None:
        return {}
    if model.auth_header == "x-api-key":
        return {"x-api-key": key.reveal()}
    return {"Authorization": f"Bearer {key.reveal()}"}


def request_headers(model: CallableModel, key: Secret | None, *base: Mapping[str, str]) -> dict[str, str]:
    """Return the headers of one request: the config's headers override `base`, and the credential overrides both."""
    merged: dict[str, tuple[str, str]] = {}
    for headers in (*base, model.headers, credential_header(model, key)):
        merged.update({name.lower(): (name, value) for name, value in headers.items()})
    return dict(merged.values())


@dataclass(frozen=True, slots=True)
class Answer:
    """The streamed answer to a question. `pieces` can be read once."""

    accepted: Accepted

    @property
    def model(self) -> CallableModel:
        return self.accepted.model

    async def pieces(self) -> AsyncIterator[Piece]:
        """Yield the answer as it arrives.

        Raises:
            NetworkError: `answer-cut`: the answer broke off.
        """
        protocol = PROTOCOLS[self.model.api]
        try:
            async for data in read_events(self._chunks()):
                piece = read_event(protocol, data) or Piece()
                if piece.error is not None:
                    raise AnswerCut(shown(piece.error, self.accepted.key))
                yield piece
                if piece.end:
                    return
        finally:
            self.accepted.close()
        name = self.model.reference.provider
        raise AnswerCut(f"{name} closed the stream before its end")

    async def _chunks(self) -> AsyncIterator[bytes]:
        yield self.accepted.start
        async for chunk in self.accepted.rest():
            yield chunk


async def begin(
    model: CallableModel, question: Question, *, http: HttpClient, broker: TokenBroker, patience: Patience | None = None
) -> Answer:
    """Send the question and return the answer as soon as its stream starts.

    Raises:
        AttemptFailed: the answer did not start.
    """
    protocol = PROTOCOLS[model.api]

    async def send(key: Secret | None) -> Response:
        headers = request_headers(model, key, protocol.headers(), {"accept": EVENT_STREAM})
        body = protocol.body(model.reference.model, question)
        return await http.post(protocol.url(model.base_url), body=body, headers=headers)

    answer = await attempt(model, broker, send, patience=patience)
    if answer.streams:
        return Answer(answer)
    answer.close()
    why = f"an answer of type {shown(answer.response.content_type)} instead of a stream"
    no_stream = NoStream(f"{model.reference.provider} did not stream its answer.", why=why)
    # The provider has answered, but in an unusable form. A second request would be billed again.
    raise AttemptFailed(ProviderError("answer-unknown", str(no_stream), unknown=True), no_stream)


async def ask(
    failover: Failover,
    question_for: Callable[[CallableModel], Question],
    *,
    http: HttpClient,
    broker: TokenBroker,
    on_failed: Callable[[Attempt], None],
) -> Answer:
    """Return the answer of the first candidate that answers. `on_failed` is called for each failure that another attempt follows.

    Raises:
        PorticoError: no candidate answers. The error has the reason (`Failover.reason`) and the outcomes of the other
            candidates.
    """

    async def ask_one(model: CallableModel) -> Answer:
        return await begin(model, _question(question_for, model, failover), http=http, broker=broker)

    def report(attempt: Attempt) -> None:
        if failover.goes_on:
            on_failed(attempt)

    if (answer := await first_answer(failover, ask_one, on_failed=report)) is None:
        raise no_answer_error(failover)
    return answer


def _question(question_for: Callable[[CallableModel], Question], model: CallableModel, failover: Failover) -> Question:
    """Return the question for `model`. If a fallback lacks a feature (images, reasoning), its attempt fails."""
    try:
        return question_for(model)
    except UsageError as error:
        if failover.is_wanted(model):
            raise
        raise AttemptFailed(ProviderError("invalid-request", str(error)), error) from error


def fitted(question: Question, model: CallableModel, max_tokens: int | None) -> Question:
    """Return `question` with `max_tokens` within the model's limit and the rest of its context window.

    Raises:
        UsageError: `model-lacks-feature`: the model lacks a feature that the question uses.
    """
    spec = model.spec
    if question.images and "image" not in spec.input:
        takes = ", ".join(spec.input)
        raise ModelLacksFeature(f"{model.reference} takes no images.", why=f"its input is {takes}", hint=_LIST)
    if (question.effort is not None or question.thinking == "on") and not spec.reasoning:
        raise ModelLacksFeature(f"{model.reference} is not a reasoning model.", hint=_LIST)
    check_thinking(question, model)
    wanted = max_tokens or (THINKING_MAX_TOKENS if thinks(question, model.reference.model) else DEFAULT_MAX_TOKENS)
    limit = min(wanted, spec.max_tokens or wanted)
    if spec.context_window is not None:
        # This is an estimate. The provider counts exactly, and rejects a request that is too long.
        room = spec.context_window - len(question.text) // _CHARACTERS_PER_TOKEN
        limit = max(_MIN_ANSWER_TOKENS, min(limit, room))
    return replace(question, max_tokens=limit)


_LIST: Final = "Other models: {prog} models list --all --json"


TIMEOUT_S: Final = 5.0
_MAX_BYTES: Final = 4 << 20
_MAX_MODELS: Final = 2000
_MAX_ID_LENGTH: Final = 200
_OK: Final = 200


class ListUnreadable(NetworkError):
    """The provider's list of models has an unknown form."""

    id = "reply-invalid"


@dataclass(frozen=True, slots=True)
class Discovered:
    """One model as a provider lists it."""

    id: str
    name: str
    context_window: int | None = None


class Connects(Protocol):
    """The parts of the app for listing models: an HTTP client and a token broker."""

    def http(self) -> HttpClient: ...

    def broker(self, http: FormPoster) -> TokenBroker: ...


async def discover(
    model: CallableModel, *, http: HttpClient, broker: TokenBroker, within_s: float | None = None
) -> tuple[Discovered, ...]:
    """Fetch the provider's list of models for this credential, within `within_s` seconds (5 if None).

    Raises:
        PorticoError: the provider does not list its models.
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
    """Return the error for a rejected request for the list. The error does not name a model."""
    if provider_error.kind != "model-refused":
        return model_error(model, provider_error)
    return ProviderRefused(f"{model.reference.provider} does not list its models for this account.", why=str(provider_error))


def list_models(app: Connects, models: Mapping[str, CallableModel], *, within_s: float | None = None) -> dict[str, ModelList]:
    """Fetch the lists of all providers' models in parallel. If a list cannot be fetched, return the error in its place."""
    return signals.run(_list_all(app, models, within_s)) if models else {}


async def _list_all(app: Connects, models: Mapping[str, CallableModel], within_s: float | None) -> dict[str, ModelList]:
    async with app.http() as http:
        broker = app.broker(http)

        async def list_or_error(model: CallableModel) -> ModelList:
            try:
                return await discover(model, http=http, broker=broker, within_s=within_s)
            except PorticoError as error:
                return error

        lists = await asyncio.gather(*map(list_or_error, models.values()))
    return dict(zip(models, lists, strict=True))


def list_url(model: CallableModel) -> str:
    """Return the URL of the model list: next to OpenAI's endpoints if the provider has them, else next to Anthropic's."""
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
        why = f"the list is longer than {_MAX_BYTES >> 20} MiB"
        raise ListUnreadable(f"{model.reference.provider} did not list its models.", why=why)
    return tuple(_read_models(body, model))


def _read_models(body: bytes, model: CallableModel) -> list[Discovered]:
    try:
        rows = json.loads(body)["data"]
        models = [_read_model(entry) for entry in rows[:_MAX_MODELS]]
    except (ValueError, KeyError, TypeError, RecursionError):
        why = "the response is not a list of models"
        raise ListUnreadable(f"{model.reference.provider} did not list its models.", why=why) from None
    return [entry for entry in models if entry is not None]


def _read_model(fields: Any) -> Discovered | None:
    id = fields.get("id") if isinstance(fields, dict) else None
    if not isinstance(id, str) or not 0 < len(id) <= _MAX_ID_LENGTH or not id.isprintable():
        return None
    name = fields.get("display_name")
    window = fields.get("max_context_length")  # a field that only LM Studio sends
    context_window = window if isinstance(window, int) and not isinstance(window, bool) and window > 0 else None
    return Discovered(id, shown(name) if isinstance(name, str) and name else id, context_window)


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
_PROBE_MAX_TOKENS: Final = 8


@dataclass(frozen=True, slots=True)
class Probe:
    """The result of a probe. `error` is the full error unless `ok`; `latency_ms` is the time until the answer starts."""

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
    max_tokens: int = _PROBE_MAX_TOKENS,
) -> Probe:
    """Ask `model` for one word, within `timeout_s` seconds. Return errors of the provider and of the network."""
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
        return "unreachable"  # for example an unusable proxy: no provider has received the credential
    return _STATUS.get(failure.provider_error.kind, "unknown")
