"""Where the page of each error is: `docs/errors/<id>.md` in a checkout, a copy of it in the wheel."""

from __future__ import annotations

from pathlib import Path

from portico.paths import PACKAGE


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
