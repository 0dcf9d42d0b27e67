"""Config documents: JSON5 text with edits that keep every other byte, paths into the text, the file of the text, and problems.

A config file must be a regular file. A file that cannot be read is an error, never an empty config. An edit holds a lock and
replaces the file in one step.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
from bisect import bisect_right
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from portico.config.json5 import (
    MAX_INDEX_DIGITS,
    ConfigElsewhere,
    Container,
    Entry,
    Json5SyntaxError,
    Node,
    hidden,
    line_starts,
    parse,
    plain,
    position,
)
from portico.errors import ConfigError, LockBusy, UsageError
from portico.paths import FILE_MODE, hashed_name, make_folder
from portico.util.files import copy_permissions, no_crash_point, read_start, replace, sync_folder, temporaries, write_temporary
from portico.util.lock import file_lock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from portico.config.json5_edit import Editor, Splice
    from portico.interfaces.basics import JsonValue
    from portico.util.files import CrashPoint

ConfigPath = tuple[str | int, ...]

_STEP: Final = re.compile(
    rf"\[(?P<index>[0-9]{{1,{MAX_INDEX_DIGITS}}})\]"
    r"|\[\"(?P<quoted>(?:[^\"\\]|\\.)*)\"\]"
    r"|(?P<dot>\.?)(?P<key>(?:[^.\[\]\\]|\\.)+)",
    re.DOTALL,
)
_ESCAPED: Final = re.compile(r"\\(.)", re.DOTALL)
_SPECIAL: Final = re.compile(r"([.\[\]\\])")

BACKUPS: Final = (".bak", ".bak.1", ".bak.2", ".bak.3", ".bak.4")
_EDIT_TRIES: Final = 5
MAX_BYTES: Final = 4 << 20
_NOT_YOURS: Final = "make it yours (chown, chmod u+rw), or name another file with `--config` or PORTICO_CONFIG"
_NO_FILE: Final = "name a regular file with `--config` or PORTICO_CONFIG"
_HINTS: Final = {
    errno.ENOSPC: "free some space on that disk and run the command again",
    errno.EDQUOT: "free some of your disk quota and run the command again",
    errno.EROFS: "that file system is read-only: name another file with `--config` or PORTICO_CONFIG",
    errno.EACCES: _NOT_YOURS,
    errno.EPERM: _NOT_YOURS,
    errno.EINVAL: _NO_FILE,
    errno.EAGAIN: _NO_FILE,
    errno.EISDIR: _NO_FILE,
}


class ConfigSyntax(ConfigError):
    """The text is not JSON5."""

    id = "config-invalid"


class ConfigUnreadable(ConfigError):
    """A config file cannot be read or written."""

    id = "config-unreadable"


class ConfigChangedMeanwhile(ConfigError):
    """Another program changed the config file during an edit."""

    id = "config-changed-meanwhile"


class ConfigNotFound(ConfigError):
    """The config file does not exist."""

    id = "config-not-found"


@dataclass(frozen=True, eq=False, repr=False)
class Document:
    """A JSON5 text. Messages call it `name`, the path of its file. The text may contain API keys, so `repr` does not show it.

    A document is immutable: an edit parses the changed parts again and returns a new document.
    """

    name: str
    text: str

    @classmethod
    def parse(cls, text: str, *, name: str) -> Document:
        """Parse `text`.

        Raises:
            ConfigSyntax: `text` is not JSON5; `where` is `file:line:column`.
        """
        document = cls(name, text)
        try:
            document.root  # noqa: B018 - a cached property
        except Json5SyntaxError as error:
            raise _syntax_error(name, text, error) from None
        return document

    @cached_property
    def root(self) -> Node:
        return parse(self.text)

    def __repr__(self) -> str:
        return f"Document({self.name!r})"

    def value(self) -> JsonValue:
        """Return the whole document as plain JSON. Of several members with the same key the last is used."""
        return plain(self.root)

    def get(self, path: ConfigPath) -> JsonValue:
        """Return the value at `path`; KeyError if there is no value."""
        return plain(self._node(path))

    def has(self, path: ConfigPath) -> bool:
        return len(self._walk(path)[1]) == 0

    def position(self, path: ConfigPath, *, of_key: bool = False) -> tuple[int, int]:
        """Return the line and column, from 1, of the value at `path`, or of its key; KeyError if there is no value."""
        entry = self._entry(path[:-1], path[-1]) if of_key and path else None
        return self.line_and_column(entry.start if entry else self._node(path).start)

    def find(self, path: ConfigPath, *, of_key: bool = False) -> tuple[Document, int]:
        """Return the document, and the offset of the value at `path`, or of the nearest value around `path` that exists."""
        node, missing = self._walk(path)
        entry = self._entry(path[:-1], path[-1]) if of_key and path and not missing else None
        return self, entry.start if entry else node.start

    def where(self, path: ConfigPath, *, of_key: bool = False) -> str:
        """Return `file:line:column` of the value at `path`, or of the nearest value around `path` that exists."""
        line, column = self.line_and_column(self.find(path, of_key=of_key)[1])
        return f"{self.name}:{line}:{column}"

    def line_and_column(self, offset: int) -> tuple[int, int]:
        """Return the line and column, from 1, of an offset in the text."""
        starts = self._line_starts
        line = bisect_right(starts, offset)
        return max(line, 1), max(offset - starts[max(line, 1) - 1], 0) + 1

    @cached_property
    def _line_starts(self) -> list[int]:
        return line_starts(self.text)

    def duplicates(self) -> Iterator[tuple[ConfigPath, int]]:
        """Yield the path and offset of each member that is hidden by a later member with the same key."""
        for path, entry in hidden(self.root, ()):
            yield path, entry.start

    # --- edits -------------------------------------------------------------------------------------------------------------

    def set(self, path: ConfigPath, value: JsonValue) -> Document:
        """Set the value at `path`, and make the objects that `path` needs. The index after the last element appends.

        Raises:
            ConfigElsewhere: `path` leads through a value that is neither an object nor an array.
        """
        from portico.config.json5_edit import nested, stale  # most runs edit nothing

        node, missing = self._walk(path)
        if missing and (isinstance(node, Container) or node.value is not None):
            container = self._container(node, path, missing)
            key = str(missing[0]) if container.is_object else None
            return self._splice(self._editor().append(container, [(key, nested(missing[1:], value))]))
        value = nested(missing, value)
        existing = path[: len(path) - len(missing)]
        document = self
        for stale_path in stale(node, value, existing):
            document = document.unset(stale_path)
        return document.overlay(existing, value)

    def insert(self, path: ConfigPath, value: JsonValue) -> Document:
        """Insert `value` into an array before the element at `path`, which ends with an index.

        Raises:
            ConfigElsewhere: there is no array at that path, or the array is too short.
        """
        node, missing = self._walk(path[:-1])
        is_array = isinstance(node, Container) and not node.is_object and not missing
        if isinstance(node, Container) and is_array and node.find(path[-1]) is not None:
            return self._splice(self._editor().insert(node, int(path[-1]), value))
        if missing or is_array or not isinstance(node, Container):
            return self.set(path, value)
        raise self._blocked(node, path, path[-1:])

    def unset(self, path: ConfigPath) -> Document:
        """Remove the value at `path`; KeyError if there is no value."""
        document = self
        while True:
            entry = document._entry(path[:-1], path[-1])
            parent = document._node(path[:-1])
            assert isinstance(parent, Container)  # noqa: S101 - it has the entry
            document = document._splice(document._editor().remove(parent, entry))
            if not parent.is_object or not document.has(path):
                return document

    def merge(self, patch: Mapping[str, JsonValue]) -> Document:
        """Merge `patch` into the document: objects key by key, other values replaced. Equal values keep their text."""
        return self.overlay((), dict(patch))

    def overlay(self, path: ConfigPath, value: JsonValue) -> Document:
        """Merge an object into the object at `path`, as `merge` does; replace any other value. `path` must exist."""
        return self._splice(self._editor().put(self._node(path), value))

    # --- the tree ----------------------------------------------------------------------------------------------------------

    def _walk(self, path: ConfigPath) -> tuple[Node, ConfigPath]:
        """Return the deepest node on `path` that exists, and the remaining steps."""
        node = self.root
        for depth, step in enumerate(path):
            entry = node.find(step) if isinstance(node, Container) else None
            if entry is None:
                return node, path[depth:]
            node = entry.node
        return node, ()

    def _node(self, path: ConfigPath) -> Node:
        node, missing = self._walk(path)
        if missing:
            raise KeyError(format_path(path))
        return node

    def _entry(self, parent: ConfigPath, step: str | int) -> Entry:
        node = self._node(parent)
        entry = node.find(step) if isinstance(node, Container) else None
        if entry is None:
            raise KeyError(format_path((*parent, step)))
        return entry

    def _container(self, node: Node, path: ConfigPath, missing: ConfigPath) -> Container:
        step = missing[0]
        if isinstance(node, Container) and (isinstance(step, str) if node.is_object else str(step) == str(len(node.entries))):
            return node
        raise self._blocked(node, path, missing)

    def _blocked(self, node: Node, path: ConfigPath, missing: ConfigPath) -> ConfigError:
        existing = path[: len(path) - len(missing)]
        kind = "neither an object nor an array"
        if isinstance(node, Container):
            kind = "an object" if node.is_object else f"an array of {len(node.entries)}"
        return ConfigElsewhere(
            f"Could not set `{format_path(path)}`.",
            why=f"{shown_path(existing)} is {kind}, so it cannot contain `{format_path(missing[:1])}`",
            where=self.where(existing),
        )

    def _editor(self) -> Editor:
        from portico.config.json5_edit import Editor

        return Editor(self.text, self.root, strict_json=self.name.endswith(".json"))

    def _splice(self, splices: Iterable[Splice]) -> Document:
        from portico.config.json5_edit import apply, check_edit

        edits = [*splices]
        text = apply(self.text, edits)
        if text == self.text:
            return self
        try:
            check_edit(self.root, text, edits, grown=len(text) - len(self.text))
        except Json5SyntaxError as error:
            raise _syntax_error(self.name, text, error) from None
        return Document(self.name, text)


def _syntax_error(name: str, text: str, error: Json5SyntaxError) -> ConfigError:
    line, column = position(text, error.offset)
    message = error.message if text.strip("\ufeff \t\r\n") else "the file is empty; an empty config is `{}`"
    return ConfigSyntax(message, where=f"{name}:{line}:{column}")


# --- paths, as OpenClaw writes them: `a.b[0].c`, a backslash before a dot that belongs to a key ---------------------------------


def parse_path(text: str) -> ConfigPath:
    """Parse a path. `["..."]` is a key that may contain dots.

    Raises:
        UsageError: `text` is not a path.
    """
    steps: list[str | int] = []
    offset = 0
    while offset < len(text) or not steps:
        match = _STEP.match(text, offset)
        if match is None or (match["key"] is not None and bool(match["dot"]) == (offset == 0)):
            raise UsageError(
                f"`{text}` is not a path in the config.",
                why=f"character {offset + 1} is not valid",
                hint=r"write it as `models.providers.minimax.models[0].id`; a dot inside a key is written `\.`",
            )
        key = match["key"] if match["quoted"] is None else match["quoted"]
        steps.append(int(match["index"]) if key is None else _ESCAPED.sub(r"\1", key))
        offset = match.end()
    return tuple(steps)


def format_path(path: ConfigPath) -> str:
    """Return the text that `parse_path` reads as `path`."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            text += ("." if text else "") + (_SPECIAL.sub(r"\\\1", step) or '[""]')
    return text.replace('.[""]', '[""]')


# --- the file -------------------------------------------------------------------------------------------------------------------


class ConfigFile:
    """A config file; parsed again only if its bytes have changed. `locks` is the folder of its lock file."""

    def __init__(self, path: Path, locks: Path, *, crash_point: CrashPoint = no_crash_point) -> None:
        self.path = path
        self._known: tuple[bytes | None, Document] | None = None
        self._locks = locks
        self._crash_point = crash_point

    def load(self) -> Document:
        """Read the file; a file that does not exist is `{}`.

        Raises:
            ConfigUnreadable, ConfigSyntax: the file cannot be read, or is not JSON5 in UTF-8.
        """
        return self._parse(read_bytes(self.path))

    @property
    def latest(self) -> Document:
        """The document that this object last read or wrote."""
        return self.load() if self._known is None else self._known[1]

    def edit(self, change: Callable[[Document], Document], *, private: bool = False) -> bool:
        """Replace the document with the result of `change`, and return whether the file changed.

        Portico's own processes wait for each other. If another program, such as an editor, writes the file before it is
        replaced, `change` is called again with the new document. The last five versions are kept as `.bak` files. With `private`
        only the user can read the file; otherwise it keeps its mode.

        Raises:
            ConfigUnreadable: the file cannot be read or written; it is unchanged.
            LockBusy: another process holds the lock, or the file never stopped changing.
        """
        target = Path(os.path.realpath(self.path))
        with self._locked(target):
            for _ in range(_EDIT_TRIES):
                before = read_bytes(self.path)
                document = self._parse(before)
                changed = change(document)
                text = changed.text
                if text == document.text:
                    return False
                data = encode_document(text, self.path)
                if self._replace(target, before, data, private=private):
                    self._known = data, changed
                    return True
        hint = "close the file in that program and run the command again"
        raise LockBusy(f"Another program keeps changing {self.path}.", hint=hint)

    def put(self, document: Document, *, expected_data: bytes | None, private: bool = False) -> None:
        """Replace the whole file if its content still is `expected_data` (None: if it still does not exist).

        Raises:
            ConfigChangedMeanwhile: another program has changed the file.
            ConfigUnreadable: the file cannot be written; it is unchanged.
            LockBusy: another process holds the lock.
        """
        target = Path(os.path.realpath(self.path))
        with self._locked(target):
            data = encode_document(document.text, self.path)
            if read_bytes(self.path) != expected_data or not self._replace(target, expected_data, data, private=private):
                raise ConfigChangedMeanwhile(f"Another program has changed {self.path} in the meantime.")

    def _locked(self, target: Path) -> AbstractContextManager[object]:
        return file_lock(self._locks / f"config-{hashed_name(target)}.lock", what=f"the config file {self.path}")

    def _parse(self, data: bytes | None) -> Document:
        if self._known is None or self._known[0] != data:
            document = Document.parse("{}\n", name=str(self.path)) if data is None else decode_document(data, str(self.path))
            self._known = data, document
        return self._known[1]

    def _replace(self, target: Path, before: bytes | None, after: bytes, *, private: bool) -> bool:
        """Replace the content `before` with `after`; False if the file no longer has the content `before`."""
        try:
            make_folder(target.parent)
            for old_temporary in temporaries(target):
                old_temporary.unlink(missing_ok=True)
            temporary = write_temporary(target, after, crash_point=self._crash_point)
            try:
                with contextlib.suppress(FileNotFoundError):
                    status = target.stat()
                    if not os.access(target, os.W_OK):
                        raise PermissionError(errno.EACCES, "the file is read-only")
                    copy_permissions(temporary, status, mode=FILE_MODE if private else 0o777)
                if read_bytes(self.path) != before:
                    return False
                if before is not None:
                    _write_backup(target, before)
                self._crash_point("backed-up")
                replace(temporary, target)
            finally:
                temporary.unlink(missing_ok=True)
        except OSError as error:
            raise config_file_error(f"Could not write {self.path}; it is unchanged.", error) from error
        self._crash_point("renamed")
        try:
            sync_folder(target.parent)
        except OSError as error:
            raise config_file_error(f"{self.path} is changed, but a power cut may undo the change.", error) from error
        return True


def _write_backup(target: Path, data: bytes) -> None:
    """Keep the last version, readable only for the file's owner."""
    names = [target.with_name(target.name + suffix) for suffix in BACKUPS]
    for newer, older in reversed(list(pairwise(names))):
        with contextlib.suppress(FileNotFoundError):
            newer.replace(older)
    copy = write_temporary(names[0], data)
    try:
        copy_permissions(copy, target.stat(), mode=FILE_MODE)
        replace(copy, names[0])
    finally:
        copy.unlink(missing_ok=True)


def read_bytes(path: Path) -> bytes | None:
    """Return the bytes of a file, or None if it does not exist.

    Raises:
        ConfigUnreadable: the file cannot be read, or is too large for a config.
    """
    try:
        data = read_start(path, MAX_BYTES + 1)
    except FileNotFoundError:
        if not path.is_symlink():
            return None
        raise ConfigUnreadable(f"Could not read {path}.", why="it is a link to a file that does not exist") from None
    except OSError as error:
        raise config_file_error(f"Could not read {path}.", error) from error
    if len(data) > MAX_BYTES:
        why = f"it is larger than {MAX_BYTES >> 20} MiB"
        raise ConfigUnreadable(f"Could not read {path}.", why=why, hint="name another file with `--config` or PORTICO_CONFIG")
    return data


def decode_document(data: bytes, name: str) -> Document:
    """Parse the bytes of a file with the path `name`.

    Raises:
        ConfigSyntax: `data` is not JSON5 in UTF-8; `where` is `file:line:column`.
    """
    try:
        return Document.parse(data.decode(), name=name)
    except UnicodeDecodeError as error:
        before = data[: error.start].decode()
        line, column = position(before, len(before))
        where = f"{name}:{line}:{column}"
        raise ConfigSyntax("the file is not UTF-8 text", where=where, hint="save it as UTF-8") from None


def encode_document(text: str, path: Path) -> bytes:
    """Return `text` as bytes for the file at `path`.

    Raises:
        ConfigUnreadable: the file would be too large to read again.
    """
    data = text.encode()
    if len(data) > MAX_BYTES:
        raise ConfigUnreadable(f"{path} would become too large.", why=f"a config file has at most {MAX_BYTES >> 20} MiB")
    return data


def read_document(path: Path) -> Document | None:
    """Read the document at `path`, as `read_bytes` and `decode_document` do; None if the file does not exist."""
    data = read_bytes(path)
    return decode_document(data, str(path)) if data is not None else None


def config_file_error(message: str, error: OSError) -> ConfigUnreadable:
    """Return `error` as a ConfigUnreadable, with the system's reason and a hint."""
    name = errno.errorcode.get(error.errno or 0, type(error).__name__)
    return ConfigUnreadable(message, why=f"{error.strerror or error} [{name}]", hint=_HINTS.get(error.errno or 0))


Layer = Literal["own", "base"]
MAX_SHOWN: Final = 20  # problems of one config that an error for people shows


@dataclass(frozen=True, slots=True)
class Problem:
    """A problem in a config.

    Attributes:
        level: an error makes the value unusable.
        where: `file:line:column`, counted from 1. `layer` says which file that is: the user's own or the base.
        path: the path of the value.
        message: the problem; `hint` says what to write instead.
        plugin: if set, the error stops only this plugin.
        only: if set, the error stops only the object at this path.
        standing: a warning about a value that the user may have intended: only `config validate` and `doctor` show it.
    """

    level: Literal["error", "warning"]
    where: str
    path: ConfigPath
    message: str
    hint: str | None = None
    layer: Layer = "own"
    plugin: str | None = None
    only: str | None = None
    standing: bool = False

    def __str__(self) -> str:
        return f"{self.where}: {self.message}" + (f" ({self.hint})" if self.hint else "")

    def as_json(self) -> dict[str, object]:
        return {
            "level": self.level,
            "where": self.where,
            "path": format_path(self.path),
            "message": self.message,
            "hint": self.hint,
            "layer": self.layer,
            "plugin": self.plugin,
        }

    @property
    def is_fatal(self) -> bool:
        return self.level == "error" and self.plugin is None and self.only is None


def shown_path(path: ConfigPath) -> str:
    """Return `path` as messages show it."""
    return f"`{format_path(path)}`" if path else "the config"


class InvalidConfig(ConfigError):
    """The config is JSON5 but has an error."""

    id = "config-invalid"


class SeveralErrors(InvalidConfig):
    """Several errors in one config: the message lists the first `MAX_SHOWN`, `problems` has all."""

    def __init__(self, name: str, problems: Sequence[Problem]) -> None:
        shown, others = problems[:MAX_SHOWN], problems[MAX_SHOWN:]
        lines = [*map(str, shown), *([f"and {len(others)} more: `config validate --json` lists all"] if others else [])]
        listing = "".join(f"\n  {line}" for line in lines)
        super().__init__(f"{len(problems)} errors in {name}:{listing}", hint="correct them and run the command again")
        self.problems = tuple(problems)

    def as_json(self, program: str) -> dict[str, object]:
        return {**super().as_json(program), "problems": [each.as_json() for each in self.problems]}


def invalid_error(name: str, problems: Iterable[Problem]) -> ConfigError | None:
    """Return one error for all errors in `problems`, or None if it has no errors."""
    errors = [problem for problem in problems if problem.level == "error"]
    if not errors:
        return None
    if len(errors) == 1:
        return InvalidConfig(errors[0].message, where=errors[0].where, hint=errors[0].hint)
    return SeveralErrors(name, errors)


def refuse_errors(name: str, problems: Iterable[Problem]) -> None:
    """Raise `invalid_error(name, problems)` if `problems` has an error."""
    if (error := invalid_error(name, problems)) is not None:
        raise error
