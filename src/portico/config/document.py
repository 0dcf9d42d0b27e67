"""A JSON5 text that is edited in place, the paths into it, the file that it stands in, and what can be wrong with it.

An edit makes a new document whose text differs only where it must. A file is read whole, never a FIFO or a folder, and is never
taken for empty if it merely cannot be read; it is changed under a lock, and replaced in one step.
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
from portico.paths import FILE_MODE, make_folder
from portico.util.files import copy_permissions, no_crash_point, read_start, replace, sync_folder, temporaries, write_temporary
from portico.util.lock import file_lock, hashed_name

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
    """Another program wrote the config between reading and writing it."""

    id = "config-changed-meanwhile"


class ConfigNotFound(ConfigError):
    """The config file that was asked for is not there."""

    id = "config-not-found"


@dataclass(frozen=True, eq=False, repr=False)
class Document:
    """A text that is JSON5. `name` is what messages call it: a file's path. It may hold API keys, so `repr` does not show it.

    An edit makes sure that its text is JSON5 by reading again what it touches; the tree is made anew when it is next asked for.
    """

    name: str
    text: str

    @classmethod
    def parse(cls, text: str, *, name: str) -> Document:
        """Read `text`.

        Raises:
            ConfigError: it is not JSON5 (`config-invalid`, with `where` as `file:line:column`).
        """
        document = cls(name, text)
        try:
            document.root  # noqa: B018 - it is kept
        except Json5SyntaxError as error:
            raise _syntax_error(name, text, error) from None
        return document

    @cached_property
    def root(self) -> Node:
        """The tree of the text."""
        return parse(self.text)

    def __repr__(self) -> str:
        return f"Document({self.name!r})"

    def value(self) -> JsonValue:
        """All of it as plain JSON. Of members with one key the last counts."""
        return plain(self.root)

    def get(self, path: ConfigPath) -> JsonValue:
        """The value at `path`; KeyError when there is none."""
        return plain(self._node(path))

    def has(self, path: ConfigPath) -> bool:
        return len(self._walk(path)[1]) == 0

    def position(self, path: ConfigPath, *, of_key: bool = False) -> tuple[int, int]:
        """Line and column, from 1, of the value at `path`, or of its key; KeyError when there is none."""
        entry = self._entry(path[:-1], path[-1]) if of_key and path else None
        return self.line_and_column(entry.start if entry else self._node(path).start)

    def find(self, path: ConfigPath, *, of_key: bool = False) -> tuple[Document, int]:
        """The document itself, and where in it stands what is at `path`, or the nearest thing around it that exists."""
        node, missing = self._walk(path)
        entry = self._entry(path[:-1], path[-1]) if of_key and path and not missing else None
        return self, entry.start if entry else node.start

    def where(self, path: ConfigPath, *, of_key: bool = False) -> str:
        """`file:line:column` of what stands at `path`, or of the nearest thing around it that exists."""
        line, column = self.line_and_column(self.find(path, of_key=of_key)[1])
        return f"{self.name}:{line}:{column}"

    def line_and_column(self, offset: int) -> tuple[int, int]:
        """Line and column, from 1, of a place in the text."""
        starts = self._line_starts
        line = bisect_right(starts, offset)
        return max(line, 1), max(offset - starts[max(line, 1) - 1], 0) + 1

    @cached_property
    def _line_starts(self) -> list[int]:
        return line_starts(self.text)

    def duplicates(self) -> Iterator[tuple[ConfigPath, int]]:
        """Each member that a later one of the same key hides: its path, and where it stands."""
        for path, entry in hidden(self.root, ()):
            yield path, entry.start

    # --- edits -------------------------------------------------------------------------------------------------------------

    def set(self, path: ConfigPath, value: JsonValue) -> Document:
        """The document with `value` at `path`; what is missing on the way is made. An index one past the end appends.

        Raises:
            ConfigError: `path` leads through something that is neither object nor array (`config-elsewhere`).
        """
        from portico.config.json5_edit import nested, stale

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
        """The document with `value` as a new element of an array; `path` ends with its index, and what is there moves on.

        Raises:
            ConfigError: there is no array to put it into, or a shorter one (`config-elsewhere`).
        """
        node, missing = self._walk(path[:-1])
        is_array = isinstance(node, Container) and not node.is_object and not missing
        if isinstance(node, Container) and is_array and node.find(path[-1]) is not None:
            return self._splice(self._editor().insert(node, int(path[-1]), value))
        if missing or is_array or not isinstance(node, Container):
            return self.set(path, value)
        raise self._blocked(node, path, path[-1:])

    def unset(self, path: ConfigPath) -> Document:
        """The document without what stands at `path`; KeyError when nothing does."""
        document = self
        while True:
            entry = document._entry(path[:-1], path[-1])
            parent = document._node(path[:-1])
            assert isinstance(parent, Container)  # noqa: S101 - it has the entry
            document = document._splice(document._editor().remove(parent, entry))
            if not parent.is_object or not document.has(path):
                return document

    def merge(self, patch: Mapping[str, JsonValue]) -> Document:
        """The document with `patch` laid over it: objects key by key, everything else replaced. What is equal stays untouched."""
        return self.overlay((), dict(patch))

    def overlay(self, path: ConfigPath, value: JsonValue) -> Document:
        """`merge` below `path`, which exists; anything but an object over an object replaces."""
        return self._splice(self._editor().put(self._node(path), value))

    # --- the tree ----------------------------------------------------------------------------------------------------------

    def _walk(self, path: ConfigPath) -> tuple[Node, ConfigPath]:
        """The deepest node on `path` that exists, and the steps that are left."""
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
        kind = "an object" if isinstance(node, Container) and node.is_object else "no object"
        if isinstance(node, Container) and not node.is_object:
            kind = f"an array of {len(node.entries)}"
        return ConfigElsewhere(
            f"`{format_path(path)}` cannot be set",
            why=f"{shown_path(existing)} is {kind}, so it has no place for `{format_path(missing[:1])}`",
            where=self.where(existing),
        )

    # What only edits need is loaded when there is one: most runs read a file and leave it.

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
    message = error.message if text.strip("\ufeff \t\r\n") else "the file is empty; an empty configuration is `{}`"
    return ConfigSyntax(message, where=f"{name}:{line}:{column}")


# --- paths, as OpenClaw writes them: `a.b[0].c`, a backslash before a dot that belongs to a key ---------------------------------


def parse_path(text: str) -> ConfigPath:
    """The steps of a path. `["..."]` names a key that holds dots as well.

    Raises:
        UsageError: `text` is not a path (`usage`).
    """
    steps: list[str | int] = []
    offset = 0
    while offset < len(text) or not steps:
        match = _STEP.match(text, offset)
        if match is None or (match["key"] is not None and bool(match["dot"]) == (offset == 0)):
            raise UsageError(
                f"`{text}` is not a path into the configuration",
                why=f"it cannot be read from character {offset + 1} on",
                hint=r"write it as `models.providers.minimax.models[0].id`; a dot inside a key is written `\.`",
            )
        key = match["key"] if match["quoted"] is None else match["quoted"]
        steps.append(int(match["index"]) if key is None else _ESCAPED.sub(r"\1", key))
        offset = match.end()
    return tuple(steps)


def format_path(path: ConfigPath) -> str:
    """`path` as `parse_path` reads it."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            text += ("." if text else "") + (_SPECIAL.sub(r"\\\1", step) or '[""]')
    return text.replace('.[""]', '[""]')


# --- the file -------------------------------------------------------------------------------------------------------------------


class ConfigFile:
    """A configuration file. `locks` is the folder for the lock of its edits. What was parsed is not parsed again as long as the
    file has the same bytes.
    """

    def __init__(self, path: Path, locks: Path, *, crash_point: CrashPoint = no_crash_point) -> None:
        self.path = path
        self._known: tuple[bytes | None, Document] | None = None
        self._locks = locks
        self._crash_point = crash_point

    def load(self) -> Document:
        """What the file says; a file that does not exist says `{}`.

        Raises:
            ConfigError: it cannot be read (`config-unreadable`) or is not JSON5 in UTF-8 (`config-invalid`).
        """
        return self._parse(read_bytes(self.path))

    @property
    def latest(self) -> Document:
        """What the file said when it was last read or written here."""
        return self.load() if self._known is None else self._known[1]

    def edit(self, change: Callable[[Document], Document], *, private: bool = False) -> bool:
        """Put what `change` makes of the file in its place, and say whether that differs.

        Programs that edit through here wait for each other. One that does not, an editor say, is noticed until just before the
        file is replaced, and `change` is then called again with what it wrote. The five last versions are kept as `.bak` files.
        `private` takes the file away from everybody else; otherwise it keeps its mode.

        Raises:
            ConfigError: the file cannot be read or written (`config-unreadable`); it then is as it was.
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
        raise LockBusy(f"{self.path} is being changed by another program", hint="close it there and run the command again")

    def put(self, document: Document, *, expected_data: bytes | None, private: bool = False) -> None:
        """Put a whole new text in the file's place, if the file still is `expected_data` (None: if there still is none).

        Raises:
            ConfigError: it is not (`config-changed-meanwhile`), or cannot be written (`config-unreadable`); it is as it was.
            LockBusy: another process holds the lock.
        """
        target = Path(os.path.realpath(self.path))
        with self._locked(target):
            data = encode_document(document.text, self.path)
            if read_bytes(self.path) != expected_data or not self._replace(target, expected_data, data, private=private):
                raise ConfigChangedMeanwhile(f"another program has changed {self.path} meanwhile")

    def _locked(self, target: Path) -> AbstractContextManager[object]:
        return file_lock(self._locks / f"config-{hashed_name(target)}.lock", what=f"the configuration {self.path}")

    def _parse(self, data: bytes | None) -> Document:
        if self._known is None or self._known[0] != data:
            document = Document.parse("{}\n", name=str(self.path)) if data is None else decode_document(data, str(self.path))
            self._known = data, document
        return self._known[1]

    def _replace(self, target: Path, before: bytes | None, after: bytes, *, private: bool) -> bool:
        """Put `after` in the place of `before`; False if something else stands there by now."""
        try:
            make_folder(target.parent)
            for old_temporary in temporaries(target):
                old_temporary.unlink(missing_ok=True)
            temporary = write_temporary(target, after, crash_point=self._crash_point)
            try:
                _copy_permissions(temporary, target, mode=FILE_MODE if private else 0o777)
                if read_bytes(self.path) != before:
                    return False
                if before is not None:
                    _write_backup(target, before)
                self._crash_point("backed-up")
                replace(temporary, target)
            finally:
                temporary.unlink(missing_ok=True)
        except OSError as error:
            raise config_file_error(f"cannot write {self.path}; it is as it was", error) from error
        self._crash_point("renamed")
        try:
            sync_folder(target.parent)
        except OSError as error:
            raise config_file_error(f"{self.path} is changed, but a power cut may undo it", error) from error
        return True


def _copy_permissions(temporary: Path, target: Path, *, mode: int) -> None:
    """Make `temporary` look like `target`, unless the mode of `target` forbids writing."""
    with contextlib.suppress(FileNotFoundError):
        status = target.stat()
        if not os.access(target, os.W_OK):
            raise PermissionError(errno.EACCES, "the file is read-only")
        copy_permissions(temporary, status, mode=mode)


def _write_backup(target: Path, data: bytes) -> None:
    """Keep the last version, for the file's owner alone."""
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
    """The bytes of `path`, None only where nothing at all has that name.

    Raises:
        ConfigError: it is there and cannot be read, or is larger than any configuration (`config-unreadable`).
    """
    try:
        data = read_start(path, MAX_BYTES + 1)
    except FileNotFoundError:
        if not path.is_symlink():
            return None
        raise ConfigUnreadable(f"{path} is a link to a file that does not exist") from None
    except OSError as error:
        raise config_file_error(f"cannot read {path}", error) from error
    if len(data) > MAX_BYTES:
        why = f"it is larger than {MAX_BYTES >> 20} MiB, which no configuration is"
        raise ConfigUnreadable(f"refusing to read {path}", why=why, hint="name another file with `--config` or PORTICO_CONFIG")
    return data


def decode_document(data: bytes, name: str) -> Document:
    """The document that the bytes of a file called `name` are.

    Raises:
        ConfigError: they are not JSON5 in UTF-8 (`config-invalid`, with `where` as `file:line:column`).
    """
    try:
        return Document.parse(data.decode(), name=name)
    except UnicodeDecodeError as error:
        before = data[: error.start].decode()
        line, column = position(before, len(before))
        where = f"{name}:{line}:{column}"
        raise ConfigSyntax("the file is not UTF-8 text", where=where, hint="save it as UTF-8") from None


def encode_document(text: str, path: Path) -> bytes:
    """`text` as the bytes of the file at `path`.

    Raises:
        ConfigError: nobody would read so long a file (`config-unreadable`).
    """
    data = text.encode()
    if len(data) > MAX_BYTES:
        why = f"a configuration has at most {MAX_BYTES >> 20} MiB"
        raise ConfigUnreadable(f"{path} would become too large to be read again", why=why)
    return data


def read_document(path: Path) -> Document | None:
    """What the file at `path` says, None where there is none.

    Raises:
        ConfigError: as `read_bytes` and `decode_document` do.
    """
    data = read_bytes(path)
    return decode_document(data, str(path)) if data is not None else None


def config_file_error(message: str, error: OSError) -> ConfigUnreadable:
    """`error` as a user reads it: which file, the system's words, and what to do."""
    name = errno.errorcode.get(error.errno or 0, type(error).__name__)
    return ConfigUnreadable(message, why=f"{error.strerror or error} [{name}]", hint=_HINTS.get(error.errno or 0))


Layer = Literal["own", "base"]
MAX_SHOWN: Final = 20  # of the problems of one configuration, to people


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong in a config.

    Attributes:
        level: whether it makes a value unusable.
        where: `file:line:column`, counted from 1; `layer` is whether that file is Portico's own or the base.
        path: the path of the value.
        message: what is wrong, and `hint` what to write instead.
        plugin: the only plugin that the error stops.
        only: the path of the only other object that the error stops.
        standing: a warning of something that may be meant: `config validate` and `doctor` show it, and other commands do not.
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
        """The problem as `--json` prints it."""
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
        """Whether it makes the whole config unusable."""
        return self.level == "error" and self.plugin is None and self.only is None


def shown_path(path: ConfigPath) -> str:
    """`path` as messages show it."""
    return f"`{format_path(path)}`" if path else "the configuration"


class InvalidConfig(ConfigError):
    """The config can be read, and has an error."""

    id = "config-invalid"


class SeveralErrors(InvalidConfig):
    """Several errors of one config: people see the first `MAX_SHOWN` of them, programs all, in `problems`."""

    def __init__(self, name: str, problems: Sequence[Problem]) -> None:
        shown, others = problems[:MAX_SHOWN], problems[MAX_SHOWN:]
        lines = [*map(str, shown), *([f"and {len(others)} more: `config validate --json` lists all"] if others else [])]
        listing = "".join(f"\n  {line}" for line in lines)
        super().__init__(f"{len(problems)} errors in {name}:{listing}", hint="correct them and run the command again")
        self.problems = tuple(problems)

    def as_json(self, program: str) -> dict[str, object]:
        return {**super().as_json(program), "problems": [each.as_json() for each in self.problems]}


def invalid_error(name: str, problems: Iterable[Problem]) -> ConfigError | None:
    """One ConfigError (`config-invalid`) for all errors among `problems`, None if there are none."""
    errors = [problem for problem in problems if problem.level == "error"]
    if not errors:
        return None
    if len(errors) == 1:
        return InvalidConfig(errors[0].message, where=errors[0].where, hint=errors[0].hint)
    return SeveralErrors(name, errors)


def refuse_errors(name: str, problems: Iterable[Problem]) -> None:
    """Raise `invalid_error(name, problems)` if there is any error among them."""
    error = invalid_error(name, problems)
    if error is not None:
        raise error
