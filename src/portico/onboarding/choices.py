"""From the name of an auth choice to the plugin that brings it, turned on for it."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

from portico.errors import UsageError
from portico.interfaces.basics import Choice

if TYPE_CHECKING:
    from portico.interfaces.auth_method import AuthMethod, Region
    from portico.interfaces.provider_spec import KeyChoice
    from portico.onboarding.workbench import Workbench
    from portico.plugins.manager import PluginHost
    from portico.plugins.manifest import AuthChoice


def choose(bench: Workbench, question: str = "Which provider?") -> str:
    """Ask for one of the auth choices: those that the manifests name, then those with an API key.

    Raises:
        UsageError: nobody can be asked; the hint names the choices.
    """
    choices = [Choice(choice.id, choice.label, choice.hint) for choice in announced(bench)]
    choices += [Choice(choice.id, choice.label, choice.hint) for choice in _with_key(bench)]
    return bench.prompter.choose(question, choices, flag="--auth-choice")


def choose_provider(bench: Workbench) -> str:
    """As `choose`, by the provider's name; the auth choice that signs in to it.

    Raises:
        UsageError: nobody can be asked; the hint names the providers.
    """
    choices = [Choice(choice.provider, choice.label, choice.hint) for choice in announced(bench)]
    return choice_of_provider(bench, bench.prompter.choose("Which provider?", choices, flag="--provider"))


def choice_of_provider(bench: Workbench, provider: str) -> str:
    """The auth choice that signs in to `provider`, an id or an alias.

    Raises:
        UsageError: `unknown-provider`.
    """
    aliases = {alias: spec.id for spec in bench.plugins.providers() for alias in spec.aliases}
    choices = {choice.provider: choice.id for choice in announced(bench)}
    found = choices.get(provider) or choices.get(aliases.get(provider, ""))
    if found is None:
        raise UsageError("unknown-provider", f"Nothing signs in to provider {provider}.", hint=f"--provider {'|'.join(choices)}")
    return found


def by_name(bench: Workbench, name: str, region: str | None) -> tuple[str, str | None]:
    """The auth choice that is called `name`, and its region: the one that was asked for, or that the name itself means.

    Raises:
        UsageError: `unknown-region`: the name means another region than `region`.
    """
    key = next((choice for choice in _with_key(bench) if name in choice.aliases), None)
    sign_in = next((choice for choice in announced(bench) if name in choice.aliases), None)
    if key is not None:
        choice, meant = key.id, key.region or None
    elif sign_in is not None:
        choice, meant = sign_in.id, sign_in.aliases[name]
    else:
        return name, region
    if region not in {None, meant}:
        raise UsageError("unknown-region", f"{name} is region {meant}, not {region}.", hint="Leave --region out.")
    return choice, meant


def host_for(bench: Workbench, choice: str) -> PluginHost:
    """The host in which the plugin of `choice` is on: one that is off by default is on in it, and in the config by `enable` only.

    Raises:
        UsageError: `unknown-auth-choice`.
        ConfigError: `plugin-disabled`, with what blocks it.
    """
    plugin_id = bench.plugins.plugin_for_choice(choice)
    if plugin_id is None:
        raise _unknown_choice(bench, choice)
    return bench.plugins if bench.plugins.find(plugin_id).enabled else bench.plugins.enabling(plugin_id)


def enable(bench: Workbench, choice: str) -> None:
    """Write into the config that the plugin of `choice` is on, if it is off by default and has been seen to work.

    The config is then read again: it may have been changed while a sign-in waited for its user.

    Raises:
        UsageError, ConfigError: as `host_for`; `plugin-failed`.
    """
    from portico.plugins.discovery import with_plugin_on

    host = host_for(bench, choice)
    plugin_id = bench.plugins.plugin_for_choice(choice)
    if host is bench.plugins or plugin_id is None:
        bench.reload_config()
        return
    host.auth_method(choice)
    bench.config.file.edit(lambda document: with_plugin_on(document, plugin_id))
    bench.reload_config()
    bench.out.note(f'Enabled plugin "{plugin_id}".')


def region_of(bench: Workbench, method: AuthMethod, asked: str | None, *, host: PluginHost | None = None) -> Region:
    """The region that was asked for, else the answer to the prompt; a method with one region asks nothing.

    Raises:
        UsageError: `unknown-region`, or nobody can be asked.
    """
    regions = {region.id: region for region in method.regions}
    if asked is None and len(regions) == 1:
        return method.regions[0]
    if asked is None:
        rows = [Choice(region.id, region.label, region.hint) for region in method.regions]
        label = next((spec.label for spec in (host or bench.plugins).providers() if spec.id == method.provider), method.label)
        asked = bench.prompter.choose(f"Select {label} endpoint", rows, flag="--region", default=rows[0].value)
    if asked not in regions:
        near = next(iter(get_close_matches(asked.lower(), regions, n=1)), None)
        hint = f"Did you mean --region {near}?" if near else f"--region {'|'.join(regions)}"
        raise UsageError("unknown-region", f"Unknown region: {asked}", hint=hint)
    return regions[asked]


def announced(bench: Workbench) -> list[AuthChoice]:
    """The auth choices that plugins announce, those that are off included.

    A plugin whose code another user can change comes last, and takes no name from one that can be used.
    """
    every = [(choice, record) for record in bench.plugins.records() for choice in record.manifest.auth_choices]
    usable = [choice for choice, record in every if record.candidate.exposure is None]
    taken = {name for choice in usable for name in _names(choice)}
    return usable + [
        choice for choice, record in every if record.candidate.exposure is not None and taken.isdisjoint(_names(choice))
    ]


def _names(choice: AuthChoice) -> set[str]:
    return {choice.id, choice.provider, *choice.aliases}


def _with_key(bench: Workbench) -> list[KeyChoice]:
    return [choice for spec in bench.plugins.providers() for choice in spec.key_choices]


def _unknown_choice(bench: Workbench, choice: str) -> UsageError:
    known = [*(each.id for each in announced(bench)), *(each.id for each in _with_key(bench))]
    others = [name for each in announced(bench) for name in each.aliases]
    others += [name for each in _with_key(bench) for name in each.aliases]
    close = [id for id in known if id.startswith(f"{choice}-")] or get_close_matches(choice, [*known, *others], n=1)
    hint = f"Did you mean --auth-choice {close[0]}?" if close else f"--auth-choice {'|'.join(known)}"
    return UsageError("unknown-auth-choice", f"Unknown auth choice: {choice}", hint=hint)
