"""The menus of `configure` and `onboard`. A section asks its questions first, then writes.

If OpenClaw has a config file and the user agrees, it becomes the base file. Providers are grouped by company, as in OpenClaw
(docs.openclaw.ai/cli/configure).

An entry of `agents.defaults.models` may also have an alias, so the menu asks before it removes an entry with settings. The
default model and the fallbacks are always allowed, listed or not.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any, Final

from portico.accounts.choices import LISTED_WITHIN_S, TYPE_DEFAULT, Offer, Question, announced_choices, menu_rows, offers_of, pick
from portico.accounts.config_patch import ALLOW, ALLOWED, known_model, with_allowed, with_default, with_fallbacks
from portico.accounts.sign_in import set_up
from portico.auth.importers.found import setting_path
from portico.config.check import check_stack
from portico.config.sources import read_stack
from portico.errors import ConfigError, PorticoError, UsageError
from portico.interfaces.basics import Choice
from portico.models.client import list_models
from portico.models.credentials import API_KEY
from portico.paths import EMULATOR_ENV
from portico.terminal.prompts import InputNeeded

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from portico.accounts.sign_in import SetUpRequest
    from portico.app import App
    from portico.config.document import Document
    from portico.config.schema import AgentDefaults
    from portico.models.loader import CallableModel, ModelLoader
    from portico.models.reference import ModelReference

_LEAVE: Final = "done"


@dataclass(frozen=True, slots=True)
class Section:
    """One row of the menu. `hint` returns the current setting.

    `run` asks, then writes. If it raises an error, nothing was written. It returns False if the user went back.
    """

    id: str
    label: str
    hint: Callable[[], str]
    run: Callable[[], bool | None]


def run_sections(app: App, sections: Sequence[Section]) -> None:
    """Show the menu until the user leaves it. An error in a section is printed, and the menu appears again.

    Raises:
        UsageError: `input-needed`: the input ended.
    """
    by_id = {section.id: section for section in sections}
    default = sections[0].id
    while True:
        rows = [Choice(section.id, section.label, section.hint()) for section in sections]
        rows.append(Choice(_LEAVE, "Done"))
        chosen = app.prompter.choose("Select a section to configure", rows, flag="--section", default=default)
        if chosen == _LEAVE:
            return
        default = _LEAVE if _run_section(app, by_id[chosen]) else chosen


def _run_section(app: App, section: Section) -> bool:
    try:
        return section.run() is not False
    except InputNeeded:
        raise
    except PorticoError as error:
        app.out.warn("\n  ".join(filter(None, (error.message, error.why, error.hint_for(app.program)))))
        return False


_BASE: Final = ("base",)


def offer_base(app: App) -> None:
    """Offer OpenClaw's config file as the base file, if it exists and no base is set."""
    found = openclaw_file(app.env)
    has_base = app.config.document.has(_BASE) or app.config.config.base is not None
    if found is None or has_base or EMULATOR_ENV in app.env or os.path.realpath(found) == os.path.realpath(app.paths.config):
        return
    base = _with_tilde(found, app.env)
    problem = _error_as_base(app, base)
    if problem is not None:
        app.out.note(f"Found OpenClaw's config file, {base}, but it cannot be the base file: {problem}")
        return
    app.out.note(
        f"Found OpenClaw's config file: {base}. As the base file, it adds its providers, models and aliases to Portico's."
        f" Portico's own values have priority, and Portico writes only to {app.paths.config}."
    )
    if app.prompter.confirm(f"Use {base} as the base file?", flag=f"{{prog}} config set base {quote(base)}", default=True):
        app.edit_config(lambda document: document.set(_BASE, base))
        app.out.note(f"Updated {app.paths.config}: base {base}")


def openclaw_file(env: Mapping[str, str]) -> Path | None:
    """Return OpenClaw's config file (docs.openclaw.ai/gateway/configuration); None if there is no such file."""
    home = Path(env.get("HOME") or Path.home())
    folder = setting_path(env.get("OPENCLAW_STATE_DIR")) or home / ".openclaw"
    path = (setting_path(env.get("OPENCLAW_CONFIG_PATH")) or folder / "openclaw.json").absolute()
    return path if path.is_file() else None


def _with_tilde(path: Path, env: Mapping[str, str]) -> str:
    """Return a path in the home folder as `~/...`."""
    home = Path(env.get("HOME") or Path.home())
    return f"~/{path.relative_to(home).as_posix()}" if path.is_relative_to(home) else str(path)


def _error_as_base(app: App, base: str) -> str | None:
    """Return the first error of the config if `base` is the base file; None if the config is valid."""
    try:
        _, problems = check_stack(read_stack(app.config.document.set(_BASE, base)))
    except ConfigError as error:
        return str(error)
    return next((str(problem) for problem in problems if problem.is_fatal), None)


_BACK: Final = "back"
_AUTH_CHOICE: Final = "--auth-choice ID"


@dataclass(frozen=True, slots=True)
class ProviderGroup:
    """The auth choices of one company."""

    id: str
    label: str
    hint: str
    methods: tuple[Choice, ...]


def provider_groups(app: App) -> list[ProviderGroup]:
    """Return all auth choices, grouped by company. Of a disabled plugin, only the manifest is read."""
    by_sign_in = {choice.id: choice for choice in announced_choices(app)}
    groups = []
    for spec in app.plugins.providers():
        if not spec.key_choices:
            continue
        ours = [by_sign_in.pop(id) for id in spec.sign_in_choices if id in by_sign_in]
        methods = menu_rows([*ours, *spec.key_choices])
        hint = spec.group_hint or (methods[0].hint if len(methods) == 1 else "")
        groups.append(ProviderGroup(spec.id, spec.group or spec.label, hint, tuple(methods)))
    return groups + [ProviderGroup(each.id, each.label, each.hint, tuple(menu_rows([each]))) for each in by_sign_in.values()]


def choose_method(app: App, *, leave: str) -> str | None:
    """Ask for an auth choice; None for the last row, whose label is `leave`."""
    by_id = {group.id: group for group in provider_groups(app)}
    rows = [*(Choice(group.id, group.label, group.hint) for group in by_id.values()), Choice(_BACK, leave)]
    while True:
        chosen = app.prompter.choose("Model/auth provider", rows, flag=_AUTH_CHOICE, default=rows[0].value)
        if chosen == _BACK:
            return None
        group = by_id[chosen]
        if len(group.methods) == 1:
            return group.methods[0].value
        methods = [*group.methods, Choice(_BACK, "Back")]
        method = app.prompter.choose(f"{group.label} auth method", methods, flag=_AUTH_CHOICE, default=methods[0].value)
        if method != _BACK:
            return method


def model_auth(app: App, request: SetUpRequest, *, leave: str = "Back") -> bool:
    """Ask for an auth choice and set it up; return False for the last row, whose label is `leave`."""
    choice = choose_method(app, leave=leave)
    if choice is None:
        return False
    set_up(app, choice, request, pick_default=True)
    return True


def first_set_up(app: App, request: SetUpRequest) -> None:
    """Run `onboard` without an auth choice: all menus."""
    offer_base(app)
    if not model_auth(app, request, leave="Skip for now"):
        app.out.note(f"Nothing was set up. To continue later: {app.program} onboard")


def model_auth_hint(app: App) -> str:
    """Return the accounts that are already set up."""
    profiles = app.token_store.profiles()
    if not profiles:
        return "sign in to a provider, or enter an API key"
    return f"set up: {profiles[0].id}" + (f" and {len(profiles) - 1} more" if len(profiles) > 1 else "")


def offered_models(app: App, loader: ModelLoader) -> list[Offer]:
    """Return the models of all providers with a credential, then further models in the config, without duplicates."""
    providers = [each for each in loader.catalog.providers.values() if loader.has_credential(each)]
    listed = list_models(app, _without_refresh(app, loader), within_s=LISTED_WITHIN_S)
    offers: dict[ModelReference, Offer] = {}
    for provider in providers:
        response = listed.get(provider.id)
        live = None if response is None or isinstance(response, PorticoError) else response
        offers |= {offer.reference: offer for offer in offers_of(provider.id, provider.models, live)}
    agents = app.config.config.agents
    for reference in expanded_references(loader, (*filter(None, [agents.primary]), *agents.fallbacks, *agents.models)):
        offers.setdefault(reference, Offer(reference))
    return list(offers.values())


def expanded_references(loader: ModelLoader, texts: Iterable[str]) -> dict[ModelReference, str]:
    """Map each valid model reference or alias in `texts` to its text; invalid texts are skipped."""
    references: dict[ModelReference, str] = {}
    for text in texts:
        with suppress(UsageError):
            references.setdefault(loader.catalog.expand(text), text)
    return references


def _without_refresh(app: App, loader: ModelLoader) -> dict[str, CallableModel]:
    """Return one model of each provider that needs no token refresh, because a prompt must not refresh tokens."""
    keyed = {None, *(profile.id for profile in app.token_store.profiles() if profile.type == API_KEY)}
    return {id: model for id, model in loader.one_of_each().items() if model.profile_id in keyed}


_NO_PROVIDER: Final = "No provider is set up yet. Set up a provider first: Model/auth."
_SET_DEFAULT: Final = "{prog} models set REF"


def default_model(app: App) -> None:
    """Ask for the default model and set it, as `models set` does."""
    loader, current = app.models(), app.config.config.agents.primary
    offers = offered_models(app, loader)
    if not offers:
        app.out.note(_NO_PROVIDER)
        return
    question = Question("Default model", TYPE_DEFAULT, _SET_DEFAULT, current)
    picked = pick(app, question, offers, lambda text: known_model(text, loader))
    if picked is None:
        app.out.note(f"Default model: {current} (unchanged)")
        return
    listed = loader.catalog.allowed is not None
    app.edit_config(lambda document: with_default(document, str(picked), listed=listed))
    app.out.note(f"Default model: {picked}")


def default_model_hint(app: App) -> str:
    """Return the current default model."""
    return app.config.config.agents.primary or "none yet"


_ADD_FALLBACK: Final = "{prog} models fallbacks add REF"


def fallbacks(app: App) -> None:
    """Ask for the fallbacks and set them, as `models fallbacks` does. New fallbacks come last."""
    loader, agents = app.models(), app.config.config.agents
    default = next(iter(expanded_references(loader, filter(None, [agents.primary]))), None)
    present = expanded_references(loader, agents.fallbacks)
    rows = {offer.reference: offer.row for offer in offered_models(app, loader) if offer.reference != default}
    rows = {reference: rows[reference] for reference in (*present, *rows)}
    if not rows:
        app.out.note("There is no other model. Set up a provider first: Model/auth.")
        return
    question = "Fallbacks, tried in this order"
    chosen = app.prompter.choose_many(question, [*rows.values()], flag=_ADD_FALLBACK, chosen=[*map(str, present)])
    # Keep an alias as an alias.
    wanted = [present.get(reference, str(reference)) for reference in rows if str(reference) in chosen]
    if wanted == [*agents.fallbacks]:
        app.out.note(f"Fallbacks: {', '.join(wanted) or 'none'} (unchanged)")
        return
    listed = loader.catalog.allowed is not None
    app.edit_config(lambda document: _with_wanted_fallbacks(document, wanted, agents, listed=listed))
    app.out.note(f"Fallbacks: {', '.join(wanted) or 'none'}")


def _with_wanted_fallbacks(document: Document, wanted: list[str], agents: AgentDefaults, *, listed: bool) -> Document:
    for text in wanted:
        if text not in agents.fallbacks:
            document = with_allowed(document, text, agents, listed=listed)
    return with_fallbacks(document, wanted, agents)


def fallbacks_hint(app: App) -> str:
    """Return the current fallbacks."""
    return ", ".join(app.config.config.agents.fallbacks) or "none"


_ALLOW_MODEL: Final = '{prog} config set \'agents.defaults.models["REF"]\' "{}"'


@dataclass(frozen=True, slots=True)
class _AllowedChange:
    """Entries to remove, to add, and to make empty. `restricts`: `allow` changes from `all` to `listed`."""

    removed: tuple[str, ...]
    added: tuple[str, ...]
    emptied: tuple[str, ...]
    restricts: bool

    def __call__(self, document: Document) -> Document:
        for key in self.removed:
            document = document.unset((*ALLOWED, key))
        for key in (*self.added, *self.emptied):
            document = document.set((*ALLOWED, key), {})
        return document.set(ALLOW, "listed") if self.restricts else document


def allowed_models(app: App) -> None:
    """Ask for the allowed models and set them. If the user marks no model, all are allowed and every entry stays."""
    loader = app.models()
    offers = offered_models(app, loader)
    if not offers:
        app.out.note(_NO_PROVIDER)
        return
    now = {str(reference) for reference in loader.catalog.allowed or ()}
    rows = _allowed_rows(offers, _always_allowed(app, loader))
    chosen = app.prompter.choose_many("Allowed models; none marked: all", rows, flag=_ALLOW_MODEL, chosen=now)
    if {*chosen} == now:
        app.out.note(f"Allowed models: {allowed_models_hint(app)} (unchanged)")
        return
    app.edit_config(_allowed_change(app, loader, chosen) if chosen else lambda document: document.set(ALLOW, "all"))
    app.out.note(f"Allowed models: {allowed_models_hint(app)}")
    if chosen and app.models().catalog.allowed is None:
        app.out.warn("All models are still allowed: the aliases in the base file do not count as a list. Add the models there.")


def allowed_models_hint(app: App) -> str:
    """Return how many models are allowed."""
    allowed = app.models().catalog.allowed
    return "all" if allowed is None else f"{len(allowed)} listed"


def _always_allowed(app: App, loader: ModelLoader) -> dict[ModelReference, str]:
    agents = app.config.config.agents
    return expanded_references(loader, (*filter(None, [agents.primary]), *agents.fallbacks))


def _allowed_rows(offers: list[Offer], always: Collection[ModelReference]) -> list[Choice]:
    words = "in use, so always allowed"
    return [replace(offer.row, hint=words) if offer.reference in always else offer.row for offer in offers]


def _allowed_change(app: App, loader: ModelLoader, chosen: Collection[str]) -> _AllowedChange:
    entries = expanded_references(loader, app.config.config.agents.models)
    always = _always_allowed(app, loader)
    unmarked = [key for reference, key in entries.items() if str(reference) not in chosen and reference not in always]
    removed = tuple(key for key in unmarked if _may_remove(app, loader, key))
    added = tuple(text for text in chosen if text not in {str(reference) for reference in entries})
    remaining = [key for key in entries.values() if key not in removed]
    # Entries with only a plugin's alias are not a list of allowed models, but empty entries are; the plugin defines its alias
    # anyway.
    only_aliases = not added and all(_is_proposed(app, loader, key) for key in remaining)
    emptied = tuple(key for key in remaining if only_aliases and app.config.document.has((*ALLOWED, key)))
    return _AllowedChange(removed, added, emptied, restricts=app.config.config.agents.allow == "all")


def _may_remove(app: App, loader: ModelLoader, key: str) -> bool:
    """Whether Portico can remove an entry: the entry is in Portico's own file, and the user agrees to lose its settings."""
    path = (*ALLOWED, key)
    if not app.config.document.has(path):
        app.out.note(f"{key} stays allowed: it is listed at {app.config.effective.origin(path)}.")
        return False
    entry = _allowed_entry(app, key)
    if not entry or _is_proposed(app, loader, key):
        return True
    settings = f"the alias {entry['alias']}" if [*entry] == ["alias"] else f"settings ({', '.join(entry)})"
    if app.prompter.confirm(f"{key} has {settings}. Remove both?", flag=_ALLOW_MODEL):
        return True
    app.out.note(f"{key} stays allowed.")
    return False


def _is_proposed(app: App, loader: ModelLoader, key: str) -> bool:
    provider, _, id = key.partition("/")
    spec = loader.catalog.specs.get(provider)
    alias = next((model.alias for model in spec.models if model.id == id), None) if spec is not None else None
    return alias is not None and _allowed_entry(app, key) == {"alias": alias}


def _allowed_entry(app: App, key: str) -> dict[str, Any]:
    entry = app.config.effective.get((*ALLOWED, key))
    return entry if isinstance(entry, dict) else {}
