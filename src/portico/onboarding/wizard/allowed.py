"""The section that chooses which models may be named: `agents.defaults.models`, and `agents.defaults.allow` beside it.

An entry there may hold an alias as well, so leaving a model out is one thing and losing what its entry says another: the second
is asked about. The default and the fallbacks are allowed whether they are listed or not.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from portico.onboarding.default_model import ALLOW, ALLOWED
from portico.onboarding.wizard.offered import expanded, offered

if TYPE_CHECKING:
    from collections.abc import Collection

    from portico.config.document import Document
    from portico.interfaces.basics import Choice
    from portico.models.loader import ModelLoader
    from portico.models.reference import ModelReference
    from portico.onboarding.picker import Offer
    from portico.onboarding.workbench import Workbench

SAME: Final = '{prog} config set \'agents.defaults.models["REF"]\' "{}"'


@dataclass(frozen=True, slots=True)
class _Change:
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


def allowed_models(bench: Workbench) -> None:
    """Ask for the allowed models; none means all of them, and then every entry stays as it is.

    Raises:
        UsageError: nobody can be asked.
        ConfigError: the file cannot be written.
    """
    loader = bench.models()
    offers = offered(bench, loader)
    if not offers:
        bench.out.note("No provider is set up yet: Model/auth comes first.")
        return
    now = {str(reference) for reference in loader.catalog.allowed or ()}
    rows = _rows(offers, _always(bench, loader))
    chosen = bench.prompter.choose_many("Allowed models; none marked: all", rows, flag=SAME, chosen=now)
    if {*chosen} == now:
        bench.out.note(f"Allowed models: {hint(bench)} (unchanged)")
        return
    bench.config.file.edit(_change(bench, loader, chosen) if chosen else lambda document: document.set(ALLOW, "all"))
    bench.reload_config()
    bench.out.note(f"Allowed models: {hint(bench)}")
    if chosen and bench.models().catalog.allowed is None:
        bench.out.warn("They are the aliases of a sign-in in the base, which are no list: add them to it there.")


def hint(bench: Workbench) -> str:
    """Which they are, in a word or two."""
    allowed = bench.models().catalog.allowed
    return "all" if allowed is None else f"{len(allowed)} listed"


def _always(bench: Workbench, loader: ModelLoader) -> dict[ModelReference, str]:
    agents = bench.config.config.agents
    return expanded(loader, (*filter(None, [agents.primary]), *agents.fallbacks))


def _rows(offers: list[Offer], always: Collection[ModelReference]) -> list[Choice]:
    words = "in use, and so allowed in any case"
    return [replace(offer.row, hint=words) if offer.reference in always else offer.row for offer in offers]


def _change(bench: Workbench, loader: ModelLoader, chosen: Collection[str]) -> _Change:
    entries = expanded(loader, bench.config.config.agents.models)
    always = _always(bench, loader)
    left_out = [key for reference, key in entries.items() if str(reference) not in chosen and reference not in always]
    out = tuple(key for key in left_out if _may_go(bench, loader, key))
    into = tuple(text for text in chosen if text not in {str(reference) for reference in entries})
    rest = [key for key in entries.values() if key not in out]
    # Entries that hold nothing but a plugin's own alias are no list; without it, which the plugin brings anyway, they are.
    bare = not into and all(_is_proposed(bench, loader, key) for key in rest)
    own = bench.config.document
    emptied = tuple(key for key in rest if bare and own.has((*ALLOWED, key)))
    return _Change(out, into, emptied, closes=bench.config.config.agents.allow == "all")


def _may_go(bench: Workbench, loader: ModelLoader, key: str) -> bool:
    """Whether an entry can be taken out: it stands in Portico's own file, and what it says is not missed."""
    path = (*ALLOWED, key)
    if not bench.config.document.has(path):
        bench.out.note(f"{key} is listed at {bench.config.effective.origin(path)}, and so stays allowed.")
        return False
    entry = _entry(bench, key)
    if not entry or _is_proposed(bench, loader, key):
        return True
    said = f"the alias {entry['alias']}" if [*entry] == ["alias"] else f"settings of its own ({', '.join(entry)})"
    if bench.prompter.confirm(f"{key} has {said}. Take it out, with that?", flag=SAME):
        return True
    bench.out.note(f"{key} stays allowed.")
    return False


def _is_proposed(bench: Workbench, loader: ModelLoader, key: str) -> bool:
    provider, _, id = key.partition("/")
    spec = loader.catalog.specs.get(provider)
    alias = next((model.alias for model in spec.models if model.id == id), None) if spec is not None else None
    return alias is not None and _entry(bench, key) == {"alias": alias}


def _entry(bench: Workbench, key: str) -> dict[str, Any]:
    entry = bench.config.effective.get((*ALLOWED, key))
    return entry if isinstance(entry, dict) else {}
