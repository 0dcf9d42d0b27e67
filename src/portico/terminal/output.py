"""The output of a command: results on stdout, notes on stderr, JSON with `--json`; and text that is wrapped to fit a terminal.

Lines break only between words, and never inside text that the user copies. Text from a model, a server or a file may contain
control characters: they can repaint a terminal, fill its clipboard (OSC 52) or reverse text (U+202E), see CVE-2003-0063,
CVE-2021-42574. So a terminal gets them as escapes. A pipe or a file gets the text unchanged.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False  # importing `typing` would take a third of the time of `--version`
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from logging import Logger
    from typing import Final, TextIO

_CLEAR: Final = "\x1b[2J\x1b[H"
_DEFAULT_WIDTH: Final = 80
_GAP: Final = "  "
_RICH_GAP: Final = 3  # columns
_LONG_LIST: Final = 100  # a longer list is printed as JSON with one line per entry


class Streams:
    """The environment and the standard streams of one run; None means the process's own."""

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
    """Prints the results, notes and warnings of a command.

    With `--json` a command prints one value with `json`, or a stream of one-line objects with `event`. `env` gives the width of
    the terminal (`COLUMNS`) and its locale; None is the process's environment.

    Attributes:
        most_warnings: the number of config problems that are shown; None means all.
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
        """Print one line of the result on stdout; a terminal gets it wrapped between words."""
        _write(self.stdout, text, env=self.env)

    def exact(self, text: str) -> None:
        """Print text that the user copies, or that a program reads, on stdout; never wrapped."""
        _write(self.stdout, text, wrap=False)

    def write(self, text: str) -> None:
        """Print a part of the result on stdout, without a line end."""
        _write(self.stdout, text, end="", wrap=False)

    def clear(self) -> None:
        """Clear the terminal that stdout goes to."""
        if self.stdout is not None:
            print(_CLEAR, end="", file=self.stdout, flush=True)

    def note(self, text: str) -> None:
        """Print a note on stderr; nothing with `--quiet`."""
        if not self.quiet:
            _write(self.stderr, text, env=self.env)

    def detail(self, text: str) -> None:
        """Print a note on stderr, only with `--verbose`."""
        if self.verbose:
            _write(self.stderr, text, env=self.env)

    def warn(self, text: str) -> None:
        """Print a warning on stderr, even with `--quiet`."""
        _write(self.stderr, text, env=self.env)

    def config_warning(self, program: str, text: str, advice: str | None = None) -> None:
        """Print a problem of the config that does not stop this command, with advice."""
        _write(self.stderr, f"{program}: {text}" + (f"\n  {advice}" if advice else ""), env=self.env)

    def json(self, value: object) -> None:
        """Print the whole result as JSON on stdout."""
        import json

        # The json module indents in Python, not in C: that is many times slower for a long list.
        text = _one_line_each(value) if _is_long(value) else json.dumps(value, indent=2, ensure_ascii=False)
        _write(self.stdout, _json_for(text, self.stdout), wrap=False)

    def event(self, event: Mapping[str, object]) -> None:
        """Print one step of a longer run as one line of JSON on stdout; nothing without `--json`."""
        if self.is_json:
            import json

            _write(self.stdout, _json_for(json.dumps(event, ensure_ascii=False), self.stdout), wrap=False)

    def table(self, headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Print rows under headers, with rich on a terminal that has colours and can draw lines.

        On a terminal that is too narrow each cell has its own line, so that a model reference can still be copied.
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
        """Return the width in columns of the terminal at stdout; None if stdout is not a terminal."""
        if self.stdout is None or not self.stdout.isatty():
            return None
        return width_of(self.stdout, self.env)

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
    """The output of a run without a terminal: notes and warnings go to the logger `portico`."""

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
    """Return the lines of a table in plain text, with columns as wide as their content."""
    widths = _widths(headers, rows)
    ruled = [tuple(headers), tuple("-" * each for each in widths), *rows]
    return [_GAP.join(cell.ljust(each) for cell, each in zip(row, widths, strict=True)).rstrip() for row in ruled]


def stacked_table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a table with one cell per line, indented under the first cell of its row."""
    lines: list[str] = []
    for first, *cells in rows:
        lines.append(first)
        lines += [f"{_GAP}{header}: {cell}" for header, cell in zip(headers[1:], cells, strict=True) if cell]
    return lines


def _widths(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> list[int]:
    return [max(len(cell) for cell in column) for column in zip(headers, *rows, strict=True)]


def _widest(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> int:
    """Return the largest width in columns that the table can need, in plain text or drawn by rich."""
    widths = _widths(headers, rows)
    return sum(widths) + _RICH_GAP * (len(widths) - 1)


def wants_color(env: Mapping[str, str], stream: TextIO | None, *, no_color: bool) -> bool:
    """Whether to print in colour on `stream` (https://no-color.org)."""
    if no_color or env.get("NO_COLOR") or env.get("TERM") == "dumb":
        return False
    return stream is not None and stream.isatty()


def _can_draw(stream: TextIO | None, env: Mapping[str, str] | None) -> bool:
    """Whether the terminal can draw the lines of a table.

    In the C locale it may be unable to, but Python would send the lines.
    """
    env = os.environ if env is None else env
    locale = next(filter(None, (env.get(name) for name in ("LC_ALL", "LC_CTYPE", "LANG"))), "")
    try:
        "\N{BOX DRAWINGS LIGHT HORIZONTAL}".encode(getattr(stream, "encoding", None) or "ascii")
    except (LookupError, UnicodeEncodeError):
        return False
    return locale not in {"C", "POSIX"}


def _is_long(value: object) -> bool:
    members = value.values() if isinstance(value, dict) else [value]
    return any(isinstance(member, list) and len(member) > _LONG_LIST for member in members)


def _one_line_each(value: object) -> str:
    """Return JSON with one line for each member of the outermost object, and for each entry of a list in it."""
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
    r"""Escape all non-ASCII characters of a JSON text if `stream` cannot encode them: Python's `\xc4` is not valid JSON."""
    try:
        text.encode(getattr(stream, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        import json
        import re

        # JSON has non-ASCII characters only in strings.
        return re.sub(r"[^\x00-\x7f]", lambda character: json.dumps(character[0])[1:-1], text)
    return text


def _write(stream: TextIO | None, text: str, *, end: str = "\n", wrap: bool = True, env: Mapping[str, str] | None = None) -> None:
    if stream is not None:  # Python sets a standard stream that was closed to None
        print(fitted(text, stream, env) if wrap else visible(text, stream), end=end, file=stream, flush=True)


# Unicode categories: controls (Cc), formats (Cf), line and paragraph separators (Zl, Zp). Other unprintable characters stay:
# spaces of other scripts, private characters, characters that are newer than this Python's Unicode tables.
_HIDDEN: Final = ("Cc", "Cf", "Zl", "Zp")
# Line ends, tabs, and the formats that Arabic, Hebrew, Persian, Indian scripts and emoji need and that reverse no text: soft
# hyphen, zero-width non-joiner and joiner; left-to-right, right-to-left and Arabic letter marks.
_UNESCAPED: Final = frozenset("\n\t\u00ad\u200c\u200d\u200e\u200f\u061c")


def visible(text: str, stream: TextIO) -> str:
    r"""Return `text`; if `stream` is a terminal, with control characters as JSON escapes: ESC as `\u001b`."""
    if text.isprintable() or not stream.isatty():
        return text
    return "".join(map(_escaped, text.replace("\r\n", "\n")))


def _escaped(character: str) -> str:
    import unicodedata

    if character.isprintable() or character in _UNESCAPED or unicodedata.category(character) not in _HIDDEN:
        return character
    units = character.encode("utf-16-be")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))


def fitted(text: str, stream: TextIO, env: Mapping[str, str] | None = None) -> str:
    """Return `text`; if `stream` is a terminal, `visible` and wrapped with the indent of each line.

    Words, such as URLs, and commands between backquotes are never broken, because the user copies them.
    """
    if not stream.isatty():
        return text
    width = width_of(stream, env)
    lines = visible(text, stream).split("\n")
    return "\n".join(line if len(line) <= width else _wrapped(line, width) for line in lines)


def fitted_help(text: str, stream: TextIO, env: Mapping[str, str] | None = None) -> str:
    """Return the help of a command as `fitted` does; its examples are never wrapped, since the user copies them."""
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
    """Return the columns of the terminal that `stream` goes to: `COLUMNS` in `env`, else the terminal's size, else 80."""
    try:
        columns = int((os.environ if env is None else env).get("COLUMNS", ""))
    except ValueError:
        columns = 0
    if columns > 0:
        return columns
    try:
        return os.get_terminal_size(stream.fileno()).columns or _DEFAULT_WIDTH
    except (OSError, ValueError):
        return _DEFAULT_WIDTH


SHELLS: Final = ("bash", "zsh", "fish", "powershell", "json")


def shell_of(env: Mapping[str, str]) -> str:
    """Return `fish` if `SHELL` names it, else `bash`."""
    return "fish" if env.get("SHELL", "").endswith("fish") else "bash"


def shell_lines(values: Mapping[str, str], shell: str) -> list[str]:
    """Return the lines that set the environment variables `values` in `shell`."""
    if shell == "powershell":
        return [f"$env:{name} = '{value.replace(chr(39), chr(39) * 2)}'" for name, value in values.items()]
    if shell != "fish":
        from shlex import quote

        return [f"export {name}={quote(value)}" for name, value in values.items()]
    quoted = {name: value.replace("\\", "\\\\").replace("'", "\\'") for name, value in values.items()}
    return [f"set -gx {name} '{value}'" for name, value in quoted.items()]
