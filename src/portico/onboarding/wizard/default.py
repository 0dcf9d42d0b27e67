"""The section that chooses the default model and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from portico.onboarding.default_model import with_default
from portico.onboarding.model_names import known_model
from portico.onboarding.picker import DEFAULT_BY_HAND, Question, pick
from portico.onboarding.wizard.offered import offered

if TYPE_CHECKING:
    from portico.onboarding.workbench import Workbench

SAME: Final = "{prog} models set REF"


def default_model(bench: Workbench) -> None:
    """Ask for the default model; as `models set`.

    Raises:
        UsageError: nobody can be asked.
        ConfigError: the file cannot be written.
    """
    loader, current = bench.models(), bench.config.config.agents.primary
    offers = offered(bench, loader)
    if not offers:
        bench.out.note("No provider is set up yet: Model/auth comes first.")
        return
    picked = pick(
        bench, Question("Default model", DEFAULT_BY_HAND, SAME, current), offers, lambda text: known_model(text, loader)
    )
    if picked is None:
        bench.out.note(f"Default model: {current} (unchanged)")
        return
    listed = loader.catalog.allowed is not None
    bench.config.file.edit(lambda document: with_default(document, str(picked), listed=listed))
    bench.reload_config()
    bench.out.note(f"Default model: {picked}")


def hint(bench: Workbench) -> str:
    """Which one it is."""
    return bench.config.config.agents.primary or "none yet"
