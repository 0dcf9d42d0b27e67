"""`models set`, `models aliases` and `models fallbacks`: edit the default model, aliases and fallbacks in the config.

These commands add models to an existing list of allowed models, but never start such a list: a new alias must not forbid all
other models (openclaw#20265).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from portico.errors import ExitCode, NameTaken, PorticoError, UsageError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from portico.app import App
    from portico.config.document import Document

_ALIAS: Final = re.compile(r"[A-Za-z0-9_.:-]+")


class NotListed(PorticoError):
    """There is no such alias or fallback. The exit code is 1, as in OpenClaw."""

    id = "config-path-not-found"


def set_default(args: argparse.Namespace, app: App) -> int:
    """Set the default model; fallbacks stay. `--write-base` edits the OpenClaw file that `base` names.

    Raises:
        UsageError: `unknown-model`, with similar names.
        ConfigError: `config-not-found`, or the file could not be written.
    """
    from portico.accounts.config_patch import known_model, with_default
    from portico.cli.dispatch import finish_pending_sign_ins
    from portico.models.catalog import retirement_notice

    finish_pending_sign_ins(app)
    reference = str(known_model(args.reference, app.models()))
    loaded = app.config
    path = loaded.base if args.write_base else loaded.file
    # In OpenClaw, every entry starts a list of allowed models.
    listed = args.write_base or app.models().catalog.allowed is not None

    def change(document: Document) -> Document:
        return with_default(document, reference, listed=listed)

    if args.write_base:
        changed = loaded.edit_base(change)
        app.reload_config()
    else:
        changed = app.edit_config(change)
    written = path.path if path is not None else app.paths.config
    effective = app.settings.config.agents.primary
    if app.out.is_json:
        app.out.json({"defaultModel": reference, "config": str(written), "changed": changed, "counts": effective == reference})
        return ExitCode.OK
    if changed:
        app.out.note(f"Updated {written}")
    app.out.line(f"Default model: {reference}")
    spec = app.models().catalog.find(app.models().catalog.expand(reference))
    if spec is not None and (notice := retirement_notice(spec)) is not None:
        app.out.warn(notice)
    if effective != reference:
        app.out.warn(f"{app.paths.config} overrides it with {effective}. To use the new default: {_remove_own_default(app)}")
    return ExitCode.OK


def _remove_own_default(app: App) -> str:
    """Return the advice for removing the default model from your own config. The model may be in the short form, or in an
    included file.
    """
    from portico.accounts.config_patch import MODEL

    document = app.config.document
    primary = (*MODEL, "primary")
    if document.has(primary):
        return f"{app.program} config unset agents.defaults.model.primary"
    if document.has(MODEL) and isinstance(document.get(MODEL), str):  # an object may have only the fallbacks
        return f"{app.program} config unset agents.defaults.model"
    return f"remove it from {app.config.effective.origin(primary)}"


def show_aliases(_args: argparse.Namespace, app: App) -> int:
    """Print every alias and its model, including the aliases that plugins propose."""
    aliases = {alias: str(reference) for alias, reference in sorted(app.models().catalog.aliases.items())}
    if app.out.is_json:
        app.out.json({"aliases": aliases})
        return ExitCode.OK
    app.out.line(f"Aliases ({len(aliases)}):")
    for alias, reference in aliases.items():
        app.out.line(f"- {alias} -> {reference}")
    if not aliases:
        app.out.line("- none")
    return ExitCode.OK


def add_alias(args: argparse.Namespace, app: App) -> int:
    """Add an alias for a model.

    Raises:
        UsageError: `usage`, `name-taken`, `unknown-model`.
    """
    from portico.accounts.config_patch import ALLOWED, known_model, with_all_allowed, with_allowed

    alias: str = args.alias
    if _ALIAS.fullmatch(alias) is None:
        message = "Alias cannot be empty." if not alias.strip() else None
        raise UsageError(message or "Alias must use letters, numbers, dots, underscores, colons, or dashes.")
    catalog = (loader := app.models()).catalog
    reference = known_model(args.reference, loader)
    taken, listed = catalog.aliases.get(alias.lower()), catalog.allowed is not None
    # An alias that only a plugin proposes is free: the config's alias overrides it.
    if taken is not None and taken != reference and _entry_with(alias, app) is not None:
        raise NameTaken(f"Alias {alias} already points to {taken}.", hint=f"{{prog}} models aliases remove {alias}")

    def change(document: Document) -> Document:
        agents = app.config.config.agents
        document = with_all_allowed(with_allowed(document, str(reference), agents, listed=listed), agents, listed=listed)
        return document.set((*ALLOWED, str(reference), "alias"), alias)

    return _edited(app, change, f"Alias {alias} -> {reference}", {"alias": alias, "model": str(reference)})


def remove_alias(args: argparse.Namespace, app: App) -> int:
    """Remove an alias. Its model stays allowed. In the file, the model's reference replaces every use of the alias.

    Raises:
        NotListed: the config has no such alias.
        ConfigError: `config-elsewhere`: the base or an included file sets the alias.
    """
    from portico.accounts.config_patch import ALLOWED
    from portico.cli.config import stands_elsewhere
    from portico.config.load import without_alias

    alias: str = args.alias
    entry = _entry_with(alias, app)
    if entry is None:
        is_proposed = alias.lower() in app.models().catalog.aliases
        replace_it = f"A plugin proposes this alias. To use it for another model: {{prog}} models aliases add {alias} REF"
        hint = replace_it if is_proposed else "{prog} models aliases list"
        raise NotListed(f"Alias not found: {alias}", hint=hint)
    path = (*ALLOWED, entry, "alias")
    if not app.config.document.has(path):
        raise stands_elsewhere(app, path, f"Alias {alias}")

    def change(document: Document) -> Document:
        return without_alias(document.unset(path), alias, entry)

    code = _edited(app, change, f"Removed alias {alias}", {"alias": alias, "model": entry})
    still = app.models().catalog.aliases.get(alias.lower())
    if still is not None:
        app.out.note(f"{alias} still stands for {still}: a plugin proposes this alias.")
    return code


def _entry_with(alias: str, app: App) -> str | None:
    """Return the model entry of the config that has this alias."""
    entries = app.config.config.agents.models
    return next((key for key, settings in entries.items() if (settings.alias or "").lower() == alias.lower()), None)


def show_fallbacks(_args: argparse.Namespace, app: App) -> int:
    """Print the fallbacks, in their order."""
    fallbacks = [*app.config.config.agents.fallbacks]
    if app.out.is_json:
        app.out.json({"fallbacks": fallbacks})
        return ExitCode.OK
    app.out.line(f"Fallbacks ({len(fallbacks)}):")
    for text in fallbacks or ["none"]:
        app.out.line(f"- {text}")
    return ExitCode.OK


def add_fallback(args: argparse.Namespace, app: App) -> int:
    """Add a model at the end of the fallbacks.

    Raises:
        UsageError: `unknown-model`.
    """
    from portico.accounts.config_patch import known_model, with_allowed, with_fallbacks

    loader = app.models()
    reference, listed = str(known_model(args.reference, loader)), loader.catalog.allowed is not None
    agents = app.config.config.agents
    fallbacks = [*agents.fallbacks, *([] if reference in agents.fallbacks else [reference])]

    def change(document: Document) -> Document:
        return with_fallbacks(with_allowed(document, reference, agents, listed=listed), fallbacks, agents)

    return _edited(app, change, f"Fallbacks: {', '.join(fallbacks)}", {"fallbacks": fallbacks})


def remove_fallback(args: argparse.Namespace, app: App) -> int:
    """Remove a model from the fallbacks.

    Raises:
        NotListed: the model is not a fallback.
    """
    from portico.accounts.config_patch import with_fallbacks

    text: str = args.reference
    agents, catalog = app.config.config.agents, app.models().catalog
    wanted = {text, *([str(catalog.aliases[text.lower()])] if text.lower() in catalog.aliases else [])}
    left = [one for one in agents.fallbacks if one not in wanted]
    if len(left) == len(agents.fallbacks):
        raise NotListed(f"Fallback not found: {text}", hint="{prog} models fallbacks list")
    text = f"Fallbacks: {', '.join(left) or 'none'}"
    return _edited(app, lambda document: with_fallbacks(document, left, agents), text, {"fallbacks": left})


def clear_fallbacks(_args: argparse.Namespace, app: App) -> int:
    """Remove all fallbacks."""
    from portico.accounts.config_patch import with_fallbacks

    agents = app.config.config.agents
    return _edited(app, lambda document: with_fallbacks(document, [], agents), "Fallback list cleared.", {"fallbacks": []})


def _edited(app: App, change: Callable[[Document], Document], text: str, as_json: dict[str, object]) -> int:
    changed = app.edit_config(change)
    if app.out.is_json:
        app.out.json({**as_json, "changed": changed, "config": str(app.paths.config)})
    else:
        app.out.line(text)
    return ExitCode.OK
