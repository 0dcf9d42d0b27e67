"""Which provider, and in which way: by vendor first, as OpenClaw groups them (docs.openclaw.ai/cli/configure)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from portico.interfaces.basics import Choice
from portico.onboarding.choices import announced

if TYPE_CHECKING:
    from portico.onboarding.workbench import Workbench

_BACK: Final = "back"
_FLAG: Final = "--auth-choice ID"


@dataclass(frozen=True, slots=True)
class Group:
    """What sets up the models of one vendor; `methods` are auth choices."""

    id: str
    label: str
    hint: str
    methods: tuple[Choice, ...]


def groups(bench: Workbench) -> list[Group]:
    """Every auth choice, under its vendor; a plugin that is off is known by its manifest alone."""
    by_sign_in = {choice.id: choice for choice in announced(bench)}
    found = []
    for spec in bench.plugins.providers():
        if not spec.key_choices:
            continue
        ours = [by_sign_in.pop(id) for id in spec.sign_in_choices if id in by_sign_in]
        methods = [Choice(each.id, each.label, each.hint) for each in ours]
        methods += [Choice(each.id, each.label, each.hint) for each in spec.key_choices]
        hint = spec.vendor_hint or (methods[0].hint if len(methods) == 1 else "")
        found.append(Group(spec.id, spec.vendor or spec.label, hint, tuple(methods)))
    for choice in by_sign_in.values():
        row = Choice(choice.id, choice.label, choice.hint)
        found.append(Group(choice.id, choice.label, choice.hint, (row,)))
    return found


def choose_method(bench: Workbench, *, leave: str) -> str | None:
    """The auth choice that the person picks; None for the last row, which is called `leave`.

    Raises:
        UsageError: nobody can be asked.
    """
    by_id = {group.id: group for group in groups(bench)}
    rows = [*(Choice(group.id, group.label, group.hint) for group in by_id.values()), Choice(_BACK, leave)]
    while True:
        chosen = bench.prompter.choose("Model/auth provider", rows, flag=_FLAG, default=rows[0].value)
        if chosen == _BACK:
            return None
        group = by_id[chosen]
        if len(group.methods) == 1:
            return group.methods[0].value
        methods = [*group.methods, Choice(_BACK, "Back")]
        method = bench.prompter.choose(f"{group.label} auth method", methods, flag=_FLAG, default=methods[0].value)
        if method != _BACK:
            return method
