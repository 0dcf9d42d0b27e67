"""One question to one model, and its streamed answer."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

from portico.errors import NetworkError, PorticoError
from portico.models.protocols import PROTOCOLS, json_object
from portico.models.protocols.completions import DONE
from portico.models.refusal import (
    Refusal,
    local_trouble,
    read_refusal,
    refused_in,
    refused_inside,
    shown,
    unreachable,
)
from portico.net.errors import BODY_LIMIT, AnswerUnknown, after_head
from portico.net.sse import EVENT_STREAM, read_events

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

    from aiohttp import ClientResponse

    from portico.auth.broker import TokenBroker
    from portico.models.callable import CallableModel
    from portico.models.http import ModelHttp
    from portico.models.protocols.question import Piece, Question
    from portico.secret import Secret

T = TypeVar("T")

_OK: Final = range(200, 300)
# Seconds for the whole body of a success that is no stream.
_REFUSAL_S: Final = 30.0


class Refused(Exception):
    """A model did not begin to answer. `error` is the failure that a person is to see, where it was not the provider's word."""

    def __init__(self, refusal: Refusal, error: PorticoError | None = None) -> None:
        super().__init__(str(refusal))
        self.refusal = refusal
        self.error = error


@dataclass(slots=True)
class Answer:
    """A model that has begun to answer, with its first `events`. Its pieces are read once."""

    model: CallableModel
    response: ClientResponse
    key: Secret | None
    events: AsyncIterator[Mapping[str, object]]

    async def pieces(self) -> AsyncIterator[Piece]:
        """The answer as it comes.

        Raises:
            NetworkError: `answer-cut`: it broke off.
        """
        protocol = PROTOCOLS[self.model.api]
        async with self.response:
            async for event in self.events:
                piece = protocol.read(event)
                if piece.refused is not None:
                    raise NetworkError("answer-cut", "The answer broke off.", why=shown(piece.refused, self.key))
                yield piece
                if piece.end:
                    return
        name = self.model.reference.provider
        raise NetworkError("answer-cut", "The answer broke off.", why=f"{name} closed the stream before its end")


async def begin(
    model: CallableModel, question: Question, *, http: ModelHttp, broker: TokenBroker, forbidden_s: float | None = None
) -> Answer:
    """Send the question, and hand back the answer once it has begun.

    A token that the provider rejects is refreshed once and the question sent once more. `forbidden_s` is that of
    `ModelHttp.read_error`.

    Raises:
        Refused: it did not begin.
    """

    async def send(key: Secret | None) -> Answer:
        return await _accepted(model, await _post(model, question, key, http), key, http, forbidden_s)

    return await attempted(model, broker, send)


async def attempted(model: CallableModel, broker: TokenBroker, send: Callable[[Secret | None], Awaitable[T]]) -> T:
    """What `send` returns for the model's credential, refreshed once if the provider rejects it.

    Where it fails decides what that means: while the request is on its way the network or the provider failed; before that this
    machine did (a locked keyring, a busy lock, a plugin), which says nothing about the credential.

    Raises:
        Refused: it did not begin to answer.
    """

    async def sent(key: Secret | None) -> T:
        try:
            return await send(key)
        except AnswerUnknown as error:
            raise Refused(unreachable(error)) from error
        except NetworkError as error:
            raise Refused(unreachable(error), error) from error

    try:
        if model.profile_id is None:
            return await sent(model.key)
        return await with_token(broker, model.profile_id, sent)
    except PorticoError as error:
        raise Refused(local_trouble(error), error) from error


async def with_token(
    broker: TokenBroker,
    profile_id: str,
    send: Callable[[Secret], Awaitable[T]],
    *,
    may_refresh: Callable[[], bool] = lambda: True,
) -> T:
    """What `send` returns for the profile's token. If the provider rejects that one, `send` is called once more with another.

    Every request to a provider goes by this rule, so that an ended token is one refresh however it is answered
    (`refusal.rejects_token`). A token that somebody else has replaced meanwhile needs none. An API key cannot be replaced, so a
    stored one is sent once. `may_refresh` is called before the second token is asked for.

    Raises:
        Refused: what `send` raised last.
        PorticoError: no token can be had.
    """
    token = await broker.access(profile_id)
    try:
        return await send(token.token)
    except Refused as refused:
        if not refused.refusal.of_token or not may_refresh():
            raise
        rejected = refused
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


def request_headers(model: CallableModel, key: Secret | None, *said: Mapping[str, str]) -> dict[str, str]:
    """The headers of one request to `model`: `said`, over it the config's, over it the credential. Each name is there once."""
    found: dict[str, tuple[str, str]] = {}
    for headers in (*said, model.headers, credential_header(model, key)):
        found.update({name.lower(): (name, value) for name, value in headers.items()})
    return dict(found.values())


async def _post(model: CallableModel, question: Question, key: Secret | None, http: ModelHttp) -> ClientResponse:
    protocol = PROTOCOLS[model.api]
    headers = request_headers(model, key, protocol.headers(), {"accept": EVENT_STREAM})
    return await http.post(protocol.url(model.base_url), body=protocol.body(model.reference.model, question), headers=headers)


async def _accepted(
    model: CallableModel, response: ClientResponse, key: Secret | None, http: ModelHttp, forbidden_s: float | None
) -> Answer:
    """The answer, unless the response is a refusal: by its status, or inside a body that is no stream, or in its first event."""
    if response.status in _OK and response.content_type == EVENT_STREAM:
        return await _streaming(model, response, key)
    async with response:
        if response.status not in _OK:
            body = await http.read_error(response, forbidden_s=forbidden_s)
        else:
            try:
                body, _ = await http.read(response, BODY_LIMIT, deadline_s=_REFUSAL_S)
            except NetworkError as error:
                raise after_head(error) from error
    if response.status in _OK and not refused_inside(body, model.error_codes):
        why = f"an answer of type {shown(response.content_type)} instead of a stream"
        no_stream = NetworkError("no-stream", f"{model.reference.provider} did not stream its answer.", why=why)
        # It has answered, in a form that is of no use here: the same request would be billed again.
        raise Refused(Refusal("answer-unknown", str(no_stream), unknown=True), no_stream)
    raise Refused(read_refusal(response.status, response.headers, body, model.error_codes, key))


async def _streaming(model: CallableModel, response: ClientResponse, key: Secret | None) -> Answer:
    """The answer in a stream, unless its first event is MiniMax's error. Whatever else is wrong with it, its reader is told."""
    events = _events(response)
    first: Mapping[str, object] | NetworkError | None
    try:
        first = await anext(events, None)
    except NetworkError as error:
        first = error
    except BaseException:
        response.close()
        raise
    if isinstance(first, dict) and refused_in(first, model.error_codes):
        response.close()
        raise Refused(read_refusal(response.status, response.headers, json.dumps(first).encode(), model.error_codes, key))
    return Answer(model, response, key, _from(first, events))


async def _from(
    first: Mapping[str, object] | NetworkError | None, rest: AsyncIterator[Mapping[str, object]]
) -> AsyncIterator[Mapping[str, object]]:
    if isinstance(first, NetworkError):
        raise first
    if first is not None:
        yield first
    async for event in rest:
        yield event


async def _events(response: ClientResponse) -> AsyncIterator[Mapping[str, object]]:
    from aiohttp import ClientError

    try:
        async for data in read_events(response.content.iter_any()):
            yield DONE if data == "[DONE]" else json_object(data) or {}
    except (ClientError, TimeoutError, OSError) as exc:
        raise NetworkError("answer-cut", "The answer broke off.", why=str(exc) or type(exc).__name__) from exc
