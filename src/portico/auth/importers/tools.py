"""The tools whose sign-ins can be taken over, in the order they are looked for."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from portico.auth.importers.hermes import HERMES
from portico.auth.importers.mmx import MMX
from portico.auth.importers.openclaw import OPENCLAW
from portico.auth.importers.opencode import OPENCODE

if TYPE_CHECKING:
    from pathlib import Path

    from portico.auth.importers.found import Importer

IMPORTERS: Final[tuple[Importer, ...]] = (OPENCLAW, MMX, HERMES, OPENCODE)


def minimax_code_stores(home: Path) -> tuple[Path, ...]:
    """MiniMax Code's own sign-ins (MiniMax-AI/minimax-code, packages/oauth-core), to be named in a warning and never read.

    Its refresh tokens work once; refreshing one elsewhere signs that app out.
    """
    places = (home / ".minimax" / "auth" / "prod" / region / "mcode-public" / "auth.json" for region in ("en", "cn"))
    return tuple(place for place in places if os.path.isfile(place))  # noqa: PTH113 - where a folder may not be entered, Path raises
