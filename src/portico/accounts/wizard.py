"""The menus of `configure` and `onboard`: sections that ask, and write when the last of their questions is answered.

OpenClaw's own config, if there is one, is read underneath Portico's if the user agrees. Providers are grouped by vendor, as
OpenClaw does (docs.openclaw.ai/cli/configure).

An entry of `agents.defaults.models` may hold an alias as well, so leaving a model out is one thing and losing what its entry says
another: the second is asked about. The default and the fallbacks are allowed whether they are listed or not.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any, Final

from portico.accounts.choices import DEFAULT_BY_HAND, LISTED_WITHIN_S, Offer, Question, announced_choices, offers_of, pick
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

_DONE: Final = "done"


@dataclass(frozen=True, slots=True)
class Section:
    """One row of the menu. `hint` tells what is so now.

    `run` asks, then writes, or raises and has written nothing; it may give False where the person went back.
    """

    id: str
    label: str
    hint: Callable[[], str]
    run: Callable[[], bool | None]


def run_sections(app: App, sections: Sequence[Section]) -> None:
    """Offer the sections until the person is done; what fails in one is told, and the menu comes again.

    Raises:
        UsageError: `input-needed`: nobody answers any more.
    """
    by_id = {section.id: section for section in sections}
    marked = sections[0].id
    while True:
        rows = [Choice(section.id, section.label, section.hint()) for section in sections]
        rows.append(Choice(_DONE, "Done"))
        chosen = app.prompter.choose("Select a section to configure", rows, flag="--section", default=marked)
        if chosen == _DONE:
            return
        marked = _DONE if _run_section(app, by_id[chosen]) else chosen


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
    """Ask whether to read it underneath, where there is one and no base is named; a section of its own, written at once.

    Raises:
        UsageError: nobody can be asked.
        ConfigError: Portico's own file cannot be written.
    """
    found = openclaw_file(app.env)
    named = app.config.document.has(_BASE) or app.config.config.base is not None
    if found is None or named or EMULATOR_ENV in app.env or os.path.realpath(found) == os.path.realpath(app.paths.config):
        return
    written = _with_tilde(found, app.env)
    trouble = _error_as_base(app, written)
    if trouble is not None:
        app.out.note(f"OpenClaw's configuration is at {written}, and cannot be read underneath Portico's: {trouble}")
        return
    app.out.note(
        f"OpenClaw's configuration is at {written}. Read underneath Portico's own, its providers, models and aliases count"
        f" here too; what Portico's own says comes first. Portico changes only its own: {app.paths.config}"
    )
    if app.prompter.confirm(f"Read {written} underneath?", flag=f"{{prog}} config set base {quote(written)}", default=True):
        app.edit_config(lambda document: document.set(_BASE, written))
        app.out.note(f"Updated {app.paths.config}: base {written}")


def openclaw_file(env: Mapping[str, str]) -> Path | None:
    """Where OpenClaw keeps its configuration (docs.openclaw.ai/gateway/configuration), None where there is no file."""
    home = Path(env.get("HOME") or Path.home())
    folder = setting_path(env.get("OPENCLAW_STATE_DIR")) or home / ".openclaw"
    path = (setting_path(env.get("OPENCLAW_CONFIG_PATH")) or folder / "openclaw.json").absolute()
    return path if path.is_file() else None


def _with_tilde(path: Path, env: Mapping[str, str]) -> str:
    """`~/...` where it is in the home folder, as people write it."""
    home = Path(env.get("HOME") or Path.home())
    return f"~/{path.relative_to(home).as_posix()}" if path.is_relative_to(home) else str(path)


def _error_as_base(app: App, written: str) -> str | None:
    """The first error that naming it as the base would bring, None where it can be read."""
    try:
        _, problems = check_stack(read_stack(app.config.document.set(_BASE, written)))
    except ConfigError as error:
        return str(error)
    return next((str(problem) for problem in problems if problem.is_fatal), None)


_BACK: Final = "back"
_AUTH_CHOICE: Final = "--auth-choice ID"


@dataclass(frozen=True, slots=True)
class ProviderGroup:
    """What sets up the models of one vendor; `methods` are auth choices."""

    id: str
    label: str
    hint: str
    methods: tuple[Choice, ...]


def provider_groups(app: App) -> list[ProviderGroup]:
    """Every auth choice, under its vendor; a plugin that is off is known by its manifest alone."""
    by_sign_in = {choice.id: choice for choice in announced_choices(app)}
    found = []
    for spec in app.plugins.providers():
        if not spec.key_choices:
            continue
        ours = [by_sign_in.pop(id) for id in spec.sign_in_choices if id in by_sign_in]
        methods = [Choice(each.id, each.label, each.hint) for each in ours]
        methods += [Choice(each.id, each.label, each.hint) for each in spec.key_choices]
        hint = spec.group_hint or (methods[0].hint if len(methods) == 1 else "")
        found.append(ProviderGroup(spec.id, spec.group or spec.label, hint, tuple(methods)))
    for choice in by_sign_in.values():
        row = Choice(choice.id, choice.label, choice.hint)
        found.append(ProviderGroup(choice.id, choice.label, choice.hint, (row,)))
    return found


def choose_method(app: App, *, leave: str) -> str | None:
    """The auth choice that the person picks; None for the last row, which is called `leave`.

    Raises:
        UsageError: nobody can be asked.
    """
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
    """Set up what the person picks; False for the last row of the menu, which is called `leave`.

    Raises:
        PorticoError: as `set_up`.
    """
    choice = choose_method(app, leave=leave)
    if choice is None:
        return False
    set_up(app, choice, request, pick_default=True)
    return True


def first_set_up(app: App, request: SetUpRequest) -> None:
    """`onboard` without a choice: the menus from the first one on.

    Raises:
        PorticoError: as `set_up`.
    """
    offer_base(app)
    if not model_auth(app, request, leave="Skip for now"):
        app.out.note(f"Nothing was set up. To come back to it: {app.program} onboard")


def model_auth_hint(app: App) -> str:
    """Who is set up already."""
    profiles = app.token_store.profiles()
    if not profiles:
        return "sign in to a provider, or give an API key"
    return f"set up: {profiles[0].id}" + (f" and {len(profiles) - 1} more" if len(profiles) > 1 else "")


def offered_models(app: App, loader: ModelLoader) -> list[Offer]:
    """Each once: provider by provider, then what only the config names. Providers with a key, or without one, are asked too."""
    providers = [each for each in loader.catalog.providers.values() if loader.has_credential(each)]
    listed = list_models(app, _askable(app, loader), within_s=LISTED_WITHIN_S)
    found: dict[ModelReference, Offer] = {}
    for provider in providers:
        answer = listed.get(provider.id)
        live = None if answer is None or isinstance(answer, PorticoError) else answer
        found |= {offer.reference: offer for offer in offers_of(provider.id, provider.models, live)}
    agents = app.config.config.agents
    for reference in expanded_references(loader, (*filter(None, [agents.primary]), *agents.fallbacks, *agents.models)):
        found.setdefault(reference, Offer(reference))
    return list(found.values())


def expanded_references(loader: ModelLoader, texts: Iterable[str]) -> dict[ModelReference, str]:
    """The references that `texts` stand for, each with the text; what stands for none is left out."""
    found: dict[ModelReference, str] = {}
    for text in texts:
        with suppress(UsageError):
            found.setdefault(loader.catalog.expand(text), text)
    return found


def _askable(app: App, loader: ModelLoader) -> dict[str, CallableModel]:
    """One model of each provider that can be asked without a refresh: a question must change nothing."""
    keyed = {None, *(profile.id for profile in app.token_store.profiles() if profile.type == API_KEY)}
    return {id: model for id, model in loader.one_of_each().items() if model.profile_id in keyed}


_SET_DEFAULT: Final = "{prog} models set REF"


def default_model(app: App) -> None:
    """Ask for the default model; as `models set`.

    Raises:
        UsageError: nobody can be asked.
        ConfigError: the file cannot be written.
    """
    loader, current = app.models(), app.config.config.agents.primary
    offers = offered_models(app, loader)
    if not offers:
        app.out.note("No provider is set up yet: Model/auth comes first.")
        return
    picked = pick(
        app, Question("Default model", DEFAULT_BY_HAND, _SET_DEFAULT, current), offers, lambda text: known_model(text, loader)
    )
    if picked is None:
        app.out.note(f"Default model: {current} (unchanged)")
        return
    listed = loader.catalog.allowed is not None
    app.edit_config(lambda document: with_default(document, str(picked), listed=listed))
    app.out.note(f"Default model: {picked}")


def default_model_hint(app: App) -> str:
    """Which one it is."""
    return app.config.config.agents.primary or "none yet"


_ADD_FALLBACK: Final = "{prog} models fallbacks add REF"


def fallbacks(app: App) -> None:
    """Ask for the fallbacks; as `models fallbacks add` and `remove`. Those that stay keep their order, new ones come after them.

    Raises:
        UsageError: nobody can be asked.
        ConfigError: the file cannot be written.
    """
    loader, agents = app.models(), app.config.config.agents
    default = next(iter(expanded_references(loader, filter(None, [agents.primary]))), None)
    present = expanded_references(loader, agents.fallbacks)
    rows = {offer.reference: offer.row for offer in offered_models(app, loader) if offer.reference != default}
    rows = {reference: rows[reference] for reference in (*present, *rows)}
    if not rows:
        app.out.note("There is no model beside the default one: Model/auth sets up more.")
        return
    question = "Fallbacks, tried in this order"
    chosen = app.prompter.choose_many(question, [*rows.values()], flag=_ADD_FALLBACK, chosen=[*map(str, present)])
    # As they are written: an alias stays one.
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
    """Which they are."""
    return ", ".join(app.config.config.agents.fallbacks) or "none"


_ALLOW_MODEL: Final = '{prog} config set \'agents.defaults.models["REF"]\' "{}"'


@dataclass(frozen=True, slots=True)
class _AllowedChange:
    """Entries to take out, to put in, and to make empty; `closes` where every model was allowed by `allow`."""

    out: tuple[str, ...]
    into: tuple[str, ...]
    emptied: tuple[str, ...]
    closes: bool

    def __call__(self, document: Document) -> Document:
        for key in self.out:
            document = document.unset((*ALLOWED, key))
        for key in (*self.into, *self.emptied):
            document = document.set((*ALLOWED, key), {})
        return document.set(ALLOW, "listed") if self.closes else document


def allowed_models(app: App) -> None:
    """Ask for the allowed models; none means all of them, and then every entry stays as it is.

    Raises:
        UsageError: nobody can be asked.
        ConfigError: the file cannot be written.
    """
    loader = app.models()
    offers = offered_models(app, loader)
    if not offers:
        app.out.note("No provider is set up yet: Model/auth comes first.")
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
        app.out.warn("They are the aliases of a sign-in in the base, which are no list: add them to it there.")


def allowed_models_hint(app: App) -> str:
    """Which they are, in a word or two."""
    allowed = app.models().catalog.allowed
    return "all" if allowed is None else f"{len(allowed)} listed"


def _always_allowed(app: App, loader: ModelLoader) -> dict[ModelReference, str]:
    agents = app.config.config.agents
    return expanded_references(loader, (*filter(None, [agents.primary]), *agents.fallbacks))


def _allowed_rows(offers: list[Offer], always: Collection[ModelReference]) -> list[Choice]:
    words = "in use, and so allowed in any case"
    return [replace(offer.row, hint=words) if offer.reference in always else offer.row for offer in offers]


def _allowed_change(app: App, loader: ModelLoader, chosen: Collection[str]) -> _AllowedChange:
    entries = expanded_references(loader, app.config.config.agents.models)
    always = _always_allowed(app, loader)
    left_out = [key for reference, key in entries.items() if str(reference) not in chosen and reference not in always]
    out = tuple(key for key in left_out if _may_go(app, loader, key))
    into = tuple(text for text in chosen if text not in {str(reference) for reference in entries})
    rest = [key for key in entries.values() if key not in out]
    # Entries that hold nothing but a plugin's own alias are no list; without it, which the plugin brings anyway, they are.
    bare = not into and all(_is_proposed(app, loader, key) for key in rest)
    own = app.config.document
    emptied = tuple(key for key in rest if bare and own.has((*ALLOWED, key)))
    return _AllowedChange(out, into, emptied, closes=app.config.config.agents.allow == "all")


def _may_go(app: App, loader: ModelLoader, key: str) -> bool:
    """Whether an entry can be taken out: it stands in Portico's own file, and what it says is not missed."""
    path = (*ALLOWED, key)
    if not app.config.document.has(path):
        app.out.note(f"{key} is listed at {app.config.effective.origin(path)}, and so stays allowed.")
        return False
    entry = _allowed_entry(app, key)
    if not entry or _is_proposed(app, loader, key):
        return True
    said = f"the alias {entry['alias']}" if [*entry] == ["alias"] else f"settings of its own ({', '.join(entry)})"
    if app.prompter.confirm(f"{key} has {said}. Take it out, with that?", flag=_ALLOW_MODEL):
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
