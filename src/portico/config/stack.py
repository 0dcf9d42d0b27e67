"""The files of one configuration: Portico's own, the OpenClaw file that it names as its `base`, and what either includes.

Of a base nothing is taken that is about OpenClaw's own programs: its gateway's port is not Portico's to bind, and the plugins in
its folders, or on its list of what may be loaded, are not Portico's plugins.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from portico.config.effective import Effective
from portico.config.includes import Assembly, may_include
from portico.config.parts import Part, laid_over, with_long_form, without
from portico.config.problem import Problem
from portico.config.reading import read_document
from portico.errors import ConfigError
from portico.paths import UnknownHome, expanded

if TYPE_CHECKING:
    from portico.config.config_path import ConfigPath
    from portico.config.document import Document

BASE: Final = "base"
_NO_BASE: Final = "correct the path, or remove `base`"
NOT_FROM_BASE: Final[tuple[ConfigPath, ...]] = (
    (BASE,),
    ("gateway",),
    ("plugins", "allow"),
    ("plugins", "load"),
    ("plugins", "slots"),
    ("plugins", "installs"),
)


@dataclass(frozen=True, slots=True)
class Stack:
    """What the files say.

    `own` is Portico's own file with what it includes, `effective` the same over the base. `base_path` is where the base is, None
    where none is named; `base` what it says, None where it is not there or cannot be read. `problems` tell of files that could
    not be read; `others` are the files that were, besides the own.
    """

    own: Effective
    effective: Effective
    base_path: Path | None = None
    base: Document | None = None
    problems: tuple[Problem, ...] = ()
    others: tuple[Path, ...] = ()


def read_stack(document: Document) -> Stack:
    """Everything that `document`, the own file, leads to."""
    assembly = Assembly("own")
    whole = assembly.whole(document) if may_include(document.text) else None
    included = tuple(assembly.documents.values())
    own = Effective(document, whole, own=included)
    others, problems = _paths(assembly), (*dict.fromkeys(assembly.problems),)
    try:
        path = _base_path(own)
    except UnknownHome as error:
        problem = Problem("error", str(own.origin((BASE,))), (BASE,), error.message, error.hint, "base")
        return Stack(own, own, problems=(*problems, problem), others=others)
    if path is None:
        return Stack(own, own, problems=problems, others=others)
    under = Assembly("base")
    base, trouble = _read_base(own, path)
    problems = (*problems, *trouble)
    if base is None:
        return Stack(own, own, path, problems=problems, others=others)
    part = _of_use(under.whole(base))
    if not isinstance(part.content, dict):
        under.problems.append(Problem("error", base.where(()), (BASE,), "the base must be an object", layer="base"))
    over = whole if whole is not None else Assembly("own").whole(document)
    whole = laid_over(with_long_form(part, ("agents", "defaults", "model"), "primary", over), over)
    texts = (base, *under.documents.values())
    effective = Effective(document, whole, base=texts, own=included)
    problems = (*problems, *dict.fromkeys(under.problems))
    return Stack(own, effective, path, base, problems, (*others, path, *_paths(under)))


def alone(document: Document) -> Effective:
    """A file by itself, with what it includes."""
    assembly = Assembly("own")
    whole = assembly.whole(document)
    return Effective(document, whole, own=tuple(assembly.documents.values()))


def _base_path(own: Effective) -> Path | None:
    """Where the base is: relative to the file that names it.

    Raises:
        UnknownHome: `unknown-home`.
    """
    written = own.get((BASE,)) if own.has((BASE,)) else None
    if not isinstance(written, str) or not written.strip():
        return None  # the checker says what is wrong with it
    return Path(os.path.normpath(Path(own.origin((BASE,)).file).parent / expanded(written, f"`{BASE}`")))


def _read_base(own: Effective, path: Path) -> tuple[Document | None, tuple[Problem, ...]]:
    where = str(own.origin((BASE,)))
    if os.path.realpath(path) == os.path.realpath(own.document.name):
        return None, (Problem("error", where, (BASE,), "`base` names this file itself", layer="base"),)
    try:
        found = read_document(path)
    except ConfigError as error:
        if error.where is not None:  # the mistake is in the file itself
            return None, (Problem("error", error.where, (BASE,), error.message, error.hint, "base"),)
        return None, (Problem("error", where, (BASE,), f"`base` cannot be read: {error}", _NO_BASE, "base"),)
    if found is None:
        message = f"`base` names a file that does not exist, {path}: nothing is read from it"
        return None, (Problem("warning", where, (BASE,), message, _NO_BASE),)
    return found, ()


def _of_use(part: Part) -> Part:
    for path in NOT_FROM_BASE:
        part = without(part, path)
    return part


def _paths(assembly: Assembly) -> tuple[Path, ...]:
    return tuple(Path(document.name) for document in assembly.documents.values())
