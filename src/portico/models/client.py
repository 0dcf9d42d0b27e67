"""One attempt to have a model answer: its credential, the request, and whether the response is accepted as an answer.

`ask`, the library, probes and the gateway differ in the request that they send and in what they do with the answer; everything
between is here, once. `portico.models.failover` goes from one candidate to the next.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, TypeVar

from portico.errors import NetworkError, PorticoError, UsageError
from portico.models.acceptance import Exchange, Patience, accepted, read_event
from portico.models.failover import first_answer
from portico.models.protocols import PROTOCOLS
from portico.models.protocols.question import Piece
from portico.models.provider_errors import AttemptFailed, ProviderError, local_error, no_answer_error, shown, unreachable
from portico.models.thinking import ModelLacksFeature, check_thinking, thinks
from portico.net.errors import AnswerCut, AnswerUnknown
from portico.net.sse import EVENT_STREAM, read_events

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

    from portico.auth.broker import TokenBroker
    from portico.interfaces.provider_spec import ApiKind
    from portico.models.acceptance import Accepted
    from portico.models.failover import Attempt, Failover
    from portico.models.loader import CallableModel
    from portico.models.protocols.question import Question
    from portico.net.client import HttpClient, Response
    from portico.secret import Secret

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
