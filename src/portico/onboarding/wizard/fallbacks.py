"""The section that chooses who answers when the default model cannot (provider page: MiniMax as fallback)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from portico.onboarding.default_model import with_allowed, with_fallbacks
from portico.onboarding.wizard.offered import expanded, offered

if TYPE_CHECKING:
    from portico.config.document import Document
    from portico.config.schema import AgentDefaults
    from portico.onboarding.workbench import Workbench

SAME: Final = "{prog} models fallbacks add REF"


def fallbacks(bench: Workbench) -> None:
    """Ask for the fallbacks; as `models fallbacks add` and `remove`. Those that stay keep their order, new ones come after them.

    Raises:
        UsageError: nobody can be asked.
        ConfigError: the file cannot be written.
    """
    loader, agents = bench.models(), bench.config.config.agents
    default = next(iter(expanded(loader, filter(None, [agents.primary]))), None)
    present = expanded(loader, agents.fallbacks)
    rows = {offer.reference: offer.row for offer in offered(bench, loader) if offer.reference != default}
    rows = {reference: rows[reference] for reference in (*present, *rows)}
    if not rows:
        bench.out.note("There is no model beside the default one: Model/auth sets up more.")
        return
    question = "Fallbacks, tried in this order"
    chosen = bench.prompter.choose_many(question, [*rows.values()], flag=SAME, chosen=[*map(str, present)])
    # As they are written: an alias stays one.
    wanted = [present.get(reference, str(reference)) for reference in rows if str(reference) in chosen]
    if wanted == [*agents.fallbacks]:
        bench.out.note(f"Fallbacks: {', '.join(wanted) or 'none'} (unchanged)")
        return
    listed = loader.catalog.allowed is not None
    bench.config.file.edit(lambda document: _changed(document, wanted, agents, listed=listed))
    bench.reload_config()
    bench.out.note(f"Fallbacks: {', '.join(wanted) or 'none'}")


def _changed(document: Document, wanted: list[str], agents: AgentDefaults, *, listed: bool) -> Document:
    for text in wanted:
        if text not in agents.fallbacks:
            document = with_allowed(document, text, agents, listed=listed)
    return with_fallbacks(document, wanted, agents)


def hint(bench: Workbench) -> str:
    """Which they are."""
    return ", ".join(bench.config.config.agents.fallbacks) or "none"
