"""What a command prints: results on stdout, remarks on stderr, JSON when asked."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import TextIO

_GAP = "  "
_NARROWEST = 8


class Output:
    """Where a command's words go.

    `line` is the result; `note` is said beside it, unless quiet; `detail` only when verbose. With `json` a command prints one
    value by `json`, or a stream of one-line objects by `event`.
    """

    def __init__(
        self,
        *,
        json: bool = False,
        quiet: bool = False,
        verbose: bool = False,
        color: bool = False,
        stdout: TextIO | None = None,
        stderr: TextIO | None = None,
    ) -> None:
        self.is_json = json
        self.quiet = quiet
        self.verbose = verbose
        self.color = color
        self.stdout = stdout if stdout is not None else sys.stdout
        self.stderr = stderr if stderr is not None else sys.stderr

    def line(self, text: str = "") -> None:
        """One line of the result, on stdout."""
        _write(self.stdout, text)

    def write(self, text: str) -> None:
        """A piece of the result as it arrives, on stdout, without an end of line."""
        if self.stdout is not None:
            print(text, end="", file=self.stdout, flush=True)

    def note(self, text: str) -> None:
        """A remark for the person, on stderr; nothing when quiet."""
        if not self.quiet:
            _write(self.stderr, text)

    def detail(self, text: str) -> None:
        """A remark that only `--verbose` shows, on stderr."""
        if self.verbose:
            _write(self.stderr, text)

    def warn(self, text: str) -> None:
        """Something that needs attention, on stderr; said also when quiet."""
        _write(self.stderr, text)

    def json(self, value: object) -> None:
        """The whole result as JSON, on stdout."""
        import json

        _write(self.stdout, json.dumps(value, indent=2, ensure_ascii=False))

    def event(self, event: Mapping[str, object]) -> None:
        """One step of a longer run as one line of JSON, on stdout; nothing without `--json`."""
        if self.is_json:
            import json

            _write(self.stdout, json.dumps(event, ensure_ascii=False))

    def table(self, headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Rows under headers, no wider than the terminal; drawn by rich on a terminal, plain when piped."""
        if self._is_terminal() and self._draw_rich(headers, rows):
            return
        for line in plain_table(headers, rows, width=self.width() if self._is_terminal() else None):
            self.line(line)

    def width(self) -> int:
        """Columns of the terminal; 80 where nobody knows."""
        import shutil

        return shutil.get_terminal_size().columns

    def _is_terminal(self) -> bool:
        return self.stdout is not None and self.stdout.isatty()

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
        Console(file=self.stdout, no_color=not self.color, highlight=False).print(table)
        return True


def plain_table(headers: Sequence[str], rows: Sequence[Sequence[str]], *, width: int | None) -> list[str]:
    """The lines of a table in plain text; the widest columns are folded until it fits `width` columns (None: any)."""
    widths = [max(len(cell) for cell in column) for column in zip(headers, *rows, strict=True)]
    if width is not None:
        _narrow(widths, width - len(_GAP) * (len(widths) - 1))
    ruled = [tuple(headers), tuple("-" * each for each in widths), *rows]
    return [line for row in ruled for line in _row_lines(row, widths)]


def _narrow(widths: list[int], room: int) -> None:
    while sum(widths) > room and max(widths) > _NARROWEST:
        widest = widths.index(max(widths))
        widths[widest] -= 1


def _row_lines(row: Sequence[str], widths: Sequence[int]) -> list[str]:
    folded = [[cell[at : at + each] for at in range(0, len(cell), each)] or [""] for cell, each in zip(row, widths, strict=True)]
    height = max(map(len, folded))
    padded = [[*cell, *[""] * (height - len(cell))] for cell in folded]
    return [
        _GAP.join(part.ljust(each) for part, each in zip(parts, widths, strict=True)).rstrip()
        for parts in zip(*padded, strict=True)
    ]


def wants_color(env: Mapping[str, str], stream: TextIO | None, *, no_color: bool) -> bool:
    """Whether to colour what goes to `stream` (https://no-color.org)."""
    if no_color or env.get("NO_COLOR") or env.get("TERM") == "dumb":
        return False
    return stream is not None and stream.isatty()


def _write(stream: TextIO | None, text: str) -> None:
    # A closed stdout is None; a person who closed it wants nothing there.
    if stream is not None:
        print(text, file=stream, flush=True)
