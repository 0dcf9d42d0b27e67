"""`models aliases` and `models fallbacks`: in the config's own places, with OpenClaw's words (docs.openclaw.ai/cli/models).

A list of allowed models grows with what is added here and never begins with it: adding one alias must not lock the rest out
(openclaw#20265).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from portico.config.load import without_alias
from portico.errors import ExitCode, PorticoError, UsageError
from portico.onboarding.default_model import ALLOWED, kept_open, with_allowed, with_fallbacks
from portico.onboarding.model_names import known_model

if TYPE_CHECKING:
    from collections.abc import Callable

    from portico.cli.runtime import Runtime
    from portico.config.document import Document

_ALIAS: Final = re.compile(r"[A-Za-z0-9_.:-]+")


class NotListed(PorticoError):
    """There is no such alias or fallback. OpenClaw's exit code for it is 1."""


def show_aliases(rt: Runtime) -> int:
    """Every alias and its model: the config's, and those that plugins propose."""
    aliases = {alias: str(reference) for alias, reference in sorted(rt.models().catalog.aliases.items())}
    if rt.out.is_json:
        rt.out.json({"aliases": aliases})
        return ExitCode.OK
    rt.out.line(f"Aliases ({len(aliases)}):")
    for alias, reference in aliases.items():
        rt.out.line(f"- {alias} -> {reference}")
    if not aliases:
        rt.out.line("- none")
    return ExitCode.OK


def add_alias(alias: str, text: str, rt: Runtime) -> int:
    """Give a model a name.

    Raises:
        UsageError: `bad-alias`, `alias-taken`, `unknown-model`.
    """
    if _ALIAS.fullmatch(alias) is None:
        message = "Alias cannot be empty." if not alias.strip() else None
        raise UsageError("bad-alias", message or "Alias must use letters, numbers, dots, underscores, colons, or dashes.")
    catalog = (loader := rt.models()).catalog
    reference = known_model(text, loader)
    taken, listed = catalog.aliases.get(alias.lower()), catalog.allowed is not None
    # A name that only a plugin proposes is free: the config's comes before it.
    if taken is not None and taken != reference and _holder(alias, rt) is not None:
        raise UsageError(
            "alias-taken", f"Alias {alias} already points to {taken}.", hint=f"{{prog}} models aliases remove {alias}"
        )

    def change(document: Document) -> Document:
        agents = rt.config.config.agents
        document = kept_open(with_allowed(document, str(reference), agents, listed=listed), agents, listed=listed)
        return document.set((*ALLOWED, str(reference), "alias"), alias)

    return _edited(rt, change, f"Alias {alias} -> {reference}", {"alias": alias, "model": str(reference)})


def remove_alias(alias: str, rt: Runtime) -> int:
    """Forget a name; the model stays allowed, and what the name stood for takes its place wherever the file names it.

    Raises:
        NotListed: the config has no such alias.
        ConfigError: `config-elsewhere`: the base or an included file has it.
    """
    holder = _holder(alias, rt)
    if holder is None:
        proposed = alias.lower() in rt.models().catalog.aliases
        taken = f"a plugin proposes it; give the name to another model: {{prog}} models aliases add {alias} REF"
        hint = taken if proposed else "{prog} models aliases list"
        raise NotListed("alias-not-found", f"Alias not found: {alias}", hint=hint)
    path = (*ALLOWED, holder, "alias")
    if not rt.config.document.has(path):
        from portico.cli.config_change import stands_elsewhere

        raise stands_elsewhere(rt, path, f"Alias {alias}")

    def change(document: Document) -> Document:
        return without_alias(document.unset(path), alias, holder)

    code = _edited(rt, change, f"Removed alias {alias}", {"alias": alias, "model": holder})
    rt.reload_config()
    still = rt.models().catalog.aliases.get(alias.lower())
    if still is not None:
        rt.out.note(f"{alias} still names {still}: its plugin proposes that.")
    return code


def show_fallbacks(rt: Runtime) -> int:
    """The fallbacks, in their order."""
    fallbacks = [*rt.config.config.agents.fallbacks]
    if rt.out.is_json:
        rt.out.json({"fallbacks": fallbacks})
        return ExitCode.OK
    rt.out.line(f"Fallbacks ({len(fallbacks)}):")
    for text in fallbacks or ["none"]:
        rt.out.line(f"- {text}")
    return ExitCode.OK


def add_fallback(text: str, rt: Runtime) -> int:
    """Add a model at the end of the fallbacks.

    Raises:
        UsageError: `unknown-model`.
    """
    loader = rt.models()
    reference, listed = str(known_model(text, loader)), loader.catalog.allowed is not None
    agents = rt.config.config.agents
    fallbacks = [*agents.fallbacks, *([] if reference in agents.fallbacks else [reference])]

    def change(document: Document) -> Document:
        return with_fallbacks(with_allowed(document, reference, agents, listed=listed), fallbacks, agents)

    return _edited(rt, change, f"Fallbacks: {', '.join(fallbacks)}", {"fallbacks": fallbacks})


def remove_fallback(text: str, rt: Runtime) -> int:
    """Take a model out of the fallbacks.

    Raises:
        NotListed: it is none of them.
    """
    agents, catalog = rt.config.config.agents, rt.models().catalog
    wanted = {text, *([str(catalog.aliases[text.lower()])] if text.lower() in catalog.aliases else [])}
    left = [one for one in agents.fallbacks if one not in wanted]
    if len(left) == len(agents.fallbacks):
        raise NotListed("fallback-not-found", f"Fallback not found: {text}", hint="{prog} models fallbacks list")
    told = f"Fallbacks: {', '.join(left) or 'none'}"
    return _edited(rt, lambda document: with_fallbacks(document, left, agents), told, {"fallbacks": left})


def clear_fallbacks(rt: Runtime) -> int:
    """Take all fallbacks out."""
    agents = rt.config.config.agents
    return _edited(rt, lambda document: with_fallbacks(document, [], agents), "Fallback list cleared.", {"fallbacks": []})


def _holder(alias: str, rt: Runtime) -> str | None:
    """The entry of the config that has this alias."""
    entries = rt.config.config.agents.models
    return next((key for key, settings in entries.items() if (settings.alias or "").lower() == alias.lower()), None)


def _edited(rt: Runtime, change: Callable[[Document], Document], told: str, as_json: dict[str, object]) -> int:
    changed = rt.config.file.edit(change)
    if rt.out.is_json:
        rt.out.json({**as_json, "changed": changed, "config": str(rt.paths.config)})
    else:
        rt.out.line(told)
    return ExitCode.OK
