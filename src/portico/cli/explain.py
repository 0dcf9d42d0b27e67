"""`explain`: print the page of an error.

The pages are `docs/errors/<id>.md` in a checkout, and a copy of them in the wheel; `README.md` there is the index. Two pages have
a section for each of the gateway's error responses, and for each finding of `doctor`. The id of an earlier version leads to the
page of the present id.
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
  {prog} explain keyring-locked     print what happened and what to do
  {prog} explain                    list all ids with their titles

An error prints its id in its last line; with --json the id is in `error.id`. The gateway's error responses and the findings of
`{prog} doctor` have ids too.
"""
_LINK = re.compile(r"\[([^\]]+)\]\([^)]+\)")
_TABLE_ROW: Final = re.compile(r"^\| `([^`|]+)` \| ([^|]+) \|$", re.MULTILINE)

# Pages with a section for each id.
COLLECTIONS: Final = ("gateway-answers", "findings")
INDEX: Final = "README"
RENAMED_PAGE: Final = "renamed"
# Each id, with the ids of version 0.6.0 that this id replaces; `--json` errors list these as `oldIds`.
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
_SECTION: Final = re.compile(r"^## ([a-z0-9-]+): .*\n(?:(?!## ).*\n)*", re.MULTILINE)
_INDEX_LINE: Final = re.compile(r"^- \[([a-z0-9-]+)\]\([a-z0-9-]+\.md\): (.+)$")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `explain`."""
    parser.epilog = _EXAMPLES
    parser.add_argument("id", nargs="?", help="id of an error (default: list all ids)")
    parser.set_defaults(handler=explain, warns_of_ended=False)


def explain(args: argparse.Namespace, app: App) -> int:
    """Print the page of an error, or the index.

    Raises:
        UnknownName: no error has this id.
    """
    if args.id is None:
        return _list(app)
    page, id = page_of(args.id), current_id(args.id)
    if page is None:
        raise _unknown(args.id, every_id())
    text = section_of(id, page) or page.read_text(encoding="utf-8")
    if app.out.is_json:
        app.out.json({"id": id, "page": text} | ({"oldId": args.id} if id != args.id else {}))
        return ExitCode.OK
    if id != args.id:
        app.out.line(f"{args.id} is now {id}.\n")
    for paragraph in _paragraphs(text.replace("`portico", f"`{app.program}")):
        app.out.line(paragraph)
    return ExitCode.OK


def _list(app: App) -> int:
    entries = index()
    if app.out.is_json:
        app.out.json({"ids": every_id(), "errors": entries})
        return ExitCode.OK
    for group in dict.fromkeys(entry["group"] for entry in entries):
        app.out.line(group.replace("`portico", f"`{app.program}"))
        for entry in entries:
            if entry["group"] == group:
                app.out.line(f"  {entry['id']:<26} {entry['title']}")
        app.out.line("")
    return ExitCode.OK


def _unknown(id: str, known: list[str]) -> UnknownName:
    from difflib import get_close_matches

    near = get_close_matches(id, known, n=3)
    hint = f"Did you mean {', '.join(near)}?" if near else "`{prog} explain` lists them."
    return UnknownName(f"No error has the id {id}.", hint=hint)


def _paragraphs(text: str) -> Iterator[str]:
    """Yield the paragraphs, list items and table rows (`old: new`) of a page, each on one line."""
    for block in _LINK.sub(r"\1", text).strip().split("\n\n"):
        if block.startswith("#"):
            yield block.lstrip("# ")
        elif block.startswith("|"):
            yield from (f"{row[1]}: {row[2]}" for row in _TABLE_ROW.finditer(block))
        else:
            yield from (" ".join(item.split()) for item in re.split(r"\n(?=- )", block))
        yield ""


def current_id(id: str) -> str:
    """Return the present id of an error; `id` may be an id of an earlier version."""
    return _NEW_IDS.get(id, id)


def page_of(id: str) -> Path | None:
    """Return the page for the id of an error, a finding or an error response; None for an unknown id, for example a plugin's."""
    id = current_id(id)
    page = _folder() / f"{id}.md"
    if Path(id).name == id and id != INDEX and page.is_file():
        return page
    return next((collection for collection in _collections() if id in _sections(collection)), None)


def section_of(id: str, page: Path) -> str | None:
    """Return the section about `id`, if `page` has sections for several ids."""
    return _sections(page).get(id) if page.stem in COLLECTIONS else None


def every_id() -> list[str]:
    """Return the sorted ids of all pages and sections, without the ids of earlier versions."""
    pages = {page.stem for page in _folder().glob("*.md")} - {*COLLECTIONS, RENAMED_PAGE, INDEX}
    return sorted(pages.union(*map(_sections, _collections())))


def index() -> list[dict[str, str]]:
    """Return the `id`, `title` and `group` of each error, in the order of the index."""
    group, entries = "", []
    for line in (_folder() / f"{INDEX}.md").read_text(encoding="utf-8").splitlines():
        if line.startswith("## "):
            group = line.removeprefix("## ")
        elif entry := _INDEX_LINE.match(line):
            entries.append({"id": entry[1], "title": entry[2], "group": group})
    return entries


def _collections() -> list[Path]:
    return [page for name in COLLECTIONS if (page := _folder() / f"{name}.md").is_file()]


def _sections(page: Path) -> dict[str, str]:
    return {section[1]: section[0].removeprefix("#") for section in _SECTION.finditer(page.read_text(encoding="utf-8"))}


def _folder() -> Path:
    checkout = PACKAGE.parent.parent / "docs" / "errors"
    return checkout if PACKAGE.parent.name == "src" and checkout.is_dir() else PACKAGE / "_errors"
