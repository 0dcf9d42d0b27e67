"""Choosing one model: from those that are offered, or by a name that is typed and held to what there is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from portico.errors import UsageError
from portico.interfaces.basics import Choice
from portico.interfaces.provider_spec import ModelSpec
from portico.models.reference import ModelReference, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from portico.models.discovery import Discovered
    from portico.onboarding.workbench import Workbench

_KEEP: Final = "keep"
_TYPED: Final = "manually"
DEFAULT_BY_HAND: Final = "Default model, as provider/model"
LISTED_WITHIN_S: Final = 2.0
"""Seconds that a question waits for the models that providers list now."""


@dataclass(frozen=True, slots=True)
class Offer:
    """A model that can be chosen. `note` is what to know before using it."""

    reference: ModelReference
    hint: str = ""
    note: str | None = None

    @property
    def row(self) -> Choice:
        return Choice(str(self.reference), str(self.reference), self.hint)


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked, and with which words where the answer is typed.

    `keep` is the model in use that may stay, `proposed` the one that Enter chooses; `flag` answers it, too.
    """

    text: str
    by_hand: str
    flag: str
    keep: str | None = None
    proposed: ModelReference | None = None


def offers_of(provider: str, known: Sequence[ModelSpec], listed: Sequence[Discovered] | None) -> list[Offer]:
    """The models of a provider that are `known` and not retired, then what only it lists now. `listed` None: it was not heard."""
    live = {model.id: model for model in listed or ()}
    ours = {model.id: model for model in known}
    found = []
    offered = [model for model in ours.values() if model.retired_on is None]
    models: list[ModelSpec | Discovered] = [*offered, *(model for id, model in live.items() if id not in ours)]
    for model in models:
        words = [model.name] if model.name != model.id else []
        words += [f"{model.context_window:,} tokens"] if model.context_window else []
        words += ["not listed by it now"] if listed is not None and model.id not in live else []
        note = model.note if isinstance(model, ModelSpec) else None
        found.append(Offer(ModelReference(provider, model.id), ", ".join(words), note))
    return found


def pick(
    bench: Workbench, question: Question, offers: Sequence[Offer], read: Callable[[str], ModelReference]
) -> ModelReference | None:
    """The model that the person chooses, None to keep the one in use. `read` makes a reference of what is typed.

    Raises:
        UsageError: nobody can be asked.
    """
    if not offers and question.keep is None:
        return _typed(bench, question, offers, read)
    rows = [Choice(_KEEP, f"Keep current ({question.keep})")] if question.keep is not None else []
    rows += [offer.row for offer in offers]
    rows.append(Choice(_TYPED, "Enter model manually"))
    offered = {str(offer.reference): offer for offer in offers}
    default = str(question.proposed) if str(question.proposed) in offered else rows[0].value
    answer = bench.prompter.choose(question.text, rows, flag=question.flag, default=default)
    if answer == _KEEP:
        return None
    if answer == _TYPED:
        return _typed(bench, question, offers, read)
    if (note := offered[answer].note) is not None:
        bench.out.note(f"{offered[answer].reference}: {note}")
    return offered[answer].reference


def _typed(
    bench: Workbench, question: Question, offers: Sequence[Offer], read: Callable[[str], ModelReference]
) -> ModelReference:
    while True:
        text = bench.prompter.text(question.by_hand, flag=question.flag)
        try:
            reference = read(text)
        except UsageError as error:
            if error.id == "input-needed":
                raise
            bench.out.warn("\n  ".join(filter(None, (error.message, error.why, error.hint_for(bench.program)))))
            continue
        if _is_meant(bench, question, offers, reference):
            return reference


def _is_meant(bench: Workbench, question: Question, offers: Sequence[Offer], reference: ModelReference) -> bool:
    """Whether a model that its provider is not known to have is to be taken all the same: it may be newer than this version."""
    from difflib import get_close_matches

    beside = [str(offer.reference) for offer in offers if offer.reference.provider == reference.provider]
    if not beside or str(reference) in beside:
        return True
    known = bench.models().catalog.find(reference)
    if known is not None:
        if known.note is not None:
            bench.out.note(f"{reference}: {known.note}")
        return True
    meant = did_you_mean(get_close_matches(str(reference), beside, n=1))
    doubt = f"{reference.provider} is not known to have {reference.model}.{f' {meant}' if meant else ''}"
    return bench.prompter.confirm(f"{doubt} Use {reference} all the same?", flag=question.flag)
