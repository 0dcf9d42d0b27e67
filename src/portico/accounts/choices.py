"""Choose an auth choice, a region and a model; enable the plugin of an auth choice."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Final

from portico.errors import UnknownName, UsageError
from portico.interfaces.basics import Choice
from portico.interfaces.plugins import ModelSpec
from portico.models.reference import ModelReference, did_you_mean
from portico.plugins.discovery import with_plugin_enabled
from portico.terminal.prompts import InputNeeded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from portico.app import App
    from portico.interfaces.plugins import AuthMethod, KeyChoice, ProviderSpec, Region
    from portico.models.client import Discovered
    from portico.plugins.manager import PluginHost
    from portico.plugins.manifest import AuthChoice


def choose_auth_choice(app: App, question: str = "Which provider?") -> str:
    """Ask for an auth choice: first those in the plugins' manifests, then those with an API key."""
    return app.prompter.choose(question, menu_rows([*announced_choices(app), *_with_key(app)]), flag="--auth-choice")


def menu_rows(choices: Iterable[AuthChoice | KeyChoice]) -> list[Choice]:
    """Return the rows of a menu, one per auth choice."""
    return [Choice(choice.id, choice.label, choice.hint) for choice in choices]


def choose_provider(app: App) -> str:
    """Ask for a provider and return its auth choice."""
    choices = [Choice(choice.provider, choice.label, choice.hint) for choice in announced_choices(app)]
    return choice_of_provider(app, app.prompter.choose("Which provider?", choices, flag="--provider"))


def choice_of_provider(app: App, provider: str) -> str:
    """Return the auth choice of `provider`, which is an id or an alias.

    Raises:
        UsageError: `unknown-name`.
    """
    aliases = {alias: spec.id for spec in app.plugins.providers() for alias in spec.aliases}
    choices = {choice.provider: choice.id for choice in announced_choices(app)}
    choice_id = choices.get(provider) or choices.get(aliases.get(provider, ""))
    if choice_id is None:
        raise UnknownName(f"No sign-in for provider {provider}.", hint=f"--provider {'|'.join(choices)}")
    return choice_id


def resolve_choice(app: App, name: str, region: str | None) -> tuple[str, str | None]:
    """Return the auth choice for `name`, and the region: `region`, or the region that the alias `name` stands for.

    Raises:
        UsageError: `unknown-name`: the alias stands for a region other than `region`.
    """
    key = next((choice for choice in _with_key(app) if name in choice.aliases), None)
    sign_in = next((choice for choice in announced_choices(app) if name in choice.aliases), None)
    if key is not None:
        choice, alias_region = key.id, key.region or None
    elif sign_in is not None:
        choice, alias_region = sign_in.id, sign_in.aliases[name]
    else:
        return name, region
    if region not in {None, alias_region}:
        raise UnknownName(f"{name} is region {alias_region}, not {region}.", hint="Leave --region out.")
    return choice, alias_region


def host_for(app: App, choice: str) -> PluginHost:
    """Return the plugin host with the plugin of `choice` enabled. The config stays unchanged; `enable` changes it.

    Raises:
        UsageError: `unknown-name`.
        ConfigError: `plugin-disabled`, with the config entry that disables it.
    """
    plugin_id = app.plugins.plugin_for_choice(choice)
    if plugin_id is None:
        raise _unknown_choice(app, choice)
    return app.plugins if app.plugins.find(plugin_id).enabled else app.plugins.enabling(plugin_id)


def enable(app: App, choice: str) -> None:
    """Enable the plugin of `choice` in the config, if it is off by default and its auth method loads.

    Reads the config again: another process may have changed the file while a sign-in waited for its user.

    Raises:
        UsageError, ConfigError: as `host_for`; `plugin-failed`.
    """
    host = host_for(app, choice)
    plugin_id = app.plugins.plugin_for_choice(choice)
    if host is app.plugins or plugin_id is None:
        app.reload_config()
        return
    host.auth_method(choice)
    app.edit_config(lambda document: with_plugin_enabled(document, plugin_id))
    app.settings  # noqa: B018 - loads the config: an invalid config must fail before anything is stored
    app.out.note(f'Enabled plugin "{plugin_id}".')


def region_of(app: App, method: AuthMethod, name: str | None, *, host: PluginHost | None = None) -> Region:
    """Return the region `name`; without a name, the method's only region or the user's answer.

    Raises:
        UsageError: `unknown-name`, or a question cannot be asked.
    """
    regions = {region.id: region for region in method.regions}
    if name is None and len(regions) == 1:
        return method.regions[0]
    if name is None:
        rows = [Choice(region.id, region.label, region.hint) for region in method.regions]
        label = next((spec.label for spec in (host or app.plugins).providers() if spec.id == method.provider), method.label)
        name = app.prompter.choose(f"Select {label} endpoint", rows, flag="--region", default=rows[0].value)
    if name not in regions:
        near = next(iter(get_close_matches(name.lower(), regions, n=1)), None)
        hint = f"Did you mean --region {near}?" if near else f"--region {'|'.join(regions)}"
        raise UnknownName(f"Unknown region: {name}", hint=hint)
    return regions[name]


def announced_choices(app: App) -> list[AuthChoice]:
    """Return the auth choices in the manifests of all plugins, enabled or not.

    A plugin whose code another user can change comes last, and cannot take the name of a usable choice.
    """
    every = [(choice, record) for record in app.plugins.records() for choice in record.manifest.auth_choices]
    usable = [choice for choice, record in every if record.candidate.exposure is None]
    taken = {name for choice in usable for name in _names(choice)}
    return usable + [
        choice for choice, record in every if record.candidate.exposure is not None and taken.isdisjoint(_names(choice))
    ]


def _names(choice: AuthChoice) -> set[str]:
    return {choice.id, choice.provider, *choice.aliases}


def key_choices(app: App) -> dict[str, tuple[ProviderSpec, KeyChoice]]:
    """Return every choice with an API key, by its `--auth-choice` id."""
    return {choice.id: (spec, choice) for spec in app.plugins.providers() for choice in spec.key_choices}


def _with_key(app: App) -> list[KeyChoice]:
    return [choice for spec in app.plugins.providers() for choice in spec.key_choices]


def _unknown_choice(app: App, choice: str) -> UsageError:
    known = [*(each.id for each in announced_choices(app)), *(each.id for each in _with_key(app))]
    others = [name for each in announced_choices(app) for name in each.aliases]
    others += [name for each in _with_key(app) for name in each.aliases]
    close = [id for id in known if id.startswith(f"{choice}-")] or get_close_matches(choice, [*known, *others], n=1)
    hint = f"Did you mean --auth-choice {close[0]}?" if close else f"--auth-choice {'|'.join(known)}"
    return UnknownName(f"Unknown auth choice: {choice}", hint=hint)


_KEEP: Final = "keep"
_TYPED: Final = "manually"
TYPE_DEFAULT: Final = "Default model, as provider/model"
LISTED_WITHIN_S: Final = 2.0
"""How long a prompt waits for the providers' lists of models, in seconds."""


@dataclass(frozen=True, slots=True)
class Offer:
    """A model to choose. `note` is shown after the choice."""

    reference: ModelReference
    hint: str = ""
    note: str | None = None

    @property
    def row(self) -> Choice:
        return Choice(str(self.reference), str(self.reference), self.hint)


@dataclass(frozen=True, slots=True)
class Question:
    """A prompt for a model. `typed_text` is the prompt for a typed answer.

    `current` is the model in use, which the user can keep. Enter chooses `proposed`. `flag` is the option that replaces the
    prompt.
    """

    text: str
    typed_text: str
    flag: str
    current: str | None = None
    proposed: ModelReference | None = None


def offers_of(provider: str, known: Sequence[ModelSpec], listed: Sequence[Discovered] | None) -> list[Offer]:
    """Return the `known` models that are not retired, then further models that the provider lists. `listed` None: no answer."""
    live = {model.id: model for model in listed or ()}
    known_models = {model.id: model for model in known}
    offers = []
    offered = [model for model in known_models.values() if model.retired_on is None]
    models: list[ModelSpec | Discovered] = [*offered, *(model for id, model in live.items() if id not in known_models)]
    for model in models:
        words = [model.name] if model.name != model.id else []
        words += [f"{model.context_window:,} tokens"] if model.context_window else []
        words += ["not in the provider's current list"] if listed is not None and model.id not in live else []
        note = model.note if isinstance(model, ModelSpec) else None
        offers.append(Offer(ModelReference(provider, model.id), ", ".join(words), note))
    return offers


def pick(app: App, question: Question, offers: Sequence[Offer], read: Callable[[str], ModelReference]) -> ModelReference | None:
    """Ask for a model, and return None to keep the current model. `read` parses a typed answer."""
    if not offers and question.current is None:
        return _typed_reference(app, question, offers, read)
    rows = [Choice(_KEEP, f"Keep current ({question.current})")] if question.current is not None else []
    rows += [offer.row for offer in offers]
    rows.append(Choice(_TYPED, "Enter model manually"))
    offered = {str(offer.reference): offer for offer in offers}
    default = str(question.proposed) if str(question.proposed) in offered else rows[0].value
    answer = app.prompter.choose(question.text, rows, flag=question.flag, default=default)
    if answer == _KEEP:
        return None
    if answer == _TYPED:
        return _typed_reference(app, question, offers, read)
    if (note := offered[answer].note) is not None:
        app.out.note(f"{offered[answer].reference}: {note}")
    return offered[answer].reference


def _typed_reference(
    app: App, question: Question, offers: Sequence[Offer], read: Callable[[str], ModelReference]
) -> ModelReference:
    while True:
        text = app.prompter.text(question.typed_text, flag=question.flag)
        try:
            reference = read(text)
        except InputNeeded:
            raise
        except UsageError as error:
            app.out.warn("\n  ".join(filter(None, (error.message, error.why, error.hint_for(app.program)))))
            continue
        if _is_confirmed(app, question, offers, reference):
            return reference


def _is_confirmed(app: App, question: Question, offers: Sequence[Offer], reference: ModelReference) -> bool:
    """Ask before accepting a model that the provider is not known to have: the model may be newer than this version."""
    siblings = [str(offer.reference) for offer in offers if offer.reference.provider == reference.provider]
    if not siblings or str(reference) in siblings:
        return True
    known = app.models().catalog.find(reference)
    if known is not None:
        if known.note is not None:
            app.out.note(f"{reference}: {known.note}")
        return True
    suggestion = did_you_mean(get_close_matches(str(reference), siblings, n=1))
    doubt = f"{reference.provider} is not known to have {reference.model}.{f' {suggestion}' if suggestion else ''}"
    return app.prompter.confirm(f"{doubt} Use {reference} anyway?", flag=question.flag)
