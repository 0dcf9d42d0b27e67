"""`portico.load_model` and the model that it returns. A program has one engine for each state folder."""

from __future__ import annotations

import logging
import os
import threading
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from portico.app import App
from portico.library.engine import Engine
from portico.models.client import ask, fitted, request_headers
from portico.models.failover import Cooldowns, Failover, key_of
from portico.models.loader import Resolution
from portico.models.protocols import Question, Usage, list_price
from portico.models.provider_errors import rejects_token
from portico.models.thinking import thinking_warning
from portico.store.profiles import require_profile

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
    from pathlib import Path

    from portico.interfaces.plugins import ApiKind, ModelSpec
    from portico.models.client import Answer
    from portico.models.failover import Attempt
    from portico.models.loader import CallableModel
    from portico.models.protocols import Effort, Image, Thinking
    from portico.secret import Secret

_log: Final = logging.getLogger("portico")


@dataclass(frozen=True, slots=True)
class Credential:
    """The access token or API key for one request; get a new credential for each request.

    `expires_at` is in ms since the epoch, None for a key.

    If a server rejects the token, `model.credential(rejected=credential)` returns another credential. If the `generation` is
    still the same, a refresh is not possible; do not send the request again.
    """

    token: Secret | None
    expires_at: int | None = None
    generation: int | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer of `model`. `cost` is in US dollars at list prices, None if they are unknown.

    `attempts` has every candidate that was tried or skipped.
    """

    text: str
    model: str
    usage: Usage
    cost: float | None
    attempts: Sequence[Attempt]


class Model:
    """A model that can be called, with its account or API key. Every method has an asynchronous version with the prefix `a`.

    Both versions work in any thread and any event loop.
    """

    def __init__(self, resolution: Resolution, engine: Engine, cooldowns: Cooldowns) -> None:
        self._resolution = resolution
        self._engine = engine
        self._cooldowns = cooldowns

    @property
    def _first(self) -> CallableModel:
        return self._resolution.model

    @property
    def reference(self) -> str:
        """`provider/model`."""
        return str(self._first.reference)

    @property
    def name(self) -> str:
        """The provider's name of the model, for the field `model` of a request."""
        return self._first.reference.model

    @property
    def api(self) -> ApiKind:
        """The protocol of this model."""
        return self._first.api

    @property
    def bases(self) -> Mapping[ApiKind, str]:
        """The base URL of each protocol that serves the model."""
        return self._first.bases or {self._first.api: self._first.base_url}

    @property
    def spec(self) -> ModelSpec:
        """The limits and prices of the model."""
        return self._first.spec

    @property
    def source(self) -> str:
        """The source of the credential, in words."""
        return self._first.source

    def credential(self, *, rejected: Credential | None = None) -> Credential:
        """Return a valid credential; refresh the token if necessary.

        Raises:
            SignInNeeded: the user must sign in again.
            NetworkError: the token has expired and cannot be refreshed now.
        """
        return self._engine.run(self._credential(rejected))

    async def acredential(self, *, rejected: Credential | None = None) -> Credential:
        """As `credential`."""
        return await self._engine.wait(self._credential(rejected))

    def rejects_token(self, status: int, headers: Mapping[str, str], body: bytes) -> bool:
        """Whether a response rejects the token: then send the request again with `credential(rejected=...)`.

        True for each 401, and for a 403, or a MiniMax `base_resp` 1004 under HTTP 200, that is about the token (RFC 6750 section
        3.1). `body` is the whole body, which is not needed for a 401.
        """
        return rejects_token(status, headers, body, self._first.error_codes)

    def headers(self) -> dict[str, str]:
        """Return the headers of one request. They contain the credential: send them only to `bases`."""
        return self.headers_with(self.credential())

    async def aheaders(self) -> dict[str, str]:
        """As `headers`."""
        return self.headers_with(await self.acredential())

    def headers_with(self, credential: Credential) -> dict[str, str]:
        """Return the headers of a request with `credential`."""
        return request_headers(self._first, credential.token)

    def ask(
        self,
        text: str,
        *,
        max_tokens: int | None = None,
        images: Sequence[Image] = (),
        effort: Effort | None = None,
        thinking: Thinking | None = None,
    ) -> Reply:
        """Return the answer to `text`. If this is the default model and it fails, its fallbacks are asked.

        Args:
            text: the prompt.
            max_tokens: the longest answer; by default 8192, or 32768 for a model whose thinking counts as part of the answer.
            images: images for the model.
            effort: how much a reasoning model thinks. Not every model has each level.
            thinking: turns thinking on or off; None leaves it to the model.

        Raises:
            PorticoError: no model answers.
        """
        return self._engine.run(self._ask(Question(text, 0, tuple(images), effort, thinking), max_tokens))

    async def aask(
        self,
        text: str,
        *,
        max_tokens: int | None = None,
        images: Sequence[Image] = (),
        effort: Effort | None = None,
        thinking: Thinking | None = None,
    ) -> Reply:
        """As `ask`."""
        return await self._engine.wait(self._ask(Question(text, 0, tuple(images), effort, thinking), max_tokens))

    def stream(self, text: str, *, max_tokens: int | None = None) -> Iterator[str]:
        """Yield the parts of the answer to `text` as they arrive; models and errors as in `ask`."""
        return self._engine.iterate(self._texts(Question(text, 0), max_tokens))

    def astream(self, text: str, *, max_tokens: int | None = None) -> AsyncIterator[str]:
        """As `stream`."""
        return self._engine.aiterate(self._texts(Question(text, 0), max_tokens))

    async def _credential(self, rejected: Credential | None) -> Credential:
        if self._first.profile_id is None:
            return Credential(self._first.key)
        generation = rejected.generation if rejected is not None else None
        token = await self._engine.broker.access(self._first.profile_id, rejected_generation=generation)
        return Credential(token.token, token.expires_at, token.generation)

    async def _ask(self, question: Question, max_tokens: int | None) -> Reply:
        answer, failover = await self._start_answer(question, max_tokens)
        texts, usage = [], Usage()
        async for piece in answer.pieces():
            texts.append(piece.text)
            usage = usage.updated(piece.usage) if piece.usage is not None else usage
        model = answer.model
        return Reply("".join(texts), str(model.reference), usage, list_price(usage, model.spec.cost), tuple(failover.attempts))

    async def _texts(self, question: Question, max_tokens: int | None) -> AsyncGenerator[str, None]:
        answer, _ = await self._start_answer(question, max_tokens)
        async for piece in answer.pieces():
            if piece.text:
                yield piece.text

    async def _candidates(self) -> Sequence[CallableModel]:
        """Return the candidates with their current sign-in times: a new sign-in ends the cooldown of its profile."""
        candidates = self._resolution.candidates
        if all(self._cooldowns.active(key_of(model)) is None for model in candidates if model.profile_id is not None):
            return candidates
        signed_in_at = await self._engine.signed_in_at()
        return [
            replace(candidate, signed_in_at=signed_in_at.get(candidate.profile_id or "", candidate.signed_in_at))
            for candidate in candidates
        ]

    async def _start_answer(self, question: Question, max_tokens: int | None) -> tuple[Answer, Failover]:
        failover = Failover(await self._candidates(), self._cooldowns, self._resolution.wanted)
        answer = await ask(
            failover,
            lambda model: _fit_question(question, model, max_tokens),
            http=self._engine.http,
            broker=self._engine.broker,
            on_failed=lambda attempt: _log.info("%s does not answer: %s", attempt.model.reference, attempt.why),
        )
        return answer, failover


def _fit_question(question: Question, model: CallableModel, max_tokens: int | None) -> Question:
    fitted_question = fitted(question, model, max_tokens)
    if (warning := thinking_warning(question, model)) is not None:
        _log.warning(warning)
    return fitted_question


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
    """Load a model with its credential, as `portico ask` does.

    Args:
        name: `provider/model` or an alias; None is the default model.
        profile: use only this profile.
        fallback: whether to try the provider's other accounts and, for the default model, the fallbacks if the request fails.
        config: the path of another config file.
        env: the environment; None is that of the process.

    Raises:
        PorticoError: the model cannot be called; the message says why, `hint_for("portico")` what to do, and `id` is stable.
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
