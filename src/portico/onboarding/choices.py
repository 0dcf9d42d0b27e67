"""From the name of an auth choice to the plugin's method, with the plugin turned on for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from portico.contracts import Choice
from portico.errors import UsageError

if TYPE_CHECKING:
    from portico.contracts import AuthMethod, Region
    from portico.onboarding.workbench import Workbench
    from portico.plugins.manifest import AuthChoice


def choose(bench: Workbench, question: str = "Which provider?") -> str:
    """Ask for one of the auth choices that the manifests name.

    Raises:
        UsageError: nobody can be asked; the hint names the choices.
    """
    choices = [Choice(choice.id, choice.label, choice.hint) for choice in _announced(bench)]
    return bench.prompter.choose(question, choices, flag="--auth-choice")


def choice_of_provider(bench: Workbench, provider: str) -> str:
    """The auth choice that signs in to `provider`, an id or an alias.

    Raises:
        UsageError: `unknown-provider`.
    """
    aliases = {alias: spec.id for spec in bench.plugins.providers() for alias in spec.aliases}
    choices = {choice.provider: choice.id for choice in _announced(bench)}
    found = choices.get(provider) or choices.get(aliases.get(provider, ""))
    if found is None:
        raise UsageError("unknown-provider", f"Nothing signs in to provider {provider}.", hint=f"--provider {'|'.join(choices)}")
    return found


def method_for(bench: Workbench, choice: str) -> AuthMethod:
    """The method of `choice`; a plugin that is off by default is turned on in the config, once it has been seen to work.

    Raises:
        UsageError: `unknown-auth-choice`.
        ConfigError: `plugin-disabled`, with what blocks it; `plugin-failed`.
    """
    plugin_id = bench.plugins.plugin_for_choice(choice)
    if plugin_id is None:
        raise _unknown_choice(bench, choice)
    if not bench.plugins.find(plugin_id).enabled:
        _enable(bench, plugin_id, choice)
    return bench.plugins.auth_method(choice)


def region_of(bench: Workbench, method: AuthMethod, asked: str | None) -> Region:
    """The region that was asked for, else the answer to the prompt; a method with one region asks nothing.

    Raises:
        UsageError: `unknown-region`, or nobody can be asked.
    """
    regions = {region.id: region for region in method.regions}
    if asked is None and len(regions) == 1:
        return method.regions[0]
    if asked is None:
        rows = [Choice(region.id, region.label, region.hint) for region in method.regions]
        label = next((spec.label for spec in bench.plugins.providers() if spec.id == method.provider), method.label)
        asked = bench.prompter.choose(f"Select {label} endpoint", rows, flag="--region", default=rows[0].value)
    if asked not in regions:
        raise UsageError("unknown-region", f"Unknown region: {asked}", hint=f"--region {'|'.join(regions)}")
    return regions[asked]


def _announced(bench: Workbench) -> list[AuthChoice]:
    manifests = [record.manifest for record in bench.plugins.records()]
    return [choice for manifest in manifests if manifest is not None for choice in manifest.auth_choices]


def _enable(bench: Workbench, plugin_id: str, choice: str) -> None:
    from portico.plugins.decision import enable

    bench.plugins.enabling(plugin_id).auth_method(choice)
    bench.config.file.edit(lambda document: enable(document, plugin_id))
    bench.reload_config()
    bench.out.note(f'Enabled plugin "{plugin_id}".')


def _unknown_choice(bench: Workbench, choice: str) -> UsageError:
    from difflib import get_close_matches

    known = [each.id for each in _announced(bench)]
    close = get_close_matches(choice, known, n=1)
    hint = f"Did you mean --auth-choice {close[0]}?" if close else f"--auth-choice {'|'.join(known)}"
    return UsageError("unknown-auth-choice", f"Unknown auth choice: {choice}", hint=hint)
