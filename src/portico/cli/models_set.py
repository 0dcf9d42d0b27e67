"""`models set`: a default model that exists, in the spelling that its provider knows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from portico.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from portico.cli.runtime import Runtime


def set_default(text: str, rt: Runtime) -> int:
    """Make `text` the default model; fallbacks stay.

    Raises:
        UsageError: `unknown-model`, with what was probably meant.
    """
    from portico.models.catalog import Catalog
    from portico.models.reference import did_you_mean
    from portico.onboarding.default_model import with_default
    from portico.onboarding.pending import finish_pending

    finish_pending(rt)
    catalog = Catalog(rt.config.config, rt.plugins.providers())
    reference = catalog.expand(text)
    if catalog.find(reference) is None:
        near = catalog.near(text)
        wrong_case = any(name.lower() == str(reference).lower() for name in near)
        raise UsageError(
            "unknown-model",
            f"Unknown model: {reference}",
            why="model ids are case-sensitive" if wrong_case else None,
            hint=did_you_mean(near) or f"{{prog}} models list --all, or add it to models.providers.{reference.provider}.models",
        )
    changed = rt.config.file.edit(lambda document: with_default(document, str(reference)))
    if rt.out.is_json:
        rt.out.json({"defaultModel": str(reference), "config": str(rt.paths.config), "changed": changed})
        return ExitCode.OK
    if changed:
        rt.out.note(f"Updated {rt.paths.config}")
    rt.out.line(f"Default model: {reference}")
    return ExitCode.OK
