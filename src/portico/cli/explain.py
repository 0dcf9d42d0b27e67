"""`explain`: the page of an error, in the terminal.

The pages are `docs/errors/<id>.md` in a checkout, and a copy of them in the wheel. Answers of the gateway and findings of
`doctor` stand in the tables of two pages. An id that has merged into another leads to that one's page.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

from portico.errors import ExitCode, UnknownName
from portico.paths import PACKAGE

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Mapping

    from portico.app import App

_EXAMPLES = """examples:
  {prog} explain keyring-locked     what has happened, and what to do
  {prog} explain                    every id that has a page

An error's id stands in its last line, and in `error.id` with --json. Answers of the gateway and findings of `{prog} doctor`
have ids as well.
"""
_LINK = re.compile(r"\[([^\]]+)\]\([^)]+\)")

TABLES: Final = ("gateway-answers", "findings")
RENAMED_PAGE: Final = "renamed"
# Each id with those that have merged into it since version 0.6.0, and that `--json` names beside it as `oldIds`.
_MERGED: Final = {
    "callback-invalid": "id-token-refused issuer-mismatch state-mismatch",
    "certificate-refused": "certificates-unreadable",
    "client-refused": (
        "invalid-client invalid-request invalid-scope unauthorized-client unsupported-grant-type "
        "unsupported-response-type unsupported-token-type"
    ),
    "config-elsewhere": "config-not-openclaw config-path-blocked",
    "config-invalid": "bad-port config-edit-refused config-syntax plugin-config unknown-client",
    "config-not-found": "config-missing no-base",
    "config-path-not-found": "alias-not-found fallback-not-found",
    "config-unreadable": "config-too-large config-write-failed",
    "editor-failed": "no-editor",
    "endpoint-refused": "redirect-not-loopback",
    "file-failed": "bundle-not-written history-failed lock-failed store-read-failed store-write-failed",
    "gateway-unresponsive": "gateway-not-stopping",
    "generation-changed": "account-changed",
    "import-unreadable": "import-ended import-foreign import-retired import-unsupported",
    "input-needed": "no-terminal",
    "keyring-locked": "keyring-not-open keyring-prompt-dismissed keyring-started-early",
    "keyring-unavailable": "keyring-failed keyring-no-collection keyring-refused keyring-unusable no-keyring",
    "lock-busy": "config-changing source-busy",
    "minimax-refused": "sign-in-failed",
    "model-lacks-feature": "no-image-input no-reasoning thinking-not-offered",
    "name-taken": "alias-taken key-exists",
    "no-home": "unknown-home",
    "not-deleted": "not-purged",
    "not-revoked": "revocation-not-offered",
    "passphrase-needed": "passphrase-unreadable",
    "passphrase-wrong": "passphrase-mismatch",
    "plugin-disabled": "unknown-dialect",
    "plugin-failed": (
        "plan-reader-failed plugin-answer plugin-code plugin-conflict plugin-hooks plugin-incomplete plugin-manifest"
    ),
    "profile-exists": "already-imported profile-kept profile-taken",
    "provider-failed": "plan-not-told",
    "record-damaged": "profile-damaged record-missing sealed-key-damaged sealed-key-missing",
    "refresh-answers-missing": "refresh-interrupted",
    "reply-invalid": "list-unreadable no-stream plan-unreadable reply-incomplete unknown-status",
    "reply-unreadable": "redirect-refused reply-too-long",
    "server-error": "authorization-pending oauth-error slow-down temporarily-unavailable",
    "service-failed": "no-service-manager",
    "sign-in-ended": (
        "bad-refresh-token consent-required interaction-required invalid-grant invalid-token login-required "
        "other-account refresh-answer-lost tokens-unfit"
    ),
    "sign-in-timed-out": "code-expired",
    "state-newer": "history-newer index-newer record-newer",
    "unknown-name": (
        "emulator-unknown-code no-such-key profile-not-found tool-not-found unknown-auth-choice unknown-error "
        "unknown-method unknown-provider unknown-region"
    ),
    "usage": (
        "bad-alias bad-key-name bad-profile-name config-path config-value emulator-knob input-too-long "
        "no-command no-plan-reader no-tool not-an-image unknown-command unknown-option"
    ),
    "which-profile": "profile-changed",
}
OLD_IDS: Final[Mapping[str, tuple[str, ...]]] = {new: tuple(olds.split()) for new, olds in _MERGED.items()}
_NEW_IDS: Final = {old: new for new, olds in OLD_IDS.items() for old in olds}
_ROW: Final = re.compile(r"^\| `([a-z0-9-]+)` \|.*$", re.MULTILINE)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `explain`."""
    parser.epilog = _EXAMPLES
    parser.add_argument("id", nargs="?", help="the id of an error; without one, all of them are listed")
    parser.set_defaults(handler=explain, warns_of_ended=False)


def explain(args: argparse.Namespace, app: App) -> int:
    """Print a page, or the ids.

    Raises:
        UnknownName: no error has this id.
    """
    if args.id is None:
        return _list(every_id(), app)
    page, id = page_of(args.id), current_id(args.id)
    if page is None:
        raise _unknown(args.id, every_id())
    text = page.read_text(encoding="utf-8")
    if app.out.is_json:
        app.out.json({"id": id, "page": text} | ({"oldId": args.id} if id != args.id else {}))
        return ExitCode.OK
    if id != args.id:
        app.out.line(f"{args.id} is now {id}.\n")
    row = row_of(id, page)
    if row is not None:  # of a page about many ids, what is about this one
        text = f"# {id}\n\n{row}\n"
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


def _unknown(id: str, known: list[str]) -> UnknownName:
    from difflib import get_close_matches

    near = get_close_matches(id, known, n=3)
    hint = f"Did you mean {', '.join(near)}?" if near else "`{prog} explain` lists them."
    return UnknownName(f"No error has the id {id}.", hint=hint)


def _paragraphs(text: str) -> Iterator[str]:
    """The lines of a page as a terminal shows them: each paragraph and each item of a list is one line."""
    for block in _LINK.sub(r"\1", text).strip().split("\n\n"):
        if block.startswith("#"):
            yield block.lstrip("# ")
        elif block.startswith("|"):
            rows = [[cell.strip() for cell in row.strip("|").split(" | ")] for row in block.split("\n")]
            yield from (f"{cells[0]}: {' '.join(cells[1:])}" for cells in rows if cells[0].startswith("`"))
        else:
            yield from (" ".join(item.split()) for item in re.split(r"\n(?=- )", block))
        yield ""


def current_id(id: str) -> str:
    """The id that has taken the place of `id`; `id` itself if none has."""
    return _NEW_IDS.get(id, id)


def page_of(id: str) -> Path | None:
    """The page of an error, a finding or a gateway's answer; None where there is none, as for an id of another plugin's."""
    id = current_id(id)
    page = _folder() / f"{id}.md"
    if Path(id).name == id and page.is_file():
        return page
    return next((table for table in _tables() if id in _rows(table)), None)


def row_of(id: str, page: Path) -> str | None:
    """The row of `id` in `page`, if that is a table of many ids."""
    return _rows(page).get(id) if page.stem in TABLES else None


def every_id() -> list[str]:
    """The ids that have a page or a row of one, sorted; without those that have merged into others."""
    pages = {page.stem for page in _folder().glob("*.md")} - {*TABLES, RENAMED_PAGE}
    return sorted(pages.union(*map(_rows, _tables())))


def _tables() -> list[Path]:
    return [page for name in TABLES if (page := _folder() / f"{name}.md").is_file()]


def _rows(page: Path) -> dict[str, str]:
    return {row[1]: row[0] for row in _ROW.finditer(page.read_text(encoding="utf-8"))}


def _folder() -> Path:
    checkout = PACKAGE.parent.parent / "docs" / "errors"
    return checkout if PACKAGE.parent.name == "src" and checkout.is_dir() else PACKAGE / "_errors"
