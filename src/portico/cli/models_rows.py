"""What `models list` shows: which models, in which order, with which tags; nothing here prints."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from portico.errors import PorticoError, UsageError
from portico.interfaces.provider_spec import ModelSpec
from portico.models.catalog import CONFIG, CORRECTIONS, host_of
from portico.models.reference import ModelReference, did_you_mean, no_such_model

if TYPE_CHECKING:
    from collections.abc import Iterator

    from portico.cli.runtime import Runtime
    from portico.models.catalog import Provider
    from portico.models.discovery import Discovered
    from portico.models.loader import ModelLoader

Auth = Literal["yes", "expired", "no"]


@dataclass(frozen=True, slots=True)
class Row:
    """One model. `missing` says why it is none that can be called; `listed_by` who names it, where that was asked."""

    reference: ModelReference
    spec: ModelSpec | None
    auth: Auth
    local: bool
    tags: tuple[str, ...]
    missing: str | None = None
    price_source: str | None = None
    listed_by: str | None = None


def model_rows(rt: Runtime, *, everything: bool, live: bool, provider: str | None) -> list[Row]:
    """The models in use and those that the config names; with `everything` also those that are known, by provider and id.

    Where the config names none, the models of the providers that are set up all the same, by a key in the environment say. With
    `live` the providers are asked, and what only they know comes last.
    """
    loader = rt.models()
    tags = _tags(loader, rt)
    for alias, reference in loader.catalog.aliases.items():
        if everything or reference in tags:
            tags.setdefault(reference, []).append(f"alias:{alias}")
    references = dict.fromkeys([*tags, *(loader.catalog.references() if everything else ())])
    accounts = _Accounts(loader, rt)
    references = references or dict.fromkeys(accounts.references())
    wanted = [reference for reference in references if provider in {None, reference.provider}]
    rows = [_row(reference, tags.get(reference, []), accounts) for reference in wanted]
    return _with_live(rows, accounts, rt, provider) if live else rows


def _tags(loader: ModelLoader, rt: Runtime) -> dict[ModelReference, list[str]]:
    agents = rt.config.config.agents
    named = [(agents.primary, "default")] if agents.primary else []
    named += [(text, f"fallback#{place}") for place, text in enumerate(agents.fallbacks, 1)]
    named += [(key, "configured") for key in agents.models]
    tags: dict[ModelReference, list[str]] = {}
    for text, tag in named:
        try:
            tags.setdefault(loader.catalog.expand(text), []).append(tag)
        except UsageError as error:
            rt.out.warn(f"{tag}: {error.message}")
    for provider_id, provider in rt.config.config.models.providers.items():
        for model in provider.models:
            tags.setdefault(ModelReference(provider_id, model.id), [])
    return tags


class _Accounts:
    """What is known of each provider, found out once however many models it has."""

    def __init__(self, loader: ModelLoader, rt: Runtime) -> None:
        self.loader = loader
        self._rt = rt
        self._auth: dict[str, Auth] = {}
        self._local: dict[str, bool] = {}

    def references(self) -> Iterator[ModelReference]:
        """The models of every provider that asks for a credential and has one."""
        for reference in self.loader.catalog.references():
            provider = self.loader.catalog.providers[reference.provider]
            if provider.spec is not None and provider.spec.needs_credential and self.auth(provider) != "no":
                yield reference

    def auth(self, provider: Provider) -> Auth:
        if provider.id not in self._auth:
            self._auth[provider.id] = self._auth_of(provider)
        return self._auth[provider.id]

    def is_local(self, provider: Provider) -> bool:
        if provider.id not in self._local:
            self._local[provider.id] = _is_local(self.loader.base_url(provider))
        return self._local[provider.id]

    def price_source(self, provider: Provider, model_id: str) -> str | None:
        """Where a price comes from: a public source, or the file and the line."""
        source = provider.prices.get(model_id)
        if source == CONFIG and provider.config is not None:
            index = next(index for index, model in enumerate(provider.config.models) if model.id == model_id)
            origin = self._rt.config.effective.origin(("models", "providers", provider.id, "models", index, "cost"))
            return f"config: {origin}"
        return str(self._rt.paths.config.parent / CORRECTIONS) if source == CORRECTIONS else source

    def _auth_of(self, provider: Provider) -> Auth:
        profile = self.loader.profile_for(provider)
        if profile is not None:
            from portico.auth.health import needs_sign_in

            return "expired" if needs_sign_in(profile, self._rt.clock) else "yes"
        return "yes" if self.loader.has_credential(provider) else "no"


def _row(reference: ModelReference, tags: list[str], accounts: _Accounts) -> Row:
    provider = accounts.loader.catalog.providers.get(reference.provider)
    spec = accounts.loader.catalog.find(reference)
    auth: Auth = accounts.auth(provider) if provider is not None else "no"
    return Row(
        reference,
        spec,
        auth,
        provider is not None and accounts.is_local(provider),
        tuple(tags),
        missing=None if spec is not None else _why_missing(reference, accounts.loader),
        price_source=accounts.price_source(provider, reference.model) if provider is not None else None,
    )


def _why_missing(reference: ModelReference, loader: ModelLoader) -> str:
    off = loader.switched_off_by(reference)
    error = no_such_model(loader.catalog, reference, switched_off_by=off, kind=UsageError)
    meant = did_you_mean(loader.catalog.near(str(reference)))
    return f"{error.why}{f'. {meant}' if meant else ''}"


def _is_local(url: str | None) -> bool:
    host = host_of(url) if url else ""
    return host in {"localhost", "127.0.0.1", "0.0.0.0", "::1"} or host.endswith(".local")  # noqa: S104 - compared, not bound


def _with_live(rows: list[Row], accounts: _Accounts, rt: Runtime, provider: str | None) -> list[Row]:
    """`rows`, each with whether its provider lists it, and behind them what only a provider knows."""
    found = _asked(accounts, rt, provider)
    lists = {id: {model.id: model for model in listed} for id, listed in found.items()}
    seen = [_told(row, lists) for row in rows]
    known = {row.reference for row in rows}
    more = [
        _live_row(ModelReference(id, model.id), model, accounts)
        for id, listed in lists.items()
        for model in listed.values()
        if ModelReference(id, model.id) not in known
    ]
    return [*seen, *more]


def _told(row: Row, lists: dict[str, dict[str, Discovered]]) -> Row:
    listed = lists.get(row.reference.provider)
    if listed is None:
        return row
    if row.reference.model not in listed:
        return replace(row, listed_by="nobody")
    id = row.reference.provider
    missing = None if row.missing is None else f"{row.missing}; {id} has it now: add it to models.providers.{id}.models"
    return replace(row, listed_by=id, missing=missing)


def _live_row(reference: ModelReference, model: Discovered, accounts: _Accounts) -> Row:
    provider = accounts.loader.catalog.providers[reference.provider]
    known = provider.model(reference.model)
    spec = known or ModelSpec(model.id, model.name, model.context_window)
    row = _row(reference, ["live"], accounts)
    return replace(row, spec=spec, missing=None, listed_by=reference.provider)


def _asked(accounts: _Accounts, rt: Runtime, provider: str | None) -> dict[str, tuple[Discovered, ...]]:
    """What the providers list that are set up, or that need no account; a failure of one is said and stops no other."""
    from portico.models.discovery import listed_now

    models = {id: model for id, model in accounts.loader.one_of_each().items() if provider in {None, id}}
    listed = {}
    for id, outcome in listed_now(rt, models).items():
        if isinstance(outcome, PorticoError):
            rt.out.note(f"{id}: not asked: {outcome}" if outcome.id == "network" else f"{id}: {outcome}")
        else:
            listed[id] = outcome
    return listed
