"""Print the pages, or with `--write` renew them."""

from __future__ import annotations

import sys

from tests.made_pages import MADE

for path, page in MADE.items():
    if "--write" in sys.argv:
        path.write_text(page(), encoding="utf-8")
    else:
        sys.stdout.write(page())
