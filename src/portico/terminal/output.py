"""What a command prints: results on stdout, notes on stderr, JSON with `--json`; and how a text fits a terminal.

Lines break between words, and nowhere that a copy of them would not work. What a model, a server or a file says may hold controls
that repaint a terminal, fill its clipboard (OSC 52) or turn text around (U+202E); see CVE-2003-0063 and CVE-2021-42574. They are
shown as escapes. What goes to a pipe or a file stays as it is.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False  # `typing` would be a third of what `--version` costs
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from logging import Logger
    from typing import Final, TextIO

_CLEARED: Final = "\x1b[2J\x1b[H"
_USUAL_WIDTH: Final = 80
_GAP = "  "
_WIDEST_GAP = 3  # rich leaves more room between columns than the plain table

# Entries of a list from which on each has one line.
_LONG: Final = 100


class Streams:
    """The environment and the standard streams of one run; what is None is the process's own."""

    __slots__ = ("env", "stderr", "stdin", "stdout")

    def __init__(
        self,
        env: Mapping[str, str] | None = None,
        stdin: TextIO | None = None,
        stdout: TextIO | None = None,
        stderr: TextIO | None = None,
    ) -> None:
        self.env: Mapping[str, str] = os.environ if env is None else env
        self.stdin = sys.stdin if stdin is None else stdin
        self.stdout = sys.stdout if stdout is None else stdout
        self.stderr = sys.stderr if stderr is None else stderr


class Output:
    """What a command prints with.

    `line` prints the result; `note` adds to it on stderr, unless quiet; `detail` only when verbose. With `--json` a command
    prints one value by `json`, or a stream of one-line objects by `event`. On a terminal every control in a text is visible.

    `env` says how wide the terminal is, if the terminal does not, and what it can draw; None is the process's environment.

    Attributes:
        most_warnings: of so many problems of the config each is shown, None means of all.
    """

    most_warnings: int | None = 5

    def __init__(
        self,
        *,
        json: bool = False,
        quiet: bool = False,
        verbose: bool = False,
        color: bool = False,
        stdout: TextIO | None = None,
        stderr: TextIO | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.is_json = json
        self.quiet = quiet
        self.verbose = verbose
        self.color = color
        self.stdout = stdout if stdout is not None else sys.stdout
        self.stderr = stderr if stderr is not None else sys.stderr
        self.env = env

    def line(self, text: str = "") -> None:
        """One line of the result, on stdout; on a terminal it is broken between words where that ends."""
        _write(self.stdout, text if self.stdout is None else fitted(text, self.stdout, self.env))

    def exact(self, text: str) -> None:
        """What is copied or read by another program, on stdout: never broken."""
        _write(self.stdout, text)

    def write(self, text: str) -> None:
        """A piece of the result as it arrives, on stdout, without an end of line."""
        _write(self.stdout, text, end="")

    def clear(self) -> None:
        """Empty the terminal that results go to."""
        if self.stdout is not None:
            print(_CLEARED, end="", file=self.stdout, flush=True)

    def note(self, text: str) -> None:
        """Print a note for the user on stderr; nothing when quiet."""
        if not self.quiet:
            self._print_error(text)

    def detail(self, text: str) -> None:
        """Print a note that only `--verbose` shows, on stderr."""
        if self.verbose:
            self._print_error(text)

    def warn(self, text: str) -> None:
        """Print a warning on stderr, also when quiet."""
        self._print_error(text)

    def config_warning(self, program: str, text: str, advice: str | None = None) -> None:
        """Print a problem of the config that does not stop this command, with what to do."""
        self._print_error(f"{program}: {text}" + (f"\n  {advice}" if advice else ""))

    def json(self, value: object) -> None:
        """The whole result as JSON, on stdout."""
        import json

        # Indenting is what the encoder does in Python: a long list costs many times what it costs on one line for each entry.
        text = _one_line_each(value) if _is_long(value) else json.dumps(value, indent=2, ensure_ascii=False)
        _write(self.stdout, _json_for(text, self.stdout))

    def event(self, event: Mapping[str, object]) -> None:
        """One step of a longer run as one line of JSON, on stdout; nothing without `--json`."""
        if self.is_json:
            import json

            _write(self.stdout, _json_for(json.dumps(event, ensure_ascii=False), self.stdout))

    def table(self, headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Rows under headers; drawn by rich on a terminal that has colours and our letters, plain elsewhere.

        Where the terminal is too narrow, the cells of a row stand below each other: a broken reference cannot be copied.
        """
        room = self.room()
        if self.stdout is not None:
            rows = [[visible(cell, self.stdout) for cell in row] for row in rows]
        if room is not None and _widest(headers, rows) > room:
            lines = stacked_table(headers, rows)
        elif room is not None and self.color and _can_draw(self.stdout, self.env) and self._draw_rich(headers, rows):
            return
        else:
            lines = plain_table(headers, rows)
        for line in lines:
            self.line(line)

    def room(self) -> int | None:
        """Columns of the terminal that results go to; None where they go elsewhere."""
        if self.stdout is None or not self.stdout.isatty():
            return None
        return width_of(self.stdout, self.env)

    def _print_error(self, text: str) -> None:
        _write(self.stderr, text if self.stderr is None else fitted(text, self.stderr, self.env))

    def _draw_rich(self, headers: Sequence[str], rows: Sequence[Sequence[str]]) -> bool:
        try:
            from rich import box
            from rich.console import Console
            from rich.table import Table
            from rich.text import Text
        except ImportError:
            return False
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
        for header in headers:
            table.add_column(header, overflow="fold")
        for row in rows:
            table.add_row(*map(Text, row))
        Console(file=self.stdout, highlight=False).print(table)
        return True


class LogOutput(Output):
    """The output of a run without a terminal: notes and warnings are records of the logger `portico`."""

    most_warnings = None

    def note(self, text: str) -> None:
        _log().info("%s", text)

    def warn(self, text: str) -> None:
        _log().warning("%s", text)

    def config_warning(self, program: str, text: str, advice: str | None = None) -> None:  # noqa: ARG002 - a log has no reader at a prompt
        _log().warning("%s", text)


def _log() -> Logger:
    import logging

    return logging.getLogger("portico")


def plain_table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a table in plain text, its columns as wide as their content."""
    widths = _widths(headers, rows)
    ruled = [tuple(headers), tuple("-" * each for each in widths), *rows]
    return [_GAP.join(cell.ljust(each) for cell, each in zip(row, widths, strict=True)).rstrip() for row in ruled]


def stacked_table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a table one cell to a line, under the first cell of each row."""
    return [line for row in rows for line in (row[0], *_below(headers[1:], row[1:]))]


def _below(headers: Sequence[str], cells: Sequence[str]) -> list[str]:
    return [f"{_GAP}{header}: {cell}" for header, cell in zip(headers, cells, strict=True) if cell]


def _widths(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> list[int]:
    return [max(len(cell) for cell in column) for column in zip(headers, *rows, strict=True)]


def _widest(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> int:
    """Columns that the table takes in whichever way it is drawn."""
    widths = _widths(headers, rows)
    return sum(widths) + _WIDEST_GAP * (len(widths) - 1)


def wants_color(env: Mapping[str, str], stream: TextIO | None, *, no_color: bool) -> bool:
    """Whether to colour what goes to `stream` (https://no-color.org)."""
    if no_color or env.get("NO_COLOR") or env.get("TERM") == "dumb":
        return False
    return stream is not None and stream.isatty()


def _can_draw(stream: TextIO | None, env: Mapping[str, str] | None) -> bool:
    """Whether the lines of a table can be drawn: in the C locale a terminal need not have them, whatever Python would send."""
    env = os.environ if env is None else env
    chosen = next(filter(None, (env.get(name) for name in ("LC_ALL", "LC_CTYPE", "LANG"))), "")
    try:
        "\N{BOX DRAWINGS LIGHT HORIZONTAL}".encode(getattr(stream, "encoding", None) or "ascii")
    except (LookupError, UnicodeEncodeError):
        return False
    return chosen not in {"C", "POSIX"}


def _is_long(value: object) -> bool:
    members = value.values() if isinstance(value, dict) else [value]
    return any(isinstance(member, list) and len(member) > _LONG for member in members)


def _one_line_each(value: object) -> str:
    """JSON with a line for each member of the outermost object, and for each entry of a list in it."""
    import json

    def encoded(member: object) -> str:
        if not isinstance(member, list) or not member:
            return json.dumps(member, ensure_ascii=False)
        entries = ",\n".join(f"    {json.dumps(entry, ensure_ascii=False)}" for entry in member)
        return f"[\n{entries}\n  ]"

    if not isinstance(value, dict):
        return encoded(value)
    members = ",\n".join(f"  {json.dumps(name, ensure_ascii=False)}: {encoded(member)}" for name, member in value.items())
    return f"{{\n{members}\n}}"


def _json_for(text: str, stream: TextIO | None) -> str:
    r"""JSON with JSON's own escapes, `\u00c4`, if `stream` lacks a letter of it: Python's, `\xc4`, are none of JSON's."""
    try:
        text.encode(getattr(stream, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        import json
        import re

        # Outside of its strings JSON has no letter beyond ASCII.
        return re.sub(r"[^\x00-\x7f]", lambda letter: json.dumps(letter[0])[1:-1], text)
    return text


def _write(stream: TextIO | None, text: str, end: str = "\n") -> None:
    # A closed stdout is None: whoever closed it wants no output.
    if stream is not None:
        print(visible(text, stream), end=end, file=stream, flush=True)


# Controls (Cc), formats (Cf), separators of lines and paragraphs (Zl, Zp); not the spaces of other scripts, private letters, or
# what this Python's Unicode does not know yet.
_HIDDEN = ("Cc", "Cf", "Zl", "Zp")
# Line ends and tabs; formats that Arabic, Hebrew, Persian, the scripts of India and emoji are written with, and which turn around
# nothing beside them: soft hyphen, zero-width non-joiner and joiner; left-to-right, right-to-left and Arabic letter marks.
_PLAIN = frozenset("\n\t\u00ad\u200c\u200d\u200e\u200f\u061c")


def visible(text: str, stream: TextIO) -> str:
    r"""`text` as it is; where `stream` is a terminal, each control is shown by its number, as in JSON: ESC as `\u001b`."""
    if text.isprintable() or not stream.isatty():
        return text
    return "".join(map(_shown, text.replace("\r\n", "\n")))


def _shown(character: str) -> str:
    import unicodedata

    if character.isprintable() or character in _PLAIN or unicodedata.category(character) not in _HIDDEN:
        return character
    units = character.encode("utf-16-be")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))


def fitted(text: str, stream: TextIO, env: Mapping[str, str] | None = None) -> str:
    """`text` as it is, or, where `stream` is a terminal, `visible` and with its lines wrapped. Their indent is kept.

    What stands between backquotes is a command to copy, and is not broken; neither is any word, such as a URL.
    """
    if not stream.isatty():
        return text
    width = width_of(stream, env)
    lines = visible(text, stream).split("\n")
    return "\n".join(line if len(line) <= width else _wrapped(line, width) for line in lines)


def fitted_help(text: str, stream: TextIO, env: Mapping[str, str] | None = None) -> str:
    """A command's help the same way; its examples are to be copied, and stay as they are."""
    blocks = text.split("\n\n")
    return "\n\n".join(
        visible(block, stream) if block.startswith("examples:") else fitted(block, stream, env) for block in blocks
    )


def _wrapped(line: str, width: int) -> str:
    import re

    words = re.findall(r"[^\s`]*`[^`]*`\S*|\S+", line)
    if not words:
        return line
    indent = line[: len(line) - len(line.lstrip())]
    lines = [indent + words[0]]
    for word in words[1:]:
        if len(lines[-1]) + 1 + len(word) <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(indent + word)
    return "\n".join(lines)


def width_of(stream: TextIO, env: Mapping[str, str] | None = None) -> int:
    """Columns of the terminal that `stream` goes to: `COLUMNS` in `env`, else what the terminal says, else 80."""
    try:
        given = int((os.environ if env is None else env).get("COLUMNS", ""))
    except ValueError:
        given = 0
    if given > 0:
        return given
    try:
        return os.get_terminal_size(stream.fileno()).columns or _USUAL_WIDTH
    except (OSError, ValueError):
        return _USUAL_WIDTH


SHELLS: Final = ("bash", "zsh", "fish", "powershell", "json")


def shell_of(env: Mapping[str, str]) -> str:
    """The user's own shell, by `SHELL`; `bash` for all but fish."""
    return "fish" if env.get("SHELL", "").endswith("fish") else "bash"


def shell_lines(values: Mapping[str, str], shell: str) -> list[str]:
    """The lines that set `values` in `shell`."""
    if shell == "powershell":
        return [f"$env:{name} = '{value.replace(chr(39), chr(39) * 2)}'" for name, value in values.items()]
    if shell != "fish":
        from shlex import quote

        return [f"export {name}={quote(value)}" for name, value in values.items()]
    quoted = {name: value.replace("\\", "\\\\").replace("'", "\\'") for name, value in values.items()}
    return [f"set -gx {name} '{value}'" for name, value in quoted.items()]
