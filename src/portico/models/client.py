"""One attempt to have a model answer: its credential, the request, and whether the response is accepted as an answer.

`ask`, the library, probes and the gateway differ in the request that they send and in what they do with the answer; everything
between is here, once. `portico.models.failover` goes from one candidate to the next.

A probe is one tiny real request. A provider's own list of models is `GET /v1/models`, in Anthropic's shape or OpenAI's: names
that a server sent, which are shown and make nothing callable that the loader would refuse.
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
"""How long `ask`, the library and probes wait: nobody gives up while a provider sends comments."""
DEFAULT_MAX_TOKENS: Final = 8192
# For a model whose thinking counts as part of its answer: MiniMax-M3.1-Flash has spent 6,400 tokens on it for a small bug fix
# (dev.to/aihubmix, October 2026), and OpenAI advises to keep 25,000 free (platform.openai.com/docs/guides/reasoning).
THINKING_MAX_TOKENS: Final = 32_768
_CHARACTERS_PER_TOKEN: Final = 4
_LEAST_ANSWER: Final = 16


class NoStream(NetworkError):
    """A stream was asked for, and the provider answered something else."""

    id = "reply-invalid"


def attempt(
    model: CallableModel,
    broker: TokenBroker,
    send: Callable[[Secret | None], Awaitable[Response]],
    *,
    api: ApiKind | None = None,
    patience: Patience | None = None,
) -> Awaitable[Accepted]:
    """Ask `model` by `send`, which gets the credential. A token that the provider rejects is refreshed once, and sent once more.

    `api` is the protocol of the request, if it is another one than the model's own.

    Raises:
        AttemptFailed: no answer began, or what began is an error whatever its status.
    """

    async def sent(key: Secret | None) -> Accepted:
        return await accepted(Exchange(model, api or model.api, key, patience or ASKING), await send(key))

    return with_credential(model, broker, sent)


async def with_credential(model: CallableModel, broker: TokenBroker, send: Callable[[Secret | None], Awaitable[T]]) -> T:
    """What `send` returns for the model's credential, refreshed once if the provider rejects it.

    Where it fails decides what that means: while the request is on its way the network or the provider failed; before that this
    machine did (a locked keyring, a busy lock, a plugin), which says nothing about the credential.

    Raises:
        AttemptFailed: it did not begin to answer.
    """

    async def sent(key: Secret | None) -> T:
        try:
            return await send(key)
        except NetworkError as error:
            raise AttemptFailed(unreachable(error), None if isinstance(error, AnswerUnknown) else error) from error

    try:
        if model.profile_id is None:
            return await sent(model.key)
        return await with_token(broker, model.profile_id, sent)
    except PorticoError as error:
        raise AttemptFailed(local_error(error), error) from error


async def with_token(
    broker: TokenBroker,
    profile_id: str,
    send: Callable[[Secret], Awaitable[T]],
    *,
    may_refresh: Callable[[], bool] = lambda: True,
) -> T:
    """What `send` returns for the profile's token. If the provider rejects that one, `send` is called once more with another.

    Every request to a provider goes by this rule, so that an ended token is one refresh however it is answered
    (`provider_errors.rejects_token`). A token that somebody else has replaced meanwhile needs none. An API key cannot be
    replaced, so a stored one is sent once. `may_refresh` is called before the second token is asked for.

    Raises:
        AttemptFailed: what `send` raised last.
        PorticoError: no token can be had.
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
    """How the credential travels to this model's provider."""
    if key is None:
        return {}
    if model.auth_header == "x-api-key":
        return {"x-api-key": key.reveal()}
    return {"Authorization": f"Bearer {key.reveal()}"}


def request_headers(model: CallableModel, key: Secret | None, *first: Mapping[str, str]) -> dict[str, str]:
    """The headers of one request to `model`: `first`, over it the config's, over it the credential. Each name is there once."""
    found: dict[str, tuple[str, str]] = {}
    for headers in (*first, model.headers, credential_header(model, key)):
        found.update({name.lower(): (name, value) for name, value in headers.items()})
    return dict(found.values())


@dataclass(frozen=True, slots=True)
class Answer:
    """The streamed answer to a question. Its pieces are read once."""

    accepted: Accepted

    @property
    def model(self) -> CallableModel:
        return self.accepted.model

    async def pieces(self) -> AsyncIterator[Piece]:
        """The answer as it comes.

        Raises:
            NetworkError: `answer-cut`: it broke off.
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
    """Send the question, and return the answer once it has begun.

    Raises:
        AttemptFailed: it did not begin.
    """
    protocol = PROTOCOLS[model.api]

    async def send(key: Secret | None) -> Response:
        headers = request_headers(model, key, protocol.headers(), {"accept": EVENT_STREAM})
        body = protocol.body(model.reference.model, question)
        return await http.post(protocol.url(model.base_url), body=body, headers=headers)

    begun = await attempt(model, broker, send, patience=patience)
    if begun.streams:
        return Answer(begun)
    begun.close()
    why = f"an answer of type {shown(begun.response.content_type)} instead of a stream"
    no_stream = NoStream(f"{model.reference.provider} did not stream its answer.", why=why)
    # It has answered, in a form that is of no use here: the same request would be billed again.
    raise AttemptFailed(ProviderError("answer-unknown", str(no_stream), unknown=True), no_stream)


async def ask(
    failover: Failover,
    question_for: Callable[[CallableModel], Question],
    *,
    http: HttpClient,
    broker: TokenBroker,
    on_failed: Callable[[Attempt], None],
) -> Answer:
    """The answer of the first candidate that begins one; `on_failed` is called for each other one, while there is a next.

    Raises:
        PorticoError: none does; why the first model did not (`Failover.reason`), and what came of the others.
    """

    async def one(model: CallableModel) -> Answer:
        return await begin(model, _question(question_for, model, failover), http=http, broker=broker)

    def failed(attempt: Attempt) -> None:
        if failover.goes_on:
            on_failed(attempt)

    if (answer := await first_answer(failover, one, on_failed=failed)) is None:
        raise no_answer_error(failover)
    return answer


def _question(question_for: Callable[[CallableModel], Question], model: CallableModel, failover: Failover) -> Question:
    """The question for `model`. What a fallback lacks for it (no images, no reasoning) is an attempt that failed."""
    try:
        return question_for(model)
    except UsageError as error:
        if failover.is_wanted(model):
            raise
        raise AttemptFailed(ProviderError("invalid-request", str(error)), error) from error


def fitted(question: Question, model: CallableModel, max_tokens: int | None) -> Question:
    """`question` within what `model` can do: the answer is bounded by its limit and by the room its context leaves.

    Raises:
        UsageError: `model-lacks-feature`: the model lacks what was asked of it.
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
        # An estimate: the provider counts, and refuses what is too long in its own words.
        room = spec.context_window - len(question.text) // _CHARACTERS_PER_TOKEN
        limit = max(_LEAST_ANSWER, min(limit, room))
    return replace(question, max_tokens=limit)


_LIST: Final = "Others: {prog} models list --all --json"


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
    max_tokens: int = _PROBE_MAX_TOKENS,
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
