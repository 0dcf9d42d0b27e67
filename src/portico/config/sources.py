"""The files and variables of one config: Portico's own file, its `base`, the files that they include, and `.env`.

Portico ignores the keys of a base that are about OpenClaw's own programs: OpenClaw's gateway has its own port, and OpenClaw's
plugins are not Portico's.

The value of `$include` is a path, or several paths, merged in order: objects key by key, arrays joined. The keys beside it are
merged last. A path is relative to the file that names it (https://docs.openclaw.ai/gateway/configuration).

A reference `${VAR}` is resolved when the value is used, and never written back. An `apiKey` or a header may also be the bare
name of a variable, as in pi, the model library of OpenClaw (https://github.com/earendil-works/pi).
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
from dataclasses import dataclass, field, replace
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Final

from portico.config.document import Layer, Problem, format_path, read_bytes, read_document, shown_path
from portico.config.json5 import Container, Scalar, array_index
from portico.config.openclaw import INCLUDE
from portico.errors import ConfigError
from portico.paths import UnknownHome, expand_home
from portico.util.ownership import OwnershipCheck

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from portico.config.document import ConfigPath, Document
    from portico.config.json5 import Entry, Node
    from portico.interfaces.basics import JsonValue

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
MAX_DEPTH: Final = 10
MAX_FILES: Final = 200  # without a limit, files that each include several other files could multiply without end
Content = dict[str, "Part"] | list["Part"] | None


class VariableUnset(ConfigError):
    """A required value refers to a variable that is not set."""

    id = "variable-unset"


@dataclass(frozen=True, slots=True)
class Stack:
    """The files of a config.

    Attributes:
        own: the values of Portico's own file and its included files.
        effective: the values of `own` merged over the base.
        base_path: the path of the base, or None.
        base: the document of the base; None if the base does not exist or cannot be read.
        problems: a problem for each file that could not be read.
        others: the files that were read, except Portico's own.
    """

    own: Effective
    effective: Effective
    base_path: Path | None = None
    base: Document | None = None
    problems: tuple[Problem, ...] = ()
    others: tuple[Path, ...] = ()


def read_stack(document: Document) -> Stack:
    """Read all files that `document`, Portico's own file, names."""
    assembly = Assembly("own")
    may_include = any(part in document.text for part in ("include", "\\u", "\\x"))  # the key may have escapes
    combined = assembly.whole(document) if may_include else None
    included = tuple(assembly.documents.values())
    own = Effective(document, combined, own=included)
    others, problems = _paths(assembly), (*dict.fromkeys(assembly.problems),)
    try:
        path = _base_path(own)
    except UnknownHome as error:
        problem = Problem("error", str(own.origin((BASE,))), (BASE,), error.message, error.hint, "base")
        return Stack(own, own, problems=(*problems, problem), others=others)
    if path is None:
        return Stack(own, own, problems=problems, others=others)
    base_assembly = Assembly("base")
    base, base_problems = _read_base(own, path)
    problems = (*problems, *base_problems)
    if base is None:
        return Stack(own, own, path, problems=problems, others=others)
    part = _usable_base(base_assembly.whole(base))
    if not isinstance(part.content, dict):
        base_assembly.problems.append(Problem("error", base.where(()), (BASE,), "the base must be an object", layer="base"))
    own_part = combined if combined is not None else Assembly("own").whole(document)
    combined = merge_parts(with_long_form(part, ("agents", "defaults", "model"), "primary", own_part), own_part)
    base_documents = (base, *base_assembly.documents.values())
    effective = Effective(document, combined, base=base_documents, own=included)
    problems = (*problems, *dict.fromkeys(base_assembly.problems))
    return Stack(own, effective, path, base, problems, (*others, path, *_paths(base_assembly)))


def read_alone(document: Document) -> Effective:
    """Return the values of one file and its included files, without a base."""
    assembly = Assembly("own")
    whole = assembly.whole(document)
    return Effective(document, whole, own=tuple(assembly.documents.values()))


def _base_path(own: Effective) -> Path | None:
    """Return the path of the base, which is relative to the file that names it.

    Raises:
        UnknownHome: the path begins with an unknown home folder.
    """
    text = own.get((BASE,)) if own.has((BASE,)) else None
    if not isinstance(text, str) or not text.strip():
        return None  # the check reports it
    return Path(os.path.normpath(Path(own.origin((BASE,)).file).parent / expand_home(text, f"`{BASE}`")))


def _read_base(own: Effective, path: Path) -> tuple[Document | None, tuple[Problem, ...]]:
    where = str(own.origin((BASE,)))
    if os.path.realpath(path) == os.path.realpath(own.document.name):
        return None, (Problem("error", where, (BASE,), "`base` names this file itself", layer="base"),)
    try:
        document = read_document(path)
    except ConfigError as error:
        if error.where is not None:  # the mistake is in the file itself
            return None, (Problem("error", error.where, (BASE,), error.message, error.hint, "base"),)
        return None, (Problem("error", where, (BASE,), f"could not read `base`, {path}: {error.why}", _NO_BASE, "base"),)
    if document is None:
        message = f"`base` names a file that does not exist, {path}; Portico ignores it"
        return None, (Problem("warning", where, (BASE,), message, _NO_BASE),)
    return document, ()


def _usable_base(part: Part) -> Part:
    for path in NOT_FROM_BASE:
        part = without(part, path)
    return part


def _paths(assembly: Assembly) -> tuple[Path, ...]:
    return tuple(Path(document.name) for document in assembly.documents.values())


def exposed_files(paths: Iterable[Path]) -> tuple[Problem, ...]:
    """Return a warning for each path that other users can change: these users could choose the servers that get your keys.

    A folder that exposes several of `paths` is reported once.
    """
    owners, found = OwnershipCheck(), dict[str, Problem]()
    for path in paths:
        exposure = owners.exposure(path)
        if exposure is None or exposure.path in found:
            continue
        hint = exposure.hint
        if exposure.path == os.path.realpath(path):
            message = f"other users may change it ({exposure.why})"
            if exposure.is_by_mode:  # chmod follows a link
                hint = hint.replace(quote(exposure.path), quote(str(path)))
        else:
            message = f"other users may replace it ({exposure})"
        found[exposure.path] = Problem("warning", str(path), (), message, hint)
    return tuple(found.values())


# --- the effective config, and the origin of each value -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Origin:
    """The place of a value: `file:line:column`, counted from 1. `layer` says whether the file belongs to the base."""

    file: str
    line: int
    column: int
    layer: Layer

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


class Effective:
    """The effective values of a config.

    Args:
        document: Portico's own file.
        whole: that file merged with its included files over its base; None if it names no other file.
        base: the documents that belong to the base.
        own: the documents that `document` includes.
    """

    def __init__(
        self,
        document: Document,
        whole: Part | None = None,
        *,
        base: Collection[Document] = (),
        own: Collection[Document] = (),
    ) -> None:
        self.document = document
        self._whole = whole
        self._base = frozenset(base)
        self._own = (document, *own)

    def value(self) -> JsonValue:
        return self._whole.value() if self._whole is not None else self.document.value()

    def get(self, path: ConfigPath) -> JsonValue:
        """Return the value at `path`; KeyError if there is none."""
        if self._whole is None:
            return self.document.get(path)
        part, depth = self._walk(self._whole, path)
        if depth < len(path):
            raise KeyError(format_path(path))
        return part.value()

    def has(self, path: ConfigPath) -> bool:
        if self._whole is None:
            return self.document.has(path)
        return self._walk(self._whole, path)[1] == len(path)

    def origin(self, path: ConfigPath, *, of_key: bool = False) -> Origin:
        """Return the place of the value at `path`, or of its key; else of the nearest value around `path` that exists."""
        if self._whole is None:
            return self._origin_at(*self.document.find(path, of_key=of_key))
        part, depth = self._walk(self._whole, path)
        return self._origin_at(*part.location(of_key=of_key and depth == len(path)))

    def hidden(self) -> Iterator[tuple[ConfigPath, Origin]]:
        """Yield each member that is hidden by a later member of the same object with the same key."""
        for document in (*self._own, *self._base):
            for path, offset in document.duplicates():
                yield path, self._origin_at(document, offset)

    def _walk(self, part: Part, path: ConfigPath) -> tuple[Part, int]:
        """Return the deepest part on `path` that exists, and its depth."""
        for depth, step in enumerate(path):
            inner = part.step(step)
            if inner is None:
                return part, depth
            part = inner
        return part, len(path)

    def _origin_at(self, document: Document, offset: int) -> Origin:
        line, column = document.line_and_column(offset)
        return Origin(document.name, line, column, "base" if document in self._base else "own")


# --- a config merged from several files -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Part:
    """A value: `node` of `document`. Its key, if any, is `key` of `key_document`, which may be another file.

    `content` has the parts of an object or an array; it is None for any other value.
    """

    document: Document
    node: Node
    content: Content = None
    key_document: Document | None = None
    key: Entry | None = None

    def location(self, *, of_key: bool = False) -> tuple[Document, int]:
        """Return the document and offset of the value, or of its key."""
        if of_key and self.key is not None and self.key_document is not None:
            return self.key_document, self.key.start
        return self.document, self.node.start

    def with_key(self, document: Document, key: Entry | None) -> Part:
        """Return the same value under a key of `document`."""
        return replace(self, key_document=document, key=key)

    def value(self) -> JsonValue:
        if isinstance(self.content, dict):
            return {key: part.value() for key, part in self.content.items()}
        if isinstance(self.content, list):
            return [part.value() for part in self.content]
        return self.node.value if isinstance(self.node, Scalar) else None

    def step(self, step: str | int) -> Part | None:
        """Return the part at one step of a path, or None."""
        if isinstance(self.content, dict):
            return self.content.get(step) if isinstance(step, str) else None
        index = array_index(step)
        return self.content[index] if self.content is not None and index is not None and index < len(self.content) else None


def merge_parts(under: Part, over: Part, *, joins_arrays: bool = False) -> Part:
    """Merge `over` into `under`: objects key by key, arrays joined if `joins_arrays`, other values replaced."""
    if isinstance(under.content, dict) and isinstance(over.content, dict):
        members = dict(under.content)
        for key, part in over.content.items():
            members[key] = merge_parts(members[key], part, joins_arrays=joins_arrays) if key in members else part
        return replace(over, content=members)
    if joins_arrays and isinstance(under.content, list) and isinstance(over.content, list):
        return replace(over, content=[*under.content, *over.content])
    return over


def without(part: Part, path: ConfigPath) -> Part:
    """Remove the value at `path`, if there is one."""
    if not isinstance(part.content, dict) or path[0] not in part.content:
        return part
    members = dict(part.content)
    inner = members.pop(str(path[0]))
    if len(path) > 1:
        members[str(path[0])] = without(inner, path[1:])
    return replace(part, content=members)


def with_long_form(part: Part, path: ConfigPath, key: str, over: Part) -> Part:
    """Turn the text at `path` into an object with the text as its `key`, if `over` has an object at `path`.

    Otherwise the object in `over` would hide the text, even without that key.
    """
    if path:
        step = str(path[0])
        inner, over_inner = part.step(step), over.step(step)
        if inner is None or over_inner is None or not isinstance(part.content, dict):
            return part
        return replace(part, content={**part.content, step: with_long_form(inner, path[1:], key, over_inner)})
    return replace(part, content={key: part}) if part.content is None and isinstance(over.content, dict) else part


# --- $include -------------------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Assembly:
    """Merges a file of one layer with its included files.

    `documents` has the included files; `problems` has one problem for each file that could not be included.
    """

    layer: Layer
    documents: dict[str, Document] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    _count: int = 0

    def whole(self, document: Document) -> Part:
        """Return `document` merged with its included files."""
        return self._part(document, document.root, None, (), (_identity(document.name),))

    def _part(self, document: Document, node: Node, key: Entry | None, path: ConfigPath, chain: tuple[str, ...]) -> Part:
        if not isinstance(node, Container):
            return Part(document, node, None, document, key)
        if not node.is_object:
            elements = [self._part(document, each.node, None, (*path, n), chain) for n, each in enumerate(node.entries)]
            return Part(document, node, elements, document, key)
        last = {str(entry.key): entry for entry in node.entries}
        include = last.pop(INCLUDE, None)
        members = {name: self._part(document, each.node, each, (*path, name), chain) for name, each in last.items()}
        own = Part(document, node, members, document, key)
        return own if include is None else self._with_included(own, include, (*path, INCLUDE), chain)

    def _with_included(self, own: Part, include: Entry, path: ConfigPath, chain: tuple[str, ...]) -> Part:
        included = self._included(own.document, include.node, path, chain)
        if included is None:
            return own
        included = included.with_key(own.document, own.key)
        if not own.content:
            return included
        if not isinstance(included.content, dict):
            self._report_error(own.document, include.node, path, "must name objects, because there are other keys beside it")
            return own
        return merge_parts(included, own, joins_arrays=True)

    def _included(self, document: Document, node: Node, path: ConfigPath, chain: tuple[str, ...]) -> Part | None:
        nodes = [entry.node for entry in node.entries] if isinstance(node, Container) and not node.is_object else [node]
        combined: Part | None = None
        for each in nodes:
            value = None if isinstance(each, Container) else each.value
            if not isinstance(value, str) or not value.strip():
                self._report_error(document, each, path, "must be a path or an array of paths")
                continue
            part = self._include_file(document, each, value, path, chain)
            if part is not None:
                combined = part if combined is None else merge_parts(combined, part, joins_arrays=True)
        return combined

    def _include_file(self, document: Document, node: Node, text: str, path: ConfigPath, chain: tuple[str, ...]) -> Part | None:
        try:
            target = Path(os.path.normpath(Path(document.name).parent / expand_home(text, shown_path(path))))
        except UnknownHome as error:
            self._report_error(document, node, path, error.fault, error.hint)
            return None
        identity = _identity(str(target))
        self._count += 1
        if identity in chain:
            self._report_error(document, node, path, f"includes itself: {' -> '.join([*chain, identity])}")
        elif len(chain) > MAX_DEPTH:
            self._report_error(document, node, path, f"is nested more than {MAX_DEPTH} files deep")
        elif self._count > MAX_FILES:
            self._report_error(document, node, path, f"includes more than {MAX_FILES} files")
        elif included := self._read(document, node, target, path, identity):
            return self._part(included, included.root, None, path[:-1], (*chain, identity))
        return None

    def _read(self, document: Document, node: Node, target: Path, path: ConfigPath, identity: str) -> Document | None:
        if identity in self.documents:
            return self.documents[identity]
        try:
            included = read_document(target)
        except ConfigError as error:
            if error.where is None:
                self._report_error(document, node, path, f"names a file that cannot be read, {target}: {error.why}")
            else:  # the mistake is in the file itself
                self.problems.append(Problem("error", error.where, path, error.message, error.hint, self.layer))
            return None
        if included is None:
            self._report_error(document, node, path, f"names a file that does not exist: {target}")
            return None
        return self.documents.setdefault(identity, included)

    def _report_error(self, document: Document, node: Node, path: ConfigPath, message: str, hint: str | None = None) -> None:
        line, column = document.line_and_column(node.start)
        where = f"{document.name}:{line}:{column}"
        self.problems.append(Problem("error", where, path, f"{shown_path(path)} {message}", hint, self.layer))


def _identity(name: str) -> str:
    return os.path.realpath(name)


# Not compiled here, because most commands need no such pattern; `re` caches the patterns.
_REFERENCE: Final = r"(\$?)\$\{([A-Z_][A-Z0-9_]*)\}"
# The name needs an underscore: a single word in capitals is a key, not the name of a variable.
_BARE_NAME: Final = r"(?=.*_)[A-Z][A-Z0-9_]*"
DOTENV: Final = ".env"
_LINE: Final = (
    r"""\s*(?:export\s+)?(?P<name>[A-Za-z_][A-Za-z0-9_]*)\s*=\s*"""
    r"""(?:"(?P<double>(?:[^"\\]|\\.)*)"|'(?P<single>[^']*)'|(?P<bare>[^\s"'#]\S*(?:\s+[^\s#]\S*)*)?)"""
    r"""\s*(?:\#.*)?"""
)
_NOTHING: Final = r"\s*(?:#.*)?"
_ESCAPES: Final = r"\\(.)"
_ESCAPED: Final = {"n": "\n", "r": "\r", "t": "\t"}


def resolve_variables(text: str, env: Mapping[str, str], *, where: str) -> str:
    """Replace each `${VAR}` in `text` with its value in `env`, once; `$${VAR}` is a literal `${VAR}`. Upper-case names only.

    Raises:
        VariableUnset: a variable is unset or empty; the message names `where`, the config key.
    """

    def resolve(match: re.Match[str]) -> str:
        escaped, name = match.groups()
        if escaped:
            return match[0][1:]
        value = env.get(name)
        if value:
            return value
        raise VariableUnset(
            f"The environment variable {name} is not set.",
            why=f"`{where}` refers to it",
            hint=f"set {name}, or put it into the config: `{{prog}} config set env.{name} -`",
        )

    return re.sub(_REFERENCE, resolve, text)


def named_variable(text: str) -> str | None:
    """Return `text` if it is the bare name of a variable, such as `ACME_API_KEY`; else None."""
    return text if re.fullmatch(_BARE_NAME, text) else None


def resolve_header(text: str, env: Mapping[str, str], *, where: str) -> str:
    """Return the value of a header: the variable that `text` names, if it is set; else as `resolve_variables`."""
    name = named_variable(text)
    return (env.get(name) if name is not None else None) or resolve_variables(text, env, where=where)


def is_reference(text: str) -> bool:
    """Whether `text` is exactly one `${VAR}`."""
    match = re.fullmatch(_REFERENCE, text)
    return match is not None and not match[1]


def holds_reference(text: str) -> bool:
    """Whether `text` contains a `${VAR}`."""
    return re.search(_REFERENCE, text) is not None


def with_defaults(env: Mapping[str, str], defaults: Mapping[str, str]) -> dict[str, str]:
    """Add `defaults` to `env` for each variable that `env` lacks or has empty."""
    return {**defaults, **{name: value for name, value in env.items() if value or name not in defaults}}


# --- `.env`: `NAME=value` lines for variables that the process lacks; a value may be an API key ---------------------------------


def read_dotenv(folder: Path, layer: Layer = "own") -> tuple[Mapping[str, str], tuple[Problem, ...]]:
    r"""Read `.env` in `folder`; return its variables and its problems, which are only warnings and contain no values.

    A value may be bare (up to a `#` after a space), in single quotes (literal), or in double quotes (with `\n`, `\t`, `\"`,
    `\\`). References are not expanded, a value ends with its line, and an empty variable counts as unset.
    """
    path = folder / DOTENV
    try:
        data = read_bytes(path)
        text = data.decode() if data is not None else None
    except (ConfigError, UnicodeDecodeError) as error:
        why = "it is not UTF-8 text" if isinstance(error, UnicodeDecodeError) else error.why
        return {}, (Problem("warning", str(path), (), f"could not read this file: {why}", layer=layer),)
    if text is None:
        return {}, ()
    values: dict[str, str] = {}
    problems = [*_mode_problem(path, layer)]
    for number, line in enumerate(text.removeprefix("\ufeff").splitlines(), 1):
        match = re.fullmatch(_LINE, line, re.VERBOSE)
        if match is not None:
            values[match["name"]] = _value(match)
        elif not re.fullmatch(_NOTHING, line):
            message = "this line is not NAME=value; it has no effect"
            problems.append(Problem("warning", f"{path}:{number}:1", (), message, layer=layer))
    return {name: value for name, value in values.items() if value}, tuple(problems)


def _value(match: re.Match[str]) -> str:
    if match["double"] is not None:
        return re.sub(_ESCAPES, lambda escape: _ESCAPED.get(escape[1], escape[1]), match["double"])
    return match["single"] if match["single"] is not None else (match["bare"] or "")


def _mode_problem(path: Path, layer: Layer) -> Iterator[Problem]:
    with contextlib.suppress(OSError):
        mode = stat.S_IMODE(path.stat().st_mode)
        if os.name == "posix" and mode & 0o077:
            message = f"other users may read it (its mode is {mode:04o})"
            yield Problem("warning", str(path), (), message, f"chmod 600 {quote(str(path))}", layer)
