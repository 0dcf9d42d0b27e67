"""`explain`: the page of an error, in the terminal.

The pages are `docs/errors/<id>.md` in a checkout, and a copy of them in the wheel.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from portico.errors import ExitCode, UsageError
from portico.paths import PACKAGE

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from portico.app import App

_EXAMPLES = """examples:
  {prog} explain keyring-locked     what has happened, and what to do
  {prog} explain                    every id that has a page

An error's id stands in its last line, and in `error.id` with --json. Answers of the gateway and findings of `{prog} doctor`
have ids as well.
"""
_LINK = re.compile(r"\[([^\]]+)\]\([^)]+\)")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `explain`."""
    parser.epilog = _EXAMPLES
    parser.add_argument("id", nargs="?", help="the id of an error; without one, all of them are listed")
    parser.set_defaults(handler=explain, tells_trouble=False)


def explain(args: argparse.Namespace, app: App) -> int:
    """Print a page, or the ids.

    Raises:
        UsageError: `unknown-error`.
    """
    if args.id is None:
        return _list(every_id(), app)
    page = page_of(args.id)
    if page is None:
        raise _unknown(args.id, every_id())
    text = page.read_text(encoding="utf-8")
    if app.out.is_json:
        app.out.json({"id": args.id, "page": text})
        return ExitCode.OK
    for paragraph in _paragraphs(text.replace("`portico", f"`{app.program}")):
        app.out.line(paragraph)
    return ExitCode.OK


def _list(ids: list[str], app: App) -> int:
    if app.out.is_json:
        app.out.json({"ids": ids})
    else:
        for id in ids:
            app.out.line(id)
    return ExitCode.OK


def _unknown(id: str, known: list[str]) -> UsageError:
    from difflib import get_close_matches

    near = get_close_matches(id, known, n=3)
    hint = f"Did you mean {', '.join(near)}?" if near else "`{prog} explain` lists them."
    return UsageError("unknown-error", f"No error has the id {id}.", hint=hint)


def _paragraphs(text: str) -> Iterator[str]:
    """The lines of a page as a terminal shows them: each paragraph and each item of a list is one line."""
    for block in _LINK.sub(r"\1", text).strip().split("\n\n"):
        if block.startswith("#"):
            yield block.lstrip("# ")
        else:
            yield from (" ".join(item.split()) for item in re.split(r"\n(?=- )", block))
        yield ""


def page_of(id: str) -> Path | None:
    """The page of an error, a finding or a gateway's answer; None where there is none, as for an id of another plugin's."""
    page = _folder() / f"{id}.md"
    return page if Path(id).name == id and page.is_file() else None


def every_id() -> list[str]:
    """The ids that have a page, sorted."""
    return sorted(page.stem for page in _folder().glob("*.md"))


def _folder() -> Path:
    checkout = PACKAGE.parent.parent / "docs" / "errors"
    return checkout if PACKAGE.parent.name == "src" and checkout.is_dir() else PACKAGE / "_errors"
