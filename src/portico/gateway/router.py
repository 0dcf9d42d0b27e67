"""Find the candidates for a model name from the current config and profiles, which are read again after a file has changed."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from portico.app import App
from portico.errors import PorticoError, UsageError, error_location, frames_of, internal_error
from portico.gateway.access import Limits, Shares, most_connections, requests_within
from portico.gateway.api import Front, log_outcome
from portico.gateway.forward import Parts
from portico.gateway.keys import KeyInfo, KeyPaths, known
from portico.gateway.metrics import Metrics, entry_for, headers_of
from portico.models.failover import Attempt, Cooldowns
from portico.models.loader import NoSuchProtocol, Passed
from portico.net.client import HttpClient
from portico.util.threads import off_loop, start_off_loop

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Mapping
    from pathlib import Path

    from portico.auth.broker import TokenBroker
    from portico.gateway.metrics import Outcome
    from portico.interfaces.plugins import ApiKind
    from portico.models.loader import CallableModel, ModelLoader
    from portico.models.reference import ModelReference

_REMEMBERED: Final = 1000


@dataclass(frozen=True)
class Candidates:
    """The candidates for a request in order, and the models that cannot be called (`passed`). `wanted`: the requested model."""

    models: tuple[CallableModel, ...]
    passed: tuple[Passed, ...]
    wanted: ModelReference | None = None

    @cached_property
    def first_answers(self) -> dict[str, str]:
        """The headers of an answer by the first candidate, prepared because most answers come from it."""
        first = self.models[0]
        return headers_of(first, [Attempt(first, "answered")], self.passed)


@dataclass(slots=True)
class LiveModels:
    """The models and their names at one moment. `names` maps client names; `claude-*` matches a prefix."""

    loader: ModelLoader
    names: Mapping[str, str]
    _known: dict[tuple[str | None, ApiKind], Candidates] = field(default_factory=dict)

    def candidates(self, name: str | None, api: ApiKind) -> Candidates:
        """The candidates for this name over `api`. If the name is None, the candidates of the default model.

        Raises:
            PorticoError: as `ModelLoader.resolve`; `no-such-protocol`, with the models that are served over `api`.
        """
        known = self._known.get((name, api))
        if known is None:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            known = self._known[name, api] = self._find(name, api)
        return known

    def _find(self, name: str | None, api: ApiKind) -> Candidates:
        resolution = self.loader.resolve(self._with_provider(self.meant(name)))
        fitting = tuple(model for model in resolution.candidates if api in self._apis(model))
        if not fitting:
            raise self._not_served(resolution.model, api)
        lacking = [model for model in resolution.candidates if model not in fitting]
        why = NoSuchProtocol(f"It is not served over {api}.")
        return Candidates(fitting, (*resolution.passed, *(Passed(model.reference, why) for model in lacking)), resolution.wanted)

    def meant(self, name: str | None) -> str | None:
        """The reference or alias to which `gateway.models` maps `name`. Return `name` itself if it is not mapped."""
        if name is None or name in self.names:
            return self.names.get(name or "", name)
        patterns = [each for each in self.names if each.endswith("*") and name.startswith(each[:-1])]
        return self.names[max(patterns, key=len)] if patterns else name

    def _with_provider(self, name: str | None) -> str | None:
        """The reference for a bare id that several providers offer, if exactly one of them is configured; else `name`."""
        if name is None or "/" in name or name.lower() in self.loader.catalog.aliases:
            return name
        catalog = self.loader.catalog
        same_id = [reference for reference in catalog.references() if reference.model == name]
        ready = [reference for reference in same_id if self.loader.has_credential(catalog.providers[reference.provider])]
        return str(ready[0]) if len(ready) == 1 else name

    def _not_served(self, model: CallableModel, api: ApiKind) -> UsageError:
        others = sorted({str(one.reference) for one in self.ready() if api in self._apis(one)})
        served = f"These are: {', '.join(others)}." if others else f"No model here is served over {api}."
        why = f"it is served over {', '.join(sorted(self._apis(model)))}"
        return NoSuchProtocol(f"{model.reference} is not served over {api}.", why=why, hint=served)

    def ready(self) -> Iterable[CallableModel]:
        """Every model in the catalog that has a credential and is not retired."""
        catalog = self.loader.catalog
        for reference in catalog.references():
            spec = catalog.find(reference)
            if spec is not None and spec.retired_on is not None:
                continue
            if self.loader.has_credential(catalog.providers[reference.provider]) and catalog.allows(reference):
                yield from self.loader.each_credential(str(reference))[:1]

    @staticmethod
    def _apis(model: CallableModel) -> Iterable[ApiKind]:
        return model.bases or {model.api: model.base_url}


def live_models(app: App) -> tuple[LiveModels, tuple[Path, ...]]:
    """Return the current models, and the files that they were read from. Blocking.

    Raises:
        PorticoError: the config or the index cannot be read.
    """
    loaded = app.config
    models = LiveModels(app.models(), loaded.config.gateway.models)
    return models, (*loaded.sources, *app.token_store.files)


RETRY_S: Final = 1.0
T = TypeVar("T")
Signature = tuple[tuple[object, int, int, int] | None, ...]
_log = logging.getLogger(__name__)


class Reloading(Generic[T]):
    """A value read from files, which is read again after a change.

    `load` runs on another thread and returns the value and its files.

    If `load` raises an exception, the value becomes `failed`; with `keeps`, the last good value stays. `error` has the
    exception until a load succeeds (`internal-error` for an unexpected exception). `load` runs again after a file has changed.
    After an exception it also runs again after `RETRY_S` seconds, because the cause may not be in a file. The files are checked
    at most every `every_s` seconds.
    """

    def __init__(
        self, load: Callable[[], tuple[T, Iterable[Path]]], failed: T, *, keeps: bool = False, every_s: float = 0.0
    ) -> None:
        self._load = load
        self._every_s = every_s
        self._check_at = self._retry_at = 0.0
        self._value = self._failed = failed
        self._keeps = keeps
        self._files: tuple[str, ...] = ()
        self._seen: Signature | None = None
        self._loading: asyncio.Future[tuple[T, tuple[str, ...], Signature]] | None = None
        self.error: PorticoError | None = None

    async def now(self) -> T:
        """The current value."""
        now = time.monotonic()
        if now < self._check_at and self._loading is None:
            return self._value
        self._check_at = now + self._every_s
        while self._is_stale():
            if self._loading is None:
                self._loading = start_off_loop(self._loaded)
                self._loading.add_done_callback(self._settle)
            await asyncio.wait([self._loading])
        return self._value

    def _is_stale(self) -> bool:
        if self.error is not None and time.monotonic() >= self._retry_at:
            return True
        return self._seen is None or signature(self._files) != self._seen

    def _loaded(self) -> tuple[T, tuple[str, ...], Signature]:
        # If `load` has read the same files, use the signature from before the load: the next check then notices a change during
        # the load.
        before = signature(self._files)
        value, paths = self._load()
        files = tuple(map(str, paths))
        return value, files, before if files == self._files else signature(files)

    def _settle(self, loading: asyncio.Future[tuple[T, tuple[str, ...], Signature]]) -> None:
        self._loading = None
        raised = loading.exception()
        if raised is None:
            self._value, self._files, self._seen = loading.result()
            self.error = None
            return
        self._seen, self._retry_at = signature(self._files), time.monotonic() + RETRY_S
        error = raised if isinstance(raised, PorticoError) else internal_error(raised)
        if self.error is None or str(self.error) != str(error):
            _log.warning("%s%s", error, "" if error is raised else f"\n{error_location(raised)}\n{frames_of(raised)}")
        self.error = error
        if not self._keeps:
            self._value = self._failed


def signature(files: Iterable[str | Path]) -> Signature:
    """A value for each file that changes when the file changes; None for a missing file."""
    return tuple(map(_file_signature, files))


def _file_signature(path: str | Path) -> tuple[object, int, int, int] | None:
    try:
        stat = os.stat(path)  # noqa: PTH116 - a few microseconds less, at each request
    except OSError:
        return None
    return path, stat.st_mtime_ns, stat.st_size, stat.st_ino


# A model may take minutes for an unstreamed answer. Anthropic's own SDK has the same limit (docs.claude.com/en/api/errors).
SILENCE_TIMEOUT_S: Final = 600.0
# For the models, which are read from about ten files. The one file of the keys is checked at each request.
_CHECK_EVERY_S: Final = 0.1
# The history is written in batches, because waking a thread costs more than writing a row. If the process is killed, one batch
# is lost.
_BATCH_S: Final = 0.25


@asynccontextmanager
async def open_front(app: App, broker: TokenBroker, started_at: int) -> AsyncIterator[Front]:
    """The `Front` of a gateway, with its connections to providers and its history. `started_at` is in ms since the epoch."""
    metrics, keys_store = Metrics(), app.local_store(paths=KeyPaths.of(app.paths))

    history = await off_loop(lambda: app.history(batch_s=_BATCH_S))

    def record(outcome: Outcome) -> None:
        metrics.add(outcome)
        log_outcome(outcome)
        entry = entry_for(outcome) if history is not None else None
        if history is not None and entry is not None:
            history.record(entry)

    def read_models() -> tuple[LiveModels, tuple[Path, ...]]:
        return live_models(App.without_terminal(app.config_file, app.env, app.clock))

    models = Reloading[LiveModels | None](read_models, None, keeps=True, every_s=_CHECK_EVERY_S)
    shares = Shares(Limits(requests=requests_within(most_connections())))
    keys = Reloading[tuple[KeyInfo, ...]](lambda: (known(keys_store.profiles()), keys_store.files), ())
    async with HttpClient(env=app.env, silence_s=SILENCE_TIMEOUT_S, connections=0, unpacks=False) as upstream:
        # Loaded before the port is bound, so that the first request does not wait.
        await asyncio.gather(models.now(), keys.now())
        parts = Parts(upstream, broker, Cooldowns(app.clock), Cooldowns(app.clock), app.clock, record)
        try:
            yield Front(models, keys, parts, metrics, started_at, shares)
        finally:
            if history is not None:
                await off_loop(history.close)
